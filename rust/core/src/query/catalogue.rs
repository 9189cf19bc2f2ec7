//! Tables as the planner sees them.

use super::value::Kind;

/// A column by name and kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
    /// Its name in the physical tables, where a view gives it another; `None`: it is null here.
    pub stored: Option<String>,
}

impl Column {
    /// What reads the column.
    pub fn sql(&self, own: bool) -> String {
        let Some(stored) = &self.stored else {
            return "NULL".to_owned();
        };
        let name = quoted(stored);
        if self.kind == Kind::Timestamp && !own {
            return time_of_any(&name);
        }
        name
    }
}

/// Microseconds of a time that plain SQL may have put in as text.
pub fn time_of_any(field: &str) -> String {
    format!(
        "iif(typeof({field}) = 'text', \
         CAST(strftime('%s', {field}) AS INTEGER) * 1000000 + CAST(substr(\
         substr({field}, 21, 6 * (substr({field}, 20, 1) = '.')) || '000000', 1, 6) AS INTEGER), {field})"
    )
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
    /// The node made it: it has row ids, and its times are integers.
    pub own: bool,
    /// The column that has an index, by its stored name.
    pub indexed: Option<String>,
}

impl Table {
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// The column that has an index, by the name that statements use.
    pub fn time_column(&self) -> Option<&Column> {
        let indexed = self.indexed.as_ref().filter(|_| self.own)?;
        self.columns
            .iter()
            .find(|c| c.stored.as_ref() == Some(indexed))
    }

    /// The name that statements use for a stored column.
    pub fn shown_name<'a>(&'a self, stored: &'a str) -> &'a str {
        let found = self
            .columns
            .iter()
            .find(|c| c.stored.as_deref() == Some(stored));
        found.map_or(stored, |c| c.name.as_str())
    }

    /// Whether statements for the engine can name it as it is stored.
    pub fn is_plain(&self) -> bool {
        let as_stored = |c: &Column| {
            c.stored.as_deref() == Some(&c.name) && (self.own || c.kind != Kind::Timestamp)
        };
        self.partitions.is_empty() && self.columns.iter().all(as_stored)
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
