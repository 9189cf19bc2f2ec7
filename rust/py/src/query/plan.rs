//! `Select` and `Plan`: the planner for Python. Tables come in as tuples, statements go out as text.

use edgelake_core::query::cast::Cast;
use edgelake_core::query::catalogue::{Column, Partition, Table};
use edgelake_core::query::dialect::{self, Prepared};
use edgelake_core::query::error::QueryError;
use edgelake_core::query::plan::{
    self, Constant, Extend, Leading, Merge, Part, Settings, Work, with_stack,
};
use edgelake_core::query::time::Zone;
use edgelake_core::query::value::Kind;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::errors;

/// (dbms, name, [(column, kind, stored name)], [(partition, column, start, end)], made by the node, indexed column)
type PyTable = (
    String,
    String,
    Vec<(String, String, Option<String>)>,
    Vec<(String, String, i64, i64)>,
    bool,
    Option<String>,
);
/// (title, `table`, `dbms` or `text`, the text, kind, casts)
type PyExtend = (String, String, String, String, Vec<String>);

fn to_table((dbms, name, columns, partitions, own, indexed): PyTable) -> Table {
    Table {
        dbms,
        name,
        columns: columns
            .into_iter()
            .map(|(name, kind, stored)| Column {
                name,
                kind: Kind::of(&kind),
                stored,
            })
            .collect(),
        partitions: partitions
            .into_iter()
            .map(|(name, column, start_us, end_us)| Partition {
                name,
                column,
                start_us,
                end_us,
            })
            .collect(),
        own,
        indexed,
    }
}

fn to_extend((title, what, text, kind, casts): PyExtend) -> Result<Extend, QueryError> {
    Ok(Extend {
        title,
        value: match what.as_str() {
            "table" => Constant::TableName,
            "dbms" => Constant::DbmsName,
            _ => Constant::Text(text),
        },
        kind: Kind::of(&kind),
        casts: casts
            .iter()
            .map(|c| Cast::parse(c))
            .collect::<Result<_, _>>()?,
    })
}

/// (dbms, physical table, statement, the same between two row ids, (indexed column, first, last))
type PyScan<'a> = (
    &'a str,
    &'a str,
    &'a str,
    Option<&'a str>,
    Option<(&'a str, i64, i64)>,
);

fn to_py_scan(scan: &plan::Scan) -> PyScan<'_> {
    let bounds = scan.span.as_ref();
    (
        &scan.dbms,
        &scan.table,
        &scan.sql,
        scan.ranged.as_deref(),
        bounds.map(|(column, first, last)| (column.as_str(), *first, *last)),
    )
}

/// First word of a statement in lower case.
#[pyfunction]
pub fn statement_word(sql: &str) -> String {
    dialect::first_word(sql)
}

/// A select that was read.
#[pyclass(module = "edgelake._rust", frozen)]
pub struct Select {
    /// Taken out to be dropped with enough stack.
    prepared: Option<Prepared>,
}

impl Drop for Select {
    fn drop(&mut self) {
        let prepared = self.prepared.take();
        with_stack(|| drop(prepared));
    }
}

#[pymethods]
impl Select {
    #[new]
    fn new(py: Python<'_>, sql: &str) -> PyResult<Self> {
        let prepared = with_stack(|| dialect::prepare(sql));
        match prepared {
            Ok(prepared) => Ok(Self {
                prepared: Some(prepared),
            }),
            Err(error) => Err(errors::query(py, &error)),
        }
    }

    #[getter]
    fn tables(&self) -> Vec<(String, String)> {
        with_stack(|| {
            self.prepared
                .as_ref()
                .map(Prepared::tables)
                .unwrap_or_default()
        })
    }

    #[pyo3(signature = (tables, *, dbms, now_us, included = vec![], extend = vec![], timezone = None, reference_order = false, leading = None, also = None, on_server = false, part = "whole"))]
    #[allow(clippy::too_many_arguments)]
    fn plan(
        &self,
        py: Python<'_>,
        tables: Vec<PyTable>,
        dbms: String,
        now_us: i64,
        included: Vec<PyTable>,
        extend: Vec<PyExtend>,
        timezone: Option<&str>,
        reference_order: bool,
        leading: Option<(Option<i64>,)>,
        also: Option<&str>,
        on_server: bool,
        part: &str,
    ) -> PyResult<Plan> {
        let also = also
            .map(dialect::condition)
            .transpose()
            .map_err(|e| errors::query(py, &e))?;
        let part = match part {
            "leaf" => Part::Leaf,
            "query" => Part::Query,
            _ => Part::Whole,
        };
        let made = self.made(
            tables,
            included,
            extend,
            timezone,
            Settings {
                dbms,
                now_us,
                local: Zone::system(),
                extend: Vec::new(),
                reference_order,
                leading: leading.map(|(us,)| Leading(us)),
                also,
                on_server,
                part,
            },
        );
        made.map(|plan| Plan { plan })
            .map_err(|e| errors::query(py, &e))
    }
}

impl Select {
    fn made(
        &self,
        tables: Vec<PyTable>,
        included: Vec<PyTable>,
        extend: Vec<PyExtend>,
        timezone: Option<&str>,
        mut settings: Settings,
    ) -> Result<plan::Plan, QueryError> {
        settings.extend = extend
            .into_iter()
            .map(to_extend)
            .collect::<Result<_, _>>()?;
        if let Some(name) = timezone {
            settings.local = Zone::named(name, &settings.local)?;
        }
        let tables: Vec<Table> = tables.into_iter().map(to_table).collect();
        let included: Vec<Table> = included.into_iter().map(to_table).collect();
        let Some(prepared) = &self.prepared else {
            return Err(QueryError::Parse("the statement is gone".to_owned()));
        };
        plan::plan(
            prepared,
            &tables.iter().collect::<Vec<_>>(),
            &included.iter().collect::<Vec<_>>(),
            &settings,
        )
    }
}

/// An UPDATE or DELETE with the times in it as the table keeps them.
#[pyfunction]
#[pyo3(signature = (sql, table, *, now_us, timezone = None))]
pub fn change_statement(
    py: Python<'_>,
    sql: &str,
    table: PyTable,
    now_us: i64,
    timezone: Option<&str>,
) -> PyResult<String> {
    let system = Zone::system();
    let zone = timezone.map_or(Ok(system.clone()), |name| Zone::named(name, &system));
    zone.and_then(|local| plan::change(sql, &to_table(table), now_us, local))
        .map_err(|e| errors::query(py, &e))
}

/// What is to be done for a select.
#[pyclass(module = "edgelake._rust", frozen)]
pub struct Plan {
    plan: plan::Plan,
}

#[pymethods]
impl Plan {
    #[getter]
    fn kind(&self) -> &'static str {
        match self.plan.work {
            Work::Leading { .. } => "leading",
            Work::Rows { .. } => "rows",
            Work::Groups { .. } => "groups",
            Work::Network(_) => "network",
            Work::Elsewhere { .. } => "elsewhere",
            Work::Engine { .. } => "engine",
        }
    }

    #[getter]
    fn sql(&self) -> &str {
        match &self.plan.work {
            Work::Leading { sql } | Work::Rows { sql } | Work::Engine { sql } => sql,
            Work::Groups { merge, .. } => merge,
            Work::Elsewhere { statement, .. } => statement,
            Work::Network(network) => match &network.merge {
                Merge::Pass { .. } => "",
                Merge::Rows { sql } | Merge::Groups { sql, .. } => sql,
            },
        }
    }

    #[getter]
    fn scans(&self) -> Vec<PyScan<'_>> {
        match &self.plan.work {
            Work::Groups { scans, .. } => scans.iter().map(to_py_scan).collect(),
            _ => Vec::new(),
        }
    }

    /// Of each scan, how a server is to group it: JSON; None where it cannot.
    #[getter]
    fn server_scans(&self) -> PyResult<Vec<Option<String>>> {
        match &self.plan.work {
            Work::Groups { scans, .. } => scans
                .iter()
                .map(|scan| scan.server.as_ref().map(json).transpose())
                .collect(),
            _ => Ok(Vec::new()),
        }
    }

    #[getter]
    fn group_spec(&self) -> PyResult<String> {
        match &self.plan.work {
            Work::Groups { spec, .. } => json(spec),
            Work::Network(network) => match &network.merge {
                Merge::Groups { spec, .. } => json(spec),
                _ => Ok(String::new()),
            },
            _ => Ok(String::new()),
        }
    }

    /// (statement for the leaves, kinds of their columns, limit and offset of rows that are passed on)
    #[getter]
    #[allow(clippy::type_complexity)] // a tuple of Python
    fn network(&self) -> PyResult<Option<(&str, String, Option<(Option<u64>, u64)>)>> {
        let Work::Network(network) = &self.plan.work else {
            return Ok(None);
        };
        let pass = match network.merge {
            Merge::Pass { limit, offset } => Some((limit, offset)),
            _ => None,
        };
        Ok(Some((&network.statement, json(&network.kinds)?, pass)))
    }

    /// Of `elsewhere`: why one node has to run the statement.
    #[getter]
    fn reason(&self) -> &str {
        match &self.plan.work {
            Work::Elsewhere { reason, .. } => reason,
            _ => "",
        }
    }

    #[getter]
    fn outputs(&self) -> PyResult<String> {
        json(&self.plan.outputs)
    }

    #[getter]
    fn per_column_limit(&self) -> Option<(usize, u64)> {
        self.plan.per_column_limit
    }

    #[getter]
    fn dbms(&self) -> &str {
        &self.plan.dbms
    }

    #[getter]
    fn attached(&self) -> Vec<&str> {
        self.plan.attached.iter().map(String::as_str).collect()
    }

    #[getter]
    fn increments(&self) -> Option<(&'static str, i64)> {
        self.plan.increments.map(|(unit, n)| (unit.name(), n))
    }

    #[getter]
    fn warnings(&self) -> Vec<&str> {
        self.plan.warnings.iter().map(String::as_str).collect()
    }
}

fn json<T: serde::Serialize>(value: &T) -> PyResult<String> {
    serde_json::to_string(value).map_err(|e| PyValueError::new_err(e.to_string()))
}

/// Microseconds UTC of a time expression such as `now() - 3 days`.
#[pyfunction]
#[pyo3(signature = (text, *, now_us, timezone = None))]
pub fn time_expression(
    py: Python<'_>,
    text: &str,
    now_us: i64,
    timezone: Option<&str>,
) -> PyResult<i64> {
    let system = Zone::system();
    let zone = timezone.map_or(Ok(system.clone()), |name| Zone::named(name, &system));
    zone.and_then(|local| with_stack(|| dialect::time_expression(text, now_us, local)))
        .map_err(|e| errors::query(py, &e))
}

/// A time in a zone: `2025-01-01 00:00:00.000000`, or the ISO form of UTC.
#[pyfunction]
#[pyo3(signature = (us, *, timezone = None, iso = false))]
pub fn time_text(py: Python<'_>, us: i64, timezone: Option<&str>, iso: bool) -> PyResult<String> {
    let system = Zone::system();
    let zone = timezone.map_or(Ok(system.clone()), |name| Zone::named(name, &system));
    let zone = zone.map_err(|e| errors::query(py, &e))?;
    let mut out = Vec::with_capacity(27);
    edgelake_core::query::time::Clock::new(zone, iso).push(&mut out, us);
    Ok(String::from_utf8_lossy(&out).into_owned())
}
