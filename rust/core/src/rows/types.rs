//! Logical column types, and a table's schema as the mapper sees it.

use std::fmt;
use std::str::FromStr;

/// A column's type as users and policies name it (spec: ingestion, section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogicalType {
    Boolean,
    Int,
    BigInt,
    Decimal,
    Float,
    /// `char(n)`: treated as unlimited text; `n` is what a policy or an inference said.
    Char(u16),
    Varchar,
    Uuid,
    Cidr,
    Date,
    Time,
    /// Instants, kept as microseconds UTC.
    Timestamp,
}

/// How a value is held in memory and bound to a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Physical {
    Integer,
    Real,
    /// Decimals: integers stay integers, fractions are reals.
    Number,
    Text,
}

impl LogicalType {
    pub fn physical(self) -> Physical {
        match self {
            Self::Boolean | Self::Int | Self::BigInt | Self::Timestamp => Physical::Integer,
            Self::Float => Physical::Real,
            Self::Decimal => Physical::Number,
            Self::Char(_) | Self::Varchar | Self::Uuid | Self::Cidr | Self::Date | Self::Time => {
                Physical::Text
            }
        }
    }

    /// A number of any kind.
    pub fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::BigInt | Self::Decimal | Self::Float)
    }
}

impl fmt::Display for LogicalType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean => f.write_str("boolean"),
            Self::Int => f.write_str("int"),
            Self::BigInt => f.write_str("bigint"),
            Self::Decimal => f.write_str("decimal"),
            Self::Float => f.write_str("float"),
            Self::Char(n) => write!(f, "char({n})"),
            Self::Varchar => f.write_str("varchar"),
            Self::Uuid => f.write_str("uuid"),
            Self::Cidr => f.write_str("cidr"),
            Self::Date => f.write_str("date"),
            Self::Time => f.write_str("time"),
            Self::Timestamp => f.write_str("timestamp"),
        }
    }
}

/// A word that is no column type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown column type '{0}'")]
pub struct UnknownType(pub String);

impl FromStr for LogicalType {
    type Err = UnknownType;

    /// The type that a policy, a create statement or a database names; any case.
    fn from_str(text: &str) -> Result<Self, UnknownType> {
        let lower = text.trim().to_ascii_lowercase();
        let (word, size) = match lower.split_once('(') {
            Some((word, rest)) => (
                word.trim_end(),
                rest.split([')', ','])
                    .next()
                    .and_then(|n| n.trim().parse().ok()),
            ),
            None => (lower.as_str(), None),
        };
        Ok(match word {
            "boolean" | "bool" => Self::Boolean,
            "int" | "integer" | "smallint" | "tinyint" | "int4" | "int2" | "serial" => Self::Int,
            "bigint" | "int8" | "long" | "bigserial" => Self::BigInt,
            "decimal" | "numeric" => Self::Decimal,
            "float" | "real" | "double" | "double precision" | "float8" | "float4" => Self::Float,
            "char" | "character" => Self::Char(size.unwrap_or(1)),
            "varchar" | "character varying" | "text" | "string" | "json" | "jsonb" => Self::Varchar,
            "uuid" => Self::Uuid,
            "cidr" | "inet" => Self::Cidr,
            "date" => Self::Date,
            "time" | "time without time zone" => Self::Time,
            "timestamp"
            | "timestamp without time zone"
            | "timestamp with time zone"
            | "timestamptz"
            | "datetime" => Self::Timestamp,
            _ => return Err(UnknownType(text.to_owned())),
        })
    }
}

/// One user column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnDef {
    /// Sanitised name, as it stands in the database.
    pub name: String,
    pub kind: LogicalType,
    /// `default now()`: an absent value becomes the batch's time.
    pub default_now: bool,
}

/// The user columns of a table, in order. The automatic columns (`row_id`, `insert_timestamp`,
/// `tsd_name`, `tsd_id`) are the store's business and do not stand here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    pub columns: Vec<ColumnDef>,
}

impl Schema {
    pub fn get(&self, name: &str) -> Option<&ColumnDef> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// Take over what `changes` found: retyped columns in place, new ones at the end.
    pub fn apply(&mut self, changes: &[ColumnDef]) {
        for change in changes {
            match self.columns.iter_mut().find(|c| c.name == change.name) {
                Some(column) => column.clone_from(change),
                None => self.columns.push(change.clone()),
            }
        }
    }

    /// The first timestamp column: rows are sorted and indexed by it.
    pub fn time_column(&self) -> Option<&ColumnDef> {
        self.columns
            .iter()
            .find(|c| c.kind == LogicalType::Timestamp)
    }
}
