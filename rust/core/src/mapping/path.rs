//! Paths in square brackets: parsed once, walked per message, never run as code
//! (spec: brokers and mapping, section 7).

use std::borrow::Cow;
use std::sync::atomic::AtomicU32;

use super::json::Json;
use super::{CompileError, Fault};

/// One pair of brackets.
#[derive(Debug)]
enum Step {
    Key {
        name: Box<str>,
        /// The key as a list index.
        index: Option<usize>,
        hint: AtomicU32,
    },
    /// `[]`: every element.
    Each,
    /// `[*]`: the root key of the object.
    Root,
}

/// Part of a text, behind the last key.
#[derive(Debug)]
enum Part {
    Prefix(usize),
    Suffix(usize),
    /// Before the first occurrence.
    Find(Box<str>),
    /// After the last occurrence.
    Rfind(Box<str>),
}

/// A path such as `[a][0]`, `[list][][key]`, `[*][name]`, `[key(prefix(3))]`.
#[derive(Debug)]
pub struct Path {
    steps: Vec<Step>,
    part: Option<Part>,
}

/// What one place of a message holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Item<'v> {
    Absent,
    Value(&'v Json<'v>),
    /// A text that the path or the program made.
    Made(Cow<'v, str>),
}

impl<'v> Item<'v> {
    fn of(value: &'v Json<'v>) -> Self {
        if value.is_absent() {
            Item::Absent
        } else {
            Item::Value(value)
        }
    }

    pub fn is_absent(&self) -> bool {
        matches!(self, Item::Absent)
    }

    pub fn text(&self) -> Option<Cow<'v, str>> {
        match self {
            Item::Absent => None,
            Item::Value(value) => Some(value.text()),
            Item::Made(text) => Some(text.clone()),
        }
    }
}

/// What a path finds: one item, or the items of a list (one per element, so that rows stay aligned).
#[derive(Clone, Debug, PartialEq)]
pub enum Found<'v> {
    One(Item<'v>),
    Each {
        items: Vec<Item<'v>>,
        /// The path ends with `[]`: the elements themselves.
        whole: bool,
    },
}

impl<'v> Found<'v> {
    pub const ABSENT: Self = Found::One(Item::Absent);

    pub fn is_absent(&self) -> bool {
        match self {
            Found::One(item) => item.is_absent(),
            Found::Each { items, .. } => items.iter().all(Item::is_absent),
        }
    }

    /// Printed form; `None` when a single value is absent (a list without hits prints as `[]`).
    pub fn text(&self) -> Option<Cow<'v, str>> {
        match self {
            Found::One(item) => item.text(),
            Found::Each { items, whole } => {
                let (comma, colon) = if *whole { (", ", ": ") } else { (",", ":") };
                let shown: Vec<String> = items
                    .iter()
                    .filter_map(|item| match item {
                        Item::Absent => None,
                        Item::Value(value) => Some(value.to_json(comma, colon)),
                        Item::Made(text) => Some(Json::Text(text.clone()).to_json(comma, colon)),
                    })
                    .collect();
                Some(Cow::Owned(format!("[{}]", shown.join(comma))))
            }
        }
    }
}

impl Path {
    /// The path that begins at `text`, and what follows it. `text` begins with `[`.
    pub fn scan(text: &str) -> Result<(Self, &str), CompileError> {
        let mut steps = Vec::new();
        let mut part = None;
        let mut rest = text;
        while rest.starts_with('[') {
            let end = closing(rest)
                .ok_or_else(|| CompileError::new(format!("no ']' closes '{rest}'")))?;
            let inner = &rest[1..end];
            rest = &rest[end + 1..];
            let mut key = inner.trim();
            if !rest.starts_with('[')
                && let Some((name, function)) = split_function(inner)?
            {
                key = name.trim();
                part = Some(function);
            }
            steps.push(step(key));
        }
        if steps.len() == 1 && matches!(steps[0], Step::Each) {
            steps[0] = Step::Root; // `[]` alone is the root key
        }
        Ok((Self { steps, part }, rest))
    }

    /// A path of one key.
    pub fn key(name: &str) -> Self {
        Self {
            steps: vec![key_step(name)],
            part: None,
        }
    }

    /// Last key of the path: the name of its value in JSON results.
    pub fn name(&self) -> &str {
        self.steps
            .iter()
            .rev()
            .find_map(|step| match step {
                Step::Key {
                    name, index: None, ..
                } => Some(&**name),
                _ => None,
            })
            .unwrap_or("policy")
    }

    pub fn walk<'v>(&self, root: &'v Json<'v>) -> Result<Found<'v>, Fault> {
        let found = self.walk_steps(root)?;
        Ok(match (&self.part, found) {
            (None, found) => found,
            (Some(part), Found::One(item)) => Found::One(part.of(&item)),
            (Some(part), Found::Each { items, whole }) => Found::Each {
                items: items.iter().map(|item| part.of(item)).collect(),
                whole,
            },
        })
    }

    fn walk_steps<'v>(&self, root: &'v Json<'v>) -> Result<Found<'v>, Fault> {
        if let [Step::Root] = self.steps.as_slice() {
            return Ok(Found::One(match root {
                Json::Object(pairs) => pairs.first().map_or(Item::Absent, |(key, _)| {
                    Item::Made(Cow::Borrowed(key.as_ref()))
                }),
                _ => Item::Absent,
            }));
        }
        walk(root, &self.steps)
    }
}

fn walk<'v>(mut value: &'v Json<'v>, steps: &[Step]) -> Result<Found<'v>, Fault> {
    for (at, step) in steps.iter().enumerate() {
        let next = match step {
            Step::Each => {
                let Json::List(values) = value else {
                    return Err(Fault::structure("'[]' needs a list"));
                };
                return each(values, &steps[at + 1..]);
            }
            Step::Root => match value {
                Json::Object(pairs) => pairs.first().map(|(_, inner)| inner),
                _ => None,
            },
            Step::Key { name, index, hint } => match (value, index) {
                (Json::Object(_), _) => value.get(name, hint),
                (Json::List(values), Some(index)) => values.get(*index),
                _ => None,
            },
        };
        match next {
            Some(found) => value = found,
            None => return Ok(Found::ABSENT),
        }
    }
    Ok(Found::One(Item::of(value)))
}

fn each<'v>(values: &'v [Json<'v>], rest: &[Step]) -> Result<Found<'v>, Fault> {
    let mut items = Vec::with_capacity(values.len());
    for value in values {
        match walk(value, rest)? {
            Found::One(item) => items.push(item),
            Found::Each { items: inner, .. } => items.extend(inner),
        }
    }
    Ok(Found::Each {
        items,
        whole: rest.is_empty(),
    })
}

impl Part {
    fn of<'v>(&self, item: &Item<'v>) -> Item<'v> {
        let Some(text) = item.text() else {
            return Item::Absent;
        };
        let range = match self {
            Part::Prefix(n) => 0..char_offset(&text, *n),
            Part::Suffix(n) => {
                let count = text.chars().count();
                char_offset(&text, count.saturating_sub(*n))..text.len()
            }
            Part::Find(what) => 0..text.find(&**what).unwrap_or(text.len()),
            Part::Rfind(what) => text.rfind(&**what).map_or(0, |at| at + what.len())..text.len(),
        };
        if range.is_empty() {
            return Item::Absent;
        }
        Item::Made(match text {
            Cow::Borrowed(text) => Cow::Borrowed(&text[range]),
            Cow::Owned(text) => Cow::Owned(text[range].to_owned()),
        })
    }
}

fn char_offset(text: &str, chars: usize) -> usize {
    text.char_indices()
        .nth(chars)
        .map_or(text.len(), |(at, _)| at)
}

fn closing(text: &str) -> Option<usize> {
    let quote = text[1..].chars().next().filter(|c| matches!(c, '"' | '\''));
    let from = match quote {
        Some(quote) => text[2..].find(quote).map_or(1, |at| at + 2),
        None => 1,
    };
    text[from..].find(']').map(|at| at + from)
}

/// `key(prefix(3))` as key and function.
fn split_function(inner: &str) -> Result<Option<(&str, Part)>, CompileError> {
    let Some(body) = inner.trim_end().strip_suffix("))") else {
        return Ok(None);
    };
    for (name, open) in [
        ("prefix", "(prefix("),
        ("suffix", "(suffix("),
        ("rfind", "(rfind("),
        ("find", "(find("),
    ] {
        let Some(at) = body.find(open) else {
            continue;
        };
        let argument = &body[at + open.len()..];
        let count = || {
            argument.trim().parse::<usize>().map_err(|_| {
                CompileError::new(format!(
                    "{name}({argument}): a number of characters is needed"
                ))
            })
        };
        let part = match name {
            "prefix" => Part::Prefix(count()?),
            "suffix" => Part::Suffix(count()?),
            "find" => Part::Find(argument.into()),
            _ => Part::Rfind(argument.into()),
        };
        return Ok(Some((&body[..at], part)));
    }
    Ok(None)
}

fn step(key: &str) -> Step {
    match key {
        "" => Step::Each,
        "*" => Step::Root,
        _ => {
            let quoted = key.len() >= 2
                && (key.starts_with('\'') && key.ends_with('\'')
                    || key.starts_with('"') && key.ends_with('"'));
            key_step(if quoted { &key[1..key.len() - 1] } else { key })
        }
    }
}

fn key_step(name: &str) -> Step {
    let digits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
    Step::Key {
        name: name.into(),
        index: if digits { name.parse().ok() } else { None },
        hint: AtomicU32::new(0),
    }
}
