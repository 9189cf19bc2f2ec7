//! Casts of a result's column: `item::cast::cast` (spec: query, section 10).

use serde::{Deserialize, Serialize};

use super::error::{QueryError, Result};

const NAMES: [&str; 13] = [
    "int", "str", "lstrip", "rstrip", "float", "ljust", "rjust", "format", "datetime", "timezone",
    "timediff", "function", "replace",
];

/// One cast, parsed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Cast {
    text: String,
}

impl Cast {
    /// From `name` or `name(argument)`.
    pub fn parse(text: &str) -> Result<Self> {
        let name = text.split('(').next().unwrap_or_default();
        let name = name.trim().to_ascii_lowercase();
        if !NAMES.contains(&name.as_str()) {
            return Err(QueryError::UnknownCast(format!(
                "'{text}' is no cast: use one of {}",
                NAMES.join(", ")
            )));
        }
        Ok(Self {
            text: text.to_owned(),
        })
    }
}

impl From<Cast> for String {
    fn from(cast: Cast) -> Self {
        cast.text
    }
}

impl TryFrom<String> for Cast {
    type Error = QueryError;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}
