//! Selects that the dialect does not cover (joins, subqueries, window functions): the engine's, with times as the
//! node keeps them and partitioned tables put together.

use std::collections::HashMap;
use std::ops::ControlFlow;

use sqlparser::ast::{
    Assignment, AssignmentTarget, Expr, Ident, ObjectName, ObjectNamePart, Query, SelectItem,
    SetExpr, Statement, TableAlias, TableFactor, Visit, VisitMut, Visitor, VisitorMut,
};

use super::aggregate::is_function;
use super::rows::union_all;
use super::statement::check_titles;
use super::{Plan, Work, network::make_absolute};
use crate::query::catalogue::{Table, quoted, time_of_any};
use crate::query::dialect::{Prepared, STEP, parse_change, parse_expression};
use crate::query::emit::{Leaves, Sql, emit};
use crate::query::error::{QueryError, Result, parse_error};
use crate::query::moments::Moments;
use crate::query::spec::Output;
use crate::query::value::Kind;

/// `dbms`: the database of names without one.
pub fn plan(prepared: &Prepared, tables: &[&Table], dbms: &str, moments: &Moments) -> Result<Plan> {
    refuse_dialect(&prepared.query)?;
    let mut query = prepared.query.clone();
    let mut known = Known {
        tables,
        moments,
        is_raw: false,
    };
    let outputs = outputs(prepared, &mut query, &mut known)?;
    check_titles(&outputs)?;
    Expressions::new(&mut known).replace_in(&mut query)?;
    let mut names = Names::new(tables, dbms);
    let _ = VisitMut::visit(&mut query, &mut names);
    let sql = names.statement(&query);
    if sql.contains(STEP) {
        return parse_error("a step of time such as '+ 2 hours' stands beside a time");
    }
    let mut attached = Vec::new();
    for table in tables {
        if table.dbms != dbms && !attached.contains(&table.dbms) {
            attached.push(table.dbms.clone());
        }
    }
    Ok(Plan {
        work: Work::Engine { sql },
        outputs,
        per_column_limit: None,
        warnings: prepared.warnings.clone(),
        dbms: dbms.to_owned(),
        attached,
        increments: None,
    })
}

/// A select for the engine of another node: as it was written, with absolute times and without casts.
///
/// `reason`: why its rows cannot be put together from those of several nodes.
pub fn elsewhere(
    prepared: &Prepared,
    tables: &[&Table],
    dbms: &str,
    moments: &Moments,
    reason: String,
) -> Result<Plan> {
    let planned = plan(prepared, tables, dbms, moments)?;
    if planned.outputs.is_empty() {
        return parse_error(format!(
            "{reason}: a select that another node runs as it is names its columns, without *"
        ));
    }
    let mut known = Known {
        tables,
        moments,
        is_raw: false,
    };
    let mut query = prepared.query.clone();
    // Titles go along as names: the statement may be ordered by them.
    outputs(prepared, &mut query, &mut known)?;
    make_absolute(
        &mut query,
        &mut Titled {
            known: &mut known,
            outputs: &planned.outputs,
        },
    );
    let statement = query.to_string();
    Ok(Plan {
        work: Work::Elsewhere { statement, reason },
        attached: Vec::new(),
        ..planned
    })
}

/// `Known`, and the titles of the select list.
struct Titled<'a, 'b> {
    known: &'a mut Known<'b>,
    outputs: &'a [Output],
}

impl Leaves for Titled<'_, '_> {
    fn moments(&self) -> &Moments {
        self.known.moments
    }

    fn is_column(&self, name: &str) -> bool {
        self.known.is_column(name) || self.outputs.iter().any(|o| o.title == name)
    }

    fn column(&mut self, name: &str) -> Result<Sql> {
        self.known.column(name)
    }

    fn whole(&mut self, expr: &Expr) -> Result<Option<Sql>> {
        self.known.whole(expr)
    }

    fn is_qualifier(&self, qualifier: &[&str]) -> bool {
        self.known.is_qualifier(qualifier)
    }
}

/// An UPDATE or DELETE with the texts beside time columns as instants; other statements as they are.
pub fn change(sql: &str, table: &Table, moments: &Moments) -> Result<String> {
    let mut statement = parse_change(sql)?;
    let mut known = Known {
        tables: &[table],
        moments,
        is_raw: !table.own,
    };
    match &mut statement {
        Statement::Update(update) => {
            for assignment in &mut update.assignments {
                assign_instant(assignment, table, moments)?;
            }
        }
        Statement::Delete(_) => {}
        _ => return Ok(sql.to_owned()),
    }
    Expressions::new(&mut known).replace_in(&mut statement)?;
    let text = statement.to_string();
    if text.contains(STEP) {
        return parse_error("a step of time such as '+ 2 hours' stands beside a time");
    }
    Ok(text)
}

/// `set timestamp = '2025-01-31'`
fn assign_instant(assignment: &mut Assignment, table: &Table, moments: &Moments) -> Result<()> {
    let AssignmentTarget::ColumnName(name) = &assignment.target else {
        return Ok(());
    };
    let column = name.0.last().and_then(|p| p.as_ident());
    let kind = column.and_then(|c| table.column(&c.value)).map(|c| c.kind);
    if kind == Some(Kind::Timestamp)
        && let Some(us) = moments.instant(&assignment.value)?
    {
        assignment.value = parse_expression(&us.to_string())?;
    }
    Ok(())
}

/// What only the dialect has makes no sense for an engine.
fn refuse_dialect(query: &Query) -> Result<()> {
    struct Finder;
    impl Visitor for Finder {
        type Break = String;
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<String> {
            for name in ["increments", "period", "range"] {
                if is_function(expr, name) {
                    return ControlFlow::Break(name.to_owned());
                }
            }
            ControlFlow::Continue(())
        }
    }
    match Visit::visit(query, &mut Finder) {
        ControlFlow::Break(name) => parse_error(format!(
            "{name} works over one table, without joins, subqueries and functions of the engine"
        )),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Titles and kinds of the outer select list, where it says them all; the titles become names in the statement.
fn outputs(prepared: &Prepared, query: &mut Query, known: &mut Known<'_>) -> Result<Vec<Output>> {
    let SetExpr::Select(select) = query.body.as_mut() else {
        return no_casts(prepared);
    };
    let is_listed = prepared.items.len() == select.projection.len()
        && select.projection.iter().all(|item| {
            matches!(
                item,
                SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. }
            )
        });
    if !is_listed {
        return no_casts(prepared);
    }
    let mut outputs = Vec::new();
    for (written, item) in prepared.items.iter().zip(&mut select.projection) {
        let (title, expr) = match item {
            SelectItem::ExprWithAlias { expr, alias } => (alias.value.clone(), expr.clone()),
            SelectItem::UnnamedExpr(expr) => {
                // "a.value" is called value, as the engine has it.
                let title = match &expr {
                    Expr::CompoundIdentifier(parts) if written.title == expr.to_string() => {
                        parts.last().map(|p| p.value.clone())
                    }
                    _ => None,
                };
                (title.unwrap_or_else(|| written.title.clone()), expr.clone())
            }
            _ => continue,
        };
        let kind = emit(&expr, known).map_or(Kind::Any, |sql| sql.kind);
        *item = SelectItem::ExprWithAlias {
            expr,
            alias: Ident::with_quote('"', title.clone()),
        };
        outputs.push(Output {
            title,
            kind,
            casts: written.casts.clone(),
        });
    }
    Ok(outputs)
}

fn no_casts(prepared: &Prepared) -> Result<Vec<Output>> {
    if prepared.items.iter().any(|i| !i.casts.is_empty()) {
        return parse_error("casts need a select list that names its columns");
    }
    Ok(Vec::new())
}

/// Columns of every table, by their last name.
struct Known<'a> {
    tables: &'a [&'a Table],
    moments: &'a Moments,
    /// Times are read where they are stored, some of them as text.
    is_raw: bool,
}

impl Known<'_> {
    fn kind(&self, name: &str) -> Option<Kind> {
        let mut kinds = self
            .tables
            .iter()
            .filter_map(|t| t.column(name))
            .map(|c| c.kind);
        let first = kinds.next()?;
        Some(if kinds.all(|k| k == first) {
            first
        } else {
            Kind::Any
        })
    }
}

impl Known<'_> {
    fn sql(&self, text: String, name: &str) -> Sql {
        let kind = self.kind(name).unwrap_or(Kind::Any);
        if self.is_raw && kind == Kind::Timestamp {
            return Sql::new(time_of_any(&text), kind);
        }
        Sql::new(text, kind)
    }
}

impl Leaves for Known<'_> {
    fn moments(&self) -> &Moments {
        self.moments
    }

    fn is_column(&self, name: &str) -> bool {
        self.kind(name).is_some()
    }

    fn column(&mut self, name: &str) -> Result<Sql> {
        Ok(self.sql(quoted(name), name))
    }

    fn whole(&mut self, expr: &Expr) -> Result<Option<Sql>> {
        Ok(match expr {
            Expr::CompoundIdentifier(parts) => {
                let name = parts.last().map_or("", |p| p.value.as_str());
                Some(self.sql(expr.to_string(), name))
            }
            Expr::Identifier(name) if name.quote_style.is_none() => {
                Some(self.sql(expr.to_string(), &name.value))
            }
            _ => None,
        })
    }

    fn is_qualifier(&self, _qualifier: &[&str]) -> bool {
        true
    }
}

/// Puts the engine's form in place of the largest expressions that the dialect understands.
struct Expressions<'a, 'b> {
    known: &'a mut Known<'b>,
    /// Expressions that are open inside one that was replaced.
    inside: u32,
    fault: Option<QueryError>,
}

impl<'a, 'b> Expressions<'a, 'b> {
    fn new(known: &'a mut Known<'b>) -> Self {
        Self {
            known,
            inside: 0,
            fault: None,
        }
    }

    /// Errors are those of expressions that are wrong in any engine, such as a time beside a text that is none.
    fn replace_in<T: VisitMut>(mut self, tree: &mut T) -> Result<()> {
        let _ = VisitMut::visit(tree, &mut self);
        self.fault.map_or(Ok(()), Err)
    }
}

impl VisitorMut for Expressions<'_, '_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.inside > 0 {
            self.inside += 1;
            return ControlFlow::Continue(());
        }
        match emit(expr, self.known).and_then(|sql| parse_expression(&sql.text)) {
            Ok(replaced) => {
                *expr = replaced;
                self.inside = 1;
                ControlFlow::Continue(())
            }
            // Its parts may be understood.
            Err(QueryError::Unsupported(_)) => ControlFlow::Continue(()),
            Err(fault) => {
                self.fault = Some(fault);
                ControlFlow::Break(())
            }
        }
    }

    fn post_visit_expr(&mut self, _expr: &mut Expr) -> ControlFlow<()> {
        self.inside = self.inside.saturating_sub(1);
        ControlFlow::Continue(())
    }
}

/// Physical names in place of logical ones.
struct Names<'a> {
    /// What stands for (dbms or empty, table).
    references: HashMap<(String, String), ObjectName>,
    /// Common tables over partitions.
    parts: Vec<(String, &'a Table, bool)>,
}

impl<'a> Names<'a> {
    fn new(tables: &[&'a Table], dbms: &str) -> Self {
        let mut made = Self {
            references: HashMap::new(),
            parts: Vec::new(),
        };
        for table in tables {
            let is_foreign = table.dbms != dbms;
            let name = if !table.is_plain() {
                let name = format!("edgelake_parts_{}", made.parts.len());
                made.parts.push((name.clone(), table, is_foreign));
                object_name(&[&name])
            } else if is_foreign {
                object_name(&[&table.dbms, &table.name])
            } else {
                object_name(&[&table.name])
            };
            made.references
                .insert((table.dbms.clone(), table.name.clone()), name.clone());
            if !is_foreign {
                made.references
                    .insert((String::new(), table.name.clone()), name);
            }
        }
        made
    }

    /// The statement, behind the common tables that it needs.
    fn statement(&self, query: &Query) -> String {
        if self.parts.is_empty() {
            return query.to_string();
        }
        let mut tables = Vec::with_capacity(self.parts.len());
        for (name, table, is_foreign) in &self.parts {
            let columns: Vec<String> = table
                .columns
                .iter()
                .map(|c| format!("{} AS {}", c.sql(table.own), quoted(&c.name)))
                .collect();
            let columns = columns.join(", ");
            let schema = if *is_foreign {
                quoted(&table.dbms) + "."
            } else {
                String::new()
            };
            let mut names: Vec<&str> = table.partitions.iter().map(|p| p.name.as_str()).collect();
            if names.is_empty() {
                names.push(&table.name);
            }
            let branches = names
                .iter()
                .map(|name| format!("SELECT {columns} FROM {schema}{}", quoted(name)));
            tables.push(format!("{name} AS ({})", union_all(branches.collect())));
        }
        let mut rest = query.clone();
        let recursive = match rest.with.take() {
            Some(with) => {
                tables.extend(with.cte_tables.iter().map(ToString::to_string));
                if with.recursive { "RECURSIVE " } else { "" }
            }
            None => "",
        };
        format!("WITH {recursive}{} {rest}", tables.join(", "))
    }
}

impl VisitorMut for Names<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, alias, .. } = factor {
            let parts: Vec<&str> = name
                .0
                .iter()
                .filter_map(|p| p.as_ident().map(|i| i.value.as_str()))
                .collect();
            let key = match parts.as_slice() {
                [table] => (String::new(), (*table).to_owned()),
                [dbms, table] => ((*dbms).to_owned(), (*table).to_owned()),
                _ => return ControlFlow::Continue(()),
            };
            if let Some(reference) = self.references.get(&key) {
                *name = reference.clone();
                if alias.is_none() {
                    *alias = Some(TableAlias {
                        explicit: true,
                        name: Ident::with_quote('"', key.1),
                        columns: Vec::new(),
                        at: None,
                    });
                }
            }
        }
        ControlFlow::Continue(())
    }
}

fn object_name(parts: &[&str]) -> ObjectName {
    ObjectName(
        parts
            .iter()
            .map(|p| ObjectNamePart::Identifier(Ident::with_quote('"', *p)))
            .collect(),
    )
}
