//! What the values of a stretch of time came to, and its text in the database.

use std::cmp::Ordering;
use std::fmt::{self, Write as _};
use std::str::{FromStr, SplitAsciiWhitespace};

use crate::query::group::Sum;
use crate::query::value::{Val, compare};

/// Count, sum, bounds and the times of the first and the last value.
#[derive(Clone, Debug)]
pub struct Tally {
    pub count: u64,
    sum: Sum,
    /// Numbers; null while there is no value.
    pub min: Val,
    pub max: Val,
    /// Microseconds UTC.
    pub first_us: i64,
    pub last_us: i64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            count: 0,
            sum: Sum::default(),
            min: Val::Null,
            max: Val::Null,
            first_us: i64::MAX,
            last_us: i64::MIN,
        }
    }
}

impl Tally {
    /// `value` is a number.
    pub fn add(&mut self, us: i64, value: &Val) {
        self.count += 1;
        match value {
            Val::Int(n) => self.sum.add_int(*n),
            _ => self.sum.add_float(float(value)),
        }
        keep(&mut self.min, value, Ordering::Less);
        keep(&mut self.max, value, Ordering::Greater);
        self.first_us = self.first_us.min(us);
        self.last_us = self.last_us.max(us);
    }

    /// NaN while there is no value.
    pub fn average(&self) -> f64 {
        self.sum.float() / self.count as f64
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let (whole, high, low, is_float) = self.sum.parts();
        write!(
            out,
            "{} {whole} {high:?} {low:?} {} ",
            self.count,
            u8::from(is_float)
        )?;
        for value in [&self.min, &self.max] {
            match value {
                Val::Int(n) => write!(out, "{n} ")?,
                other => write!(out, "{:?} ", float(other))?,
            }
        }
        write!(out, "{} {}", self.first_us, self.last_us)
    }

    fn read(fields: &mut SplitAsciiWhitespace<'_>) -> Option<Self> {
        let count = next(fields)?;
        let (whole, high, low) = (next(fields)?, next(fields)?, next(fields)?);
        let is_float = next::<u8>(fields)? != 0;
        Some(Self {
            count,
            sum: Sum::from_parts(whole, high, low, is_float),
            min: number(fields.next()?)?,
            max: number(fields.next()?)?,
            first_us: next(fields)?,
            last_us: next(fields)?,
        })
    }

    pub fn to_text(&self) -> String {
        let mut out = String::with_capacity(96);
        // Writing into a String does not fail.
        let _ = self.write(&mut out);
        out
    }
}

impl FromStr for Tally {
    type Err = BadText;

    fn from_str(text: &str) -> Result<Self, BadText> {
        let mut fields = text.split_ascii_whitespace();
        let found = Self::read(&mut fields);
        found.ok_or_else(|| BadText(text.chars().take(60).collect()))
    }
}

/// A text that is no interval.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no aggregate of this version")]
pub struct BadText(String);

/// Consecutive values that are about equal (approximated run-length encoding).
#[derive(Clone, Debug)]
pub struct Run {
    /// The value that the others are compared with.
    pub initial: f64,
    pub tally: Tally,
}

/// What is known of an interval: all its values, and the run that the next value may go on.
#[derive(Clone, Debug, Default)]
pub struct Interval {
    pub all: Tally,
    pub run: Option<Run>,
}

impl Interval {
    pub fn to_text(&self) -> String {
        let mut out = self.all.to_text();
        if let Some(run) = &self.run {
            // Writing into a String does not fail.
            let _ = write!(out, " {:?} {}", run.initial, run.tally.to_text());
        }
        out
    }
}

impl FromStr for Interval {
    type Err = BadText;

    fn from_str(text: &str) -> Result<Self, BadText> {
        let bad = || BadText(text.chars().take(60).collect());
        let mut fields = text.split_ascii_whitespace();
        let all = Tally::read(&mut fields).ok_or_else(bad)?;
        let run = match fields.next() {
            None => None,
            Some(initial) => Some(Run {
                initial: initial.parse().map_err(|_| bad())?,
                tally: Tally::read(&mut fields).ok_or_else(bad)?,
            }),
        };
        Ok(Self { all, run })
    }
}

pub fn float(value: &Val) -> f64 {
    match value {
        Val::Int(n) => *n as f64,
        Val::Float(f) => *f,
        _ => f64::NAN,
    }
}

fn keep(held: &mut Val, value: &Val, wanted: Ordering) {
    if held.is_null() || compare(value.cell(), held.cell()) == wanted {
        *held = value.clone();
    }
}

fn next<T: FromStr>(fields: &mut SplitAsciiWhitespace<'_>) -> Option<T> {
    fields.next()?.parse().ok()
}

/// Digits are an integer, anything else a float; what is no number is no value.
fn number(text: &str) -> Option<Val> {
    if let Ok(n) = text.parse() {
        return Some(Val::Int(n));
    }
    let value: f64 = text.parse().ok()?;
    Some(if value.is_nan() {
        Val::Null
    } else {
        Val::Float(value)
    })
}
