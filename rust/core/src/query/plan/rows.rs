//! Selects whose rows are the table's own: one statement over every physical table.

use sqlparser::ast::Expr;

use super::order::{self, OrderKey};
use super::period::{Period, named};
use super::source::{Physical, Sources};
use super::statement::Statement;
use super::{Part, Plan, Settings, Work, network};
use crate::query::emit::{Sql, emit};
use crate::query::error::{Result, parse_error};
use crate::query::spec::Output;
use crate::query::value::Kind;

/// Terms of one UNION ALL: SQLite takes 500 at most, more are nested.
const BRANCHES: usize = 400;

/// An output with what it shows.
struct Shown {
    output: Output,
    expr: Expr,
}

pub fn plan(statement: &Statement, sources: &Sources<'_>, settings: &Settings) -> Result<Plan> {
    let shown = shown(statement, sources)?;
    let keys = order::keys(statement, settings.reference_order)?;
    let physical = sources.physical(statement.selection.as_ref())?;
    // What is wrong with a statement is said whatever partitions there are.
    let mut main = sources.columns();
    let mut outputs = Vec::with_capacity(shown.len());
    let mut canonical = Vec::with_capacity(shown.len());
    for one in &shown {
        let sql = emit(&one.expr, &mut main)?;
        outputs.push(Output {
            kind: sql.kind,
            ..one.output.clone()
        });
        canonical.push(sql.text);
    }
    if let Some(selection) = &statement.selection {
        emit(selection, &mut main)?;
    }
    for key in &keys {
        let sql = emit(&key.expr, &mut main)?;
        if statement.distinct && !canonical.contains(&sql.text) {
            return parse_error(format!(
                "'{}': select distinct is ordered by what it selects",
                key.expr
            ));
        }
    }
    if settings.part == Part::Query {
        let exprs: Vec<&Expr> = shown.iter().map(|s| &s.expr).collect();
        return Ok(Plan {
            work: network::rows(statement, sources, &exprs, &outputs, &keys)?,
            outputs,
            per_column_limit: None,
            warnings: Vec::new(),
            dbms: sources.main.dbms.clone(),
            attached: Vec::new(),
            increments: None,
        });
    }
    let sql = match physical.as_slice() {
        [] => format!("SELECT {} LIMIT 0", vec!["NULL"; shown.len()].join(", ")),
        [one] => single(statement, &shown, &keys, one)?,
        several => union(statement, &shown, &keys, &canonical, several)?,
    };
    Ok(Plan {
        work: Work::Rows { sql },
        outputs,
        per_column_limit: None,
        warnings: Vec::new(),
        dbms: sources.main.dbms.clone(),
        attached: sources.attached(),
        increments: None,
    })
}

fn shown(statement: &Statement, sources: &Sources<'_>) -> Result<Vec<Shown>> {
    let mut shown: Vec<Shown> = sources
        .extend
        .iter()
        .map(|e| Shown {
            output: Output {
                title: e.title.clone(),
                kind: e.kind,
                casts: e.casts.clone(),
            },
            expr: named(&e.title),
        })
        .collect();
    for item in &statement.items {
        let Some(expr) = &item.expr else {
            return parse_error("'*' cannot be read here");
        };
        shown.push(Shown {
            output: Output {
                title: item.title.clone(),
                kind: Kind::Any,
                casts: item.casts.clone(),
            },
            expr: expr.clone(),
        });
    }
    Ok(shown)
}

fn select_word(statement: &Statement) -> &'static str {
    if statement.distinct {
        "SELECT DISTINCT"
    } else {
        "SELECT"
    }
}

fn single(
    statement: &Statement,
    shown: &[Shown],
    keys: &[OrderKey],
    physical: &Physical<'_>,
) -> Result<String> {
    let mut columns = physical.columns;
    let list: Vec<String> = shown
        .iter()
        .map(|s| emit(&s.expr, &mut columns).map(|sql| sql.text))
        .collect::<Result<_>>()?;
    let order: Vec<String> = keys
        .iter()
        .map(|k| emit(&k.expr, &mut columns).map(|sql| format!("{}{}", term(&sql), k.direction)))
        .collect::<Result<_>>()?;
    Ok(format!(
        "{} {}{}{}{}",
        select_word(statement),
        list.join(", "),
        physical.tail(true),
        order::clause(&order),
        statement.limit
    ))
}

/// A constant must not read as a position.
fn term(sql: &Sql) -> String {
    if sql.text.bytes().all(|b| b.is_ascii_digit()) {
        format!("+{}", sql.text)
    } else {
        sql.text.clone()
    }
}

fn union(
    statement: &Statement,
    shown: &[Shown],
    keys: &[OrderKey],
    canonical: &[String],
    physical: &[Physical<'_>],
) -> Result<String> {
    let mut order = Vec::with_capacity(keys.len());
    let mut hidden: Vec<&OrderKey> = Vec::new();
    for key in keys {
        let mut columns = physical[0].columns;
        let text = emit(&key.expr, &mut columns)?.text;
        let name = if let Some(at) = canonical.iter().position(|c| *c == text) {
            format!("o{at}")
        } else {
            hidden.push(key);
            format!("k{}", hidden.len() - 1)
        };
        order.push(format!("{name}{}", key.direction));
    }
    let mut branches = Vec::with_capacity(physical.len());
    for one in physical {
        let mut columns = one.columns;
        let mut list = Vec::with_capacity(shown.len() + hidden.len());
        for (at, shown) in shown.iter().enumerate() {
            list.push(format!(
                "{} AS o{at}",
                emit(&shown.expr, &mut columns)?.text
            ));
        }
        for (at, key) in hidden.iter().enumerate() {
            list.push(format!("{} AS k{at}", emit(&key.expr, &mut columns)?.text));
        }
        branches.push(format!("SELECT {}{}", list.join(", "), one.tail(true)));
    }
    let names: Vec<String> = (0..shown.len()).map(|at| format!("o{at}")).collect();
    Ok(format!(
        "{} {} FROM ({}){}{}",
        select_word(statement),
        names.join(", "),
        union_all(branches),
        order::clause(&order),
        statement.limit
    ))
}

pub fn union_all(mut branches: Vec<String>) -> String {
    while branches.len() > BRANCHES {
        branches = branches
            .chunks(BRANCHES)
            .map(|part| format!("SELECT * FROM ({})", part.join(" UNION ALL ")))
            .collect();
    }
    branches.join(" UNION ALL ")
}

/// The statement that finds the latest time before the end of a period.
pub fn leading(sources: &Sources<'_>, period: &Period) -> Result<String> {
    let column = emit(period.column(), &mut sources.columns())?;
    if column.kind != Kind::Timestamp {
        return parse_error(format!(
            "period takes a column of times, '{}' is none",
            period.column()
        ));
    }
    let condition = period.leading_condition();
    let branches: Vec<String> = sources
        .physical(Some(&condition))?
        .iter()
        .map(|one| format!("SELECT max({}) AS m{}", column.text, one.tail(true)))
        .collect();
    Ok(match branches.len() {
        0 => "SELECT NULL".to_owned(),
        _ => format!("SELECT max(m) FROM ({})", union_all(branches)),
    })
}
