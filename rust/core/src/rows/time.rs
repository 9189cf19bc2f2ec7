//! Instants: the text and number forms that a timestamp column takes, and their printed forms
//! (spec: ingestion, sections 8 and 9). Nothing here allocates.

use std::fmt;

use jiff::civil;
use jiff::tz::TimeZone;

/// 0001-01-01T00:00:00Z and the microsecond after 9999-12-31: what a timestamp column takes.
const MIN_US: i64 = -62_135_596_800_000_000;
const END_US: i64 = 253_402_300_800_000_000;

const DAY_US: i64 = 86_400_000_000;

/// The node's time zone, for times that name none.
#[derive(Clone, Debug, Default)]
pub struct Zone(Option<TimeZone>);

/// A time zone that the system does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown time zone '{0}'")]
pub struct UnknownZone(pub String);

impl Zone {
    pub const UTC: Self = Self(None);

    /// The zone of the machine (TZ or /etc/localtime).
    pub fn local() -> Self {
        Self::of(TimeZone::system())
    }

    /// `UTC`, `local`, or a name such as `Europe/Zurich`.
    pub fn named(name: &str) -> Result<Self, UnknownZone> {
        match name {
            "" | "UTC" | "utc" => Ok(Self::UTC),
            "local" => Ok(Self::local()),
            _ => TimeZone::get(name)
                .map(Self::of)
                .map_err(|_| UnknownZone(name.to_owned())),
        }
    }

    fn of(zone: TimeZone) -> Self {
        let utc = zone
            .iana_name()
            .is_some_and(|n| n == "UTC" || n == "Etc/UTC");
        Self((!utc).then_some(zone))
    }

    /// Instant of a local time. A time that the clocks skip counts as if they had not been moved;
    /// of a time that comes twice the first is taken.
    fn to_utc(&self, local_us: i64) -> Option<i64> {
        let Some(zone) = &self.0 else {
            return Some(local_us);
        };
        let (year, month, day) = civil_from_days(local_us.div_euclid(DAY_US));
        let second = local_us.rem_euclid(DAY_US) / 1_000_000;
        let local = civil::DateTime::new(
            i16::try_from(year).ok()?,
            month as i8,
            day as i8,
            (second / 3600) as i8,
            (second / 60 % 60) as i8,
            (second % 60) as i8,
            0,
        )
        .ok()?;
        let instant = zone.to_ambiguous_timestamp(local).compatible().ok()?;
        Some(instant.as_second() * 1_000_000 + local_us.rem_euclid(1_000_000))
    }
}

/// Two ASCII digits as a number; above 99 if one is no digit.
#[inline]
fn two(bytes: &[u8], at: usize) -> u32 {
    let tens = bytes[at].wrapping_sub(b'0');
    let ones = bytes[at + 1].wrapping_sub(b'0');
    if tens > 9 || ones > 9 {
        return 1000;
    }
    u32::from(tens) * 10 + u32::from(ones)
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar.
pub fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let month = i64::from((month + 9) % 12);
    let of_year = (153 * month + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// (year, month, day) of a number of days since 1970-01-01.
pub fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let years = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * years + years / 4 - years / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = (of_year - (153 * shifted + 2) / 5 + 1) as u32;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    } as u32;
    (years + era * 400 + i64::from(month <= 2), month, day)
}

fn month_days(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Microseconds at midnight of `YYYY-MM-DD`, the first ten bytes.
#[inline]
fn date_us(bytes: &[u8]) -> Option<i64> {
    if bytes.len() < 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let (century, years) = (two(bytes, 0), two(bytes, 2));
    let (month, day) = (two(bytes, 5), two(bytes, 8));
    if century > 99 || years > 99 {
        return None;
    }
    day_us(century * 100 + years, month, day)
}

#[inline]
fn day_us(year: u32, month: u32, day: u32) -> Option<i64> {
    let valid = year > 0 && (1..=12).contains(&month) && day > 0 && day <= month_days(year, month);
    valid.then(|| days_from_civil(i64::from(year), month, day) * DAY_US)
}

/// Microseconds of `HH:MM:SS`, the first eight bytes.
#[inline]
fn clock_us(bytes: &[u8]) -> Option<i64> {
    if bytes.len() < 8 || bytes[2] != b':' || bytes[5] != b':' {
        return None;
    }
    let (hour, minute, second) = (two(bytes, 0), two(bytes, 3), two(bytes, 6));
    let valid = hour < 24 && minute < 60 && second < 60;
    valid.then(|| i64::from(hour * 3600 + minute * 60 + second) * 1_000_000)
}

/// `.f` with 1 to 9 digits at the start: (microseconds, cut; bytes taken). No point: (0, 0).
#[inline]
fn fraction(bytes: &[u8]) -> Option<(i64, usize)> {
    if bytes.first() != Some(&b'.') {
        return Some((0, 0));
    }
    let digits = bytes[1..].iter().take_while(|b| b.is_ascii_digit()).count();
    if digits == 0 || digits > 9 {
        return None;
    }
    let mut us = 0;
    for i in 0..6 {
        let digit = if i < digits { bytes[1 + i] - b'0' } else { 0 };
        us = us * 10 + i64::from(digit);
    }
    Some((us, digits + 1))
}

/// `+hh:mm`, `-hh:mm` or `+hhmm`, the whole of `bytes`, in microseconds.
fn offset_us(bytes: &[u8]) -> Option<i64> {
    let sign = match bytes.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hour, minute) = match bytes.len() {
        6 if bytes[3] == b':' => (two(bytes, 1), two(bytes, 4)),
        5 => (two(bytes, 1), two(bytes, 3)),
        _ => return None,
    };
    let valid = hour < 24 && minute < 60;
    valid.then(|| sign * i64::from(hour * 60 + minute) * 60_000_000)
}

/// Microseconds UTC of a timestamp text: `YYYY-MM-DD`, `T` or a blank, `HH:MM:SS`, perhaps a fraction
/// of 1 to 9 digits (cut to 6), perhaps `Z` or an offset; or `MM/DD/YYYY hh:mm:ss AM +hh:mm`.
/// Without an offset the `T` form is UTC and the blank form the node's own time. `None`: no timestamp.
#[inline]
pub fn parse(text: &str, zone: &Zone) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() < 19 {
        return None;
    }
    if bytes[2] == b'/' {
        return parse_us_form(bytes);
    }
    let separator = bytes[10];
    if separator != b'T' && separator != b' ' {
        return None;
    }
    let us = date_us(bytes)? + clock_us(&bytes[11..])?;
    let (part, taken) = fraction(&bytes[19..])?;
    let us = us + part;
    match &bytes[19 + taken..] {
        b"Z" => Some(us),
        b"" if separator == b'T' => Some(us),
        b"" => zone.to_utc(us),
        rest => Some(us - offset_us(rest)?).filter(|us| (MIN_US..END_US).contains(us)),
    }
}

/// `MM/DD/YYYY hh:mm:ss AM +hh:mm`
fn parse_us_form(bytes: &[u8]) -> Option<i64> {
    if bytes.len() < 28
        || bytes[5] != b'/'
        || bytes[10] != b' '
        || bytes[19] != b' '
        || bytes[22] != b' '
    {
        return None;
    }
    let (century, years) = (two(bytes, 6), two(bytes, 8));
    let (month, day) = (two(bytes, 0), two(bytes, 3));
    let hour = two(bytes, 11);
    if century > 99 || years > 99 || !(1..=12).contains(&hour) {
        return None;
    }
    let half_day_us = match &bytes[20..22] {
        b"AM" => 0,
        b"PM" => DAY_US / 2,
        _ => return None,
    };
    let clock = clock_us(&bytes[11..])?;
    let clock = if hour == 12 {
        clock - DAY_US / 2
    } else {
        clock
    } + half_day_us;
    let us = day_us(century * 100 + years, month, day)? + clock - offset_us(&bytes[23..])?;
    (MIN_US..END_US).contains(&us).then_some(us)
}

/// What a value of a timestamp column may be besides: digits (an epoch), with a fraction, or a date
/// (midnight UTC).
pub fn parse_value(text: &str, zone: &Zone) -> Option<i64> {
    if let Some(us) = parse(text, zone) {
        return Some(us);
    }
    if is_date(text) {
        return date_us(text.as_bytes());
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return epoch_us(text.parse().ok()?);
    }
    if digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return epoch_us_f64(text.parse().ok()?);
    }
    None
}

/// `YYYY-MM-DD`
pub fn is_date(text: &str) -> bool {
    text.len() == 10 && date_us(text.as_bytes()).is_some()
}

/// `HH:MM:SS` with an optional fraction, hours below 24.
pub fn is_clock(text: &str) -> bool {
    let bytes = text.as_bytes();
    clock_us(bytes).is_some()
        && fraction(&bytes[8..]).is_some_and(|(_, taken)| taken == bytes.len() - 8)
}

/// Microseconds of an epoch number; its unit follows from its size: below 1e11 seconds, 1e14
/// milliseconds, 1e17 microseconds, else nanoseconds. `None` beyond the years 1 to 9999.
#[inline]
pub fn epoch_us(n: i64) -> Option<i64> {
    let us = match n.unsigned_abs() {
        0..100_000_000_000 => n * 1_000_000,
        100_000_000_000..100_000_000_000_000 => n * 1_000,
        100_000_000_000_000..100_000_000_000_000_000 => n,
        _ => n.div_euclid(1_000),
    };
    (MIN_US..END_US).contains(&us).then_some(us)
}

/// The same for a number with a fraction, which is kept.
pub fn epoch_us_f64(n: f64) -> Option<i64> {
    let factor = match n.abs() {
        size if size < 1e11 => 1e6,
        size if size < 1e14 => 1e3,
        size if size < 1e17 => 1.0,
        _ => 1e-3,
    };
    let us = (n * factor).round();
    (us >= MIN_US as f64 && us < END_US as f64).then_some(us as i64)
}

/// How an instant is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `2025-01-01 00:00:00.000000`
    Blank,
    /// `2025-01-01T00:00:00.000000Z`
    Iso,
    /// `2025-01-01`
    Date,
    /// `00:00:00.000000`
    Clock,
}

/// A printed instant, held in place.
#[derive(Clone, Copy)]
pub struct TimeText {
    bytes: [u8; 34],
    len: usize,
}

impl TimeText {
    pub fn as_str(&self) -> &str {
        // Only ASCII is ever put in.
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }

    fn put(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    /// `n` with at least `width` digits.
    fn number(&mut self, n: u64, width: usize) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut left = n;
        while left > 0 || digits.len() - at < width {
            at -= 1;
            digits[at] = b'0' + (left % 10) as u8;
            left /= 10;
        }
        for &digit in &digits[at..] {
            self.put(digit);
        }
    }
}

impl std::ops::Deref for TimeText {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for TimeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for TimeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// Print microseconds UTC, with all six digits of the fraction.
pub fn format(us: i64, style: Style) -> TimeText {
    let mut text = TimeText {
        bytes: [0; 34],
        len: 0,
    };
    if style != Style::Clock {
        let (year, month, day) = civil_from_days(us.div_euclid(DAY_US));
        if year < 0 {
            text.put(b'-');
        }
        text.number(year.unsigned_abs(), 4);
        text.put(b'-');
        text.number(u64::from(month), 2);
        text.put(b'-');
        text.number(u64::from(day), 2);
    }
    match style {
        Style::Blank => text.put(b' '),
        Style::Iso => text.put(b'T'),
        Style::Date | Style::Clock => {}
    }
    if style != Style::Date {
        let of_day = us.rem_euclid(DAY_US) as u64;
        let second = of_day / 1_000_000;
        text.number(second / 3600, 2);
        text.put(b':');
        text.number(second / 60 % 60, 2);
        text.put(b':');
        text.number(second % 60, 2);
        text.put(b'.');
        text.number(of_day % 1_000_000, 6);
    }
    if style == Style::Iso {
        text.put(b'Z');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INSTANT: i64 = 1_570_814_019_000_000; // 2019-10-11T17:13:39Z

    #[test]
    fn every_listed_form_is_read() {
        let utc = Zone::UTC;
        for (text, us) in [
            ("2019-10-11T17:13:39Z", INSTANT),
            ("2019-10-11T17:13:39", INSTANT),
            ("2019-10-11 17:13:39", INSTANT),
            ("2019-10-11 17:13:39Z", INSTANT),
            ("2019-10-11T17:13:39.0430145Z", INSTANT + 43_014),
            ("2019-10-11T17:13:39.999999999Z", INSTANT + 999_999),
            ("2019-10-11 17:13:39.5", INSTANT + 500_000),
            ("2019-10-11T21:13:39+04:00", INSTANT),
            ("2019-10-11 10:13:39.5-07:00", INSTANT + 500_000),
            ("2019-10-11T21:13:39+0400", INSTANT),
            ("10/11/2019 05:13:39 PM +00:00", INSTANT),
            ("10/11/2019 07:13:39 PM +02:00", INSTANT),
            ("10/12/2019 12:13:39 AM +07:00", INSTANT),
        ] {
            assert_eq!(parse(text, &utc), Some(us), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_timestamps() {
        for text in [
            "",
            "2019-10-11",
            "12/20/2019 11:46:33 PM",
            "20211104T000523Z",
            "2019-02-29T00:00:00Z",
            "2019-13-01T00:00:00Z",
            "2019-10-11T24:00:00Z",
            "2019-10-11T17:13:39.",
            "2019-10-11T17:13:39.1234567890Z",
            "2019-10-11T17:13:39 Z",
            "2019-10-11T17:13:39+4",
            "13/11/2019 05:13:39 PM +00:00",
            "10/11/2019 13:13:39 PM +00:00",
        ] {
            assert_eq!(parse(text, &Zone::UTC), None, "{text}");
        }
    }

    #[test]
    fn a_blank_without_a_zone_is_the_nodes_own_time() {
        let zone = Zone::named("Europe/Zurich").unwrap();
        assert_eq!(
            parse("2019-10-11 19:13:39.25", &zone),
            Some(INSTANT + 250_000)
        );
        assert_eq!(parse("2019-10-11T17:13:39", &zone), Some(INSTANT));
        assert_eq!(
            Zone::named("Nowhere/At_All").unwrap_err().to_string(),
            "unknown time zone 'Nowhere/At_All'"
        );
    }

    #[test]
    fn epoch_numbers_tell_their_unit_by_size() {
        let us = 1_607_959_427_550_123;
        assert_eq!(epoch_us(1_607_959_427), Some(1_607_959_427_000_000));
        assert_eq!(epoch_us(1_607_959_427_550), Some(1_607_959_427_550_000));
        assert_eq!(epoch_us(us), Some(us));
        assert_eq!(epoch_us(us * 1000 + 456), Some(us));
        assert_eq!(epoch_us_f64(1_607_959_427.55), Some(1_607_959_427_550_000));
        assert_eq!(
            parse_value("1607959427.55", &Zone::UTC),
            epoch_us_f64(1_607_959_427.55)
        );
        assert_eq!(epoch_us(i64::MAX), Some(9_223_372_036_854_775));
        assert_eq!(epoch_us_f64(f64::NAN), None);
    }

    #[test]
    fn all_styles_print() {
        let us = INSTANT + 7;
        assert_eq!(
            format(us, Style::Blank).as_str(),
            "2019-10-11 17:13:39.000007"
        );
        assert_eq!(
            format(us, Style::Iso).as_str(),
            "2019-10-11T17:13:39.000007Z"
        );
        assert_eq!(format(us, Style::Date).as_str(), "2019-10-11");
        assert_eq!(format(us, Style::Clock).as_str(), "17:13:39.000007");
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read(us in MIN_US..END_US) {
            prop_assert_eq!(parse(&format(us, Style::Iso), &Zone::UTC), Some(us));
            prop_assert_eq!(parse(&format(us, Style::Blank), &Zone::UTC), Some(us));
        }

        #[test]
        fn any_text_and_number_is_taken_calmly(text in ".{0,40}", us: i64, n: f64) {
            let zone = Zone::named("America/New_York").unwrap();
            parse(&text, &zone);
            parse_value(&text, &zone);
            is_clock(&text);
            epoch_us(us);
            epoch_us_f64(n);
            prop_assert!(!format(us, Style::Iso).is_empty());
        }

        #[test]
        fn forms_near_the_listed_ones_do_not_panic(text in "[0-9]{2}[/0-9][0-9]{1}[-0-9][0-9/]{2}[-0-9]{3}[T ][0-9:]{8}[.Z+0-9 APM:-]{0,12}") {
            parse(&text, &Zone::named("Asia/Tokyo").unwrap());
        }
    }

    #[test]
    fn civil_days_round_trip() {
        for day in (-800_000..800_000).step_by(17) {
            let (y, m, d) = civil_from_days(day);
            assert_eq!(days_from_civil(y, m, d), day);
        }
    }
}
