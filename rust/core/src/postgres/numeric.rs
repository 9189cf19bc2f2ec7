//! The binary form of `numeric`: digits to the base 10,000.

use std::fmt::Write;

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;

/// Append a field (length and content) from decimal digits such as `-12.50`; `false` when they are none.
///
/// The digits behind the point stay as many as they are: `5.0` comes back as `5.0`, not as `5`.
pub fn put(text: &str, out: &mut Vec<u8>) -> bool {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (NEGATIVE, rest),
        None => (POSITIVE, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return false;
    }
    let Ok(scale) = u16::try_from(fraction.len()) else {
        return false;
    };
    let mut groups: Vec<u16> = Vec::with_capacity(whole.len() / 4 + fraction.len() / 4 + 2);
    let first = whole.len() % 4;
    if first > 0 {
        groups.push(value(&whole.as_bytes()[..first]));
    }
    groups.extend(whole.as_bytes()[first..].chunks(4).map(value));
    let whole_groups = groups.len();
    for part in fraction.as_bytes().chunks(4) {
        groups.push(value(part) * 10u16.pow(4 - part.len() as u32));
    }
    let leading = groups.iter().take_while(|group| **group == 0).count();
    let end = groups.len() - groups.iter().rev().take_while(|group| **group == 0).count();
    let kept = groups.get(leading..end).unwrap_or_default();
    let (Ok(count), Ok(weight)) = (
        u16::try_from(kept.len()),
        i16::try_from(whole_groups as i64 - 1 - leading as i64),
    ) else {
        return false;
    };
    let (weight, sign) = if kept.is_empty() {
        (0, POSITIVE)
    } else {
        (weight, sign)
    };
    out.extend_from_slice(&(8 + 2 * i32::from(count)).to_be_bytes());
    out.extend_from_slice(&count.to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&scale.to_be_bytes());
    for group in kept {
        out.extend_from_slice(&group.to_be_bytes());
    }
    true
}

fn value(digits: &[u8]) -> u16 {
    digits
        .iter()
        .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'))
}

/// A number as it came: a whole one, one with digits behind the point, or digits that neither form holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Number {
    Int(i64),
    Float(f64),
    Text(String),
}

/// Read the content of a field; `None` when it is no numeric.
pub fn get(field: &[u8]) -> Option<Number> {
    let (head, groups) = field.split_first_chunk::<8>()?;
    let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let (count, weight, sign, scale) = (
        usize::from(word(0)),
        word(2) as i16,
        word(4),
        usize::from(word(6)),
    );
    let special = match sign {
        POSITIVE | NEGATIVE => None,
        0xC000 => Some("NaN"),
        0xD000 => Some("Infinity"),
        0xF000 => Some("-Infinity"),
        _ => return None,
    };
    if let Some(word) = special {
        return Some(Number::Text(word.to_owned()));
    }
    if groups.len() != count * 2 {
        return None;
    }
    let group = |at: i32| {
        let from = usize::try_from(at).ok().filter(|at| *at < count)? * 2;
        Some(u16::from_be_bytes([groups[from], groups[from + 1]]))
    };
    let weight = i32::from(weight);
    let mut text = String::new();
    if sign == NEGATIVE {
        text.push('-');
    }
    let start = text.len();
    for at in 0..=weight {
        let _ = write!(text, "{:04}", group(at).unwrap_or(0));
    }
    let zeros = text[start..].bytes().take_while(|b| *b == b'0').count();
    text.replace_range(start..start + zeros, "");
    if text.len() == start {
        text.push('0');
    }
    if scale == 0 {
        return Some(
            text.parse()
                .map_or_else(|_| Number::Text(text), Number::Int),
        );
    }
    text.push('.');
    let point = text.len();
    let mut at = weight + 1;
    while text.len() < point + scale {
        let _ = write!(text, "{:04}", group(at).unwrap_or(0));
        at += 1;
    }
    text.truncate(point + scale);
    text.parse().ok().map(Number::Float)
}
