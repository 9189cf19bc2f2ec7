//! Rows that other nodes send: `{"Query":[{"0":"dev0","1":"3510.0"}]}` (network protocol, section 3.3).

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::{QueryError, Result};
use super::time::{Zone, parse_instant};
use super::value::{Kind, Val};

/// Whole numbers of so many digits are exact as floats.
const EXACT_DIGITS: usize = 15;

#[derive(serde::Deserialize)]
struct Reply<'a> {
    #[serde(rename = "Query", borrow)]
    rows: Vec<Positions<'a>>,
}

/// Values by position.
struct Positions<'a>(Vec<(usize, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Positions<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Positions<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with columns by position")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Positions<'de>, A::Error> {
                let mut found = Vec::new();
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    match key.parse() {
                        Ok(at) => found.push((at, map.next_value()?)),
                        Err(_) => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(Positions(found))
            }
        }
        from.deserialize_map(Fields)
    }
}

/// The values of a row, by the kinds of its columns.
///
/// Texts are read leniently: raw control characters and backslashes that escape nothing are what older nodes send.
/// Errors: the text is no row.
pub fn decode(text: &[u8], kinds: &[Kind]) -> Result<Vec<Val>> {
    let text = String::from_utf8_lossy(text);
    let made = read(&text, kinds);
    made.or_else(|_| read(&repaired(&text), kinds))
        .map_err(|e| QueryError::Parse(format!("a row of another node: {e}")))
}

fn read(text: &str, kinds: &[Kind]) -> serde_json::Result<Vec<Val>> {
    let reply: Reply<'_> = serde_json::from_str(text)?;
    let mut row = vec![Val::Null; kinds.len()];
    // Only the first object of the list is a row.
    for (at, raw) in reply.rows.first().map_or(&[][..], |r| &r.0) {
        if let (Some(place), Some(kind)) = (row.get_mut(*at), kinds.get(*at)) {
            *place = match raw.get() {
                "null" => Val::Null,
                text if text.starts_with('"') => {
                    let text: Cow<'_, str> = serde_json::from_str(text)?;
                    value(&text, *kind)
                }
                bare => value(bare, *kind),
            };
        }
    }
    Ok(row)
}

/// A value by the kind of its column; one that does not fit stays a text.
fn value(text: &str, kind: Kind) -> Val {
    if text.is_empty() {
        return Val::Null;
    }
    let int = || text.parse().ok().map(Val::Int);
    let float = || {
        let begins = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
        let found = text.parse().ok().filter(|f: &f64| begins && f.is_finite());
        found.map(Val::Float)
    };
    let made = match kind {
        Kind::Int => int().or_else(float),
        // Nodes store a whole number as one, and print it as the fraction that its column holds.
        Kind::Decimal if text.trim_start_matches('-').len() > EXACT_DIGITS => int().or_else(float),
        Kind::Decimal | Kind::Float => float(),
        Kind::Bool => match text {
            "1" | "true" | "True" => Some(Val::Int(1)),
            "0" | "false" | "False" => Some(Val::Int(0)),
            _ => None,
        },
        Kind::Timestamp => parse_instant(text, &Zone::Utc).ok().map(Val::Int),
        Kind::Any => int()
            .filter(|v| matches!(v, Val::Int(i) if i.to_string() == text))
            .or_else(|| {
                float().filter(|_| !text.starts_with(['0', '+']) || text.starts_with("0."))
            }),
        Kind::Text | Kind::Date | Kind::Clock => None,
    };
    made.unwrap_or_else(|| Val::text(text))
}

fn repaired(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => {
                let next = letters.peek().copied();
                out.push('\\');
                if next.is_some_and(|c| "\"\\/bfnrtu".contains(c)) {
                    out.extend(letters.next());
                } else {
                    out.push('\\');
                }
            }
            c if c < ' ' => {
                use fmt::Write;
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_by_kind() {
        let kinds = [
            Kind::Timestamp,
            Kind::Text,
            Kind::Float,
            Kind::Int,
            Kind::Bool,
        ];
        let row = decode(
            br#"{"Query":[{"0":"2025-01-01 00:00:01","1":"it's","2":"4.0","3":"","4":"1"}]}"#,
            &kinds,
        )
        .expect("a row");
        assert_eq!(
            row,
            [
                Val::Int(1_735_689_601_000_000),
                Val::text("it's"),
                Val::Float(4.0),
                Val::Null,
                Val::Int(1)
            ]
        );
    }

    #[test]
    fn decimals_are_fractions_unless_that_would_cost_digits() {
        let row = decode(
            br#"{"Query":[{"0":"67","1":"-1.5","2":"12345678901234567"}]}"#,
            &[Kind::Decimal; 3],
        );
        assert_eq!(
            row.expect("a row"),
            [
                Val::Float(67.0),
                Val::Float(-1.5),
                Val::Int(12_345_678_901_234_567)
            ]
        );
    }

    #[test]
    fn older_nodes_escape_little() {
        let row = decode(b"{\"Query\":[{\"0\":\"a\tb \\d\"}]}", &[Kind::Text]).expect("a row");
        assert_eq!(row, [Val::text("a\tb \\d")]);
        assert_eq!(
            decode(br#"{"Query":[{"0":1.5}]}"#, &[Kind::Float]).expect("a row"),
            [Val::Float(1.5)]
        );
        assert!(decode(b"nonsense", &[Kind::Text]).is_err());
    }
}
