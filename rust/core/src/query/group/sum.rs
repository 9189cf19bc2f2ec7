//! Sums that lose nothing: integers in 128 bits, floats with the error of every addition kept beside them.

use super::super::value::Val;

/// A running sum of numbers; two of them add up to what one over all values would be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    /// Sum of the integers. 2^64 rows of 64 bits fit.
    whole: i128,
    high: f64,
    /// What the additions to `high` have cut off.
    low: f64,
    /// A value was no integer, so the sum is a float.
    is_float: bool,
}

impl Sum {
    #[inline]
    pub fn add_int(&mut self, value: i64) {
        self.whole += i128::from(value);
    }

    #[inline]
    pub fn add_float(&mut self, value: f64) {
        self.is_float = true;
        self.two_sum(value);
    }

    pub fn add_whole(&mut self, value: i128) {
        self.whole += value;
    }

    /// Add `value` * 2^-`bits` as a float.
    pub fn add_scaled(&mut self, value: i128, bits: u32) {
        self.is_float = true;
        let unit = 2_f64.powi(-(bits as i32));
        // Parts of 53 bits are exact as floats, and so are they times a power of two.
        let mut rest = value;
        let mut unit_of_part = unit;
        while rest != 0 {
            let part = rest & ((1 << 53) - 1);
            self.two_sum(part as f64 * unit_of_part);
            rest >>= 53;
            if rest == -1 {
                // What is left is a negative number's sign.
                self.two_sum(-(2_f64.powi(53)) * unit_of_part);
                break;
            }
            unit_of_part *= 2_f64.powi(53);
        }
    }

    /// Knuth's exact addition: no branch, whichever of the two is larger.
    #[inline]
    fn two_sum(&mut self, value: f64) {
        let sum = self.high + value;
        let part = sum - self.high;
        self.low += (self.high - (sum - part)) + (value - part);
        self.high = sum;
    }

    pub fn merge(&mut self, other: &Self) {
        self.whole += other.whole;
        self.two_sum(other.high);
        self.low += other.low;
        self.is_float |= other.is_float;
    }

    /// What `from_parts` makes the same sum of.
    pub fn parts(&self) -> (i128, f64, f64, bool) {
        (self.whole, self.high, self.low, self.is_float)
    }

    pub fn from_parts(whole: i128, high: f64, low: f64, is_float: bool) -> Self {
        Self {
            whole,
            high,
            low,
            is_float,
        }
    }

    /// An integer while all values were and it fits; else a float.
    pub fn value(&self) -> Val {
        if !self.is_float
            && let Ok(whole) = i64::try_from(self.whole)
        {
            return Val::Int(whole);
        }
        Val::Float(self.float())
    }

    pub fn float(&self) -> f64 {
        let mut all = *self;
        if self.whole != 0 {
            // Two parts, each exact as a float, so that large integers lose nothing before the last rounding.
            let upper = self.whole >> 53 << 53;
            all.two_sum(upper as f64);
            all.two_sum((self.whole - upper) as f64);
        }
        let total = all.high + all.low;
        // Infinities leave no number in `low`.
        if total.is_nan() { all.high } else { total }
    }
}

/// The number at the start of a text, as SQLite sees texts in sums: 0 where there is none.
pub fn leading_number(text: &str) -> f64 {
    let bytes = text.trim_start().as_bytes();
    let digits = |from: usize| {
        bytes[from..]
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count()
    };
    let mut end = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let whole = digits(end);
    end += whole;
    let mut fraction = 0;
    if bytes.get(end) == Some(&b'.') {
        fraction = digits(end + 1);
        end += 1 + fraction;
    }
    if whole + fraction == 0 {
        return 0.0;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        match digits((end + 1 + sign).min(bytes.len())) {
            0 => {}
            exponent => end += 1 + sign + exponent,
        }
    }
    std::str::from_utf8(&bytes[..end])
        .ok()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(values: &[f64]) -> Sum {
        let mut sum = Sum::default();
        for value in values {
            sum.add_float(*value);
        }
        sum
    }

    #[test]
    fn floats_are_compensated() {
        assert_eq!(sum(&[1e16, 1.0, 1.0, -1e16]).value(), Val::Float(2.0));
        assert_eq!(sum(&[0.1; 10]).value(), Val::Float(1.0));
        assert_eq!(
            sum(&[f64::INFINITY, 1.0, 1e300]).value(),
            Val::Float(f64::INFINITY)
        );
    }

    #[test]
    fn scaled_whole_numbers_are_added_exactly() {
        for (value, bits, wanted) in [
            (3_i128 << 19, 20, 1.5),
            (-(3_i128 << 19), 20, -1.5),
            (-1, 72, -(2_f64.powi(-72))),
            (-(1_i128 << 100), 20, -(2_f64.powi(80))),
            ((1_i128 << 100) + 1, 72, 2_f64.powi(28)),
            (0, 20, 0.0),
        ] {
            let mut sum = Sum::default();
            sum.add_scaled(value, bits);
            assert_eq!(sum.value(), Val::Float(wanted), "{value} {bits}");
        }
        let mut sum = Sum::default();
        sum.add_scaled((1_i128 << 100) + 1, 72);
        sum.add_float(-(2_f64.powi(28)));
        assert_eq!(sum.value(), Val::Float(2_f64.powi(-72)));
    }

    #[test]
    fn integers_are_exact_and_overflow_to_a_float() {
        let mut sum = Sum::default();
        sum.add_int(i64::MAX);
        assert_eq!(sum.value(), Val::Int(i64::MAX));
        sum.add_int(i64::MAX);
        assert_eq!(sum.value(), Val::Float(2.0 * 9_223_372_036_854_775_807.0));
        sum.add_int(-i64::MAX);
        sum.add_float(0.5);
        sum.add_int(-i64::MAX);
        assert_eq!(sum.value(), Val::Float(0.5));
    }

    #[test]
    fn texts_count_by_their_leading_number() {
        for (text, number) in [
            ("12", 12.0),
            (" -1.5e2x", -150.0),
            ("1e", 1.0),
            (".5", 0.5),
            ("-", 0.0),
            ("abc", 0.0),
            ("", 0.0),
            ("7.", 7.0),
            ("1e+", 1.0),
        ] {
            assert!(
                (leading_number(text) - number).abs() < f64::EPSILON,
                "{text}"
            );
        }
    }

    proptest! {
        /// Against exact integers: values are `c * 2^k` of very different size.
        #[test]
        fn a_split_sum_is_as_good_as_exact(
            parts in prop::collection::vec((any::<i32>(), 0_u32..60), 0..400),
            cut in 0_usize..400,
        ) {
            let values: Vec<f64> = parts.iter().map(|&(c, k)| f64::from(c) * 2_f64.powi(k as i32)).collect();
            let exact = parts.iter().map(|&(c, k)| i128::from(c) << k).sum::<i128>() as f64;
            let size: f64 = values.iter().map(|v| v.abs()).sum();
            let bound = exact.abs() * f64::EPSILON + 400.0 * size * f64::EPSILON * f64::EPSILON;
            let cut = cut.min(values.len());
            let mut split = sum(&values[..cut]);
            split.merge(&sum(&values[cut..]));
            for got in [split.float(), sum(&values).float()] {
                prop_assert!((got - exact).abs() <= bound, "{} {}", got, exact);
            }
        }
    }
}
