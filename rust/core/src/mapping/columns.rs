//! Columns and names of topic parameters (spec: brokers and mapping, section 6).

use std::borrow::Cow;

use serde_json::Value;

use super::bring::Bring;
use super::json::Json;
use super::path::{Found, Item};
use super::script::Command;
use super::target::{Field, Place, Row};
use super::types::{Held, Kind, convert};
use super::{CompileError, Fault};
use crate::names::{column_name, sanitize};
use crate::rows::time::Zone;

/// What a run of a program knows besides the message.
pub(super) struct Scene<'z> {
    /// Arrival of the payload, microseconds UTC.
    pub now_us: i64,
    pub zone: &'z Zone,
    /// Fractions that int columns lost so far.
    pub cut: u64,
    /// Where the contents of blob columns go.
    pub blobs: Option<&'z KeepBlob<'z>>,
    /// Commands out of scripts.
    pub commands: Vec<Command>,
}

/// Keeps a blob; returns the name of its file when that is on disk. An error says why it is not.
pub type KeepBlob<'k> = dyn Fn(BlobSource<'_>) -> Result<String, String> + 'k;

/// Where the content of a blob is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobSource<'b> {
    /// In the message; `name` is that of the file it gets.
    Message { name: &'b str, content: &'b [u8] },
    /// In a file of the blobs' directory; what it holds makes the name.
    File {
        file: &'b str,
        dbms: &'b str,
        table: &'b str,
        /// Empty: the file's own.
        extension: &'b str,
    },
}

/// Where a value comes from.
#[derive(Debug)]
pub(super) enum Source {
    Bring(Bring),
    Now,
    Literal(Json<'static>),
}

/// The text behind the word `bring`, if a text begins with it.
pub(super) fn brought(text: &str) -> Option<&str> {
    let rest = text.trim_start().strip_prefix("bring")?;
    rest.starts_with(['.', ' ', '[', '\t', '\n'])
        .then_some(rest)
}

impl Source {
    /// `bring ...`, `now`, `now()`, or a literal of any kind.
    pub fn compile(value: &Value) -> Result<Self, CompileError> {
        let Value::String(text) = value else {
            return Ok(Self::Literal(Json::from(value)));
        };
        if let Some(rest) = brought(text) {
            return Bring::compile(rest).map(Self::Bring);
        }
        Ok(match text.trim().to_ascii_lowercase().as_str() {
            "now" | "now()" => Self::Now,
            _ => Self::Literal(Json::Text(Cow::Owned(text.clone()))),
        })
    }

    pub fn is_now(&self) -> bool {
        matches!(self, Self::Now)
    }

    /// Items of the source; `None` for now.
    pub fn find<'v>(&'v self, root: &'v Json<'v>) -> Result<Option<Found<'v>>, Fault> {
        Ok(match self {
            Self::Bring(bring) => Some(bring.value(root)?),
            Self::Now => None,
            Self::Literal(value) if value.is_absent() => Some(Found::ABSENT),
            Self::Literal(value) => Some(Found::One(Item::Value(value))),
        })
    }
}

/// A database or table name.
#[derive(Debug)]
pub(super) enum Name {
    Fixed(String),
    Bring(Bring),
}

impl Name {
    pub fn compile(value: Option<&Value>, what: &str) -> Result<Self, CompileError> {
        let Some(Value::String(text)) =
            value.filter(|v| v.as_str().is_some_and(|t| !t.trim().is_empty()))
        else {
            return Err(CompileError::new(format!("missing '{what}'")));
        };
        match brought(text) {
            Some(rest) => Bring::compile(rest)
                .map(Self::Bring)
                .map_err(|e| e.within(what)),
            None => Ok(Self::Fixed(sanitize(text.trim()))),
        }
    }

    pub fn find<'v>(&'v self, root: &'v Json<'v>) -> Result<Names<'v>, Fault> {
        Ok(match self {
            Self::Fixed(name) => Names::Fixed(name),
            Self::Bring(bring) => Names::Found(bring.value(root)?),
        })
    }
}

/// A name, or one per row.
pub(super) enum Names<'v> {
    Fixed(&'v str),
    Found(Found<'v>),
}

impl<'v> Names<'v> {
    pub fn length(&self) -> Option<usize> {
        match self {
            Names::Found(Found::Each { items, .. }) => Some(items.len()),
            _ => None,
        }
    }

    /// The name of row `row`, sanitised. Faults with `code` when there is none.
    pub fn at(&self, row: usize, code: u16, what: &str) -> Result<Cow<'v, str>, Fault> {
        let text = match self {
            Names::Fixed(name) => return Ok(Cow::Borrowed(name)),
            Names::Found(Found::One(item)) => item.text(),
            Names::Found(Found::Each { items, .. }) => items.get(row).and_then(Item::text),
        };
        let name = text
            .map(|text| sanitize(text.trim()))
            .filter(|name| !name.is_empty());
        name.map(Cow::Owned).ok_or_else(|| {
            Fault::new(
                code,
                format!("MQTT: Failed to retrieve {what} name from message"),
            )
        })
    }
}

#[derive(Debug)]
enum KindSource {
    Fixed(Kind),
    Bring(Bring),
}

#[derive(Debug)]
struct Column {
    name: String,
    kind: KindSource,
    source: Source,
    optional: bool,
}

/// Topic parameters with dbms, table and columns.
#[derive(Debug)]
pub(super) struct Parameters {
    dbms: Name,
    table: Name,
    columns: Vec<Column>,
}

impl Parameters {
    pub fn compile(spec: &Value) -> Result<Self, CompileError> {
        let listed = spec["columns"].as_array().filter(|c| !c.is_empty());
        let listed =
            listed.ok_or_else(|| CompileError::new("a topic needs at least one column"))?;
        Ok(Self {
            dbms: Name::compile(spec.get("dbms"), "dbms")?,
            table: Name::compile(spec.get("table"), "table")?,
            columns: listed
                .iter()
                .map(Column::compile)
                .collect::<Result<_, _>>()?,
        })
    }

    /// The rows of one message.
    pub fn rows<'v>(
        &'v self,
        root: &'v Json<'v>,
        scene: &mut Scene<'_>,
        out: &mut Vec<Row<'v>>,
    ) -> Result<(), Fault> {
        let dbms = self.dbms.find(root).map_err(|f| f.at("dbms"))?;
        let table = self.table.find(root).map_err(|f| f.at("table"))?;
        let mut length = None;
        agree(&mut length, dbms.length(), "dbms")?;
        agree(&mut length, table.length(), "table")?;
        let mut columns = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            if let Some(values) = column.find(root).map_err(|f| f.at(&column.name))? {
                agree(&mut length, values.length(), &column.name)?;
                columns.push(values);
            }
        }
        for row in 0..length.unwrap_or(1) {
            let place = Place {
                dbms: dbms.at(row, 126, "DBMS")?,
                table: table.at(row, 127, "table")?,
                source: Cow::Borrowed("0"),
                instructions: "0",
            };
            let mut fields = Vec::with_capacity(columns.len());
            for values in &columns {
                if let Some(field) = values
                    .field(row, scene)
                    .map_err(|f| f.at(&values.column.name))?
                {
                    fields.push(field);
                }
            }
            out.push(Row { place, fields });
        }
        Ok(())
    }
}

/// All lists of a message have one length.
fn agree(length: &mut Option<usize>, other: Option<usize>, what: &str) -> Result<(), Fault> {
    match (*length, other) {
        (Some(known), Some(other)) if known != other => Err(Fault::new(
            6,
            format!("{what}: a list of {other} beside a list of {known}"),
        )),
        (None, Some(other)) => {
            *length = Some(other);
            Ok(())
        }
        _ => Ok(()),
    }
}

impl Column {
    fn compile(spec: &Value) -> Result<Self, CompileError> {
        let given = spec["name"].as_str().unwrap_or_default();
        let name =
            column_name(given.trim()).ok_or_else(|| CompileError::new("a column without name"))?;
        let kind = spec["type"].as_str().unwrap_or_default();
        let kind = match brought(kind) {
            Some(rest) => KindSource::Bring(Bring::compile(rest).map_err(|e| e.within(&name))?),
            None => KindSource::Fixed(Kind::compile(kind).map_err(|e| e.within(&name))?),
        };
        let value = spec
            .get("value")
            .ok_or_else(|| CompileError::new(format!("the column '{name}' has no value")))?;
        let source = Source::compile(value).map_err(|e| e.within(&name))?;
        if let (Source::Literal(value), KindSource::Fixed(kind)) = (&source, &kind) {
            // A literal that its type refuses would fail with every message: refuse it now.
            convert(&Item::Value(value), *kind, &Zone::UTC, &mut 0)
                .map_err(|fault| CompileError::new(format!("{name}: {}", fault.reason)))?;
        }
        Ok(Self {
            name,
            kind,
            source,
            optional: spec["optional"].as_bool().unwrap_or(false),
        })
    }

    /// What the message holds for this column; `None` when it is left out.
    fn find<'v>(&'v self, root: &'v Json<'v>) -> Result<Option<Values<'v>>, Fault> {
        let found = self.source.find(root)?;
        if found.as_ref().is_some_and(Found::is_absent) {
            return if self.optional {
                Ok(None)
            } else {
                Err(missing())
            };
        }
        let kinds = match &self.kind {
            KindSource::Fixed(_) => None,
            KindSource::Bring(bring) => Some(bring.value(root)?),
        };
        Ok(Some(Values {
            column: self,
            found,
            kinds,
        }))
    }
}

fn missing() -> Fault {
    Fault::new(
        125,
        "Error with data provided by a subscribed message (no value)",
    )
}

/// What one message holds for a column.
struct Values<'v> {
    column: &'v Column,
    /// `None`: now.
    found: Option<Found<'v>>,
    kinds: Option<Found<'v>>,
}

impl<'v> Values<'v> {
    /// Rows that the lists in value and type stand for. (Their lengths are compared in `field`.)
    fn length(&self) -> Option<usize> {
        [&self.found, &self.kinds]
            .into_iter()
            .flatten()
            .find_map(|found| match found {
                Found::Each { items, .. } => Some(items.len()),
                Found::One(_) => None,
            })
    }

    fn field(&self, row: usize, scene: &mut Scene<'_>) -> Result<Option<Field<'v>>, Fault> {
        let kind = self.kind(row)?;
        // A type that differs from message to message is the data's affair, not the table's.
        let declared = match self.column.kind {
            KindSource::Fixed(kind) => kind.logical().map(|kind| (kind, self.found.is_none())),
            KindSource::Bring(_) => kind.logical().map(|kind| (kind, false)),
        };
        let Some(found) = &self.found else {
            return Ok(Some(Field {
                name: Cow::Borrowed(&self.column.name),
                value: Held::Time(scene.now_us),
                declared,
            }));
        };
        let item = match found {
            Found::One(item) => item.clone(),
            Found::Each { items, .. } => items.get(row).cloned().unwrap_or(Item::Absent),
        };
        let (name, item) = unwrapped(&self.column.name, item, kind)?;
        if item.is_absent() {
            return if self.column.optional {
                Ok(None)
            } else {
                Err(missing())
            };
        }
        let value = convert(&item, kind, scene.zone, &mut scene.cut)?;
        Ok(Some(Field {
            name,
            value,
            declared,
        }))
    }

    fn kind(&self, row: usize) -> Result<Kind, Fault> {
        let text = match (&self.kinds, &self.column.kind) {
            (None, KindSource::Fixed(kind)) => return Ok(*kind),
            (Some(Found::One(item)), _) => item.text(),
            (Some(Found::Each { items, .. }), _) => {
                if self.length().is_some_and(|length| length != items.len()) {
                    return Err(Fault::new(6, "as many types as values are needed"));
                }
                items.get(row).and_then(Item::text)
            }
            _ => None,
        };
        let text = text.ok_or_else(missing)?;
        Kind::parse(&text).ok_or_else(|| {
            Fault::new(
                188,
                format!("unknown data type '{}'", super::shorten(&text)),
            )
        })
    }
}

/// A pulled object with exactly one key gives the column that key's name and value; one with more keys fits
/// only a text column, as JSON.
pub(super) fn unwrapped<'v>(
    name: &'v str,
    item: Item<'v>,
    kind: Kind,
) -> Result<(Cow<'v, str>, Item<'v>), Fault> {
    let Item::Value(Json::Object(pairs)) = item else {
        return Ok((Cow::Borrowed(name), item));
    };
    if let [(key, value)] = pairs.as_slice() {
        let clean =
            column_name(key).ok_or_else(|| Fault::structure("an object with an empty key"))?;
        let inner = if value.is_absent() {
            Item::Absent
        } else {
            Item::Value(value)
        };
        return Ok((Cow::Owned(clean), inner));
    }
    match kind {
        Kind::Of(kind) if kind.physical() != crate::rows::Physical::Text => Err(Fault::new(
            194,
            format!("an object of {} keys is no {kind}", pairs.len()),
        )),
        _ => Ok((Cow::Borrowed(name), item)),
    }
}
