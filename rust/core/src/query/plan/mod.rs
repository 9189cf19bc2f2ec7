//! A select of the dialect to what the engine runs: scans of physical tables, groups, the merge of them.

mod aggregate;
mod as_is;
mod groups;
mod network;
mod order;
mod period;
mod rows;
mod server;
mod shortcut;
mod source;
mod statement;

#[cfg(test)]
mod tests;

use sqlparser::ast::Expr;

use super::cast::Cast;
use super::catalogue::Table;
use super::dialect::Prepared;
use super::error::{QueryError, Result, parse_error};
use super::moments::Moments;
use super::spec::{GroupSpec, Output};
use super::time::{Unit, Zone};
use super::value::Kind;

pub use network::{Merge, Network};
pub use server::ServerScan;

use source::Sources;
use statement::Statement;

/// A constant of each source that stands first in its rows (`extend`).
#[derive(Clone, Debug, PartialEq)]
pub struct Extend {
    pub title: String,
    pub value: Constant,
    pub kind: Kind,
    pub casts: Vec<Cast>,
}

/// What an extended column shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Constant {
    TableName,
    DbmsName,
    Text(String),
}

/// What the planner knows beside the statement.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Database of names that stand without one.
    pub dbms: String,
    pub now_us: i64,
    /// Zone of wall clock times in conditions: the node's.
    pub local: Zone,
    pub extend: Vec<Extend>,
    /// `set query mode using order = reference`.
    pub reference_order: bool,
    /// What the leading query found (`period`); `None`: it has not run yet.
    pub leading: Option<Leading>,
    /// A condition beside that of the statement, on rows of each table that is read.
    pub also: Option<Expr>,
    /// The rows lie with a database server that can group them: `Scan::server` says how.
    pub on_server: bool,
    pub part: Part,
}

/// Which part of a query a plan is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// All of it: the rows are here.
    #[default]
    Whole,
    /// What a node with rows does for another one, which puts the answers together.
    Leaf,
    /// What the node that was asked does: a statement for the leaves, and the merge of their rows.
    Query,
}

/// The latest time before the end of a period; `None` = there is no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leading(pub Option<i64>);

/// Rows of one physical table for the groups.
#[derive(Clone, Debug, PartialEq)]
pub struct Scan {
    pub dbms: String,
    /// The physical table.
    pub table: String,
    pub sql: String,
    /// The same with `row_id` between the parameters 1 and 2, where the table has row ids and all rows are read.
    pub ranged: Option<String>,
    /// The column that has an index, and the first and last value that the condition lets through.
    pub span: Option<(String, i64, i64)>,
    /// The same for a server that is to group the rows (`Settings::on_server`), where it can.
    pub server: Option<ServerScan>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// A statement whose only value is what `Settings::leading` wants; plan again with it.
    Leading { sql: String },
    /// A statement whose rows are the answer.
    Rows { sql: String },
    /// Scans into groups, then a statement over `edgelake_batch` (columns c0, c1, ...).
    Groups {
        spec: GroupSpec,
        scans: Vec<Scan>,
        merge: String,
    },
    /// A statement for other nodes (`Part::Query`), and what becomes of their rows.
    Network(Network),
    /// A statement that one other node runs as it is (`Part::Query`), since no merge makes it of the rows of several.
    Elsewhere { statement: String, reason: String },
    /// A statement of the engine that is none of the dialect. Titles and kinds of its columns are the engine's,
    /// where `Plan::outputs` does not tell.
    Engine { sql: String },
}

/// A plan for one node.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub work: Work,
    pub outputs: Vec<Output>,
    /// (position of the output, rows of each value).
    pub per_column_limit: Option<(usize, u64)>,
    pub warnings: Vec<String>,
    /// Database whose connection runs the statement.
    pub dbms: String,
    /// Databases to attach under their own names.
    pub attached: Vec<String>,
    pub increments: Option<(Unit, i64)>,
}

/// Room for the recursion over a tree that `dialect::prepare` has bounded.
const STACK_BYTES: usize = 16 << 20;

/// Run what walks a syntax tree with enough stack.
pub fn with_stack<T>(work: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(STACK_BYTES / 2, STACK_BYTES, work)
}

/// Plan a select over `tables`: those that it names, in that order.
///
/// `included`: tables that are read as if they were the first one. A statement that the dialect does not cover goes
/// to the engine as it is, when the engine can take it.
pub fn plan(
    prepared: &Prepared,
    tables: &[&Table],
    included: &[&Table],
    settings: &Settings,
) -> Result<Plan> {
    with_stack(|| {
        let moments = Moments {
            now_us: settings.now_us,
            local: settings.local.clone(),
        };
        match dialect_plan(prepared, tables, included, settings, &moments) {
            Err(QueryError::Unsupported(reason)) if settings.part == Part::Query => {
                if !settings.extend.is_empty() {
                    return parse_error(format!("{reason} does not go with extend"));
                }
                if prepared.per_column.is_some() {
                    return parse_error(format!("{reason} does not go with 'limit ... per'"));
                }
                as_is::elsewhere(prepared, tables, &settings.dbms, &moments, reason)
            }
            Err(QueryError::Unsupported(reason)) => {
                if !included.is_empty() || !settings.extend.is_empty() {
                    return parse_error(format!("{reason} does not go with include and extend"));
                }
                if settings.also.is_some() {
                    return parse_error(format!("{reason} does not go with 'committed'"));
                }
                if prepared.per_column.is_some() {
                    return parse_error(format!("{reason} does not go with 'limit ... per'"));
                }
                as_is::plan(prepared, tables, &settings.dbms, &moments)
                    .map_err(|e| QueryError::Parse(format!("{reason}: {e}")))
            }
            other => other,
        }
    })
}

/// An UPDATE or DELETE for the engine: times in it are as the table keeps them.
pub fn change(sql: &str, table: &Table, now_us: i64, local: Zone) -> Result<String> {
    with_stack(|| as_is::change(sql, table, &Moments { now_us, local }))
}

fn dialect_plan(
    prepared: &Prepared,
    tables: &[&Table],
    included: &[&Table],
    settings: &Settings,
    moments: &Moments,
) -> Result<Plan> {
    let mut statement = Statement::of(prepared)?;
    let main = match tables {
        [main] => *main,
        _ => return Err(QueryError::Unsupported("more than one table".to_owned())),
    };
    let sources = Sources::new(
        main,
        included,
        &settings.extend,
        moments,
        statement.has_wildcard(),
    )?
    .with(settings.also.as_ref());
    statement.expand_wildcards(main)?;
    if let Some(filter) = &statement.selection
        && let Some(period) = period::find(filter, moments)?
    {
        if statement.is_increments() {
            return parse_error("period and increments do not go together");
        }
        let Some(Leading(latest)) = settings.leading else {
            let sql = match settings.part {
                Part::Query => network::leading(&sources, &period)?,
                _ => rows::leading(&sources, &period)?,
            };
            return Ok(Plan {
                work: Work::Leading { sql },
                outputs: Vec::new(),
                per_column_limit: None,
                warnings: Vec::new(),
                dbms: main.dbms.clone(),
                attached: sources.attached(),
                increments: None,
            });
        };
        statement.selection = Some(period.condition(latest)?);
    }
    if settings.part == Part::Leaf {
        statement.split_for_leaf();
    }
    let mut made = if statement.is_grouped() {
        groups::plan(&statement, &sources, settings)?
    } else {
        rows::plan(&statement, &sources, settings)?
    };
    made.warnings.clone_from(&prepared.warnings);
    // Columns travel by position.
    if settings.part != Part::Leaf {
        statement::check_titles(&made.outputs)?;
    }
    if let Some((n, column)) = &prepared.per_column {
        made.per_column_limit = Some((statement::output_named(&made.outputs, column)?, *n));
    }
    Ok(made)
}
