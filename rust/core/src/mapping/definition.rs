//! One definition of a column in a mapping policy (spec: brokers and mapping, section 9, "Column key").

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use super::bring::Bring;
use super::columns::{BlobSource, Scene, Source, brought, unwrapped};
use super::condition::Condition;
use super::json::Json;
use super::path::{Found, Item};
use super::pixels::{self, Format};
use super::script::{Line, compile_script};
use super::target::{Field, Place};
use super::types::{Held, Kind, convert};
use super::{CompileError, Fault};
use crate::names::{payload_hash, sanitize};
use crate::rows::{LogicalType, time};

const BASE64_DECODING: &str = "base64decoding";
const HEX_DECODING: &str = "hexdecoding";
const FILE: &str = "file";
const OPENCV: &str = "opencv";

#[derive(Debug)]
pub(super) struct Definition {
    kind: Kind,
    sources: Vec<Source>,
    default: Option<Source>,
    pub root: bool,
    optional: bool,
    pub condition: Option<Condition>,
    pub script: Vec<Line>,
    pub dbms: Option<String>,
    pub table: Option<String>,
    apply: Option<Apply>,
    blob: Option<Blob>,
}

/// The value goes to a file, the column gets its name.
#[derive(Debug)]
struct Blob {
    extension: String,
    coding: Coding,
}

/// How a content stands in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Text,
    Base64,
    Hex,
    /// The message names a file that has it.
    File,
    /// A list of pixels, which becomes an image.
    Pixels(Format),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Apply {
    EpochToDatetime,
    JsonDump,
}

/// What a definition gives.
pub(super) enum Outcome<'v> {
    Field(Field<'v>),
    /// The column is left out.
    Skip,
    /// The whole row is left out.
    Row,
    /// An imported policy goes on.
    Change(String),
}

impl Definition {
    pub fn compile(name: &str, spec: &Value) -> Result<Self, CompileError> {
        let blob = Blob::compile(spec)?;
        let kind = spec["type"]
            .as_str()
            .ok_or_else(|| CompileError::new("the type is missing"))?;
        let apply = match spec["apply"].as_str() {
            None => None,
            Some("epoch_to_datetime") => Some(Apply::EpochToDatetime),
            Some("json_dump") => Some(Apply::JsonDump),
            Some(BASE64_DECODING | HEX_DECODING | FILE | OPENCV) if blob.is_some() => None,
            Some(coding @ (BASE64_DECODING | HEX_DECODING | FILE | OPENCV)) => {
                return Err(CompileError::new(format!(
                    "apply = {coding} needs blob = true"
                )));
            }
            Some(other) => {
                return Err(CompileError::new(format!(
                    "unknown function '{other}' in apply"
                )));
            }
        };
        let target = |key: &str| spec[key].as_str().map(sanitize);
        Ok(Self {
            kind: Kind::compile(kind)?,
            sources: compile_sources(name, spec)?,
            default: spec.get("default").map(Source::compile).transpose()?,
            root: spec["root"].as_bool().unwrap_or(false),
            optional: spec["optional"].as_bool().unwrap_or(false),
            condition: compile_condition(spec)?,
            script: compile_script(spec.get("script"))?,
            dbms: target("dbms"),
            table: target("table"),
            apply,
            blob,
        })
    }

    /// The value for a column, out of the reading or the root.
    pub fn field<'v>(
        &'v self,
        name: &'v str,
        from: &'v Json<'v>,
        place: &Place<'v>,
        scene: &mut Scene<'_>,
    ) -> Result<Outcome<'v>, Fault> {
        let mut item = Item::Absent;
        for source in &self.sources {
            item = match source.find(from)? {
                None => return Ok(self.now(name, scene)),
                Some(Found::One(item)) => item,
                Some(found @ Found::Each { .. }) if found.is_absent() => Item::Absent,
                Some(found @ Found::Each { .. }) => found.text().map_or(Item::Absent, Item::Made),
            };
            if !item.is_absent() {
                break;
            }
        }
        let mut name = Cow::Borrowed(name);
        if self.apply == Some(Apply::JsonDump) {
            if let Item::Value(value) = item {
                item = Item::Made(Cow::Owned(value.to_json(", ", ": ")));
            }
        } else if let Cow::Borrowed(own) = name {
            (name, item) = unwrapped(own, item, self.kind)?;
        }
        if item.is_absent() {
            return self.without_value(name, scene);
        }
        if let Some(blob) = &self.blob {
            return Ok(Outcome::Field(Field {
                name,
                value: Held::Text(Cow::Owned(blob.keep(&item, place, scene)?)),
                declared: self.declared(),
            }));
        }
        let value = match self.apply {
            Some(Apply::EpochToDatetime) => match epoch(&item) {
                Some(us) if self.is_time() => Held::Time(us),
                Some(us) => Held::Text(Cow::Owned(time::format(us, time::Style::Iso).to_string())),
                None => convert(&item, self.kind, scene.zone, &mut scene.cut)?,
            },
            _ => convert(&item, self.kind, scene.zone, &mut scene.cut)?,
        };
        Ok(Outcome::Field(Field {
            name,
            value,
            declared: self.declared(),
        }))
    }

    fn is_time(&self) -> bool {
        self.kind == Kind::Of(LogicalType::Timestamp)
    }

    /// The type, and whether an absent value means now.
    pub fn declared(&self) -> Option<(LogicalType, bool)> {
        let now = self.default.as_ref().is_some_and(Source::is_now);
        self.kind.logical().map(|kind| (kind, now))
    }

    fn now<'v>(&self, name: &'v str, scene: &Scene<'_>) -> Outcome<'v> {
        Outcome::Field(Field {
            name: Cow::Borrowed(name),
            value: Held::Time(scene.now_us),
            declared: self.declared(),
        })
    }

    /// The default; without one the column is left out (optional) or the message fails.
    fn without_value<'v>(
        &'v self,
        name: Cow<'v, str>,
        scene: &mut Scene<'_>,
    ) -> Result<Outcome<'v>, Fault> {
        let value = match &self.default {
            Some(Source::Now) => Held::Time(scene.now_us),
            Some(Source::Literal(value)) if value.is_absent() => Held::Null,
            Some(Source::Literal(value)) => {
                convert(&Item::Value(value), self.kind, scene.zone, &mut scene.cut)?
            }
            Some(Source::Bring(_)) | None if self.optional => return Ok(Outcome::Skip),
            Some(Source::Bring(_)) | None => {
                return Err(Fault::structure("no value and no default"));
            }
        };
        Ok(Outcome::Field(Field {
            name,
            value,
            declared: self.declared(),
        }))
    }
}

impl Blob {
    fn compile(spec: &Value) -> Result<Option<Self>, CompileError> {
        if spec["blob"].as_bool() != Some(true) {
            return match spec.get("hash").or(spec.get("extension")) {
                None | Some(Value::Bool(false) | Value::Null) => Ok(None),
                Some(_) => Err(CompileError::new("hash and extension need blob = true")),
            };
        }
        if let Some(hash) = spec["hash"].as_str().filter(|hash| *hash != "md5") {
            return Err(CompileError::new(format!("hash = {hash}: only md5")));
        }
        let extension = spec["extension"].as_str().unwrap_or_default();
        let extension = extension.trim_start_matches('.');
        if !extension.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(CompileError::new(format!(
                "extension = {extension}: letters and digits"
            )));
        }
        let coding = match spec["apply"].as_str() {
            Some(BASE64_DECODING) => Coding::Base64,
            Some(HEX_DECODING) => Coding::Hex,
            Some(FILE) => Coding::File,
            Some(OPENCV) => {
                let format = Format::of_extension(extension);
                Coding::Pixels(format.ok_or_else(|| {
                    CompileError::new(format!(
                        "apply = {OPENCV} needs extension = png, jpg or bmp, not '{extension}'"
                    ))
                })?)
            }
            _ => Coding::Text,
        };
        Ok(Some(Self {
            extension: extension.to_owned(),
            coding,
        }))
    }

    /// The content is kept; the id by which the row knows it.
    fn keep(&self, item: &Item<'_>, place: &Place<'_>, scene: &Scene<'_>) -> Result<String, Fault> {
        let text = item.text().unwrap_or_default();
        let keep = scene
            .blobs
            .ok_or_else(|| Fault::structure("there is no directory for blobs"))?;
        let prefix = format!("{}.{}.", place.dbms, place.table);
        let kept = if self.coding == Coding::File {
            keep(BlobSource::File {
                file: text.trim(),
                dbms: &place.dbms,
                table: &place.table,
                extension: &self.extension,
            })
        } else {
            let (named, content) = self.content(item, &text)?;
            let hash = payload_hash(&place.dbms, &place.table, named.as_bytes());
            let dot = if self.extension.is_empty() { "" } else { "." };
            keep(BlobSource::Message {
                name: &format!("{prefix}{hash}{dot}{}", self.extension),
                content: &content,
            })
        };
        let file = kept.map_err(|reason| Fault::structure(&reason))?;
        Ok(file.strip_prefix(&prefix).unwrap_or(&file).to_owned())
    }

    /// What the hash is of, and the content. The hash is of the value as it came, so that it can be found again from
    /// the content (without blanks around it, digits in lower case).
    fn content<'t>(
        &self,
        item: &Item<'_>,
        text: &'t str,
    ) -> Result<(Cow<'t, str>, Cow<'t, [u8]>), Fault> {
        let plain = text.trim();
        match self.coding {
            Coding::Base64 => {
                let decoded = BASE64.decode(plain);
                let decoded = decoded.map_err(|e| Fault::structure(&format!("no base64: {e}")))?;
                Ok((Cow::Borrowed(plain), Cow::Owned(decoded)))
            }
            Coding::Hex => {
                let decoded = unhex(plain.as_bytes());
                let decoded = decoded.ok_or_else(|| Fault::structure("no hexadecimal"))?;
                Ok((Cow::Owned(plain.to_ascii_lowercase()), Cow::Owned(decoded)))
            }
            Coding::Pixels(format) => {
                let image = match item {
                    Item::Value(list @ Json::List(_)) => pixels::encode(list, format),
                    // A message may have the list as a text.
                    _ => match Json::parse(plain.as_bytes()) {
                        Ok(parsed) => pixels::encode(&parsed, format),
                        Err(_) => Err("pixels are a list of rows".to_owned()),
                    },
                };
                let image = image.map_err(|reason| Fault::structure(&reason))?;
                Ok((Cow::Borrowed(plain), Cow::Owned(image)))
            }
            Coding::Text | Coding::File => {
                Ok((Cow::Borrowed(text), Cow::Borrowed(text.as_bytes())))
            }
        }
    }
}

/// Bytes of hexadecimal digits; `None` for anything else.
fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |c: u8| {
        char::from(c)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let pairs = text.chunks_exact(2);
    pairs
        .map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?))
        .collect()
}

/// Microseconds of an epoch, given as a number or as digits; `None` for anything else.
fn epoch(item: &Item<'_>) -> Option<i64> {
    match item {
        Item::Value(Json::Int(i)) => time::epoch_us(*i),
        Item::Value(Json::Float(f)) => time::epoch_us_f64(*f),
        other => {
            let text = other.text()?;
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            if digits {
                time::epoch_us(text.parse().ok()?)
            } else {
                None
            }
        }
    }
}

/// The `condition` of a policy or of a column.
pub(super) fn compile_condition(spec: &Value) -> Result<Option<Condition>, CompileError> {
    match spec.get("condition") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Value::String(text)) => Condition::compile(text).map(Some),
        Some(_) => Err(CompileError::new(
            "a condition is a text: if [key] == value",
        )),
    }
}

fn compile_sources(name: &str, spec: &Value) -> Result<Vec<Source>, CompileError> {
    let bring = |text: &str| Bring::compile(brought(text).unwrap_or(text)).map(Source::Bring);
    match (spec.get("bring"), spec.get("value")) {
        (Some(Value::String(text)), _) => Ok(vec![bring(text)?]),
        (Some(Value::Array(texts)), _) => {
            texts.iter().filter_map(Value::as_str).map(bring).collect()
        }
        (Some(_), _) => Err(CompileError::new("bring is a text or a list of texts")),
        (None, Some(value)) => Ok(vec![Source::compile(value)?]),
        (None, None) => Ok(vec![Source::Bring(Bring::key(name))]),
    }
}
