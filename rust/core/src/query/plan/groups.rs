//! Selects that put rows together: scans, keys and aggregates, and the merge statement over them.

use sqlparser::ast::{Expr, Function as Call};

use super::aggregate::{self, contains_aggregate, is_function};
use super::period::named;
use super::source::{Columns, Physical, Sources};
use super::statement::{Item, Statement, whole_number};
use super::{Part, Plan, Scan, Settings, Work, network, order, server, shortcut};
use crate::query::bucket;
use crate::query::emit::{Leaves, Sql, emit};
use crate::query::error::{Result, parse_error};
use crate::query::moments::{Moments, plain_arguments};
use crate::query::ranges;
use crate::query::spec::{Aggregate, Function, GroupSpec, Key, Output};
use crate::query::time::Unit;
use crate::query::value::Kind;

/// Columns that the virtual table has.
const MOST_COLUMNS: usize = 2000;

pub fn plan(statement: &Statement, sources: &Sources<'_>, settings: &Settings) -> Result<Plan> {
    let (items, bucket) = split_bucket(statement, sources)?;
    if items.is_empty() && settings.part != Part::Leaf {
        return parse_error(
            "increments groups rows: select something beside it, such as min(timestamp)",
        );
    }
    let mut groups = Groups::new(statement, sources, bucket.as_ref(), settings)?;
    let (mut outputs, mut list) = (Vec::new(), Vec::new());
    for extend in sources.extend {
        let sql = emit(&named(&extend.title), &mut groups)?;
        list.push(sql.text);
        outputs.push(Output {
            title: extend.title.clone(),
            kind: extend.kind,
            casts: extend.casts.clone(),
        });
    }
    if settings.part == Part::Leaf
        && let Some(bucket) = &bucket
    {
        bucket_columns(bucket, &mut outputs, &mut list);
    }
    for item in items {
        let Some(expr) = &item.expr else {
            return parse_error("'*' has no place beside functions that group rows");
        };
        let sql = emit(expr, &mut groups)?;
        list.push(sql.text);
        outputs.push(Output {
            title: item.title.clone(),
            kind: sql.kind,
            casts: item.casts.clone(),
        });
    }
    let having = match &statement.having {
        Some(having) => format!(" WHERE {}", groups.having(statement, having)?),
        None => String::new(),
    };
    let order = groups.order(statement, settings, &list)?;
    let word = if statement.distinct {
        "SELECT DISTINCT"
    } else {
        "SELECT"
    };
    let mut merge = format!("{word} {} FROM edgelake_batch", list.join(", "));
    merge.push_str(&having);
    merge.push_str(&order);
    merge.push_str(&statement.limit);
    let planned = if settings.part == Part::Query {
        network::groups(statement, sources, &groups, bucket.as_ref(), merge)
    } else {
        let (spec, scans) = groups.scans(statement.selection.as_ref())?;
        if spec.keys.len() + spec.aggregates.len() > MOST_COLUMNS {
            return parse_error(format!("more than {MOST_COLUMNS} columns"));
        }
        Work::Groups { spec, scans, merge }
    };
    Ok(Plan {
        work: planned,
        outputs,
        per_column_limit: None,
        warnings: Vec::new(),
        dbms: sources.main.dbms.clone(),
        attached: Vec::new(),
        increments: bucket.map(|b| (b.unit, b.n)),
    })
}

/// `increments(...)`, resolved.
pub(super) struct Bucket {
    pub unit: Unit,
    pub n: i64,
    pub column: Expr,
}

impl Bucket {
    /// Columns that stand for it in the rows of a leaf: the truncated time, and the divided unit; of years only that.
    pub fn leaf_kinds(&self) -> &'static [Kind] {
        match self.unit {
            Unit::Year => &[Kind::Int],
            _ => &[Kind::Timestamp, Kind::Int],
        }
    }
}

/// What a leaf shows of a bucket, from the one number that it is in `c0` (`bucket::Bucket::key`), in the form that
/// the reference's leaves have.
fn bucket_columns(bucket: &Bucket, outputs: &mut Vec<Output>, list: &mut Vec<String>) {
    let value = "((c0 % 64 + 64) % 64)";
    let from = format!("((c0 - {value}) / 64)");
    let fixed = |form: &str, seconds: i64| {
        format!("strftime('{form}:0.0', {from} * {seconds}, 'unixepoch')")
    };
    let start = match bucket.unit {
        Unit::Second => Some(fixed("%Y-%m-%d %H:%M", 60)),
        Unit::Minute => Some(fixed("%Y-%m-%d %H:00", 3600)),
        Unit::Hour => Some(fixed("%Y-%m-%d 00:00", 86_400)),
        Unit::Day | Unit::Week => Some(format!(
            "printf('%04d-%02d-01 00:00:0.0', {from} / 12, {from} % 12 + 1)"
        )),
        Unit::Month => Some(format!("printf('%04d-01-01 00:00:0.0', {from})")),
        Unit::Year => None,
    };
    let mut show = |title: &str, kind, sql: String| {
        list.push(format!("iif(c0 IS NULL, NULL, {sql})"));
        outputs.push(Output {
            title: title.to_owned(),
            kind,
            casts: Vec::new(),
        });
    };
    match start {
        Some(start) => {
            show("edgelake_bucket", Kind::Text, start);
            show("edgelake_bucket_number", Kind::Int, value.to_owned());
        }
        None => show("edgelake_bucket_number", Kind::Int, "c0".to_owned()),
    }
}

fn split_bucket<'a>(
    statement: &'a Statement,
    sources: &Sources<'_>,
) -> Result<(Vec<&'a Item>, Option<Bucket>)> {
    let (calls, items): (Vec<&Item>, Vec<&Item>) = statement.items.iter().partition(|i| {
        i.expr
            .as_ref()
            .is_some_and(|e| is_function(e, "increments"))
    });
    let bucket = match calls.as_slice() {
        [] => None,
        [one] => match &one.expr {
            Some(Expr::Function(call)) => Some(read_bucket(call, statement, sources.moments)?),
            _ => None,
        },
        _ => return parse_error("increments stands once in the select list"),
    };
    if let Some(bucket) = &bucket {
        let column = emit(&bucket.column, &mut sources.columns())?;
        if column.kind != Kind::Timestamp {
            return parse_error(format!(
                "increments takes a column of times, '{}' is none",
                bucket.column
            ));
        }
    }
    Ok((items, bucket))
}

fn read_bucket(call: &Call, statement: &Statement, moments: &Moments) -> Result<Bucket> {
    const FORMS: &str =
        "increments(minute, 5, timestamp), increments(timestamp) or increments(timestamp, 500)";
    const DEFAULT_POINTS: u64 = 1000;
    let arguments = plain_arguments(call).unwrap_or_default();
    let (column, points) = match arguments.as_slice() {
        [unit, n, column] => {
            let unit = Unit::singular(&unit.to_string().to_lowercase());
            return match (unit, whole_number(n)) {
                (Some(unit), Some(n)) if n > 0 => Ok(Bucket {
                    unit,
                    n: n as i64,
                    column: (*column).clone(),
                }),
                _ => parse_error(format!(
                    "'{call}': a unit (second minute hour day week month year), a number above 0 and a column are wanted"
                )),
            };
        }
        [column] => (*column, DEFAULT_POINTS),
        [a, b] => match (whole_number(a), whole_number(b)) {
            (Some(points), None) => (*b, points),
            (None, Some(points)) => (*a, points),
            _ => return parse_error(format!("'{call}': write {FORMS}")),
        },
        _ => return parse_error(format!("'{call}': write {FORMS}")),
    };
    if points == 0 {
        return parse_error(format!("'{call}': the number of points is above 0"));
    }
    let name = match column {
        Expr::Identifier(name) => name.value.clone(),
        other => return parse_error(format!("'{other}' is no column: write {FORMS}")),
    };
    let limits = match &statement.selection {
        Some(selection) => ranges::limits(selection, &name, moments)?,
        None => Vec::new(),
    };
    let span = match limits.as_slice() {
        [one] => moments.now_us.saturating_sub(*one),
        [a, b] => b.saturating_sub(*a),
        _ => {
            return parse_error(format!(
                "'{call}' takes its span from one or two limits of '{name}' in where; there are {}",
                limits.len()
            ));
        }
    };
    let (unit, n) = bucket::optimise(span, points as i64);
    Ok(Bucket {
        unit,
        n,
        column: column.clone(),
    })
}

/// A column of the scans: its expression, and its text over the main table.
pub(super) struct Scanned {
    pub expr: Expr,
    text: String,
}

/// What is known of a column of the merged groups.
pub(super) struct Merged {
    text: String,
    pub kind: Kind,
}

/// Collects keys and aggregates, and stands for them in the merge statement.
pub(super) struct Groups<'a> {
    sources: &'a Sources<'a>,
    columns: Columns<'a>,
    pub scanned: Vec<Scanned>,
    pub keys: Vec<Key>,
    pub merged: Vec<Merged>,
    pub aggregates: Vec<(Aggregate, Kind)>,
    part: Part,
    on_server: bool,
    /// Titles of the select list, for `having`.
    titles: Vec<(String, Expr)>,
}

impl<'a> Groups<'a> {
    fn new(
        statement: &Statement,
        sources: &'a Sources<'a>,
        bucket: Option<&Bucket>,
        settings: &Settings,
    ) -> Result<Self> {
        let part = settings.part;
        let mut made = Self {
            part,
            on_server: settings.on_server,
            sources,
            columns: sources.columns(),
            scanned: Vec::new(),
            keys: Vec::new(),
            merged: Vec::new(),
            aggregates: Vec::new(),
            titles: Vec::new(),
        };
        if let Some(Bucket { unit, n, column }) = bucket {
            let (at, _) = made.scan(column)?;
            let (unit, n) = (*unit, *n);
            let key = Key::Bucket {
                column: at,
                unit,
                n,
            };
            let kinds = match (part, bucket) {
                (Part::Query, Some(bucket)) => bucket.leaf_kinds(),
                _ => &[Kind::Int],
            };
            for kind in kinds {
                made.keys.push(key.clone());
                // No expression of the statement stands for a bucket.
                made.merged.push(Merged {
                    text: String::new(),
                    kind: *kind,
                });
            }
        }
        for extend in sources.extend {
            made.add_key(&named(&extend.title))?;
        }
        for written in &statement.group_by {
            let expr = made.group_column(statement, written)?;
            made.add_key(&expr)?;
        }
        Ok(made)
    }

    /// A group column by name, alias or position.
    fn group_column(&self, statement: &Statement, written: &Expr) -> Result<Expr> {
        let item = match (whole_number(written), written) {
            (Some(n), _) => {
                let at = usize::try_from(n).unwrap_or(usize::MAX).wrapping_sub(1);
                match statement.items.get(at) {
                    Some(item) => Some(item),
                    None => {
                        return parse_error(format!(
                            "group by {n}: the select list has {} columns",
                            statement.items.len()
                        ));
                    }
                }
            }
            (None, Expr::Identifier(name)) if !self.columns.is_column(&name.value) => {
                statement.items.iter().find(|i| i.title == name.value)
            }
            _ => None,
        };
        let expr = item.and_then(|i| i.expr.as_ref()).unwrap_or(written);
        if contains_aggregate(expr) {
            return parse_error(format!("'{expr}' in group by: rows are grouped by columns"));
        }
        Ok(expr.clone())
    }

    fn add_key(&mut self, expr: &Expr) -> Result<()> {
        let (at, kind) = self.scan(expr)?;
        let text = self.scanned[at].text.clone();
        if !self.merged.iter().any(|m| m.text == text) {
            self.keys.push(Key::Column(at));
            self.merged.push(Merged { text, kind });
        }
        Ok(())
    }

    /// Position of an expression in the scans' select list.
    fn scan(&mut self, expr: &Expr) -> Result<(usize, Kind)> {
        let sql = emit(expr, &mut self.columns)?;
        let known = self.scanned.iter().position(|s| s.text == sql.text);
        let at = known.unwrap_or(self.scanned.len());
        if known.is_none() {
            self.scanned.push(Scanned {
                expr: expr.clone(),
                text: sql.text,
            });
        }
        Ok((at, sql.kind))
    }

    fn aggregate(
        &mut self,
        call: &Expr,
        function: Function,
        argument: Option<&Expr>,
    ) -> Result<Sql> {
        let (column, kind) = match argument {
            Some(argument) => {
                let (at, kind) = self.scan(argument)?;
                (Some(at), kind)
            }
            None => (None, Kind::Int),
        };
        let adds = matches!(function, Function::Sum | Function::Avg | Function::Range);
        if adds && (kind.is_text() || (kind == Kind::Timestamp && function != Function::Range)) {
            return parse_error(format!("'{call}': the column holds no numbers"));
        }
        let part = self.part;
        let mut column_of = |function| self.aggregated(Aggregate { function, column }, kind);
        Ok(match (function, part) {
            // What several nodes answer is put together: their sums and counts, not their averages.
            (Function::Avg, Part::Query) => {
                let (sum, count) = (column_of(Function::Sum), column_of(Function::Count));
                let text = format!("(CAST({sum} AS REAL) / nullif({count}, 0))");
                Sql::new(text, Kind::Float)
            }
            (Function::Range, Part::Query) => {
                let (low, high) = (column_of(Function::Min), column_of(Function::Max));
                ranged(format!("abs({high} - {low})"), kind)
            }
            (Function::CountRows | Function::Count | Function::CountDistinct, part) => {
                let text = column_of(function);
                // No node had rows, so that nothing was counted.
                let text = match part {
                    Part::Query => format!("coalesce({text}, 0)"),
                    _ => text,
                };
                Sql::new(text, Kind::Int)
            }
            (Function::Avg, _) => Sql::new(column_of(function), Kind::Float),
            (Function::Range, _) => ranged(column_of(function), kind),
            (Function::Sum, _) if kind == Kind::Bool => Sql::new(column_of(function), Kind::Int),
            _ => Sql::new(column_of(function), kind),
        })
    }

    /// The column of an aggregate in the merged groups.
    fn aggregated(&mut self, wanted: Aggregate, kind: Kind) -> String {
        let known = self.aggregates.iter().position(|(a, _)| *a == wanted);
        let at = known.unwrap_or(self.aggregates.len());
        if known.is_none() {
            self.aggregates.push((wanted, kind));
        }
        format!("c{}", self.keys.len() + at)
    }

    /// The condition on groups, which may use the titles of the select list.
    fn having(&mut self, statement: &Statement, having: &Expr) -> Result<String> {
        self.titles = statement
            .items
            .iter()
            .filter_map(|i| Some((i.title.clone(), i.expr.clone()?)))
            .collect();
        let sql = emit(having, self);
        self.titles.clear();
        sql.map(|sql| sql.text)
    }

    /// The user's keys, then the bucket and the group columns: the same answer every time.
    fn order(
        &mut self,
        statement: &Statement,
        settings: &Settings,
        list: &[String],
    ) -> Result<String> {
        let mut terms = Vec::new();
        for key in order::keys(statement, settings.reference_order)? {
            let text = if is_function(&key.expr, "increments") {
                "c0".to_owned()
            } else {
                emit(&key.expr, self)?.text
            };
            if statement.distinct && !list.contains(&text) {
                return parse_error(format!(
                    "'{}': select distinct is ordered by what it selects",
                    key.expr
                ));
            }
            terms.push(format!("{text}{}", key.direction));
        }
        if !statement.distinct {
            let by_user = |at: &String| {
                terms
                    .iter()
                    .any(|t| t.split(' ').next() == Some(at.as_str()))
            };
            let rest: Vec<String> = (0..self.keys.len())
                .map(|at| format!("c{at}"))
                .filter(|at| !by_user(at))
                .collect();
            terms.extend(rest);
        }
        Ok(order::clause(&terms))
    }

    fn scans(&self, selection: Option<&Expr>) -> Result<(GroupSpec, Vec<Scan>)> {
        if let Some(selection) = selection {
            emit(selection, &mut self.sources.columns())?;
        }
        let mut scans = Vec::new();
        let mut shortcuts = Vec::new();
        for one in self.sources.physical(selection)? {
            let mut columns = one.columns;
            let list: Vec<String> = self
                .scanned
                .iter()
                .map(|s| emit(&s.expr, &mut columns).map(|sql| sql.text))
                .collect::<Result<_>>()?;
            let server = if self.on_server {
                let scanned: Vec<&Expr> = self.scanned.iter().map(|s| &s.expr).collect();
                server::scan(&one.columns, &scanned, [selection, self.sources.also()])
            } else {
                None
            };
            if server.is_none() {
                shortcuts.extend(self.shortcut(&one, &list));
            }
            // count(*) alone: rows matter, not what is in them
            let list = if list.is_empty() {
                "1".to_owned()
            } else {
                list.join(", ")
            };
            scans.push(Scan {
                dbms: one.table.dbms.clone(),
                table: one.name.clone(),
                sql: format!("SELECT {list}{}", one.tail(false)),
                ranged: one
                    .table
                    .own
                    .then(|| format!("SELECT {list}{}", one.tail_of_range())),
                span: one.span.clone(),
                server,
            });
        }
        let mut spec = GroupSpec {
            keys: self.keys.clone(),
            aggregates: self.aggregates.iter().map(|(a, _)| a.clone()).collect(),
        };
        if !scans.is_empty() && shortcuts.len() == scans.len() {
            for (scan, sql) in scans.iter_mut().zip(shortcuts) {
                scan.sql = sql;
                scan.ranged = None;
            }
            spec.aggregates = shortcut::merged(&spec.aggregates);
        }
        Ok((spec, scans))
    }

    fn shortcut(&self, one: &Physical<'_>, list: &[String]) -> Option<String> {
        if !self.keys.is_empty() {
            return None;
        }
        let text = |a: &Aggregate| a.column.and_then(|at| list.get(at)).map(String::as_str);
        let columns: Vec<Option<&str>> = self.aggregates.iter().map(|(a, _)| text(a)).collect();
        let aggregates: Vec<Aggregate> = self.aggregates.iter().map(|(a, _)| a.clone()).collect();
        shortcut::columns(one, &aggregates, &columns)
    }
}

/// A range; of times the seconds between the first and the last.
fn ranged(text: String, kind: Kind) -> Sql {
    if kind == Kind::Timestamp {
        Sql::new(format!("({text} / 1000000.0)"), Kind::Float)
    } else {
        Sql::new(text, kind)
    }
}

impl Leaves for Groups<'_> {
    fn moments(&self) -> &Moments {
        self.sources.moments
    }

    fn is_column(&self, name: &str) -> bool {
        self.columns.is_column(name) || self.titles.iter().any(|(title, _)| title == name)
    }

    fn column(&mut self, name: &str) -> Result<Sql> {
        let found = self.titles.iter().find(|(title, _)| title == name);
        if let Some((_, expr)) = found.cloned() {
            // Its own names are the table's.
            let titles = std::mem::take(&mut self.titles);
            let sql = emit(&expr, self);
            self.titles = titles;
            return sql;
        }
        self.columns.column(name)?;
        parse_error(format!(
            "the column '{name}' is neither in group by nor inside a function"
        ))
    }

    fn whole(&mut self, expr: &Expr) -> Result<Option<Sql>> {
        if let Some((function, argument)) = aggregate::of(expr)? {
            return self.aggregate(expr, function, argument).map(Some);
        }
        if matches!(expr, Expr::Value(_)) || contains_aggregate(expr) {
            return Ok(None);
        }
        // Errors, of a title in having for one, show when its parts are read.
        let Ok(sql) = emit(expr, &mut self.columns) else {
            return Ok(None);
        };
        let key = self.merged.iter().position(|m| m.text == sql.text);
        Ok(key.map(|at| Sql::new(format!("c{at}"), self.merged[at].kind)))
    }

    fn is_qualifier(&self, qualifier: &[&str]) -> bool {
        self.columns.is_qualifier(qualifier)
    }
}
