//! Tables as the planner sees them.

use super::value::Kind;

/// A column by name and kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
}

/// A physical table that holds the rows with `start_us <= column < end_us`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    pub name: String,
    pub column: String,
    pub start_us: i64,
    pub end_us: i64,
}

/// A logical table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub dbms: String,
    pub name: String,
    pub columns: Vec<Column>,
    pub partitions: Vec<Partition>,
    /// The node made it: it has the automatic columns and an index on its first time column.
    pub own: bool,
}

/// Columns that the node fills; they stand before the user's.
const AUTOMATIC: usize = 4;

impl Table {
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// The column that has an index.
    pub fn time_column(&self) -> Option<&str> {
        let user = self.columns.get(AUTOMATIC..).filter(|_| self.own)?;
        user.iter()
            .find(|c| c.kind == Kind::Timestamp)
            .map(|c| c.name.as_str())
    }

    pub fn full_name(&self) -> String {
        format!("{}.{}", self.dbms, self.name)
    }
}

/// A name as it stands in SQL, whatever is in it.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as an SQL literal.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
