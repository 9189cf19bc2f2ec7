//! A JSON document as the mapping reads it: borrowed texts, keys in the order of the document.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU32, Ordering};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A JSON value. Texts without escapes borrow from the payload.
#[derive(Clone, Debug, PartialEq)]
pub enum Json<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// An integer above 63 bits.
    Big(u64),
    Float(f64),
    Text(Cow<'a, str>),
    List(Vec<Json<'a>>),
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

impl<'a> Json<'a> {
    pub fn parse(text: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// The value of a key; of equal keys the last. `hint` is where it was found the last time: messages of
    /// one source have their keys in one order.
    pub fn get(&self, key: &str, hint: &AtomicU32) -> Option<&Json<'a>> {
        let Json::Object(pairs) = self else {
            return None;
        };
        let at = hint.load(Ordering::Relaxed) as usize;
        if let Some((name, value)) = pairs.get(at)
            && name == key
        {
            return Some(value);
        }
        let at = pairs.iter().rposition(|(name, _)| name == key)?;
        hint.store(at as u32, Ordering::Relaxed);
        Some(&pairs[at].1)
    }

    /// Null and the empty text count as absent; zero and false do not.
    pub fn is_absent(&self) -> bool {
        match self {
            Json::Null => true,
            Json::Text(text) => text.is_empty(),
            _ => false,
        }
    }

    /// The value in a text context: `True`/`False`, numbers as printed, objects and lists as JSON.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Json::Text(text) => Cow::Borrowed(text),
            Json::Bool(true) => Cow::Borrowed("True"),
            Json::Bool(false) => Cow::Borrowed("False"),
            other => Cow::Owned(other.to_json(", ", ": ")),
        }
    }

    /// JSON text with these separators between values and behind keys.
    pub fn to_json(&self, comma: &str, colon: &str) -> String {
        let mut out = String::new();
        self.write(&mut out, comma, colon);
        out
    }

    fn write(&self, out: &mut String, comma: &str, colon: &str) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
            // Writing to a String cannot fail.
            Json::Int(i) => drop(write!(out, "{i}")),
            Json::Big(u) => drop(write!(out, "{u}")),
            Json::Float(f) => out.push_str(&float_text(*f)),
            Json::Text(text) => quote(out, text),
            Json::List(values) => {
                out.push('[');
                for (i, value) in values.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { comma });
                    value.write(out, comma, colon);
                }
                out.push(']');
            }
            Json::Object(pairs) => {
                out.push('{');
                for (i, (key, value)) in pairs.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { comma });
                    quote(out, key);
                    out.push_str(colon);
                    value.write(out, comma, colon);
                }
                out.push('}');
            }
        }
    }

    /// The same value, independent of the payload.
    pub fn into_owned(self) -> Json<'static> {
        match self {
            Json::Null => Json::Null,
            Json::Bool(b) => Json::Bool(b),
            Json::Int(i) => Json::Int(i),
            Json::Big(u) => Json::Big(u),
            Json::Float(f) => Json::Float(f),
            Json::Text(text) => Json::Text(Cow::Owned(text.into_owned())),
            Json::List(values) => Json::List(values.into_iter().map(Json::into_owned).collect()),
            Json::Object(pairs) => Json::Object(
                pairs
                    .into_iter()
                    .map(|(k, v)| (Cow::Owned(k.into_owned()), v.into_owned()))
                    .collect(),
            ),
        }
    }
}

impl From<&serde_json::Value> for Json<'static> {
    fn from(value: &serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Json::Null,
            serde_json::Value::Bool(b) => Json::Bool(*b),
            serde_json::Value::Number(n) => match (n.as_i64(), n.as_u64()) {
                (Some(i), _) => Json::Int(i),
                (None, Some(u)) => Json::Big(u),
                _ => Json::Float(n.as_f64().unwrap_or(0.0)),
            },
            serde_json::Value::String(s) => Json::Text(Cow::Owned(s.clone())),
            serde_json::Value::Array(values) => Json::List(values.iter().map(Json::from).collect()),
            serde_json::Value::Object(map) => Json::Object(
                map.iter()
                    .map(|(k, v)| (Cow::Owned(k.clone()), Json::from(v)))
                    .collect(),
            ),
        }
    }
}

fn quote(out: &mut String, text: &str) {
    match serde_json::to_string(text) {
        Ok(quoted) => out.push_str(&quoted),
        Err(_) => out.push_str("\"\""), // a str always has a JSON form
    }
}

/// A float as the reference prints it: shortest form that reads back, exponent below 1e-4 and from 1e16 on.
pub fn float_text(f: f64) -> String {
    let scientific = format!("{f:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return scientific; // inf and NaN, which JSON does not have
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{f}");
        return if plain.contains('.') {
            plain
        } else {
            plain + ".0"
        };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Json<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }
            fn visit_unit<E>(self) -> Result<Json<'de>, E> {
                Ok(Json::Null)
            }
            fn visit_bool<E>(self, b: bool) -> Result<Json<'de>, E> {
                Ok(Json::Bool(b))
            }
            fn visit_i64<E>(self, i: i64) -> Result<Json<'de>, E> {
                Ok(Json::Int(i))
            }
            fn visit_u64<E>(self, u: u64) -> Result<Json<'de>, E> {
                Ok(i64::try_from(u).map_or(Json::Big(u), Json::Int))
            }
            fn visit_f64<E>(self, f: f64) -> Result<Json<'de>, E> {
                Ok(Json::Float(f))
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Json<'de>, E> {
                Ok(Json::Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Json<'de>, E> {
                Ok(Json::Text(Cow::Owned(text.to_owned())))
            }
            fn visit_string<E>(self, text: String) -> Result<Json<'de>, E> {
                Ok(Json::Text(Cow::Owned(text)))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json<'de>, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = seq.next_element()? {
                    values.push(value);
                }
                Ok(Json::List(values))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some((Key(key), value)) = map.next_entry()? {
                    pairs.push((key, value));
                }
                Ok(Json::Object(pairs))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

/// A key that borrows where it can (`Cow` alone always copies).
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_the_reference_prints_them() {
        for (value, text) in [
            (1e-7, "1e-07"),
            (1e16, "1e+16"),
            (1e15, "1000000000000000.0"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-0.0, "-0.0"),
            (2.0, "2.0"),
            (1.5e300, "1.5e+300"),
        ] {
            assert_eq!(float_text(value), text);
        }
    }

    #[test]
    fn plain_texts_borrow_from_the_payload() {
        let payload = br#"{"a": "x", "b\u0041": "y\n"}"#;
        let Ok(Json::Object(pairs)) = Json::parse(payload) else {
            panic!("an object");
        };
        assert!(matches!(
            pairs[0],
            (Cow::Borrowed("a"), Json::Text(Cow::Borrowed("x")))
        ));
        assert!(matches!(pairs[1].0, Cow::Owned(_)));
        assert_eq!(pairs[1].1, Json::Text(Cow::Borrowed("y\n")));
    }
}
