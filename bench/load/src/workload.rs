//! Workload W: rows `{"timestamp": "...Z", "device_name": "dev-NN", "value": 12.34}`, newline-separated.

use std::fmt::Write as _;

const START_S: u64 = 1_767_225_600; // 2026-01-01T00:00:00Z
const STEP_MS: u64 = 10;

/// Rows `first..first + rows` of the workload as one body.
///
/// Row `i`: time = start + 10 ms * i, device `i % 100`, value `(i % 10_000) / 100`.
pub fn body(first: u64, rows: u64) -> Vec<u8> {
    let mut text = String::with_capacity(rows as usize * 80);
    for i in first..first + rows {
        let ms = i * STEP_MS;
        let (days, in_day_ms) = (ms / 86_400_000, ms % 86_400_000);
        let (year, month, day) = civil((START_S / 86_400 + days) as i64);
        let (h, m, s, f) = (
            in_day_ms / 3_600_000,
            in_day_ms / 60_000 % 60,
            in_day_ms / 1000 % 60,
            in_day_ms % 1000,
        );
        let value = i % 10_000;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            r#"{{"timestamp": "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{f:03}Z", "device_name": "dev-{:02}", "value": {}.{:02}}}"#,
            i % 100,
            value / 100,
            value % 100
        );
    }
    text.into_bytes()
}

/// Proleptic Gregorian date of a day counted from 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_what_the_benches_expect() {
        let text = String::from_utf8(body(0, 2)).expect("utf-8");
        assert_eq!(
            text.lines().next(),
            Some(
                r#"{"timestamp": "2026-01-01T00:00:00.000Z", "device_name": "dev-00", "value": 0.00}"#
            )
        );
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
    }
}
