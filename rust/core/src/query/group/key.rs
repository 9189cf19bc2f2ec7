//! Keys and sets as bytes: equal values have equal bytes, so one comparison serves every type.

use super::super::value::{Cell, Val};

const NULL: u8 = 0;
const INT: u8 = 1;
const FLOAT: u8 = 2;
const TEXT: u8 = 3;
const BLOB: u8 = 4;

/// Append a value. A float without a fraction is the integer that SQLite holds equal to it; the answer is whether
/// it was such a float.
#[inline]
pub fn push(out: &mut Vec<u8>, cell: Cell<'_>) -> bool {
    match cell {
        Cell::Null => out.push(NULL),
        Cell::Int(value) => push_int(out, value),
        Cell::Float(value) => {
            let whole = value as i64;
            // The cast saturates; at the upper end the float is 2^63, which is no i64.
            #[allow(clippy::float_cmp)] // equal is meant
            if whole as f64 == value && whole != i64::MAX {
                push_int(out, whole);
                return true;
            }
            out.push(FLOAT);
            out.extend_from_slice(&value.to_bits().to_le_bytes());
        }
        Cell::Text(text) => push_bytes(out, TEXT, text.as_bytes()),
        Cell::Blob(bytes) => push_bytes(out, BLOB, bytes),
    }
    false
}

#[inline]
pub fn push_int(out: &mut Vec<u8>, value: i64) {
    out.push(INT);
    out.extend_from_slice(&value.to_le_bytes());
}

#[inline]
fn push_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Whether bytes begin with a null.
#[inline]
pub fn is_null(bytes: &[u8]) -> bool {
    bytes.first() == Some(&NULL)
}

/// The value at the start of `bytes`, and what follows it. Null for bytes that `push` did not write.
pub fn take(bytes: &[u8]) -> (Val, &[u8]) {
    let Some((&tag, rest)) = bytes.split_first() else {
        return (Val::Null, bytes);
    };
    if tag == NULL {
        return (Val::Null, rest);
    }
    let Some((word, rest)) = rest.split_first_chunk::<8>() else {
        return (Val::Null, &[]);
    };
    let number = u64::from_le_bytes(*word);
    match tag {
        INT => (Val::Int(number as i64), rest),
        FLOAT => (Val::Float(f64::from_bits(number)), rest),
        _ => {
            let (text, rest) = rest.split_at((number as usize).min(rest.len()));
            let value = match (tag, std::str::from_utf8(text)) {
                (TEXT, Ok(text)) => Val::text(text),
                _ => Val::Blob(text.into()),
            };
            (value, rest)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::value::compare;
    use super::*;

    fn value() -> impl Strategy<Value = Val> {
        prop_oneof![
            Just(Val::Null),
            any::<i64>().prop_map(Val::Int),
            (-3_i64..3).prop_map(Val::Int),
            any::<f64>()
                .prop_filter("a number", |f| !f.is_nan())
                .prop_map(Val::Float),
            (-3_i64..3).prop_map(|i| Val::Float(i as f64 / 2.0)),
            ".{0,5}".prop_map(|t| Val::text(&t)),
            prop::collection::vec(any::<u8>(), 0..5).prop_map(|b| Val::Blob(b.into())),
        ]
    }

    proptest! {
        #[test]
        fn bytes_are_equal_where_sqlite_holds_values_equal(a in value(), b in value()) {
            let (mut x, mut y) = (Vec::new(), Vec::new());
            push(&mut x, a.cell());
            push(&mut y, b.cell());
            prop_assert_eq!(x == y, compare(a.cell(), b.cell()).is_eq(), "{:?} {:?}", a, b);
        }

        #[test]
        fn values_come_back_in_order(values in prop::collection::vec(value(), 0..6)) {
            let mut bytes = Vec::new();
            for value in &values {
                push(&mut bytes, value.cell());
            }
            let mut rest = &bytes[..];
            for value in &values {
                let (back, after) = take(rest);
                prop_assert!(compare(back.cell(), value.cell()).is_eq());
                rest = after;
            }
            prop_assert!(rest.is_empty());
        }
    }
}
