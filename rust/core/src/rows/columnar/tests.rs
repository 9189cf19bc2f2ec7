//! Columns of every kind out of memory.

use super::*;

fn made(kind: &str, values: &[u8]) -> Result<Column, ColumnError> {
    made_of(
        kind,
        Memory {
            values,
            ends: None,
            nulls: None,
        },
    )
}

fn made_of(kind: &str, memory: Memory<'_>) -> Result<Column, ColumnError> {
    column("c".into(), kind.parse()?, memory)
}

fn bytes<const N: usize>(values: impl IntoIterator<Item = [u8; N]>) -> Vec<u8> {
    values.into_iter().flatten().collect()
}

fn shown(column: &Column) -> Vec<Value> {
    (0..column.data.len())
        .map(|row| column.cell(row).into())
        .collect()
}

#[test]
fn integers_of_every_width() {
    assert_eq!(
        shown(&made("i1", &[255, 1]).unwrap()),
        [Value::Int(-1), Value::Int(1)]
    );
    assert_eq!(shown(&made("u1", &[255]).unwrap()), [Value::Int(255)]);
    let two = bytes([(-2_i16).to_ne_bytes()]);
    assert_eq!(shown(&made("i2", &two).unwrap()), [Value::Int(-2)]);
    assert_eq!(shown(&made("u2", &two).unwrap()), [Value::Int(65534)]);
    let four = bytes([i32::MIN.to_ne_bytes()]);
    assert_eq!(
        shown(&made("i4", &four).unwrap()),
        [Value::Int(i64::from(i32::MIN))]
    );
    assert_eq!(shown(&made("u4", &four).unwrap()), [Value::Int(1 << 31)]);
    let eight = bytes([1_u64.to_ne_bytes(), u64::MAX.to_ne_bytes()]);
    assert_eq!(
        shown(&made("i8", &eight).unwrap()),
        [Value::Int(1), Value::Int(-1)]
    );
    assert_eq!(
        shown(&made("u8", &eight).unwrap()),
        [Value::Int(1), Value::BigInt(u64::MAX.to_string())]
    );
}

#[test]
fn floats_that_are_no_numbers_are_null() {
    let eight = bytes([1.0, f64::NAN, f64::INFINITY].map(f64::to_ne_bytes));
    assert_eq!(
        shown(&made("f8", &eight).unwrap()),
        [Value::Float(1.0), Value::Null, Value::Null]
    );
    let four = bytes([0.5_f32.to_ne_bytes()]);
    assert_eq!(shown(&made("f4", &four).unwrap()), [Value::Float(0.5)]);
}

#[test]
fn times_of_every_unit_are_microseconds() {
    let steps = |n: i64| n.to_ne_bytes();
    for (kind, step, us) in [
        ("M8[ns]", 1_500, 1),
        ("M8[ns]", -1, -1),
        ("M8[us]", -7, -7),
        ("M8[ms]", 2, 2_000),
        ("M8[s]", 1, 1_000_000),
        ("M8[25s]", 2, 50_000_000),
        ("M8[m]", 1, 60_000_000),
        ("M8[h]", 1, 3_600_000_000),
        ("M8[D]", 1, 86_400_000_000),
        ("M8[W]", 1, 7 * 86_400_000_000),
        ("M8[M]", 1, 31 * 86_400_000_000),
        ("M8[M]", -1, -31 * 86_400_000_000),
        ("M8[Y]", 1, 365 * 86_400_000_000),
        ("M8[as]", 1_000_000_000_000, 1),
    ] {
        let column = made(kind, &bytes([steps(step), steps(NOT_A_TIME)])).unwrap();
        assert_eq!(shown(&column), [Value::Time(us), Value::Null], "{kind}");
    }
    let error = made("M8[Y]", &bytes([steps(0), steps(8030)])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "row 1: a time outside of the years 1 to 9999"
    );
    assert!(made("M8[s]", &bytes([steps(i64::MAX)])).is_err());
}

#[test]
fn texts_of_fixed_width_and_end_to_end() {
    let wide = bytes("ab\0\0é€".chars().map(|c| (c as u32).to_ne_bytes()));
    assert_eq!(
        shown(&made("U2", &wide).unwrap()),
        [
            Value::Text("ab".into()),
            Value::Null,
            Value::Text("é€".into())
        ]
    );
    assert_eq!(
        shown(&made("S3", "ab\0é\0\0\0\0".as_bytes()).unwrap()),
        [
            Value::Text("ab".into()),
            Value::Text("é".into()),
            Value::Null
        ]
    );
    assert!(made("U1", &0xD800_u32.to_ne_bytes()).is_err());
    assert!(made("S1", &[0xff]).is_err());
    let ends = bytes([
        2_u64.to_ne_bytes(),
        2_u64.to_ne_bytes(),
        4_u64.to_ne_bytes(),
    ]);
    let memory = Memory {
        values: b"abc\0",
        ends: Some(&ends),
        nulls: Some(&[1, 0, 0]),
    };
    assert_eq!(
        shown(&made_of("text", memory).unwrap()),
        [Value::Null, Value::Null, Value::Text("c".into())]
    );
}

#[test]
fn json_values_keep_their_kind() {
    let parts = [
        "1",
        "-2.0",
        "99999999999999999999",
        "true",
        "null",
        "\"\"",
        "\"x\"",
        "[1, 2]",
    ];
    let text = parts.concat();
    let mut end = 0;
    let ends = bytes(parts.map(|p| {
        end += p.len() as u64;
        end.to_ne_bytes()
    }));
    let memory = Memory {
        values: text.as_bytes(),
        ends: Some(&ends),
        nulls: None,
    };
    assert_eq!(
        shown(&made_of("json", memory).unwrap()),
        [
            Value::Int(1),
            Value::Float(-2.0),
            Value::BigInt("99999999999999999999".into()),
            Value::Bool(true),
            Value::Null,
            Value::Null,
            Value::Text("x".into()),
            Value::Json("[1, 2]".into()),
        ]
    );
    let memory = Memory {
        values: b"[1,",
        ends: Some(&3_u64.to_ne_bytes()),
        nulls: None,
    };
    assert!(made_of("json", memory).is_err());
}

#[test]
fn sizes_that_do_not_fit_are_errors() {
    assert!(made("i8", &[0; 9]).is_err());
    assert!(made("U3", &[0; 8]).is_err());
    assert!(made("text", b"abc").is_err());
    for ends in [&[5_u64][..], &[2, 1], &[1]] {
        let ends = bytes(ends.iter().map(|e| e.to_ne_bytes()));
        let memory = Memory {
            values: b"ab",
            ends: Some(&ends),
            nulls: None,
        };
        assert!(made_of("text", memory).is_err());
    }
    let memory = Memory {
        values: &[1],
        ends: None,
        nulls: Some(&[0, 0]),
    };
    assert!(made_of("b1", memory).is_err());
    for kind in [
        "",
        "i3",
        "f2",
        "c16",
        "M8",
        "M8[x]",
        "M8[ns",
        "V8",
        "é",
        "i-8",
        "U99999999999999999999",
    ] {
        assert!(kind.parse::<Kind>().is_err(), "{kind}");
    }
}
