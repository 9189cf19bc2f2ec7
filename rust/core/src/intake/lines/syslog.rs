//! The two forms of a syslog line. What does not have the form is a message that came now.

use crate::rows::time::{self, Zone};
use crate::rows::{Cell, LogicalType};

pub const BSD_COLUMNS: [(&str, LogicalType); 5] = [
    ("priority", LogicalType::Int),
    ("timestamp", LogicalType::Timestamp),
    ("hostname", LogicalType::Varchar),
    ("tag", LogicalType::Varchar),
    ("message", LogicalType::Varchar),
];

pub const IETF_COLUMNS: [(&str, LogicalType); 9] = [
    ("priority", LogicalType::Int),
    ("version", LogicalType::Int),
    ("timestamp", LogicalType::Timestamp),
    ("hostname", LogicalType::Varchar),
    ("application", LogicalType::Varchar),
    ("pid", LogicalType::Varchar),
    ("mid", LogicalType::Varchar),
    ("struct", LogicalType::Varchar),
    ("message", LogicalType::Varchar),
];

const DAY_US: i64 = 86_400_000_000;
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

type Push<'p> = dyn FnMut(&str, Cell<'_>) + 'p;

/// `<34>Oct 11 22:14:15 host su: message`
pub fn bsd(line: &str, now_us: i64, push: &mut Push<'_>) {
    let Some((priority, at_us, rest)) = bsd_head(line, now_us) else {
        return unformed(line, now_us, push);
    };
    let (hostname, rest) = word(rest);
    let (tag, message) = match rest.split_once(':') {
        Some((tag, message)) if !tag.contains(' ') => (tag, message.trim_start()),
        _ => ("", rest),
    };
    push("priority", Cell::Int(priority));
    push("timestamp", Cell::Time(at_us));
    push("hostname", Cell::Text(hostname));
    push("tag", Cell::Text(tag));
    push("message", Cell::Text(message));
}

fn bsd_head(line: &str, now_us: i64) -> Option<(i64, i64, &str)> {
    let (priority, rest) = priority(line)?;
    let (month, rest) = word(rest);
    let (day, rest) = word(rest.trim_start());
    let (clock, rest) = word(rest);
    let month = MONTHS.iter().position(|name| *name == month)? as u32 + 1;
    let day: u32 = day.parse().ok()?;
    let (year, ..) = time::civil_from_days(now_us.div_euclid(DAY_US));
    let at = |year: i64| {
        let text = format!("{year:04}-{month:02}-{day:02}T{clock}Z");
        time::parse(&text, &Zone::UTC)
    };
    // The line does not say its year: one of the last days of December may arrive in January.
    let mut at_us = at(year)?;
    if at_us > now_us + DAY_US {
        at_us = at(year - 1)?;
    }
    Some((priority, at_us, rest))
}

/// `<34>1 2003-10-11T22:14:15.003Z host app pid mid [struct] message`
pub fn ietf(line: &str, now_us: i64, push: &mut Push<'_>) {
    let Some((priority, version, rest)) = ietf_head(line) else {
        return unformed(line, now_us, push);
    };
    push("priority", Cell::Int(priority));
    push("version", Cell::Int(version));
    let (at, mut rest) = word(rest);
    push(
        "timestamp",
        Cell::Time(time::parse(at, &Zone::UTC).unwrap_or(now_us)),
    );
    for name in ["hostname", "application", "pid", "mid"] {
        let (value, after) = word(rest);
        push(name, nil(value));
        rest = after;
    }
    let (data, message) = structured(rest);
    push("struct", nil(data));
    push(
        "message",
        Cell::Text(message.strip_prefix('\u{feff}').unwrap_or(message)),
    );
}

fn ietf_head(line: &str) -> Option<(i64, i64, &str)> {
    let (priority, rest) = priority(line)?;
    let (version, rest) = word(rest);
    Some((priority, version.parse().ok()?, rest))
}

/// `-`, or elements in brackets, whose values may hold brackets behind a backslash or in quotes.
fn structured(text: &str) -> (&str, &str) {
    if !text.starts_with('[') {
        return word(text);
    }
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            '[' if !quoted => depth += 1,
            ']' if !quoted => depth = depth.saturating_sub(1),
            ' ' if depth == 0 => return (&text[..at], &text[at + 1..]),
            _ => {}
        }
    }
    (text, "")
}

fn unformed(line: &str, now_us: i64, push: &mut Push<'_>) {
    push("timestamp", Cell::Time(now_us));
    push("message", Cell::Text(line));
}

fn priority(line: &str) -> Option<(i64, &str)> {
    let (number, rest) = line.strip_prefix('<')?.split_once('>')?;
    let number: i64 = number.parse().ok()?;
    (0..=191).contains(&number).then_some((number, rest))
}

fn word(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or((text, ""))
}

fn nil(value: &str) -> Cell<'_> {
    if value == "-" {
        Cell::Null
    } else {
        Cell::Text(value)
    }
}
