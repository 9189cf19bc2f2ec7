//! Partitions: which part of a table an instant belongs to, and what that part is called
//! (spec: ingestion-storage, section 1).

use crate::rows::time::{civil_from_days, days_from_civil};

const HOUR_US: i64 = 3_600_000_000;
const DAY_US: i64 = 24 * HOUR_US;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    Year,
    Month,
    Day,
    Hour,
}

impl Unit {
    fn letter(self) -> char {
        match self {
            Self::Year => 'y',
            Self::Month => 'm',
            Self::Day => 'd',
            Self::Hour => 'h',
        }
    }

    /// Number of parts in a key.
    fn parts(self) -> usize {
        match self {
            Self::Year => 1,
            Self::Month => 2,
            Self::Day => 3,
            Self::Hour => 4,
        }
    }
}

/// Why a partition declaration or name cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartitionError {
    #[error("'{0}' is no interval: use a number and year, month, week, day or hour, e.g. 7 days")]
    Interval(String),
    #[error("'{0}' is not the name of a partition of table {1}")]
    Name(String, String),
}

/// How a table is partitioned: by `n` `unit`s of `column`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PartitionSpec {
    /// At least 1.
    pub n: u16,
    pub unit: Unit,
    /// A timestamp column, or `insert_timestamp`.
    pub column: String,
}

/// One partition: rows with `start_us <= column < end_us`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Physical table, `par_<table>_<key>_<u><NN>_<column>`.
    pub name: String,
    pub start_us: i64,
    pub end_us: i64,
}

impl PartitionSpec {
    /// From an interval such as `1 month`, `7 days`, `2 weeks` (= 14 days) or `day`.
    pub fn parse(interval: &str, column: &str) -> Result<Self, PartitionError> {
        let fail = || PartitionError::Interval(interval.to_owned());
        let mut words = interval.split_whitespace();
        let first = words.next().ok_or_else(fail)?;
        let (n, word) = match words.next() {
            Some(word) => (first.parse::<u16>().map_err(|_| fail())?, word),
            None => (1, first),
        };
        let word = word.to_ascii_lowercase();
        let (unit, n) = match word.strip_suffix('s').unwrap_or(&word) {
            "year" => (Unit::Year, Some(n)),
            "month" => (Unit::Month, Some(n)),
            "week" => (Unit::Day, n.checked_mul(7)),
            "day" => (Unit::Day, Some(n)),
            "hour" => (Unit::Hour, Some(n)),
            _ => return Err(fail()),
        };
        match n {
            Some(n) if n > 0 && words.next().is_none() => Ok(Self {
                n,
                unit,
                column: column.to_owned(),
            }),
            _ => Err(fail()),
        }
    }

    /// Name and range of the partition of `table` that holds an instant. Buckets start anew with each
    /// next larger unit (days with the month), so the last one may be shorter.
    pub fn of(&self, table: &str, us: i64) -> Partition {
        let (start_us, end_us, key) = self.locate(us);
        Partition {
            name: format!(
                "par_{table}_{key}_{}{:02}_{}",
                self.unit.letter(),
                self.n,
                self.column
            ),
            start_us,
            end_us,
        }
    }

    fn locate(&self, us: i64) -> (i64, i64, String) {
        let n = i64::from(self.n.max(1));
        let days = us.div_euclid(DAY_US);
        let (year, month, day) = civil_from_days(days);
        let month_start = |year: i64, months: i64| {
            let (year, month) = (year + months.div_euclid(12), months.rem_euclid(12));
            days_from_civil(year, month as u32 + 1, 1)
        };
        let from_zero = i64::from(month) - 1;
        match self.unit {
            Unit::Year => {
                let bucket = year.div_euclid(n);
                let start = days_from_civil(bucket * n, 1, 1) * DAY_US;
                let end = days_from_civil((bucket + 1) * n, 1, 1) * DAY_US;
                (start, end, format!("{bucket:04}"))
            }
            Unit::Month => {
                let bucket = from_zero / n;
                let start = month_start(year, bucket * n) * DAY_US;
                let end = month_start(year, (bucket * n + n).min(12)) * DAY_US;
                let part = if n > 1 { bucket } else { from_zero + 1 };
                (start, end, format!("{year:04}_{part:02}"))
            }
            Unit::Day => {
                let first = month_start(year, from_zero);
                let bucket = (i64::from(day) - 1) / n;
                let start = first + bucket * n;
                let end = (start + n).min(month_start(year, from_zero + 1));
                let part = if n > 1 { bucket } else { i64::from(day) };
                (
                    start * DAY_US,
                    end * DAY_US,
                    format!("{year:04}_{month:02}_{part:02}"),
                )
            }
            Unit::Hour => {
                let bucket = us.rem_euclid(DAY_US) / HOUR_US / n;
                let start = bucket * n;
                let end = (start + n).min(24);
                (
                    days * DAY_US + start * HOUR_US,
                    days * DAY_US + end * HOUR_US,
                    format!("{year:04}_{month:02}_{day:02}_{bucket:02}"),
                )
            }
        }
    }

    /// Declaration and range behind the name of a partition of `table`. A partition made before a
    /// declaration changed keeps its own interval: it is in the name.
    pub fn parse_name(name: &str, table: &str) -> Result<(Self, Partition), PartitionError> {
        let fail = || PartitionError::Name(name.to_owned(), table.to_owned());
        let key = name
            .strip_prefix("par_")
            .and_then(|rest| rest.strip_prefix(table))
            .and_then(|rest| rest.strip_prefix('_'))
            .ok_or_else(fail)?;
        let (spec, us) = parse_key(key).ok_or_else(fail)?;
        let partition = spec.of(table, us);
        if partition.name == name {
            Ok((spec, partition))
        } else {
            Err(fail())
        }
    }
}

/// `<key>_<u><NN>_<column>` to the declaration and an instant in the partition.
fn parse_key(text: &str) -> Option<(PartitionSpec, i64)> {
    let mut rest = text;
    let mut key: Vec<i64> = Vec::new();
    let (unit, n) = loop {
        let (word, after) = rest.split_once('_')?;
        rest = after;
        if word.bytes().all(|b| b.is_ascii_digit()) && key.len() < 4 {
            key.push(word.parse().ok().filter(|n| *n < 10_000)?);
            continue;
        }
        let unit = match word.as_bytes().first()? {
            b'y' => Unit::Year,
            b'm' => Unit::Month,
            b'd' => Unit::Day,
            b'h' => Unit::Hour,
            _ => return None,
        };
        break (unit, word[1..].parse::<u16>().ok().filter(|n| *n > 0)?);
    };
    if key.len() != unit.parts() || rest.is_empty() {
        return None;
    }
    let spec = PartitionSpec {
        n,
        unit,
        column: rest.to_owned(),
    };
    let n = i64::from(n);
    let part = |i: usize| key.get(i).copied();
    // The number of the first unit in the bucket, counted as people do.
    let first = |bucket: i64| if n > 1 { bucket * n + 1 } else { bucket };
    let (year, month, day, hour) = match unit {
        Unit::Year => (part(0)? * n, 1, 1, 0),
        Unit::Month => (part(0)?, first(part(1)?), 1, 0),
        Unit::Day => (part(0)?, part(1)?, first(part(2)?), 0),
        Unit::Hour => (part(0)?, part(1)?, part(2)?, part(3)? * n),
    };
    let valid = (0..1_000_000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour);
    valid.then(|| {
        let days = days_from_civil(year, month as u32, day as u32);
        (spec, days * DAY_US + hour * HOUR_US)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::time::{Style, Zone, format, parse};
    use proptest::prelude::*;

    #[test]
    fn a_week_restarts_with_the_month() {
        let spec = PartitionSpec::parse("1 week", "timestamp").unwrap();
        let us = parse("2019-10-31T23:59:59Z", &Zone::UTC).unwrap();
        let partition = spec.of("ping_sensor", us);
        assert_eq!(partition.name, "par_ping_sensor_2019_10_04_d07_timestamp");
        assert_eq!(
            format(partition.start_us, Style::Date).as_str(),
            "2019-10-29"
        );
        assert_eq!(format(partition.end_us, Style::Date).as_str(), "2019-11-01");
    }

    #[test]
    fn wrong_intervals_and_names_are_refused() {
        for interval in [
            "",
            "0 days",
            "x days",
            "3 fortnights",
            "1 day more",
            "70000 days",
            "9999 weeks",
        ] {
            assert!(PartitionSpec::parse(interval, "t").is_err(), "{interval}");
        }
        for name in [
            "par_t",
            "par_t_2019",
            "par_t_2019_y01_",
            "par_t_2019_13_m01_ts",
            "par_t_2019_02_31_d01_ts",
            "par_t_2019_x01_ts",
            "par_other_2019_y01_ts",
            "t_2019_y01_ts",
            "par_t_2019_y1_ts",
            "par_t_é_y01_ts",
        ] {
            assert!(PartitionSpec::parse_name(name, "t").is_err(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_partition_holds_its_instant_and_its_name_leads_back(
            n in 1u16..40,
            unit in prop::sample::select(vec![Unit::Year, Unit::Month, Unit::Day, Unit::Hour]),
            us in -30_000_000_000_000_000i64..250_000_000_000_000_000,
        ) {
            let spec = PartitionSpec { n, unit, column: "my_time".into() };
            let partition = spec.of("a_table", us);
            prop_assert!(partition.start_us <= us && us < partition.end_us);
            prop_assert_eq!(&spec.of("a_table", partition.end_us - 1), &partition);
            prop_assert_ne!(&spec.of("a_table", partition.end_us), &partition);
            let (back, range) = PartitionSpec::parse_name(&partition.name, "a_table").unwrap();
            prop_assert_eq!(back, spec);
            prop_assert_eq!(range, partition);
        }

        #[test]
        fn any_name_is_read_or_refused(name in "par_t_[0-9ymdh_]{0,24}|.{0,30}") {
            let _ = PartitionSpec::parse_name(&name, "t");
        }
    }
}
