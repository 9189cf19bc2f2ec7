//! Mapping policies (spec: brokers and mapping, section 9).

use std::borrow::Cow;

use serde_json::Value;

use super::bring::Bring;
use super::columns::{Name, Scene, brought};
use super::condition::Condition;
use super::definition::{Definition, Outcome, compile_condition};
use super::json::Json;
use super::path::{Found, Item};
use super::script::{Ending, Line, compile_script, run_script};
use super::target::{Field, Place, Row};
use super::types::{Kind, convert};
use super::{CompileError, Fault};
use crate::names::column_name;
use crate::rows::{ColumnDef, time};

/// A compiled mapping policy.
#[derive(Debug)]
pub(super) struct Policy {
    id: String,
    dbms: Name,
    table: Name,
    source: SourceName,
    readings: Option<Bring>,
    condition: Option<Condition>,
    script: Vec<Line>,
    /// One list of columns; with `params` one for each list of parameters.
    schemas: Vec<Vec<Entry>>,
    /// Policies that a script may go on with, by the name they have here.
    imports: Vec<(String, Policy)>,
}

/// Imports of imports.
const MAX_IMPORTS: usize = 8;

#[derive(Debug)]
struct SourceName {
    bring: Option<Bring>,
    default: String,
}

#[derive(Debug)]
enum Entry {
    /// `__name__`: only its script runs.
    Script(Vec<Line>),
    /// `*`: every attribute, or the attributes named.
    Star(Vec<String>),
    /// The first definition that fits is used.
    Column(String, Vec<Definition>),
}

impl Policy {
    /// The body of a policy. `imported` has the policies that it may import, by id.
    pub fn compile(body: &Value, imported: &Value) -> Result<Self, CompileError> {
        Self::compile_at(body, imported, 0)
    }

    fn compile_at(body: &Value, imported: &Value, depth: usize) -> Result<Self, CompileError> {
        let id = body["id"].as_str().unwrap_or_default();
        if id.is_empty() || id.contains('.') {
            return Err(CompileError::new(
                "a mapping policy needs an id without dots",
            ));
        }
        let imports = Self::compile_imports(body, imported, depth)
            .map_err(|e| e.within(format!("mapping policy {id}")))?;
        let mut made =
            Self::compile_body(id, body).map_err(|e| e.within(format!("mapping policy {id}")))?;
        made.imports = imports;
        Ok(made)
    }

    fn compile_imports(
        body: &Value,
        imported: &Value,
        depth: usize,
    ) -> Result<Vec<(String, Self)>, CompileError> {
        let Some(names) = body["import"].as_object() else {
            return Ok(Vec::new());
        };
        if depth >= MAX_IMPORTS {
            return Err(CompileError::new("policies import each other"));
        }
        names
            .iter()
            .map(|(name, id)| {
                let id = id.as_str().unwrap_or_default();
                let body = &imported[id]["mapping"];
                if body.is_null() {
                    return Err(CompileError::new(format!(
                        "import: no mapping policy with id = {id}"
                    )));
                }
                Ok((name.clone(), Self::compile_at(body, imported, depth + 1)?))
            })
            .collect()
    }

    fn imported(&self, name: &str) -> Result<&Self, Fault> {
        let found = self.imports.iter().find(|(known, _)| known == name);
        found
            .map(|(_, policy)| policy)
            .ok_or_else(|| Fault::structure(&format!("change policy: '{name}' is not imported")))
    }

    fn compile_body(id: &str, body: &Value) -> Result<Self, CompileError> {
        let schema = body["schema"]
            .as_object()
            .filter(|schema| !schema.is_empty());
        let schema = schema.ok_or_else(|| CompileError::new("the schema is missing"))?;
        let compile_schema = |params: &[Value]| {
            schema
                .iter()
                .map(|(name, spec)| {
                    Entry::compile(name, &with_params(spec, params)).map_err(|e| e.within(name))
                })
                .collect::<Result<Vec<_>, _>>()
        };
        let schemas = match body.get("params").and_then(Value::as_array) {
            Some(lists) => lists
                .iter()
                .map(|list| compile_schema(list.as_array().map_or(&[], Vec::as_slice)))
                .collect::<Result<_, _>>()?,
            None => vec![compile_schema(&[])?],
        };
        let readings = body["readings"]
            .as_str()
            .map(str::trim)
            .filter(|key| !key.is_empty());
        Ok(Self {
            id: id.to_owned(),
            dbms: Name::compile(body.get("dbms"), "dbms")?,
            table: Name::compile(body.get("table"), "table")?,
            source: SourceName::compile(body.get("source"))?,
            readings: readings
                .map(|key| {
                    if key.starts_with('[') {
                        Bring::compile(key)
                    } else {
                        Ok(Bring::key(key))
                    }
                })
                .transpose()?,
            condition: compile_condition(body)?,
            script: compile_script(body.get("script"))?,
            schemas,
            imports: Vec::new(),
        })
    }

    /// Columns that the schema lists.
    pub fn declared(&self) -> Vec<ColumnDef> {
        let columns = self
            .schemas
            .iter()
            .flatten()
            .filter_map(|entry| match entry {
                Entry::Column(name, definitions) => {
                    let (kind, default_now) = definitions.first()?.declared()?;
                    Some(ColumnDef {
                        name: name.clone(),
                        kind,
                        default_now,
                    })
                }
                Entry::Script(_) | Entry::Star(_) => None,
            });
        columns.collect()
    }

    /// The rows of one message; readings that fail are reported one by one.
    pub fn rows<'v>(
        &'v self,
        root: &'v Json<'v>,
        scene: &mut Scene<'_>,
        out: &mut Vec<Row<'v>>,
        faults: &mut Vec<Fault>,
    ) -> Result<(), Fault> {
        if let Some(condition) = &self.condition
            && !condition.holds(root)?
        {
            return Ok(());
        }
        match run_script(&self.script, root, scene)? {
            Some(Ending::IgnoreEvent) => return Ok(()),
            Some(Ending::Change(name)) => {
                return self.imported(&name)?.rows(root, scene, out, faults);
            }
            _ => {}
        }
        let place = self.place(root)?;
        let readings = self.readings_of(root)?;
        for entries in &self.schemas {
            for reading in &readings {
                match self.row(entries, root, *reading, &place, scene) {
                    Ok(Some(row)) => out.push(row),
                    Ok(None) => {}
                    Err(fault) => faults.push(fault),
                }
            }
        }
        Ok(())
    }

    fn place<'v>(&'v self, root: &'v Json<'v>) -> Result<Place<'v>, Fault> {
        Ok(Place {
            source: self.source.find(root)?,
            dbms: self.dbms.find(root)?.at(0, 6, "DBMS")?,
            table: self.table.find(root)?.at(0, 6, "table")?,
            instructions: &self.id,
        })
    }

    /// The row of one reading; none when it is ignored.
    fn row<'v>(
        &'v self,
        entries: &'v [Entry],
        root: &'v Json<'v>,
        reading: Option<&'v Json<'v>>,
        place: &Place<'v>,
        scene: &mut Scene<'_>,
    ) -> Result<Option<Row<'v>>, Fault> {
        match fields(entries, root, reading, place, scene)? {
            Made::Fields(fields) if fields.is_empty() => Ok(None),
            Made::Fields(fields) => Ok(Some(Row {
                place: place.clone(),
                fields,
            })),
            Made::Nothing => Ok(None),
            Made::Change(name) => {
                // The other policy goes on with this reading, into its own table.
                let other = self.imported(&name)?;
                let place = other.place(root)?;
                match other.schemas.first() {
                    Some(entries) => other.row(entries, root, reading, &place, scene),
                    None => Ok(None),
                }
            }
        }
    }

    /// The readings; `None` stands for an empty list: one row from the root's columns only.
    fn readings_of<'v>(&'v self, root: &'v Json<'v>) -> Result<Vec<Option<&'v Json<'v>>>, Fault> {
        let Some(readings) = &self.readings else {
            return Ok(vec![Some(root)]);
        };
        match readings.value(root)? {
            Found::One(Item::Value(Json::List(values))) if values.is_empty() => Ok(vec![None]),
            Found::One(Item::Value(Json::List(values))) => Ok(values.iter().map(Some).collect()),
            Found::One(Item::Value(value @ Json::Object(_))) => Ok(vec![Some(value)]),
            _ => Err(Fault::structure("the message has no readings")),
        }
    }
}

/// What the columns of a reading give.
enum Made<'v> {
    Fields(Vec<Field<'v>>),
    Nothing,
    Change(String),
}

/// The fields of one reading.
fn fields<'v>(
    entries: &'v [Entry],
    root: &'v Json<'v>,
    reading: Option<&'v Json<'v>>,
    place: &Place<'v>,
    scene: &mut Scene<'_>,
) -> Result<Made<'v>, Fault> {
    let mut fields: Vec<Field<'v>> = Vec::with_capacity(entries.len());
    let seen = reading.unwrap_or(root);
    for entry in entries {
        match entry {
            Entry::Script(lines) => match run_script(lines, seen, scene)? {
                Some(Ending::IgnoreEvent) => return Ok(Made::Nothing),
                Some(Ending::Change(name)) => return Ok(Made::Change(name)),
                _ => {}
            },
            Entry::Star(names) => star(names, seen, &mut fields),
            Entry::Column(name, definitions) => {
                match column(name, definitions, root, reading, place, scene)
                    .map_err(|f| f.at(name))?
                {
                    Outcome::Row => return Ok(Made::Nothing),
                    Outcome::Change(name) => return Ok(Made::Change(name)),
                    Outcome::Skip => {}
                    Outcome::Field(field) => match fields.iter_mut().find(|f| f.name == field.name)
                    {
                        Some(taken) => *taken = field, // explicit columns win over those of `*`
                        None => fields.push(field),
                    },
                }
            }
        }
    }
    Ok(Made::Fields(fields))
}

fn column<'v>(
    name: &'v str,
    definitions: &'v [Definition],
    root: &'v Json<'v>,
    reading: Option<&'v Json<'v>>,
    place: &Place<'v>,
    scene: &mut Scene<'_>,
) -> Result<Outcome<'v>, Fault> {
    let seen = reading.unwrap_or(root);
    for definition in definitions {
        if definition
            .dbms
            .as_deref()
            .is_some_and(|dbms| dbms != place.dbms)
            || definition
                .table
                .as_deref()
                .is_some_and(|table| table != place.table)
        {
            continue;
        }
        if let Some(condition) = &definition.condition
            && !condition.holds(seen)?
        {
            continue;
        }
        match run_script(&definition.script, seen, scene)? {
            Some(Ending::IgnoreEvent) => return Ok(Outcome::Row),
            Some(Ending::IgnoreAttribute) => return Ok(Outcome::Skip),
            Some(Ending::Change(name)) => return Ok(Outcome::Change(name)),
            _ => {}
        }
        let from = match (definition.root, reading) {
            (true, _) => root,
            (false, Some(reading)) => reading,
            (false, None) => return Ok(Outcome::Skip),
        };
        return definition.field(name, from, place, scene);
    }
    Ok(Outcome::Skip)
}

/// Attributes of the reading as columns. Sub-objects that are named are flattened to `name_key`.
pub(super) fn star<'v>(names: &[String], reading: &'v Json<'v>, fields: &mut Vec<Field<'v>>) {
    let Json::Object(pairs) = reading else {
        return;
    };
    let mut add = |name: &str, value: &'v Json<'v>| {
        let Some(name) = column_name(name) else {
            return;
        };
        if fields.iter().all(|f| f.name != name)
            && let Ok(value) = convert(&Item::Value(value), Kind::Any, &time::Zone::UTC, &mut 0)
        {
            fields.push(Field {
                name: Cow::Owned(name),
                value,
                declared: None,
            });
        }
    };
    for (key, value) in pairs {
        if names.iter().any(|name| name == "*") {
            add(key, value);
        } else if names.iter().any(|name| name == key.as_ref()) {
            match value {
                Json::Object(inner) => {
                    for (sub, value) in inner {
                        add(&format!("{key}_{sub}"), value);
                    }
                }
                _ => add(key, value),
            }
        }
    }
}

impl Entry {
    fn compile(name: &str, spec: &Value) -> Result<Self, CompileError> {
        if name.len() > 4 && name.starts_with("__") && name.ends_with("__") {
            return compile_script(spec.get("script")).map(Entry::Script);
        }
        if name == "*" {
            let names: Vec<String> = match &spec["bring"] {
                Value::Array(names) => names
                    .iter()
                    .filter_map(|n| n.as_str().map(str::to_owned))
                    .collect(),
                Value::String(name) => vec![name.clone()],
                _ => vec!["*".to_owned()],
            };
            return Ok(Entry::Star(names));
        }
        let clean = column_name(name).ok_or_else(|| CompileError::new("a column without name"))?;
        let definitions = match spec {
            Value::Array(specs) => specs
                .iter()
                .map(|s| Definition::compile(name, s))
                .collect::<Result<_, _>>()?,
            spec => vec![Definition::compile(name, spec)?],
        };
        Ok(Entry::Column(clean, definitions))
    }
}

impl SourceName {
    fn compile(spec: Option<&Value>) -> Result<Self, CompileError> {
        let (bring, default) = match spec {
            None | Some(Value::Null) => (None, None),
            Some(Value::Object(map)) => {
                (map.get("bring").and_then(Value::as_str), map.get("default"))
            }
            Some(value) => match value.as_str().and_then(brought) {
                Some(rest) => (Some(rest), None),
                None => (None, Some(value)),
            },
        };
        let default = match default {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        Ok(Self {
            bring: bring
                .map(|text| Bring::compile(brought(text).unwrap_or(text)))
                .transpose()?,
            default: source_name(&default),
        })
    }

    fn find<'v>(&'v self, root: &'v Json<'v>) -> Result<Cow<'v, str>, Fault> {
        let found = match &self.bring {
            Some(bring) => bring.value(root)?.text(),
            None => None,
        };
        Ok(match found.map(|text| source_name(&text)) {
            Some(name) if name != "0" => Cow::Owned(name),
            _ => Cow::Borrowed(&self.default),
        })
    }
}

/// Lower case, blanks to `_`; no name is `0`. A dot would break the names of data files.
fn source_name(text: &str) -> String {
    let name = text.trim().to_lowercase().replace([' ', '.'], "_");
    if name.is_empty() {
        "0".to_owned()
    } else {
        name
    }
}

/// `params.N` in bring, default and value replaced by the N-th parameter, from 0.
fn with_params(spec: &Value, params: &[Value]) -> Value {
    match spec {
        Value::String(text) if !params.is_empty() && text.contains("params.") => {
            let mut replaced = text.clone();
            for (number, param) in params.iter().enumerate().rev() {
                let value = param
                    .as_str()
                    .map_or_else(|| param.to_string(), str::to_owned);
                replaced = replaced.replace(&format!("params.{number}"), &value);
            }
            Value::String(replaced)
        }
        Value::Array(values) => values.iter().map(|v| with_params(v, params)).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(k, v)| (k.clone(), with_params(v, params)))
            .collect(),
        other => other.clone(),
    }
}
