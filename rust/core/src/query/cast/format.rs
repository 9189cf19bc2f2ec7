//! The format mini-language of Python: `[[fill]align][sign][z][#][0][width][grouping][.precision][type]`.

use std::fmt::Write as _;

use super::super::value::Val;

/// Longer results are refused: nobody prints them, and a row would grow without a bound.
pub const MAX_WIDTH: usize = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Align {
    Left,
    Right,
    Centre,
    /// Padding stands between sign and digits.
    AfterSign,
}

#[derive(Clone, Debug)]
pub struct Spec {
    fill: char,
    align: Option<Align>,
    /// `+`, `-` or blank
    sign: char,
    no_negative_zero: bool,
    alternate: bool,
    width: usize,
    grouping: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

impl Spec {
    /// From the text behind the colon; None when it is no format.
    pub fn parse(text: &str) -> Option<Self> {
        let chars: Vec<char> = text.chars().collect();
        let mut at = 0;
        let align_of = |c: Option<&char>| {
            Some(match c? {
                '<' => Align::Left,
                '>' => Align::Right,
                '^' => Align::Centre,
                '=' => Align::AfterSign,
                _ => return None,
            })
        };
        let mut fill = None;
        let mut align = align_of(chars.get(1));
        if align.is_some() {
            fill = chars.first().copied();
            at = 2;
        } else {
            align = align_of(chars.first());
            at += usize::from(align.is_some());
        }
        let mut take = |wanted: &[char]| {
            let found = chars.get(at).copied().filter(|c| wanted.contains(c));
            at += usize::from(found.is_some());
            found
        };
        let sign = take(&['+', '-', ' ']).unwrap_or('-');
        let no_negative_zero = take(&['z']).is_some();
        let alternate = take(&['#']).is_some();
        if take(&['0']).is_some() {
            fill = fill.or(Some('0'));
            align = align.or(Some(Align::AfterSign));
        }
        let number = |at: &mut usize| {
            let mut value: Option<usize> = None;
            while let Some(digit) = chars.get(*at).and_then(|c| c.to_digit(10)) {
                value = Some(value.unwrap_or(0) * 10 + digit as usize);
                if value > Some(MAX_WIDTH) {
                    return Err(());
                }
                *at += 1;
            }
            Ok(value)
        };
        let width = number(&mut at).ok()?.unwrap_or(0);
        let grouping = chars.get(at).copied().filter(|c| [',', '_'].contains(c));
        at += usize::from(grouping.is_some());
        let mut precision = None;
        if chars.get(at) == Some(&'.') {
            at += 1;
            precision = Some(number(&mut at).ok()??);
        }
        let kind = chars.get(at).copied();
        at += usize::from(kind.is_some());
        if at != chars.len() || kind.is_some_and(|k| !"sbcdoxXneEfFgG%".contains(k)) {
            return None;
        }
        Some(Self {
            fill: fill.unwrap_or(' '),
            align,
            sign,
            no_negative_zero,
            alternate,
            width,
            grouping,
            precision,
            kind,
        })
    }

    /// The value as text; None where the format does not fit it.
    pub fn apply(&self, value: &Val) -> Option<String> {
        match (value, self.kind) {
            (Val::Null | Val::Blob(_), _) => None,
            (Val::Text(text), None | Some('s')) => self.text(text),
            (Val::Text(text), Some(_)) => {
                let text = text.trim();
                let whole = text.parse().map(Val::Int);
                let number = whole.or_else(|_| text.parse().map(Val::Float)).ok()?;
                self.number(&number)
            }
            _ => self.number(value),
        }
    }

    fn text(&self, text: &str) -> Option<String> {
        let numeric = self.sign != '-' || self.alternate || self.grouping.is_some();
        if numeric || self.align == Some(Align::AfterSign) && self.fill != '0' {
            return None;
        }
        let kept: String = text
            .chars()
            .take(self.precision.unwrap_or(usize::MAX))
            .collect();
        // A zero before the width fills behind a text.
        let align = self.align.filter(|a| *a != Align::AfterSign);
        Some(self.pad("", "", &kept, align.unwrap_or(Align::Left)))
    }

    fn number(&self, value: &Val) -> Option<String> {
        match (value, self.kind) {
            (Val::Int(whole), None | Some('b' | 'c' | 'd' | 'o' | 'x' | 'X' | 'n')) => {
                self.integer(*whole)
            }
            (Val::Int(whole), Some(kind)) if kind != 's' => self.float(*whole as f64),
            (Val::Float(_), Some('b' | 'c' | 'd' | 'o' | 'x' | 'X' | 's')) => None,
            (Val::Float(value), _) => self.float(*value),
            _ => None,
        }
    }

    fn integer(&self, value: i64) -> Option<String> {
        if self.precision.is_some() {
            return None;
        }
        let size = value.unsigned_abs();
        let (prefix, digits) = match self.kind {
            Some('b') => ("0b", format!("{size:b}")),
            Some('o') => ("0o", format!("{size:o}")),
            Some('x') => ("0x", format!("{size:x}")),
            Some('X') => ("0X", format!("{size:X}")),
            Some('c') => {
                let sign = u32::try_from(value).ok().and_then(char::from_u32)?;
                return Some(self.pad(
                    "",
                    "",
                    &sign.to_string(),
                    self.align.unwrap_or(Align::Left),
                ));
            }
            _ => ("", size.to_string()),
        };
        let prefix = if self.alternate { prefix } else { "" };
        let every = if prefix_base(self.kind) { 4 } else { 3 };
        Some(self.signed(value < 0, prefix, &digits, "", every))
    }

    fn float(&self, value: f64) -> Option<String> {
        if !value.is_finite() {
            return None;
        }
        let kind = self.kind;
        let precision = self.precision.unwrap_or(6);
        let size = value.abs();
        let mut text = match kind {
            Some('e' | 'E') => scientific(size, precision),
            Some('f' | 'F') => format!("{size:.precision$}"),
            Some('%') => format!("{:.precision$}", size * 100.0),
            Some('g' | 'G' | 'n') => general(size, precision, self.alternate, false),
            _ => match self.precision {
                Some(precision) => general(size, precision, self.alternate, true),
                None => python_repr(size),
            },
        };
        if self.alternate && !text.contains('.') {
            let at = text.find('e').unwrap_or(text.len());
            text.insert(at, '.');
        }
        if matches!(kind, Some('E' | 'G')) {
            text.make_ascii_uppercase();
        }
        if kind == Some('%') {
            text.push('%');
        }
        let is_zero = !text.bytes().any(|b| (b'1'..=b'9').contains(&b));
        let negative = value.is_sign_negative() && !(self.no_negative_zero && is_zero);
        let whole = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (digits, rest) = text.split_at(whole);
        Some(self.signed(negative, "", digits, rest, 3))
    }

    /// Sign, digits in groups, what follows; padded.
    fn signed(
        &self,
        negative: bool,
        prefix: &str,
        digits: &str,
        rest: &str,
        every: usize,
    ) -> String {
        let sign = match (negative, self.sign) {
            (true, _) => "-",
            (false, '+') => "+",
            (false, ' ') => " ",
            _ => "",
        };
        let align = self.align.unwrap_or(Align::Right);
        let Some(separator) = self.grouping else {
            return self.pad(sign, prefix, &format!("{digits}{rest}"), align);
        };
        let mut digits = digits.to_owned();
        if align == Align::AfterSign && self.fill == '0' {
            // Zeros of the padding are grouped too, and a separator never comes first.
            let around = sign.len() + prefix.len() + rest.len();
            while grouped_len(digits.len(), every) + around < self.width {
                digits.insert(0, '0');
            }
        }
        let body = grouped(&digits, separator, every);
        self.pad(sign, prefix, &format!("{body}{rest}"), align)
    }

    fn pad(&self, sign: &str, prefix: &str, body: &str, align: Align) -> String {
        let len = sign.len() + prefix.len() + body.chars().count();
        let missing = self.width.saturating_sub(len);
        let fill = |n: usize| self.fill.to_string().repeat(n);
        let (before, inside, after) = match align {
            Align::Left => (0, 0, missing),
            Align::Right => (missing, 0, 0),
            Align::Centre => (missing / 2, 0, missing - missing / 2),
            Align::AfterSign => (0, missing, 0),
        };
        format!(
            "{}{sign}{prefix}{}{body}{}",
            fill(before),
            fill(inside),
            fill(after)
        )
    }
}

fn prefix_base(kind: Option<char>) -> bool {
    matches!(kind, Some('b' | 'o' | 'x' | 'X'))
}

fn grouped_len(digits: usize, every: usize) -> usize {
    digits + digits.saturating_sub(1) / every
}

/// `1234567` as `1,234,567`.
pub fn grouped(digits: &str, separator: char, every: usize) -> String {
    let mut out = String::with_capacity(grouped_len(digits.len(), every));
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(every) {
            out.push(separator);
        }
        out.push(digit);
    }
    out
}

/// `1.500000e+03`
fn scientific(size: f64, precision: usize) -> String {
    let text = format!("{size:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent
        .strip_prefix('-')
        .map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// `g`: the shorter of both forms at `precision` digits; `pointed` keeps a digit behind the point.
fn general(size: f64, precision: usize, keep_zeros: bool, pointed: bool) -> String {
    let precision = precision.max(1);
    let text = scientific(size, precision - 1);
    let exponent: i32 = text
        .split_once('e')
        .and_then(|(_, e)| e.parse().ok())
        .unwrap_or(0);
    // Without a type, a number that fills the digits is written with an exponent already.
    let limit = precision as i32 - i32::from(pointed);
    if exponent < -4 || exponent >= limit {
        let (mantissa, tail) = text.split_once('e').unwrap_or((&text, "+00"));
        let mantissa = if keep_zeros {
            mantissa
        } else {
            strip_zeros(mantissa)
        };
        return format!("{mantissa}e{tail}");
    }
    let digits = (precision as i32 - 1 - exponent).max(0) as usize;
    let fixed = format!("{size:.digits$}");
    let mut kept = if keep_zeros {
        fixed
    } else {
        strip_zeros(&fixed).to_owned()
    };
    if pointed && !kept.contains('.') {
        let _ = write!(kept, ".0");
    }
    kept
}

fn strip_zeros(text: &str) -> &str {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    }
}

/// The shortest text that gives the number back, as Python writes it.
pub fn python_repr(size: f64) -> String {
    let text = format!("{size:e}");
    let exponent: i32 = text
        .split_once('e')
        .and_then(|(_, e)| e.parse().ok())
        .unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let fixed = format!("{size}");
        return if fixed.contains('.') {
            fixed
        } else {
            format!("{fixed}.0")
        };
    }
    let (mantissa, _) = text.split_once('e').unwrap_or((&text, ""));
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(value: impl Into<Number>, spec: &str) -> Option<String> {
        Spec::parse(spec)?.apply(&value.into().0)
    }

    struct Number(Val);

    impl From<i64> for Number {
        fn from(value: i64) -> Self {
            Self(Val::Int(value))
        }
    }

    impl From<f64> for Number {
        fn from(value: f64) -> Self {
            Self(Val::Float(value))
        }
    }

    impl From<&str> for Number {
        fn from(value: &str) -> Self {
            Self(Val::text(value))
        }
    }

    /// Each expected text is what Python's `format` answers.
    #[test]
    fn floats_as_python() {
        for (value, spec, expected) in [
            (100.0, "08.3f", "0100.000"),
            (5.0, ".1", "5e+00"),
            (123.456, ".2", "1.2e+02"),
            (123.456, "g", "123.456"),
            (123.456, "#.3g", "123."),
            (100_000.0, "", "100000.0"),
            (99_999.5, ".5", "1e+05"),
            (0.000_123_45, "g", "0.00012345"),
            (0.000_012, "", "1.2e-05"),
            (1e16, "", "1e+16"),
            (0.0, ".1", "0e+00"),
            (0.0, "", "0.0"),
            (1_234_567.891, ",.2f", "1,234,567.89"),
            (-1234.5, "012,.2f", "-0,001,234.50"),
            (1234.5, "_.1f", "1_234.5"),
            (0.125, ".2f", "0.12"),
            (2.675, ".2f", "2.67"),
            (0.256, ".1%", "25.6%"),
            (-0.001, "z.1f", "0.0"),
            (-0.001, ".1f", "-0.0"),
            (3.0, "+.0f", "+3"),
            (3.0, " .0f", " 3"),
            (3.0, "#.0f", "3."),
            (1500.0, ".3E", "1.500E+03"),
            (3.5, "*^9", "***3.5***"),
            (3.5, "<6", "3.5   "),
            (-3.5, "=8", "-    3.5"),
            (-3.5, "x=8", "-xxxx3.5"),
        ] {
            assert_eq!(
                format(value, spec).as_deref(),
                Some(expected),
                "{value} {spec}"
            );
        }
    }

    #[test]
    fn integers_and_texts_as_python() {
        for (value, spec, expected) in [
            (255, "#x", "0xff"),
            (255, "#010b", "0b11111111"),
            (65535, "_X", "FFFF"),
            (1_000_000, ",", "1,000,000"),
            (65, "c", "A"),
            (-7, "04d", "-007"),
            (7, ".2f", "7.00"),
            (7, ">4", "   7"),
            (i64::MIN, "d", "-9223372036854775808"),
        ] {
            assert_eq!(
                format(value, spec).as_deref(),
                Some(expected),
                "{value} {spec}"
            );
        }
        for (value, spec, expected) in [
            ("abc", ".2", "ab"),
            ("abc", ">6s", "   abc"),
            ("äb", "^6", "  äb  "),
            ("abc", "06", "abc000"),
            ("12.5", ".2f", "12.50"),
            ("12", "04d", "0012"),
        ] {
            assert_eq!(
                format(value, spec).as_deref(),
                Some(expected),
                "{value} {spec}"
            );
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for spec in [
            "q",
            ".f",
            "1001",
            "99999999999999999999",
            "..2f",
            "5.2ff",
            "{}",
        ] {
            assert!(Spec::parse(spec).is_none(), "{spec}");
        }
        assert_eq!(format(1.5, "d"), None);
        assert_eq!(format(1, ".2d"), None);
        assert_eq!(format(1, "s"), None);
        assert_eq!(format("abc", "f"), None);
        assert_eq!(format("abc", "+"), None);
        assert_eq!(format(-1, "c"), None);
    }
}
