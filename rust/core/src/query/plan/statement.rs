//! The parts of one select, checked: what the dialect has and no more.

use std::fmt::Write;

use sqlparser::ast::{
    Distinct, Expr, GroupByExpr, Ident, LimitClause, OrderByExpr, OrderByKind, Query, Select,
    SelectItem, TableFactor, Value,
};

use super::aggregate::{self, contains_aggregate, is_function};
use crate::query::cast::Cast;
use crate::query::catalogue::Table;
use crate::query::dialect::Prepared;
use crate::query::error::{QueryError, Result, parse_error};
use crate::query::spec::{Function, Output};

/// A column of the select list.
#[derive(Clone, Debug)]
pub struct Item {
    pub title: String,
    pub casts: Vec<Cast>,
    /// None for `*`, until the table is known.
    pub expr: Option<Expr>,
}

impl Item {
    fn of(expr: Expr) -> Self {
        Self {
            title: expr.to_string().to_lowercase(),
            casts: Vec::new(),
            expr: Some(expr),
        }
    }

    fn split(self) -> Vec<Self> {
        let names = match self.expr.as_ref().map(aggregate::of) {
            Some(Ok(Some((Function::Avg, _)))) => ["sum", "count"],
            Some(Ok(Some((Function::Range, _)))) => ["min", "max"],
            _ => return vec![self],
        };
        let Some(Expr::Function(call)) = self.expr else {
            return vec![self];
        };
        let renamed = names.map(|name| {
            let mut call = call.clone();
            call.name = Ident::new(name).into();
            Self::of(Expr::Function(call))
        });
        renamed.into()
    }
}

/// A select over one table.
#[derive(Clone, Debug)]
pub struct Statement {
    pub distinct: bool,
    pub items: Vec<Item>,
    pub selection: Option<Expr>,
    pub group_by: Vec<Expr>,
    pub having: Option<Expr>,
    pub order_by: Vec<OrderByExpr>,
    /// ` LIMIT n OFFSET m` or nothing.
    pub limit: String,
}

impl Statement {
    /// Errors are `Unsupported` where an engine might take the statement.
    pub fn of(prepared: &Prepared) -> Result<Self> {
        let query = &prepared.query;
        let Some(select) = prepared.select() else {
            return unsupported("a union, or values");
        };
        check_query(query)?;
        check_select(select)?;
        let distinct = match &select.distinct {
            None | Some(Distinct::All) => false,
            Some(Distinct::Distinct) => true,
            Some(Distinct::On(_)) => return unsupported("distinct on"),
        };
        let group_by = match &select.group_by {
            GroupByExpr::Expressions(list, modifiers) if modifiers.is_empty() => list.clone(),
            _ => return unsupported("group by all, rollup and the like"),
        };
        let order_by = match query.order_by.as_ref().map(|o| &o.kind) {
            None => Vec::new(),
            Some(OrderByKind::Expressions(list)) => list.clone(),
            Some(OrderByKind::All(_)) => return unsupported("order by all"),
        };
        let mut made = Self {
            distinct,
            items: items(prepared, select)?,
            selection: select.selection.clone(),
            group_by,
            having: select.having.clone(),
            order_by,
            limit: limit(query.limit_clause.as_ref())?,
        };
        made.unwrap_brackets();
        Ok(made)
    }

    /// `distinct(a) ... order by a` names one thing twice, with brackets and without.
    fn unwrap_brackets(&mut self) {
        let items = self.items.iter_mut().filter_map(|i| i.expr.as_mut());
        let keys = self.order_by.iter_mut().map(|o| &mut o.expr);
        for expr in items.chain(keys).chain(&mut self.group_by) {
            while let Expr::Nested(inner) = expr {
                let inner = (**inner).clone();
                *expr = inner;
            }
        }
    }

    pub fn has_wildcard(&self) -> bool {
        self.items.iter().any(|i| i.expr.is_none())
    }

    /// Put the columns of the table in place of `*`.
    pub fn expand_wildcards(&mut self, table: &Table) -> Result<()> {
        if !self.has_wildcard() {
            return Ok(());
        }
        let mut expanded = Vec::new();
        for item in std::mem::take(&mut self.items) {
            if item.expr.is_some() {
                expanded.push(item);
                continue;
            }
            if !item.casts.is_empty() {
                return parse_error("a cast stands behind a column, not behind *");
            }
            expanded.extend(table.columns.iter().map(|c| Item {
                title: c.name.clone(),
                casts: Vec::new(),
                expr: Some(Expr::Identifier(sqlparser::ast::Ident::new(&c.name))),
            }));
        }
        self.items = expanded;
        Ok(())
    }

    /// Put what can be merged in place of what cannot: sum and count for an average, the ends of a range, the
    /// different values that are to be counted.
    pub fn split_for_leaf(&mut self) {
        if let [
            Item {
                expr: Some(expr), ..
            },
        ] = self.items.as_slice()
            && let Ok(Some((Function::CountDistinct, Some(argument)))) = aggregate::of(expr)
            && self.group_by.is_empty()
        {
            self.distinct = true;
            self.items = vec![Item::of(argument.clone())];
            return;
        }
        let items = std::mem::take(&mut self.items);
        self.items = items.into_iter().flat_map(Item::split).collect();
    }

    pub fn is_increments(&self) -> bool {
        self.items.iter().any(|i| {
            i.expr
                .as_ref()
                .is_some_and(|e| is_function(e, "increments"))
        })
    }

    /// Whether rows are put together, and not only passed on.
    pub fn is_grouped(&self) -> bool {
        !self.group_by.is_empty()
            || self.having.is_some()
            || self.is_increments()
            || self
                .items
                .iter()
                .any(|i| i.expr.as_ref().is_some_and(contains_aggregate))
    }
}

fn unsupported<T>(what: &str) -> Result<T> {
    Err(QueryError::Unsupported(what.to_owned()))
}

fn check_query(query: &Query) -> Result<()> {
    let plain = query.with.is_none()
        && query.fetch.is_none()
        && query.locks.is_empty()
        && query.for_clause.is_none()
        && query.settings.is_none()
        && query.format_clause.is_none()
        && query.pipe_operators.is_empty();
    if plain {
        Ok(())
    } else {
        unsupported("a part beside select, from, where, group by, having, order by, limit")
    }
}

fn check_select(select: &Select) -> Result<()> {
    let plain = select.top.is_none()
        && select.into.is_none()
        && select.lateral_views.is_empty()
        && select.prewhere.is_none()
        && select.connect_by.is_empty()
        && select.cluster_by.is_empty()
        && select.distribute_by.is_empty()
        && select.sort_by.is_empty()
        && select.named_window.is_empty()
        && select.qualify.is_none()
        && select.exclude.is_none();
    if !plain {
        return unsupported("a part beside select, from, where, group by, having, order by, limit");
    }
    match select.from.as_slice() {
        [] => unsupported("a select without from"),
        [one] if one.joins.is_empty() => match &one.relation {
            TableFactor::Table {
                alias: Some(alias), ..
            } => parse_error(format!("the table takes no second name ('{}')", alias.name)),
            TableFactor::Table { args: None, .. } => Ok(()),
            _ => unsupported("a subquery in from"),
        },
        _ => unsupported("a join"),
    }
}

fn items(prepared: &Prepared, select: &Select) -> Result<Vec<Item>> {
    if prepared.items.len() != select.projection.len() {
        return parse_error("the select list cannot be read");
    }
    prepared
        .items
        .iter()
        .zip(&select.projection)
        .map(|(written, parsed)| {
            let (title, expr) = match parsed {
                SelectItem::UnnamedExpr(expr) => (written.title.clone(), Some(expr.clone())),
                SelectItem::ExprWithAlias { expr, alias } => {
                    (alias.value.clone(), Some(expr.clone()))
                }
                SelectItem::Wildcard(options)
                    if options.opt_except.is_none() && options.opt_exclude.is_none() =>
                {
                    (written.title.clone(), None)
                }
                _ => return unsupported("a qualified *"),
            };
            Ok(Item {
                title,
                casts: written.casts.clone(),
                expr,
            })
        })
        .collect()
}

fn limit(clause: Option<&LimitClause>) -> Result<String> {
    let (limit, offset) = match clause {
        None => return Ok(String::new()),
        Some(LimitClause::LimitOffset {
            limit,
            offset,
            limit_by,
        }) if limit_by.is_empty() => (limit.as_ref(), offset.as_ref().map(|o| &o.value)),
        Some(_) => return parse_error("limit takes a number: limit 10, or limit 10 offset 20"),
    };
    let mut text = match limit {
        Some(limit) => format!(" LIMIT {}", number(limit)?),
        None => " LIMIT -1".to_owned(),
    };
    if let Some(offset) = offset {
        let _ = write!(text, " OFFSET {}", number(offset)?);
    }
    Ok(text)
}

fn number(expr: &Expr) -> Result<u64> {
    whole_number(expr)
        .ok_or_else(|| QueryError::Parse(format!("limit and offset take a number, not '{expr}'")))
}

/// A literal such as `12`.
pub fn whole_number(expr: &Expr) -> Option<u64> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => text.parse::<u64>().ok().filter(|n| *n < 1 << 62),
            _ => None,
        },
        _ => None,
    }
}

pub fn check_titles(outputs: &[Output]) -> Result<()> {
    for (at, output) in outputs.iter().enumerate() {
        if outputs[..at].iter().any(|o| o.title == output.title) {
            return parse_error(format!(
                "two columns are called '{}': name one with 'as'",
                output.title
            ));
        }
    }
    Ok(())
}

pub fn output_named(outputs: &[Output], name: &str) -> Result<usize> {
    outputs.iter().position(|o| o.title == name).ok_or_else(|| {
        QueryError::Parse(format!(
            "'limit ... per {name}': select the column '{name}' too"
        ))
    })
}
