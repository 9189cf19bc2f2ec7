//! Protobuf messages of a type that is known at run time only, as JSON (spec: brokers and mapping, section 14).
//!
//! The JSON form is protobuf's own: names in lowerCamelCase, integers of 64 bits as texts, fields that are zero or
//! empty left out. A message whose type has one field, and that an object or JSON text, stands for what the field holds.

use std::fmt::Write as _;

use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage,
    SerializeOptions, Value,
};
use serde_json::value::RawValue;

#[derive(Debug, thiserror::Error)]
pub enum ProtoError {
    #[error("{0}")]
    Definition(String),
    #[error("no message type '{0}'")]
    NoMessage(String),
}

/// Messages of one call, decoded.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// A JSON list of objects.
    pub json: Vec<u8>,
    /// How many they are: a message may bring several, or none.
    pub objects: usize,
    /// Messages that could not be decoded.
    pub failed: usize,
    /// What was wrong with the first of them.
    pub reason: String,
}

/// Decodes messages of one type.
#[derive(Debug)]
pub struct Decoder {
    message: MessageDescriptor,
    options: SerializeOptions,
    only_field: Option<OnlyField>,
    /// `"key":"value",` of what is added to every object.
    added: String,
}

/// The field that a message stands for.
#[derive(Debug)]
enum OnlyField {
    Object(FieldDescriptor),
    Text(FieldDescriptor),
    Texts(FieldDescriptor),
}

impl OnlyField {
    fn of(message: &MessageDescriptor) -> Option<Self> {
        let mut fields = message.fields();
        let field = fields.next().filter(|_| fields.next().is_none())?;
        match (field.kind(), field.is_list()) {
            _ if field.is_map() => None,
            (Kind::Message(_), false) => Some(Self::Object(field)),
            (Kind::String, false) => Some(Self::Text(field)),
            (Kind::String, true) => Some(Self::Texts(field)),
            _ => None,
        }
    }
}

impl Decoder {
    /// `descriptors` is a serialised `FileDescriptorSet`, `message` the full name of a type in it. `added` are keys and
    /// values that every object gets. With `defaults`, fields that are zero or empty are there, too.
    pub fn new(
        descriptors: &[u8],
        message: &str,
        added: &[(String, String)],
        defaults: bool,
    ) -> Result<Self, ProtoError> {
        let pool =
            DescriptorPool::decode(descriptors).map_err(|e| ProtoError::Definition(chain(&e)))?;
        let message = pool
            .get_message_by_name(message)
            .ok_or_else(|| ProtoError::NoMessage(message.to_owned()))?;
        let mut text = String::new();
        for (key, value) in added {
            let (key, value) = (serde_json::json!(key), serde_json::json!(value));
            let _ = write!(text, "{key}:{value},"); // a String takes all
        }
        Ok(Self {
            only_field: OnlyField::of(&message),
            message,
            options: SerializeOptions::new().skip_default_fields(!defaults),
            added: text,
        })
    }

    pub fn decode<'m>(&self, messages: impl IntoIterator<Item = &'m [u8]>) -> Decoded {
        let mut out = Decoded {
            json: vec![b'['],
            ..Decoded::default()
        };
        for message in messages {
            if let Err(reason) = self.push(message, &mut out) {
                if out.failed == 0 {
                    out.reason = reason;
                }
                out.failed += 1;
            }
        }
        if out.objects > 0 {
            out.json.pop(); // the comma behind the last
        }
        out.json.push(b']');
        out
    }

    fn push(&self, bytes: &[u8], out: &mut Decoded) -> Result<(), String> {
        let message = DynamicMessage::decode(self.message.clone(), bytes).map_err(|e| chain(&e))?;
        match &self.only_field {
            Some(OnlyField::Object(field)) if message.has_field(field) => {
                if let Value::Message(inner) = message.get_field(field).as_ref() {
                    return self.push_message(inner, out);
                }
            }
            Some(OnlyField::Text(field)) => {
                if let Some(objects) = message.get_field(field).as_str().and_then(objects) {
                    self.push_all(&objects, out);
                    return Ok(());
                }
            }
            Some(OnlyField::Texts(field)) => {
                let value = message.get_field(field);
                let texts = value.as_list().unwrap_or_default();
                let found: Option<Vec<_>> = texts
                    .iter()
                    .map(|text| text.as_str().and_then(objects))
                    .collect();
                if let Some(found) = found {
                    for objects in &found {
                        self.push_all(objects, out);
                    }
                    return Ok(());
                }
            }
            _ => {}
        }
        self.push_message(&message, out)
    }

    fn push_message(&self, message: &DynamicMessage, out: &mut Decoded) -> Result<(), String> {
        let start = out.json.len();
        let mut serializer = serde_json::Serializer::new(&mut out.json);
        let written = message.serialize_with_options(&mut serializer, &self.options);
        let problem = match written {
            Ok(()) if out.json.get(start) == Some(&b'{') => {
                self.add_to(start, out);
                return Ok(());
            }
            Ok(()) => format!("{} is no object in JSON", message.descriptor().full_name()),
            Err(error) => error.to_string(),
        };
        out.json.truncate(start);
        Err(problem)
    }

    fn push_all(&self, objects: &[&RawValue], out: &mut Decoded) {
        for object in objects {
            let start = out.json.len();
            out.json.extend_from_slice(object.get().as_bytes());
            self.add_to(start, out);
        }
    }

    /// What is added to every object, to the one that begins at `start`, and the comma behind it.
    fn add_to(&self, start: usize, out: &mut Decoded) {
        if !self.added.is_empty() {
            let is_empty = out.json[start + 1..].trim_ascii_start().starts_with(b"}");
            let added = &self.added[..self.added.len() - usize::from(is_empty)];
            let behind_brace = start + 1;
            out.json.splice(behind_brace..behind_brace, added.bytes());
        }
        out.json.push(b',');
        out.objects += 1;
    }
}

/// The objects of a JSON text: itself, or the elements of a list that holds nothing else.
fn objects(text: &str) -> Option<Vec<&RawValue>> {
    let text = text.trim();
    let found: Vec<&RawValue> = match text.as_bytes().first()? {
        b'{' => vec![serde_json::from_str(text).ok()?],
        b'[' => serde_json::from_str(text).ok()?,
        _ => return None,
    };
    found
        .iter()
        .all(|one| one.get().starts_with('{'))
        .then_some(found)
}

/// An error with what caused it: the outer ones only say where.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut inner = error.source();
    while let Some(cause) = inner {
        let more = cause.to_string();
        if !text.contains(&more) {
            let _ = write!(text, ": {more}");
        }
        inner = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
