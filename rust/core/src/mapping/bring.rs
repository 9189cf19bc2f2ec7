//! `bring`: paths and literals that give a value or a text (spec: brokers and mapping, section 7).

use std::borrow::Cow;

use super::json::Json;
use super::path::{Found, Item, Path};
use super::{CompileError, Fault};

/// Words after the dots: independent switches, as the user writes them.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Words {
    unique: bool,
    first: bool,
    last: bool,
    json: bool,
    list: bool,
    null: bool,
    count: bool,
    min: bool,
    max: bool,
}

impl Words {
    fn any(self) -> bool {
        self != Words::default()
    }
}

#[derive(Debug)]
enum Part {
    /// The first path that is present counts.
    Paths(Vec<Path>),
    Literal(Box<str>),
}

/// A compiled bring expression.
#[derive(Debug)]
pub struct Bring {
    words: Words,
    parts: Vec<Part>,
    separator: Box<str>,
}

impl Bring {
    /// From the text behind the word `bring`: `[.words] parts [separator = x]`.
    pub fn compile(text: &str) -> Result<Self, CompileError> {
        let (words, rest) = scan_words(text.trim())?;
        let (rest, separator) = split_separator(rest);
        let parts = scan_parts(rest)?;
        if parts.is_empty() && !words.any() {
            return Err(CompileError::new("bring without anything to bring"));
        }
        Ok(Self {
            words,
            parts,
            separator: separator.into(),
        })
    }

    /// A bring of one attribute.
    pub fn key(name: &str) -> Self {
        Self {
            words: Words::default(),
            parts: vec![Part::Paths(vec![Path::key(name)])],
            separator: "".into(),
        }
    }

    /// The value as a column sees it: a single path keeps its JSON type (and iterates over `[]`), everything
    /// else is text.
    pub fn value<'v>(&self, root: &'v Json<'v>) -> Result<Found<'v>, Fault> {
        if let [Part::Paths(paths)] = self.parts.as_slice()
            && !self.words.any()
        {
            return first_found(paths, root);
        }
        let text = self.text(std::slice::from_ref(root))?;
        Ok(if text.is_empty() {
            Found::ABSENT
        } else {
            Found::One(Item::Made(Cow::Owned(text)))
        })
    }

    /// The text over a list of objects (or over one); empty when nothing is found.
    pub fn text<'v>(&self, roots: &'v [Json<'v>]) -> Result<String, Fault> {
        let chosen;
        let mut roots = roots;
        if self.words.first || self.words.last {
            chosen = by_date(roots, self.words.first);
            roots = &roots[chosen];
        }
        if self.parts.is_empty() {
            return Ok(self.whole(roots));
        }
        if self.words.json || self.words.count {
            return self.objects(roots);
        }
        let mut units = Vec::with_capacity(roots.len());
        for root in roots {
            if let Some(unit) = self.unit(root)?
                && !(self.words.unique && units.contains(&unit))
            {
                units.push(unit);
            }
        }
        Ok(if self.words.min || self.words.max {
            extreme(&units, self.words.min)
        } else if self.words.list {
            format!("[{}]", units.join(","))
        } else {
            units.join(&self.separator)
        })
    }

    /// The parts of one object, one after the other; absent ones are skipped, literals stay.
    fn unit<'v>(&self, root: &'v Json<'v>) -> Result<Option<String>, Fault> {
        let mut unit = None::<String>;
        for part in &self.parts {
            let text = match part {
                Part::Literal(text) => Some(Cow::Borrowed(&**text)),
                Part::Paths(paths) => first_found(paths, root)?.text(),
            };
            if let Some(text) = text {
                unit.get_or_insert_default().push_str(&text);
            }
        }
        Ok(unit)
    }

    fn whole(&self, roots: &[Json<'_>]) -> String {
        if self.words.count {
            return roots.len().to_string();
        }
        let objects: Vec<String> = roots.iter().map(|root| root.to_json(", ", ": ")).collect();
        format!("[{}]", objects.join(","))
    }

    fn objects<'v>(&self, roots: &'v [Json<'v>]) -> Result<String, Fault> {
        let mut units: Vec<String> = Vec::new();
        for root in roots {
            let mut pairs = Vec::new();
            let mut any = false;
            for part in &self.parts {
                let Part::Paths(paths) = part else {
                    continue;
                };
                let Some(path) = paths.first() else {
                    continue;
                };
                let found = first_found(paths, root)?;
                let absent = found.is_absent();
                any |= !absent;
                if !absent || self.words.null {
                    let value = if absent {
                        "\"\"".to_owned()
                    } else {
                        json_text(&found)
                    };
                    let key = Json::Text(Cow::Borrowed(path.name())).to_json(", ", ": ");
                    pairs.push(format!("{key}: {value}"));
                }
            }
            let unit = format!("{{{}}}", pairs.join(", "));
            if any && !(self.words.unique && units.contains(&unit)) {
                units.push(unit);
            }
        }
        Ok(if self.words.count {
            format!("[{{\"count\" : {} }}]", units.len())
        } else {
            format!("[{}]", units.join(","))
        })
    }
}

fn first_found<'v>(paths: &[Path], root: &'v Json<'v>) -> Result<Found<'v>, Fault> {
    let mut found = Found::ABSENT;
    for path in paths {
        found = path.walk(root)?;
        if !found.is_absent() {
            break;
        }
    }
    Ok(found)
}

fn json_text(found: &Found<'_>) -> String {
    match found {
        Found::One(Item::Value(value)) => value.to_json(", ", ": "),
        Found::One(Item::Made(text)) => Json::Text(text.clone()).to_json(", ", ": "),
        other => other.text().map(Cow::into_owned).unwrap_or_default(),
    }
}

fn extreme(units: &[String], min: bool) -> String {
    let numbers: Option<Vec<f64>> = units.iter().map(|u| u.parse().ok()).collect();
    let best = (0..units.len()).reduce(|best, at| {
        let order = match &numbers {
            Some(numbers) => numbers[at].total_cmp(&numbers[best]),
            None => units[at].cmp(&units[best]),
        };
        if order
            == (if min {
                std::cmp::Ordering::Less
            } else {
                std::cmp::Ordering::Greater
            })
        {
            at
        } else {
            best
        }
    });
    best.map(|at| units[at].clone()).unwrap_or_default()
}

/// The object with the earliest or latest `date` of its body; without dates the first or the last.
fn by_date(roots: &[Json<'_>], first: bool) -> std::ops::Range<usize> {
    let hint = std::sync::atomic::AtomicU32::new(0);
    let date = |root: &Json<'_>| match root {
        Json::Object(pairs) => pairs
            .first()
            .and_then(|(_, body)| body.get("date", &hint))
            .map(|date| date.text().into_owned()),
        _ => None,
    };
    let mut best: Option<(String, usize)> = None;
    for (at, root) in roots.iter().enumerate() {
        if let Some(date) = date(root) {
            let better = best
                .as_ref()
                .is_none_or(|(known, _)| if first { date < *known } else { date >= *known });
            if better {
                best = Some((date, at));
            }
        }
    }
    let at = best.map_or(
        if first {
            0
        } else {
            roots.len().saturating_sub(1)
        },
        |(_, at)| at,
    );
    at..(at + 1).min(roots.len())
}

fn scan_words(text: &str) -> Result<(Words, &str), CompileError> {
    let mut words = Words::default();
    let mut rest = text;
    while let Some(tail) = rest.strip_prefix('.') {
        let end = tail
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(tail.len());
        match &tail[..end] {
            "unique" => words.unique = true,
            "first" => words.first = true,
            "last" | "recent" => words.last = true,
            "json" => words.json = true,
            "list" => words.list = true,
            "null" => words.null = true,
            "count" => words.count = true,
            "min" => words.min = true,
            "max" => words.max = true,
            word @ ("table" | "sort" | "ip_port" | "children") => {
                return Err(CompileError::new(format!(
                    "bring.{word} is for policies, not for messages"
                )));
            }
            word => {
                return Err(CompileError::new(format!(
                    "unknown word '{word}' after bring"
                )));
            }
        }
        rest = &tail[end..];
    }
    if !rest.is_empty() && !rest.starts_with(char::is_whitespace) && rest.len() < text.len() {
        return Err(CompileError::new(format!(
            "a blank is missing before '{rest}'"
        )));
    }
    Ok((words, rest))
}

/// `... separator = x` at the end.
fn split_separator(text: &str) -> (&str, String) {
    if let Some(at) = text.rfind("separator") {
        let before = &text[..at];
        let after = text[at + "separator".len()..].trim_start();
        if (before.is_empty() || before.ends_with(char::is_whitespace))
            && let Some(value) = after.strip_prefix('=')
        {
            let value = value.trim();
            let quoted = value.len() >= 2 && value.starts_with('"') && value.ends_with('"');
            if quoted || !value.contains(char::is_whitespace) {
                return (
                    before,
                    literal(if quoted {
                        &value[1..value.len() - 1]
                    } else {
                        value
                    }),
                );
            }
        }
    }
    (text, String::new())
}

fn literal(text: &str) -> String {
    text.replace("\\n", "\n")
        .replace("\\t", "\t")
        .replace("\\r", "\r")
}

fn scan_parts(text: &str) -> Result<Vec<Part>, CompileError> {
    let mut parts = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '[' {
            let mut paths = Vec::new();
            loop {
                let (path, tail) = Path::scan(rest)?;
                paths.push(path);
                rest = tail;
                match rest.strip_prefix(':') {
                    Some(tail) if tail.starts_with('[') => rest = tail,
                    _ => break,
                }
            }
            parts.push(Part::Paths(paths));
        } else if matches!(first, '"' | '\'')
            && let Some(close) = rest[1..].find(first)
        {
            let inner = &rest[1..=close];
            parts.push(Part::Literal(
                if first == '"' {
                    literal(inner)
                } else {
                    literal(&rest[..close + 2])
                }
                .into(),
            ));
            rest = &rest[close + 2..];
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let word = &rest[..end];
            if word.contains('=') {
                return Err(CompileError::new(format!(
                    "'{word}' in bring: only 'separator = ...' at the end takes '='"
                )));
            }
            parts.push(Part::Literal(literal(word).into()));
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn vectors() -> Vec<Value> {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/vectors/bring.json"
        );
        let text = std::fs::read_to_string(path).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["cases"]
            .as_array()
            .unwrap()
            .clone()
    }

    fn typed(found: &Found<'_>) -> Value {
        let of = |item: &Item<'_>| match item {
            Item::Absent => Value::Null,
            Item::Value(value) => serde_json::from_str(&value.to_json(", ", ": ")).unwrap(),
            Item::Made(text) => Value::String(text.to_string()),
        };
        match found {
            found if found.is_absent() => Value::Null,
            Found::One(item) => of(item),
            Found::Each { items, .. } => items.iter().map(of).collect(),
        }
    }

    #[test]
    fn vectors_hold() {
        for case in vectors() {
            let id = &case["id"];
            let root = Json::from(&case["json"]);
            let roots = match root {
                Json::List(roots) => roots,
                root => vec![root],
            };
            let got = Bring::compile(case["bring"].as_str().unwrap())
                .map_err(|_| 2)
                .and_then(|bring| bring.text(&roots).map_err(|fault| fault.code));
            match &case["expect"] {
                Value::String(text) => assert_eq!(got.as_deref(), Ok(text.as_str()), "{id}"),
                error if error["error"] == "Error in JSON Structure" => {
                    assert_eq!(got, Err(6), "{id}");
                }
                _ => assert_eq!(got, Err(2), "{id}"),
            }
            if case["expect"].is_string() && case.get("typed").is_some() {
                let bring = Bring::compile(case["bring"].as_str().unwrap()).unwrap();
                let found = if roots.len() == 1 {
                    typed(&bring.value(&roots[0]).unwrap())
                } else {
                    Value::String(bring.text(&roots).unwrap())
                };
                assert_eq!(found, case["typed"], "{id}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_compiles_or_fails_and_runs(text in ".{0,40}") {
            let root = Json::parse(br#"{"a": [{"b": "text"}], "c": 1.5}"#).unwrap();
            if let Ok(bring) = Bring::compile(&text) {
                let _ = bring.value(&root);
                let _ = bring.text(std::slice::from_ref(&root));
            }
        }

        #[test]
        fn any_path_compiles_or_fails_and_runs(
            text in r#"(\.(unique|json|null|min|first|list|count))?( ?\[('|")?[abc*0-9]?('|")?(\((prefix|find|rfind|suffix)\([0-9a]?\)\))?\]:?){0,4}( separator = .)?"#
        ) {
            let root = Json::parse(br#"{"a": [{"b": "t\u00e9xt"}, 3], "c": {"a": "x"}}"#).unwrap();
            if let Ok(bring) = Bring::compile(&text) {
                let _ = bring.value(&root);
                let _ = bring.text(std::slice::from_ref(&root));
            }
        }
    }
}
