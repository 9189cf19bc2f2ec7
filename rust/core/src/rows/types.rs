//! Logical column types, and a table's schema as the mapper sees it.

use std::fmt;

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
}
