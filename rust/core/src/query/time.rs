//! Instants: microseconds UTC to and from text, in a time zone (spec: query, sections 6 and 10).

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use super::error::{QueryError, Result, parse_error};
use crate::rows::time::{civil_from_days, days_from_civil};

pub const SECOND: i64 = 1_000_000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;

/// A unit of time in `increments`, `period`, `date_trunc` and time arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl Unit {
    /// Exactly as `increments` wants it: singular, in words.
    pub fn singular(word: &str) -> Option<Self> {
        Some(match word {
            "second" => Self::Second,
            "minute" => Self::Minute,
            "hour" => Self::Hour,
            "day" => Self::Day,
            "week" => Self::Week,
            "month" => Self::Month,
            "year" => Self::Year,
            _ => return None,
        })
    }

    /// As time arithmetic takes it: plural and one letter too.
    pub fn lenient(word: &str) -> Option<Self> {
        Some(match word {
            "y" => Self::Year,
            "m" => Self::Month,
            "w" => Self::Week,
            "d" => Self::Day,
            "h" => Self::Hour,
            "t" => Self::Minute,
            "s" => Self::Second,
            _ => return Self::singular(word.strip_suffix('s').unwrap_or(word)),
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }
}

/// The time zone of a query, by the names that options use.
#[derive(Clone, Debug)]
pub enum Zone {
    Utc,
    Named(TimeZone),
}

impl Zone {
    /// `utc`, `local`, `pt mt ct et`, or a name of the time zone database.
    pub fn named(name: &str, local: &Self) -> Result<Self> {
        let lower = name.to_ascii_lowercase();
        let iana = match lower.as_str() {
            "local" | "" => return Ok(local.clone()),
            "utc" | "z" | "gmt" | "etc/utc" => return Ok(Self::Utc),
            "pt" => "America/Los_Angeles",
            "mt" => "America/Denver",
            "ct" => "America/Chicago",
            "et" => "America/New_York",
            _ => name,
        };
        match TimeZone::get(iana) {
            Ok(zone) => Ok(Self::Named(zone)),
            Err(_) => parse_error(format!(
                "'{name}' is no time zone: use local, utc, pt, mt, ct, et or a name such as Europe/Berlin"
            )),
        }
    }

    /// The machine's zone; UTC where it is not set.
    pub fn system() -> Self {
        let zone = TimeZone::system();
        match zone.iana_name() {
            Some("UTC" | "Etc/UTC") => Self::Utc,
            _ => Self::Named(zone),
        }
    }

    /// Seconds to add to UTC at an instant.
    pub fn offset_seconds(&self, us: i64) -> i64 {
        match self {
            Self::Utc => 0,
            Self::Named(zone) => Timestamp::from_microsecond(us)
                .map_or(0, |t| i64::from(zone.to_offset(t).seconds())),
        }
    }

    /// Instant of a wall clock time; in a gap or an overlap the earlier offset holds.
    pub fn instant(&self, wall: DateTime) -> Result<i64> {
        let zone = match self {
            Self::Utc => &TimeZone::UTC,
            Self::Named(zone) => zone,
        };
        zone.to_timestamp(wall)
            .map(Timestamp::as_microsecond)
            .map_err(|e| QueryError::Parse(format!("time out of range: {e}")))
    }
}

/// The text of an instant in the form of the stored UTC text: `2025-01-01T00:00:00.000000Z`.
pub fn utc_text(us: i64) -> String {
    let mut out = Vec::with_capacity(27);
    Clock::new(Zone::Utc, true).push(&mut out, us);
    String::from_utf8(out).unwrap_or_default()
}

/// Formats instants in one zone; remembers the day and the offset of the last one.
#[derive(Debug)]
pub struct Clock {
    zone: Zone,
    /// `T` and `Z`, as `timezone = utc` prints.
    iso: bool,
    slot: i64,
    offset_us: i64,
    day: i64,
    date: [u8; 10],
}

/// Offsets change on quarter hours only.
const SLOT: i64 = 15 * MINUTE;

impl Clock {
    pub fn new(zone: Zone, iso: bool) -> Self {
        Self {
            zone,
            iso,
            slot: i64::MIN,
            offset_us: 0,
            day: i64::MIN,
            date: *b"0000-00-00",
        }
    }

    fn offset(&mut self, us: i64) -> i64 {
        if matches!(self.zone, Zone::Utc) {
            return 0;
        }
        let slot = us.div_euclid(SLOT);
        if slot != self.slot {
            self.slot = slot;
            self.offset_us = self.zone.offset_seconds(us) * SECOND;
        }
        self.offset_us
    }

    /// Append `YYYY-MM-DD HH:MM:SS.ffffff` (or the ISO form).
    pub fn push(&mut self, out: &mut Vec<u8>, us: i64) {
        let wall = us.saturating_add(self.offset(us));
        let day = wall.div_euclid(DAY);
        if day != self.day {
            self.day = day;
            let (y, m, d) = civil_from_days(day);
            if !(0..=9999).contains(&y) {
                // Outside four digits there is no agreed form; the date stays readable.
                self.day = i64::MIN;
                let rest = wall.rem_euclid(DAY);
                out.extend_from_slice(format!("{y}-{m:02}-{d:02}").as_bytes());
                return self.push_clock(out, rest);
            }
            put4(&mut self.date[0..4], y as u32);
            put2(&mut self.date[5..7], m);
            put2(&mut self.date[8..10], d);
        }
        out.extend_from_slice(&self.date);
        self.push_clock(out, wall.rem_euclid(DAY));
    }

    fn push_clock(&self, out: &mut Vec<u8>, rest: i64) {
        let mut text = *b" 00:00:00.000000Z";
        if self.iso {
            text[0] = b'T';
        }
        put2(&mut text[1..3], (rest / HOUR) as u32);
        put2(&mut text[4..6], (rest / MINUTE % 60) as u32);
        put2(&mut text[7..9], (rest / SECOND % 60) as u32);
        let fraction = (rest % SECOND) as u32;
        put2(&mut text[10..12], fraction / 10_000);
        put2(&mut text[12..14], fraction / 100 % 100);
        put2(&mut text[14..16], fraction % 100);
        out.extend_from_slice(&text[..if self.iso { 17 } else { 16 }]);
    }
}

fn put2(to: &mut [u8], value: u32) {
    to[0] = b'0' + (value / 10 % 10) as u8;
    to[1] = b'0' + (value % 10) as u8;
}

fn put4(to: &mut [u8], value: u32) {
    put2(&mut to[0..2], value / 100);
    put2(&mut to[2..4], value % 100);
}

/// The instant of a time literal. A date is UTC midnight, `T` or `Z` means UTC, a blank form is wall clock in `zone`.
pub fn parse_instant(text: &str, zone: &Zone) -> Result<i64> {
    let bad = || {
        QueryError::Parse(format!(
            "'{text}' is no time: write 'YYYY-MM-DD HH:MM:SS', 'YYYY-MM-DDTHH:MM:SSZ' or 'YYYY-MM-DD'"
        ))
    };
    let trimmed = text.trim();
    let bytes = trimmed.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let part = bytes.get(from..to)?;
        if part.is_empty() || !part.iter().all(u8::is_ascii_digit) {
            return None;
        }
        std::str::from_utf8(part).ok()?.parse().ok()
    };
    let at = |index: usize, wanted: u8| bytes.get(index) == Some(&wanted);
    let date = || -> Option<(i64, i64, i64)> {
        (at(4, b'-') && at(7, b'-')).then_some(())?;
        Some((number(0, 4)?, number(5, 7)?, number(8, 10)?))
    };
    let (year, month, day) = date().ok_or_else(bad)?;
    let midnight =
        DateTime::new(year as i16, month as i8, day as i8, 0, 0, 0, 0).map_err(|_| bad())?;
    if bytes.len() == 10 {
        return Zone::Utc.instant(midnight);
    }
    let iso = match bytes[10] {
        b'T' | b't' => true,
        b' ' => false,
        _ => return Err(bad()),
    };
    let (hour, minute) = (|| {
        at(13, b':').then_some(())?;
        Some((number(11, 13)?, number(14, 16)?))
    })()
    .ok_or_else(bad)?;
    let mut index = 16;
    let mut second = 0;
    let mut fraction = 0;
    if at(16, b':') {
        second = number(17, 19).ok_or_else(bad)?;
        index = 19;
        if at(19, b'.') {
            let digits = bytes[20..]
                .iter()
                .take_while(|b| b.is_ascii_digit())
                .count();
            let kept = digits.min(6);
            let value = number(20, 20 + kept).ok_or_else(bad)?;
            fraction = value * 10_i64.pow(6 - kept as u32);
            index = 20 + digits;
        }
    }
    let wall = DateTime::new(
        year as i16,
        month as i8,
        day as i8,
        hour as i8,
        minute as i8,
        second as i8,
        (fraction * 1000) as i32,
    )
    .map_err(|_| bad())?;
    let suffix = trimmed[index..].trim();
    match suffix {
        "" if !iso => zone.instant(wall),
        "" | "Z" | "z" => Zone::Utc.instant(wall),
        _ => Ok(Zone::Utc.instant(wall)? - offset_suffix(suffix).ok_or_else(bad)? * SECOND),
    }
}

/// Seconds of `+02:00`, `-0530` or `+02`.
fn offset_suffix(text: &str) -> Option<i64> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits: String = text[1..].chars().filter(|c| *c != ':').collect();
    if !digits.bytes().all(|b| b.is_ascii_digit()) || !matches!(digits.len(), 2 | 4) {
        return None;
    }
    let hours: i64 = digits[..2].parse().ok()?;
    let minutes: i64 = digits
        .get(2..)
        .filter(|m| !m.is_empty())
        .map_or(Some(0), |m| m.parse().ok())?;
    Some(sign * (hours * 3600 + minutes * 60))
}

/// `us` moved by `n` units; months and years keep the day, clipped to the month's length.
pub fn shift(us: i64, n: i64, unit: Unit) -> Result<i64> {
    let fixed = |width: i64| n.checked_mul(width).and_then(|d| us.checked_add(d));
    let moved = match unit {
        Unit::Second => fixed(SECOND),
        Unit::Minute => fixed(MINUTE),
        Unit::Hour => fixed(HOUR),
        Unit::Day => fixed(DAY),
        Unit::Week => fixed(7 * DAY),
        Unit::Month => shift_months(us, n),
        Unit::Year => n
            .checked_mul(12)
            .and_then(|months| shift_months(us, months)),
    };
    moved.ok_or_else(|| QueryError::Parse(format!("time out of range: {n} {}", unit.name())))
}

fn shift_months(us: i64, months: i64) -> Option<i64> {
    let stamp = Timestamp::from_microsecond(us).ok()?;
    let civil = TimeZone::UTC.to_datetime(stamp);
    let span = Span::new().try_months(months).ok()?;
    let moved = civil.checked_add(span).ok()?;
    Some(TimeZone::UTC.to_timestamp(moved).ok()?.as_microsecond())
}

/// Start of the unit in which an instant lies, in UTC.
pub fn truncate(us: i64, unit: Unit) -> i64 {
    let floor = |width: i64| us.div_euclid(width) * width;
    let day = us.div_euclid(DAY);
    match unit {
        Unit::Second => floor(SECOND),
        Unit::Minute => floor(MINUTE),
        Unit::Hour => floor(HOUR),
        Unit::Day => day * DAY,
        Unit::Week => (day - (day + 3).rem_euclid(7)) * DAY, // weeks begin on Monday; day 0 was a Thursday
        Unit::Month => {
            let (y, m, _) = civil_from_days(day);
            days_from_civil(y, m, 1) * DAY
        }
        Unit::Year => days_from_civil(civil_from_days(day).0, 1, 1) * DAY,
    }
}

/// Apply a modifier such as `start of month`, `+1 month`, `-2 hours`.
pub fn modify(us: i64, modifier: &str) -> Result<i64> {
    let lower = modifier.trim().to_ascii_lowercase();
    if let Some(unit) = lower.strip_prefix("start of ") {
        return Unit::singular(unit.trim())
            .map(|u| truncate(us, u))
            .ok_or_else(|| QueryError::Parse(format!("'{modifier}' is no time modifier")));
    }
    let digits_from = usize::from(lower.starts_with(['+', '-']));
    let split = lower[digits_from..]
        .find(|c: char| !c.is_ascii_digit() && c != ' ')
        .map_or(lower.len(), |i| i + digits_from);
    let n: Option<i64> = lower[digits_from..split].trim().parse().ok();
    let unit = Unit::lenient(lower[split..].trim());
    match (n, unit) {
        (Some(n), Some(unit)) => shift(us, if lower.starts_with('-') { -n } else { n }, unit),
        _ => parse_error(format!(
            "'{modifier}' is no time modifier: use 'start of day', '+1 month', '-2 hours'"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        parse_instant(text, &Zone::Utc).expect("a time")
    }

    fn zone(name: &str) -> Zone {
        Zone::named(name, &Zone::Utc).expect("a zone")
    }

    #[test]
    fn literals_in_every_form() {
        assert_eq!(at("2025-01-01"), 1_735_689_600 * SECOND);
        assert_eq!(at("2025-01-01 00:00"), at("2025-01-01"));
        assert_eq!(at("2025-01-01T00:00:00.5Z"), at("2025-01-01") + SECOND / 2);
        assert_eq!(at("2025-01-01 02:00:00+02:00"), at("2025-01-01"));
        let et = zone("et");
        assert_eq!(
            parse_instant("2025-01-01 00:00:00", &et),
            Ok(at("2025-01-01") + 5 * HOUR)
        );
        assert_eq!(
            parse_instant("2025-01-01T00:00:00", &et),
            Ok(at("2025-01-01"))
        );
        assert_eq!(parse_instant("2025-01-01", &et), Ok(at("2025-01-01")));
        for bad in [
            "",
            "2025",
            "2025-13-01",
            "2025-01-01x",
            "2025-01-01 25:00:00",
            "2025-01-01 00:00:00 x",
            "ä025-01-01",
        ] {
            assert!(parse_instant(bad, &Zone::Utc).is_err(), "{bad}");
        }
    }

    #[test]
    fn months_are_clipped() {
        assert_eq!(
            shift(at("2025-01-31"), 1, Unit::Month),
            Ok(at("2025-02-28"))
        );
        assert_eq!(
            shift(at("2024-02-29"), -1, Unit::Year),
            Ok(at("2023-02-28"))
        );
        assert!(shift(0, i64::MAX, Unit::Day).is_err());
    }

    #[test]
    fn modifiers_apply_in_order() {
        let t = at("2025-05-17T10:11:12Z");
        assert_eq!(modify(t, "start of year"), Ok(at("2025-01-01")));
        assert_eq!(
            modify(t, "start of day").and_then(|t| modify(t, "-2 hours")),
            Ok(at("2025-05-16T22:00:00Z"))
        );
        assert!(modify(t, "start of lunch").is_err());
        assert!(modify(t, "ä").is_err());
    }

    #[test]
    fn text_in_a_zone_and_before_1970() {
        let mut out = Vec::new();
        Clock::new(zone("et"), false).push(&mut out, at("2025-01-02"));
        assert_eq!(out, b"2025-01-01 19:00:00.000000");
        assert_eq!(utc_text(-1), "1969-12-31T23:59:59.999999Z");
        let mut clock = Clock::new(zone("Europe/Berlin"), false);
        for (us, text) in [
            ("2025-03-30T00:59:59Z", "2025-03-30 01:59:59.000000"),
            ("2025-03-30T01:00:00Z", "2025-03-30 03:00:00.000000"),
        ] {
            out.clear();
            clock.push(&mut out, at(us));
            assert_eq!(out, text.as_bytes());
        }
    }
}
