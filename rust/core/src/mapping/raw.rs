//! Topics whose messages are kept as they come: `persist = true` and `dynamic = true`
//! (spec: brokers and mapping, sections 4 and 10).

use std::borrow::Cow;

use serde_json::Value;

use super::columns::Scene;
use super::json::Json;
use super::policy::star;
use super::target::{Field, Place, Row};
use super::types::Held;
use super::{CompileError, Fault};
use crate::names::sanitize;
use crate::rows::LogicalType;

/// Objects become rows as they are, plain values the columns timestamp and value.
#[derive(Debug)]
pub(super) struct Raw {
    dbms: String,
    /// The table is the last level of the topic, not all of it.
    last_level: bool,
}

impl Raw {
    pub fn compile(spec: &Value, last_level: bool) -> Result<Self, CompileError> {
        let dbms = sanitize(spec["dbms"].as_str().unwrap_or_default().trim());
        if dbms.is_empty() {
            return Err(CompileError::new("missing 'dbms'"));
        }
        Ok(Self { dbms, last_level })
    }

    /// The database, when the last level of each topic is a table.
    pub fn dynamic(&self) -> Option<&str> {
        self.last_level.then_some(&self.dbms)
    }

    pub fn row<'v>(
        &'v self,
        topic: &str,
        message: &'v Json<'v>,
        scene: &Scene<'_>,
    ) -> Result<Row<'v>, Fault> {
        let level = if self.last_level {
            topic.rsplit('/').next().unwrap_or_default()
        } else {
            topic
        };
        let table = sanitize(level.trim());
        if table.is_empty() {
            return Err(Fault::new(127, "the topic gives no name for a table"));
        }
        let mut fields = Vec::new();
        match message {
            Json::Object(_) => star(&["*".to_owned()], message, &mut fields),
            plain => {
                fields.push(Field {
                    name: Cow::Borrowed("timestamp"),
                    value: Held::Time(scene.now_us),
                    declared: Some((LogicalType::Timestamp, true)),
                });
                fields.push(Field {
                    name: Cow::Borrowed("value"),
                    value: typed(plain),
                    declared: None,
                });
            }
        }
        Ok(Row {
            place: Place {
                dbms: Cow::Borrowed(&self.dbms),
                table: Cow::Owned(table),
                source: Cow::Borrowed("0"),
                instructions: "0",
            },
            fields,
        })
    }

    /// A payload that is no JSON, as a text.
    pub fn text(payload: &[u8]) -> Option<Json<'_>> {
        let text = std::str::from_utf8(payload).ok()?.trim();
        (!text.is_empty()).then_some(Json::Text(Cow::Borrowed(text)))
    }
}

/// A plain value by its text: true, false, null, a number, else a text.
fn typed<'v>(value: &'v Json<'v>) -> Held<'v> {
    match value {
        Json::Null => Held::Null,
        Json::Bool(b) => Held::Bool(*b),
        Json::Int(i) => Held::Int(*i),
        Json::Float(f) => Held::Float(*f),
        Json::Text(text) => match text.trim() {
            t if t.eq_ignore_ascii_case("true") => Held::Bool(true),
            t if t.eq_ignore_ascii_case("false") => Held::Bool(false),
            t if t.eq_ignore_ascii_case("null") || t.is_empty() => Held::Null,
            t => number(t).unwrap_or(Held::Text(Cow::Borrowed(text))),
        },
        other => Held::Text(other.text()),
    }
}

/// Only what JSON takes for a number: `nan` and `0x1f` are texts.
fn number(text: &str) -> Option<Held<'static>> {
    match Json::parse(text.as_bytes()).ok()? {
        Json::Int(i) => Some(Held::Int(i)),
        Json::Float(f) => Some(Held::Float(f)),
        _ => None,
    }
}
