//! Buckets of `increments()` (spec: query, section 8).

use super::time::{DAY, HOUR, MINUTE, SECOND, Unit};
use crate::rows::time::{civil_from_days, days_from_civil};

/// Groups instants by (start of the next larger unit, value of the unit div n).
#[derive(Clone, Debug)]
pub struct Bucket {
    unit: Unit,
    n: i64,
    /// The bucket of the last instant: `start <= us < end`. Rows mostly come in time order.
    start: i64,
    end: i64,
    key: i64,
}

/// Room for the divided value beside the truncated time in one key.
const SPREAD: i64 = 64;

impl Bucket {
    /// `n` > 0.
    pub fn new(unit: Unit, n: i64) -> Self {
        Self {
            unit,
            n: n.max(1),
            start: 0,
            end: 0,
            key: 0,
        }
    }

    /// A number per bucket; numbers sort as the buckets do.
    pub fn key(&mut self, us: i64) -> i64 {
        if us < self.start || us >= self.end {
            self.locate(us);
        }
        self.key
    }

    /// Whether an instant lies in the bucket of the one before.
    pub fn same(&self, us: i64) -> bool {
        us >= self.start && us < self.end
    }

    fn locate(&mut self, us: i64) {
        match self.unit {
            Unit::Second => self.fixed(us, SECOND, MINUTE),
            Unit::Minute => self.fixed(us, MINUTE, HOUR),
            Unit::Hour => self.fixed(us, HOUR, DAY),
            Unit::Day => self.days(us, self.n),
            Unit::Week => self.days(us, self.n.saturating_mul(7)),
            Unit::Month => self.months(us),
            Unit::Year => {
                let (year, ..) = civil_from_days(us.div_euclid(DAY));
                self.key = year.div_euclid(self.n);
                let from = self.key * self.n;
                self.span_of_days(
                    days_from_civil(from, 1, 1),
                    days_from_civil(from.saturating_add(self.n).min(200_000), 1, 1),
                );
            }
        }
    }

    fn fixed(&mut self, us: i64, unit: i64, larger: i64) {
        let from = us.div_euclid(larger);
        let value = us.rem_euclid(larger) / unit / self.n;
        self.key = from * SPREAD + value;
        let width = self.n.min(larger / unit) * unit;
        self.start = from * larger + value * width;
        self.end = (self.start + width).min((from + 1) * larger);
    }

    fn days(&mut self, us: i64, n: i64) {
        let day = us.div_euclid(DAY);
        let (year, month, dom) = civil_from_days(day);
        let value = i64::from(dom) / n;
        self.key = (year * 12 + i64::from(month) - 1) * SPREAD + value;
        let first = days_from_civil(year, month, 1);
        let (next_year, next_month) = if month == 12 {
            (year + 1, 1)
        } else {
            (year, month + 1)
        };
        let next = days_from_civil(next_year, next_month, 1);
        let from = first + (value * n).max(1) - 1;
        let to = (first + ((value + 1).saturating_mul(n)).min(40) - 1).min(next);
        self.span_of_days(from, to);
    }

    fn months(&mut self, us: i64) {
        let (year, month, _) = civil_from_days(us.div_euclid(DAY));
        let value = i64::from(month) / self.n;
        self.key = year * SPREAD + value;
        let first = (value * self.n).max(1);
        let next = (value + 1).saturating_mul(self.n).min(13);
        let to = if next > 12 {
            days_from_civil(year + 1, 1, 1)
        } else {
            days_from_civil(year, next as u32, 1)
        };
        self.span_of_days(days_from_civil(year, first as u32, 1), to);
    }

    fn span_of_days(&mut self, from: i64, to: i64) {
        self.start = from.saturating_mul(DAY);
        self.end = to.saturating_mul(DAY);
    }
}

/// Unit and n that give about `points` buckets over a span (spec: query, section 8, "Optimised").
pub fn optimise(span_us: i64, points: i64) -> (Unit, i64) {
    const LENGTHS: [(Unit, f64); 7] = [
        (Unit::Year, 365.25 * 86_400.0),
        (Unit::Month, 30.44 * 86_400.0),
        (Unit::Week, 7.0 * 86_400.0),
        (Unit::Day, 86_400.0),
        (Unit::Hour, 3600.0),
        (Unit::Minute, 60.0),
        (Unit::Second, 1.0),
    ];
    let seconds = (span_us.abs() as f64 / SECOND as f64) / points.max(1) as f64;
    for (unit, length) in LENGTHS {
        if seconds >= length {
            return (unit, (seconds / length).round_ties_even() as i64);
        }
    }
    (Unit::Second, 1)
}

#[cfg(test)]
mod tests {
    use super::super::time::{Zone, parse_instant};
    use super::*;

    /// The rule of the specification, without any memory.
    fn rule(us: i64, unit: Unit, n: i64) -> (i64, i64) {
        let day = us.div_euclid(DAY);
        let (y, m, d) = civil_from_days(day);
        match unit {
            Unit::Second => (
                us.div_euclid(MINUTE),
                us.div_euclid(SECOND).rem_euclid(60) / n,
            ),
            Unit::Minute => (
                us.div_euclid(HOUR),
                us.div_euclid(MINUTE).rem_euclid(60) / n,
            ),
            Unit::Hour => (day, us.div_euclid(HOUR).rem_euclid(24) / n),
            Unit::Day => (y * 12 + i64::from(m), i64::from(d) / n),
            Unit::Week => (y * 12 + i64::from(m), i64::from(d) / (7 * n)),
            Unit::Month => (y, i64::from(m) / n),
            Unit::Year => (0, y / n),
        }
    }

    #[test]
    fn buckets_follow_the_rule_at_every_border() {
        let units = [
            Unit::Second,
            Unit::Minute,
            Unit::Hour,
            Unit::Day,
            Unit::Week,
            Unit::Month,
            Unit::Year,
        ];
        let begin = parse_instant("2023-12-30", &Zone::Utc).expect("a time");
        for unit in units {
            for n in [1, 2, 5, 7, 12, 24, 30, 60, 90, 365] {
                let mut bucket = Bucket::new(unit, n);
                let mut last: Option<((i64, i64), i64)> = None;
                for step in 0..20_000_i64 {
                    // Seconds first, then hours: both sides of every kind of border.
                    let us = if step < 8000 {
                        begin + step * SECOND * 29
                    } else {
                        begin + 8000 * 29 * SECOND + (step - 8000) * HOUR / 2 - 1
                    };
                    let (expected, key) = (rule(us, unit, n), bucket.key(us));
                    if let Some((before, key_before)) = last {
                        assert_eq!(before == expected, key_before == key, "{unit:?} {n} {us}");
                        assert_eq!(
                            before.cmp(&expected),
                            key_before.cmp(&key),
                            "{unit:?} {n} {us}"
                        );
                    }
                    last = Some((expected, key));
                }
            }
        }
    }

    #[test]
    fn points_choose_the_unit() {
        assert_eq!(optimise(2 * HOUR, 1000), (Unit::Second, 7));
        assert_eq!(optimise(DAY, 10), (Unit::Hour, 2));
        assert_eq!(optimise(365 * DAY, 12), (Unit::Week, 4));
        assert_eq!(optimise(DAY, 100), (Unit::Minute, 14));
        assert_eq!(optimise(SECOND, 1000), (Unit::Second, 1));
    }
}
