//! Casts of a result's column: `item::cast::cast` (spec: query, section 10).

mod expression;
mod format;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use jiff::fmt::strtime;
use serde::{Deserialize, Serialize};

use self::expression::{Expression, round_to, to_float, to_int, to_text};
use self::format::{MAX_WIDTH, Spec, grouped};
use super::error::{QueryError, Result};
use super::time::{Clock, HOUR, MINUTE, SECOND, Zone, parse_instant};
use super::value::Val;

const NAMES: &str = "int, str, lstrip, rstrip, float, ljust, rjust, format, datetime, timezone, timediff, function, replace";

/// Digits that `float(n)` takes; a double has no more behind its point.
const MAX_DIGITS: usize = 300;

/// One cast, parsed. It crosses borders as its text.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Cast {
    text: String,
    step: Step,
}

impl PartialEq for Cast {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

#[derive(Clone, Debug)]
enum Step {
    Int,
    Str,
    StripLeft,
    StripRight,
    /// Digits behind the point; None leaves the value as it is.
    Float(Option<usize>),
    /// With thousands separated.
    FloatText(usize),
    JustLeft(usize),
    JustRight(usize),
    Format(Spec),
    DateTime(String),
    TimeZone(Zone),
    TimeDiff(Moment),
    Function(Expression),
    Replace(String, String),
}

#[derive(Clone, Debug)]
enum Moment {
    Now,
    At(i64),
    Title(String),
}

/// What a cast may look at beside its value.
pub struct Surroundings<'a> {
    /// Value of another output of the row by its title, before casts.
    pub row: &'a dyn Fn(&str) -> Val,
    /// `now()`: one for the whole statement.
    pub now_us: i64,
}

impl Cast {
    /// From `name` or `name(argument)`. Raises UnknownCast, CastFailed for an argument that makes no sense.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let (name, argument) = match text.split_once('(') {
            Some((name, rest)) => match rest.strip_suffix(')') {
                Some(argument) => (name.trim(), Some(argument.trim())),
                None => return Err(refused(text, "its parenthesis is not closed")),
            },
            None => (text, None),
        };
        let step = step(&name.to_ascii_lowercase(), argument, text)?;
        Ok(Self {
            text: text.to_owned(),
            step,
        })
    }

    /// Titles of outputs that the cast reads, in lower case.
    pub fn titles(&self) -> Vec<&str> {
        let mut found = Vec::new();
        match &self.step {
            Step::TimeDiff(Moment::Title(title)) => found.push(title.as_str()),
            Step::Function(expression) => expression.titles(&mut found),
            _ => {}
        }
        found
    }

    /// The cast value. Null stays null; CastFailed names the cast and the value.
    pub fn apply(&self, value: &Val, around: &Surroundings<'_>) -> Result<Val> {
        if value.is_null() {
            return Ok(Val::Null);
        }
        self.step
            .apply(value, around)
            .map_err(|reason| self.failed(value, &reason))
    }

    fn failed(&self, value: &Val, reason: &str) -> QueryError {
        let shown: String = match value {
            Val::Blob(bytes) => format!("{} binary bytes", bytes.len()),
            other => to_text(other)
                .unwrap_or_default()
                .chars()
                .take(60)
                .collect(),
        };
        let reason = if reason.is_empty() {
            String::new()
        } else {
            format!(": {reason}")
        };
        QueryError::CastFailed(format!("'::{}' of '{shown}'{reason}", self.text))
    }
}

fn refused(text: &str, reason: &str) -> QueryError {
    QueryError::CastFailed(format!("'::{text}': {reason}"))
}

fn step(name: &str, argument: Option<&str>, text: &str) -> Result<Step> {
    let wrong = |reason: &str| refused(text, reason);
    let given = || {
        argument
            .filter(|a| !a.is_empty())
            .ok_or_else(|| wrong("its parenthesis needs a value"))
    };
    let width = || match given()?.parse() {
        Ok(width) if width <= MAX_WIDTH => Ok(width),
        _ => Err(wrong("the width is a number up to 1000")),
    };
    let digits = |digits: &str| match digits.trim().parse() {
        Ok(digits) if digits <= MAX_DIGITS => Ok(digits),
        _ => Err(wrong("the number of digits is wrong")),
    };
    let made = match name {
        "int" => Step::Int,
        "str" => Step::Str,
        "lstrip" => Step::StripLeft,
        "rstrip" => Step::StripRight,
        "float" => match argument.map(|a| (a, a.strip_prefix('%'))) {
            None | Some(("", _)) => Step::Float(None),
            Some((_, Some(rest))) => Step::FloatText(digits(rest)?),
            Some((all, None)) => Step::Float(Some(digits(all)?)),
        },
        "ljust" => Step::JustLeft(width()?),
        "rjust" => Step::JustRight(width()?),
        "format" => {
            let spec = unquoted(given()?);
            let spec = spec
                .strip_prefix(':')
                .or_else(|| spec.strip_prefix("0:"))
                .ok_or_else(|| wrong("the format begins with ':' or '0:'"))?;
            Step::Format(Spec::parse(spec).ok_or_else(|| wrong("no such format"))?)
        }
        "datetime" => {
            let code = codes(unquoted(given()?));
            if date_text(&code, 0).is_none() {
                return Err(wrong("unknown code, use such as %Y-%m-%d %H:%M:%S"));
            }
            Step::DateTime(code)
        }
        "timezone" => match Zone::named(unquoted(given()?), &Zone::system()) {
            Ok(zone) => Step::TimeZone(zone),
            Err(error) => return Err(wrong(&error.to_string())),
        },
        "timediff" => Step::TimeDiff(moment(given()?, &wrong)?),
        "function" => Step::Function(Expression::parse(given()?).map_err(|reason| wrong(&reason))?),
        "replace" => {
            let (from, to) =
                split_by(given()?).ok_or_else(|| wrong("write replace(this by that)"))?;
            Step::Replace(from.to_owned(), to.to_owned())
        }
        _ => {
            return Err(QueryError::UnknownCast(format!(
                "'{name}' is no cast: use one of {NAMES}"
            )));
        }
    };
    let bare = matches!(
        made,
        Step::Int | Step::Str | Step::StripLeft | Step::StripRight
    );
    if bare && argument.is_some_and(|a| !a.is_empty()) {
        return Err(wrong("it takes no value"));
    }
    Ok(made)
}

fn moment(argument: &str, wrong: &dyn Fn(&str) -> QueryError) -> Result<Moment> {
    let bare = unquoted(argument);
    if bare.eq_ignore_ascii_case("now()") || bare.eq_ignore_ascii_case("now") {
        return Ok(Moment::Now);
    }
    if let Ok(us) = parse_instant(bare, &Zone::Utc) {
        return Ok(Moment::At(us));
    }
    let title = bare.trim_start_matches('[').trim_end_matches(']').trim();
    if title.is_empty() || bare.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(wrong("give now(), a time, or the title of another column"));
    }
    Ok(Moment::Title(title.to_lowercase()))
}

fn unquoted(text: &str) -> &str {
    let text = text.trim();
    ['\'', '"']
        .iter()
        .find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote))
        .unwrap_or(text)
}

/// The two sides of `this by that`; either may be quoted, `that` may be empty.
fn split_by(argument: &str) -> Option<(&str, &str)> {
    let quote = argument.chars().next().filter(|c| ['\'', '"'].contains(c));
    let from = match quote {
        Some(quote) => argument[1..].find(quote)? + 2,
        None => 0,
    };
    let at = argument[from..].to_ascii_lowercase();
    let at = at
        .find(" by ")
        .or_else(|| at.ends_with(" by").then(|| at.len() - 3))?;
    let (this, rest) = argument.split_at(from + at);
    let this = unquoted(this);
    (!this.is_empty()).then(|| (this, unquoted(&rest[3..])))
}

impl Step {
    fn apply(&self, value: &Val, around: &Surroundings<'_>) -> std::result::Result<Val, String> {
        let none = String::new;
        let text = || to_text(value).ok_or_else(none);
        let float = || to_float(value).ok_or_else(none);
        Ok(match self {
            Self::Int => Val::Int(to_int(value).ok_or_else(none)?),
            Self::Str => Val::text(&text()?),
            Self::StripLeft => Val::text(text()?.trim_start()),
            Self::StripRight => Val::text(text()?.trim_end()),
            Self::Float(None) => Val::Float(float()?),
            Self::Float(Some(digits)) => Val::Float(round_to(float()?, *digits)),
            Self::FloatText(digits) => Val::text(&thousands(float()?, *digits)),
            Self::JustLeft(width) => Val::text(&just_left(&text()?, *width)),
            Self::JustRight(width) => Val::text(&just_right(&text()?, *width)),
            Self::Format(spec) => {
                let made = spec.apply(value);
                Val::text(&made.ok_or("the format does not fit the value")?)
            }
            Self::DateTime(code) => {
                Val::text(&date_text(code, instant(value)?).ok_or("time out of range")?)
            }
            Self::TimeZone(zone) => {
                let mut out = Vec::with_capacity(26);
                Clock::new(zone.clone(), false).push(&mut out, instant(value)?);
                out.truncate(out.len().saturating_sub(7)); // the fraction and its point
                Val::text(&String::from_utf8_lossy(&out))
            }
            Self::TimeDiff(moment) => {
                let other = match moment {
                    Moment::Now => around.now_us,
                    Moment::At(us) => *us,
                    Moment::Title(title) => match (around.row)(title) {
                        Val::Null => return Ok(Val::Null),
                        other => instant(&other)?,
                    },
                };
                Val::text(&difference(instant(value)?, other))
            }
            Self::Function(expression) => expression.value(around.row)?,
            Self::Replace(this, that) => Val::text(&text()?.replacen(this, that, 1)),
        })
    }
}

/// The instant of a time's text (UTC where it names no zone).
fn instant(value: &Val) -> std::result::Result<i64, String> {
    match value {
        Val::Text(text) => parse_instant(text, &Zone::Utc).map_err(|e| e.to_string()),
        _ => Err("it is no time".to_owned()),
    }
}

fn just_left(text: &str, width: usize) -> String {
    let mut out: String = text.chars().take(width).collect();
    let missing = width - out.chars().count();
    out.extend(std::iter::repeat_n(' ', missing));
    out
}

fn just_right(text: &str, width: usize) -> String {
    let len = text.chars().count();
    let mut out = " ".repeat(width.saturating_sub(len));
    out.extend(text.chars().skip(len.saturating_sub(width)));
    out
}

fn thousands(value: f64, digits: usize) -> String {
    let text = format!("{:.digits$}", value.abs());
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let sign = if value.is_sign_negative() { "-" } else { "" };
    format!("{sign}{}{fraction}", grouped(whole, ',', 3))
}

/// `HH:MM:SS.f`, five digits of the fraction, cut.
fn difference(a: i64, b: i64) -> String {
    let us = a.abs_diff(b) as i64;
    format!(
        "{:02}:{:02}:{:02}.{:05}",
        us / HOUR,
        us / MINUTE % 60,
        us / SECOND % 60,
        us % SECOND / 10
    )
}

/// Codes of Python's strftime that jiff writes otherwise.
fn codes(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(c);
        if c == '%' {
            match chars.next() {
                Some('f') => out.push_str("6f"), // always six digits
                Some('c') => out.push_str("a %b %e %H:%M:%S %Y"),
                Some('x') => out.push_str("m/%d/%y"),
                Some('X') => out.push_str("H:%M:%S"),
                Some(other) => out.push(other),
                None => out.push('%'),
            }
        }
    }
    out
}

fn date_text(code: &str, us: i64) -> Option<String> {
    let stamp = Timestamp::from_microsecond(us).ok()?;
    strtime::format(code, stamp).ok()
}

impl From<Cast> for String {
    fn from(cast: Cast) -> Self {
        cast.text
    }
}

impl TryFrom<String> for Cast {
    type Error = QueryError;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}
