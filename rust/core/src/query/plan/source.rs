//! Where rows come from: the table, the included ones, their partitions.

use sqlparser::ast::Expr;

use super::aggregate::contains_aggregate;
use super::{Constant, Extend};
use crate::query::catalogue::{Table, literal, quoted};
use crate::query::emit::{Leaves, Sql, emit};
use crate::query::error::{QueryError, Result, parse_error};
use crate::query::moments::Moments;
use crate::query::ranges::Ranges;
use crate::query::value::Kind;

/// The table of the statement and those that are read as if they were it.
pub struct Sources<'a> {
    pub main: &'a Table,
    pub extend: &'a [Extend],
    pub moments: &'a Moments,
    also: Option<&'a Expr>,
    tables: Vec<&'a Table>,
}

impl<'a> Sources<'a> {
    /// `whole`: the statement selects `*`, so that the columns must be the same. Errors: 296.
    pub fn new(
        main: &'a Table,
        included: &[&'a Table],
        extend: &'a [Extend],
        moments: &'a Moments,
        whole: bool,
    ) -> Result<Self> {
        for table in included {
            let same = |a: &Table, b: &Table| a.columns.iter().all(|c| b.column(&c.name).is_some());
            if whole && !(same(main, table) && same(table, main)) {
                return Err(QueryError::IncludeMismatch(format!(
                    "select * over {} and {} needs the same columns: name those you want",
                    main.full_name(),
                    table.full_name()
                )));
            }
            for column in &main.columns {
                let other = table.column(&column.name).map_or(column.kind, |c| c.kind);
                if (other == Kind::Timestamp) != (column.kind == Kind::Timestamp) {
                    return Err(QueryError::IncludeMismatch(format!(
                        "'{}' is a time in only one of {} and {}",
                        column.name,
                        main.full_name(),
                        table.full_name()
                    )));
                }
            }
        }
        let mut tables = vec![main];
        for table in included {
            if !tables.iter().any(|t| t.full_name() == table.full_name()) {
                tables.push(table);
            }
        }
        Ok(Self {
            main,
            extend,
            moments,
            also: None,
            tables,
        })
    }

    /// The same with a condition that every row has to satisfy besides.
    pub const fn with(mut self, also: Option<&'a Expr>) -> Self {
        self.also = also;
        self
    }

    /// The condition of `with`.
    pub const fn also(&self) -> Option<&'a Expr> {
        self.also
    }

    /// Databases beside the main table's.
    pub fn attached(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for table in &self.tables {
            if table.dbms != self.main.dbms && !names.contains(&table.dbms) {
                names.push(table.dbms.clone());
            }
        }
        names
    }

    /// Columns of the main table: what texts and kinds are the same for every source.
    pub fn columns(&self) -> Columns<'a> {
        Columns {
            main: self.main,
            source: self.main,
            extend: self.extend,
            moments: self.moments,
        }
    }

    /// Physical tables that can hold rows of a condition, the oldest partition first.
    pub fn physical(&self, selection: Option<&Expr>) -> Result<Vec<Physical<'a>>> {
        let mut found = Vec::new();
        for table in &self.tables {
            let mut columns = Columns {
                source: table,
                ..self.columns()
            };
            let mut parts = Vec::with_capacity(2);
            for expr in [selection, self.also].into_iter().flatten() {
                parts.push(emit(expr, &mut columns)?.text);
            }
            let condition = match &parts[..] {
                [] => None,
                [one] => Some(one.clone()),
                _ => Some(format!("({})", parts.join(") AND ("))),
            };
            let ranges = |column: &str| {
                selection.map_or_else(Ranges::all, |expr| {
                    Ranges::of_condition(expr, column, self.moments)
                })
            };
            let time = table.time_column().map(|c| (c, ranges(&c.name)));
            let span = match &time {
                Some((column, ranges)) if !ranges.is_all() => match ranges.hull() {
                    Some((low, high)) => {
                        let stored = column.stored.clone().unwrap_or_default();
                        Some((stored, low, high))
                    }
                    None => continue, // no time satisfies the condition
                },
                _ => None,
            };
            let physical = |name: &str| Physical {
                table,
                name: name.to_owned(),
                condition: condition.clone(),
                span: span.clone(),
                is_foreign: table.dbms != self.main.dbms,
                columns,
            };
            if table.partitions.is_empty() {
                found.push(physical(&table.name));
                continue;
            }
            let mut last: Option<(&str, Ranges)> = None;
            for partition in &table.partitions {
                let kept = match last.take() {
                    Some((column, kept)) if column == partition.column => kept,
                    _ => ranges(table.shown_name(&partition.column)),
                };
                if kept.meets(partition.start_us, partition.end_us) {
                    found.push(physical(&partition.name));
                }
                last = Some((&partition.column, kept));
            }
        }
        Ok(found)
    }
}

/// One table to read.
pub struct Physical<'a> {
    pub table: &'a Table,
    pub name: String,
    /// SQL behind `where`.
    pub condition: Option<String>,
    /// The bounds that the condition sets to the column that has an index.
    pub span: Option<(String, i64, i64)>,
    pub is_foreign: bool,
    pub columns: Columns<'a>,
}

impl Physical<'_> {
    /// ` FROM "t" WHERE ...`; `attached`: another database's tables go by its name.
    pub fn tail(&self, attached: bool) -> String {
        let mut text = format!(" FROM {}", self.reference(attached));
        if let Some(condition) = &self.condition {
            text.push_str(" WHERE ");
            text.push_str(condition);
        }
        text
    }

    /// As `tail`, bounded by row id.
    pub fn tail_of_range(&self) -> String {
        let range = "row_id BETWEEN ?1 AND ?2";
        match &self.condition {
            Some(condition) => format!(
                " FROM {} WHERE ({condition}) AND {range}",
                self.reference(false)
            ),
            None => format!(" FROM {} WHERE {range}", self.reference(false)),
        }
    }

    fn reference(&self, attached: bool) -> String {
        if attached && self.is_foreign {
            format!("{}.{}", quoted(&self.table.dbms), quoted(&self.name))
        } else {
            quoted(&self.name)
        }
    }
}

/// Columns of one source.
#[derive(Clone, Copy)]
pub struct Columns<'a> {
    main: &'a Table,
    source: &'a Table,
    extend: &'a [Extend],
    moments: &'a Moments,
}

/// What a column is in one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// Name in the physical table.
    Stored(&'a str, Kind),
    /// `extend`
    Constant(&'a str, Kind),
    /// An included table lacks the column.
    Null,
}

impl<'a> Columns<'a> {
    /// Where an expression that is a column alone stands; `None` for any other.
    pub fn place(&self, expr: &Expr) -> Option<Place<'a>> {
        let name = match expr {
            Expr::Identifier(name) => &name.value,
            Expr::Nested(inner) => return self.place(inner),
            Expr::CompoundIdentifier(parts) => {
                let names: Vec<&str> = parts.iter().map(|p| p.value.as_str()).collect();
                let (_, qualifier) = names.split_last()?;
                if !self.is_qualifier(qualifier) {
                    return None;
                }
                &parts.last()?.value
            }
            _ => return None,
        };
        if let Some(extend) = self.extend.iter().find(|e| e.title == *name) {
            return Some(Place::Constant(self.extended(extend), extend.kind));
        }
        let column = self.main.column(name)?;
        let stored = self.source.column(name).and_then(|c| c.stored.as_deref());
        Some(stored.map_or(Place::Null, |stored| Place::Stored(stored, column.kind)))
    }

    fn extended(&self, extend: &'a Extend) -> &'a str {
        match &extend.value {
            Constant::TableName => &self.source.name,
            Constant::DbmsName => &self.source.dbms,
            Constant::Text(text) => text,
        }
    }

    fn constant(&self, extend: &'a Extend) -> Sql {
        let text = self.extended(extend);
        let is_number = extend.kind.is_number() && text.parse::<f64>().is_ok_and(f64::is_finite);
        let sql = if is_number {
            text.trim().to_owned()
        } else {
            literal(text)
        };
        Sql::new(sql, extend.kind)
    }
}

impl Leaves for Columns<'_> {
    fn moments(&self) -> &Moments {
        self.moments
    }

    fn is_column(&self, name: &str) -> bool {
        self.main.column(name).is_some() || self.extend.iter().any(|e| e.title == name)
    }

    fn column(&mut self, name: &str) -> Result<Sql> {
        if let Some(extend) = self.extend.iter().find(|e| e.title == name) {
            return Ok(self.constant(extend));
        }
        match (self.main.column(name), self.source.column(name)) {
            (Some(column), Some(here)) => Ok(Sql::new(here.sql(self.source.own), column.kind)),
            // An included table lacks the column.
            (Some(column), None) => Ok(Sql::new("NULL", column.kind)),
            (None, _) => parse_error(format!(
                "Column '{name}' is not recognized in table: {}",
                self.main.full_name()
            )),
        }
    }

    fn whole(&mut self, expr: &Expr) -> Result<Option<Sql>> {
        if matches!(expr, Expr::Function(_)) && contains_aggregate(expr) {
            return parse_error(format!(
                "'{expr}' has no place here: it needs whole groups (use having)"
            ));
        }
        Ok(None)
    }

    fn is_qualifier(&self, qualifier: &[&str]) -> bool {
        match qualifier {
            [table] => *table == self.main.name,
            [dbms, table] => *dbms == self.main.dbms && *table == self.main.name,
            _ => false,
        }
    }
}
