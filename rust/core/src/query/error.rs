//! What can go wrong with a statement, by the number that clients know (spec: query, section 14).

/// Why a statement was refused or stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The text cannot be parsed, or names what does not exist (46).
    #[error("{0}")]
    Parse(String),
    /// Valid SQL that the dialect does not cover; a local select may still go to the engine as it is.
    #[error("{0}")]
    Unsupported(String),
    /// A cast of that name does not exist (195).
    #[error("{0}")]
    UnknownCast(String),
    /// A cast met a value that it cannot convert (194).
    #[error("{0}")]
    CastFailed(String),
    /// Tables named in `include` do not have the columns that `select *` needs (296).
    #[error("{0}")]
    IncludeMismatch(String),
    /// A bound on memory was reached.
    #[error("{0}")]
    TooLarge(String),
}

pub type Result<T> = std::result::Result<T, QueryError>;

/// A parse error from a text.
pub fn parse_error<T>(text: impl Into<String>) -> Result<T> {
    Err(QueryError::Parse(text.into()))
}
