//! Transform policies: messages of many tags, each of which says by its name where it belongs
//! (spec: brokers and mapping, section 10).

use std::borrow::Cow;

use regex::{Captures, Regex};
use serde_json::Value;

use super::columns::Scene;
use super::definition::{Definition, Outcome};
use super::json::Json;
use super::path::Item;
use super::target::{Field, Place, Row};
use super::types::{Held, Kind, convert};
use super::{CompileError, Fault};
use crate::names::{column_name, sanitize};

/// Largest compiled form of a pattern.
const PATTERN_BYTES: usize = 1 << 20;
const GROUP: &str = "re.group(";

/// A compiled transform policy.
#[derive(Debug)]
pub(super) struct Transform {
    id: String,
    pattern: Regex,
    dbms: Template,
    table: Template,
    column: Template,
    schema: Vec<(String, Fixed)>,
}

/// A text with groups of the match in it.
#[derive(Debug)]
struct Template(Vec<Piece>);

#[derive(Debug)]
enum Piece {
    Text(String),
    Group(usize),
}

/// A column that every row has.
#[derive(Debug)]
enum Fixed {
    Matched(Template, Kind),
    Defined(Box<Definition>),
}

impl Template {
    fn compile(text: &str, pattern: &Regex) -> Result<Self, CompileError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(GROUP) {
            let (number, after) = after
                .split_once(')')
                .ok_or_else(|| CompileError::new(format!("no ')' closes '{text}'")))?;
            let number: usize = (number.trim().parse())
                .map_err(|_| CompileError::new(format!("'{text}': the group is no number")))?;
            if number >= pattern.captures_len() {
                return Err(CompileError::new(format!(
                    "'{text}': re_match has {} groups",
                    pattern.captures_len() - 1
                )));
            }
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(Piece::Group(number));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self(pieces))
    }

    fn required(spec: &Value, key: &str, pattern: &Regex) -> Result<Self, CompileError> {
        let text = spec[key].as_str().map(str::trim).unwrap_or_default();
        if text.is_empty() {
            return Err(CompileError::new(format!("missing '{key}'")));
        }
        Self::compile(text, pattern).map_err(|e| e.within(key))
    }

    fn fill(&self, matched: &Captures<'_>) -> String {
        let pieces = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => text.as_str(),
            Piece::Group(number) => matched.get(*number).map_or("", |group| group.as_str()),
        });
        pieces.collect()
    }
}

impl Transform {
    pub fn compile(body: &Value) -> Result<Self, CompileError> {
        let id = body["id"].as_str().unwrap_or_default();
        if id.is_empty() || id.contains('.') {
            return Err(CompileError::new(
                "a transform policy needs an id without dots",
            ));
        }
        Self::compile_body(id, body).map_err(|e| e.within(format!("transform policy {id}")))
    }

    fn compile_body(id: &str, body: &Value) -> Result<Self, CompileError> {
        let pattern = body["re_match"].as_str().unwrap_or_default();
        if pattern.is_empty() {
            return Err(CompileError::new("missing 're_match'"));
        }
        // The match begins at the start of a name.
        let pattern = regex::RegexBuilder::new(&format!("^(?:{pattern})"))
            .size_limit(PATTERN_BYTES)
            .build()
            .map_err(|e| CompileError::new(format!("re_match: {e}")))?;
        let mut schema = Vec::new();
        for (name, spec) in body["schema"].as_object().into_iter().flatten() {
            let clean =
                column_name(name).ok_or_else(|| CompileError::new("a column without name"))?;
            let fixed = Fixed::compile(name, spec, &pattern).map_err(|e| e.within(name))?;
            if clean == "id" {
                schema.insert(0, (clean, fixed));
            } else {
                schema.push((clean, fixed));
            }
        }
        Ok(Self {
            id: id.to_owned(),
            dbms: Template::required(body, "dbms", &pattern)?,
            table: Template::required(body, "table", &pattern)?,
            column: Template::required(body, "column", &pattern)?,
            pattern,
            schema,
        })
    }

    /// A row for each table and id of the message.
    pub fn rows<'v>(
        &'v self,
        root: &'v Json<'v>,
        scene: &mut Scene<'_>,
        out: &mut Vec<Row<'v>>,
    ) -> Result<(), Fault> {
        let Json::Object(attributes) = root else {
            return Ok(());
        };
        let mut open: Vec<(String, Row<'v>)> = Vec::new();
        for (name, value) in attributes {
            let Some(matched) = self.pattern.captures(name) else {
                continue;
            };
            let Some(column) = column_name(&self.column.fill(&matched)) else {
                continue;
            };
            let id = match self.schema.first() {
                Some((name, Fixed::Matched(template, _))) if name == "id" => {
                    template.fill(&matched)
                }
                _ => String::new(),
            };
            let place = self.place(&matched)?;
            let known = open
                .iter()
                .position(|(known, row)| *known == id && row.place == place);
            let at = if let Some(at) = known {
                at
            } else {
                let fields = self.fixed(root, &matched, &place, scene)?;
                open.push((id, Row { place, fields }));
                open.len() - 1
            };
            let field = Field {
                value: convert(&Item::Value(value), Kind::Any, scene.zone, &mut scene.cut)
                    .map_err(|f| f.at(&column))?,
                name: Cow::Owned(column),
                declared: None,
            };
            let fields = &mut open[at].1.fields;
            match fields.iter_mut().find(|f| f.name == field.name) {
                Some(taken) => *taken = field,
                None => fields.push(field),
            }
        }
        out.extend(open.into_iter().map(|(_, row)| row));
        Ok(())
    }

    fn place<'v>(&'v self, matched: &Captures<'_>) -> Result<Place<'v>, Fault> {
        let name = |template: &Template, what: &str| {
            let name = sanitize(template.fill(matched).trim());
            if name.is_empty() {
                return Err(Fault::structure(&format!("no {what} in the name")));
            }
            Ok(Cow::Owned(name))
        };
        Ok(Place {
            dbms: name(&self.dbms, "DBMS")?,
            table: name(&self.table, "table")?,
            source: Cow::Borrowed("0"),
            instructions: &self.id,
        })
    }

    fn fixed<'v>(
        &'v self,
        root: &'v Json<'v>,
        matched: &Captures<'_>,
        place: &Place<'v>,
        scene: &mut Scene<'_>,
    ) -> Result<Vec<Field<'v>>, Fault> {
        let mut fields = Vec::with_capacity(self.schema.len() + 4);
        for (name, fixed) in &self.schema {
            match fixed {
                Fixed::Matched(template, kind) => {
                    let text = template.fill(matched);
                    let value = if text.is_empty() {
                        Held::Null
                    } else {
                        let item = Item::Made(Cow::Owned(text));
                        convert(&item, *kind, scene.zone, &mut scene.cut).map_err(|f| f.at(name))?
                    };
                    fields.push(Field {
                        name: Cow::Borrowed(name),
                        value,
                        declared: kind.logical().map(|kind| (kind, false)),
                    });
                }
                Fixed::Defined(definition) => {
                    let outcome = definition
                        .field(name, root, place, scene)
                        .map_err(|f| f.at(name))?;
                    if let Outcome::Field(field) = outcome {
                        fields.push(field);
                    }
                }
            }
        }
        Ok(fields)
    }
}

impl Fixed {
    fn compile(name: &str, spec: &Value, pattern: &Regex) -> Result<Self, CompileError> {
        let source = spec["value"].as_str().or(spec["bring"].as_str());
        if let Some(text) = source.filter(|text| text.contains(GROUP)) {
            let kind = spec["type"]
                .as_str()
                .ok_or_else(|| CompileError::new("the type is missing"))?;
            return Ok(Self::Matched(
                Template::compile(text, pattern)?,
                Kind::compile(kind)?,
            ));
        }
        Definition::compile(name, spec).map(|made| Self::Defined(Box::new(made)))
    }
}
