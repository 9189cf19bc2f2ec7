use super::copy_in::Encoder;
use super::*;
use crate::rows::{Bitmap, Chunk, Column, ColumnData, TextColumn, Value};

const ALL: [Wire; 7] = [
    Wire::Bool,
    Wire::Int4,
    Wire::Int8,
    Wire::Float8,
    Wire::Numeric,
    Wire::Text,
    Wire::Timestamp,
];

fn column(name: &str, data: ColumnData, nulls: &[usize]) -> Column {
    let mut validity = Bitmap::default();
    for row in 0..data.len() {
        validity.push(!nulls.contains(&row));
    }
    Column {
        name: name.to_owned(),
        data,
        validity: Some(validity),
    }
}

fn chunk() -> Chunk {
    let mut texts = TextColumn::default();
    for text in ["zwölf", "", "x"] {
        texts.push(text);
    }
    let columns = vec![
        column("b", ColumnData::Bool(vec![true, false, false]), &[2]),
        column("i", ColumnData::Int(vec![1, -2, 0]), &[2]),
        column("l", ColumnData::Int(vec![i64::MAX, i64::MIN, 0]), &[2]),
        column("f", ColumnData::Float(vec![0.1, -1e300, 0.0]), &[2]),
        column(
            "n",
            ColumnData::Mixed(vec![
                Value::Float(5.0),
                Value::BigInt("123456789012345678901234567890".to_owned()),
                Value::Int(-7),
            ]),
            &[],
        ),
        column("t", ColumnData::Text(texts), &[1]),
        column("at", ColumnData::Time(vec![0, EPOCH_US, -1]), &[]),
    ];
    Chunk { columns, len: 3 }
}

fn encoded(encoder: &Encoder<'_>, order: Option<&[u32]>) -> Vec<u8> {
    let mut out = Vec::new();
    Encoder::begin(&mut out);
    encoder.rows(0..3, 0, order, usize::MAX, &mut out).unwrap();
    Encoder::end(&mut out);
    out
}

fn row(reader: &CopyReader, columns: usize) -> Vec<Field<'_>> {
    (0..columns).map(|at| reader.field(at).unwrap()).collect()
}

#[test]
fn rows_come_back_as_they_went() {
    let chunk = chunk();
    let encoder = Encoder {
        chunk: &chunk,
        types: &ALL,
        automatic: None,
    };
    let mut reader = CopyReader::new(ALL.to_vec());
    reader.feed(&encoded(&encoder, Some(&[2, 0, 1]))).unwrap();
    assert!(reader.advance().unwrap());
    assert_eq!(
        row(&reader, 7),
        [
            Field::Null,
            Field::Null,
            Field::Null,
            Field::Null,
            Field::Int(-7),
            Field::Text(b"x"),
            Field::Int(-1)
        ]
    );
    assert!(reader.advance().unwrap());
    assert_eq!(
        row(&reader, 7),
        [
            Field::Int(1),
            Field::Int(1),
            Field::Int(i64::MAX),
            Field::Float(0.1),
            Field::Float(5.0),
            Field::Text("zwölf".as_bytes()),
            Field::Int(0)
        ]
    );
    assert!(reader.advance().unwrap());
    assert_eq!(
        row(&reader, 7),
        [
            Field::Int(0),
            Field::Int(-2),
            Field::Int(i64::MIN),
            Field::Float(-1e300),
            Field::Digits("123456789012345678901234567890".to_owned()),
            Field::Null,
            Field::Int(EPOCH_US)
        ]
    );
    assert!(!reader.advance().unwrap());
}

#[test]
fn automatic_columns_come_first_and_row_ids_count_on() {
    let chunk = chunk();
    let encoder = Encoder {
        chunk: &chunk,
        types: &ALL,
        automatic: Some(Automatic {
            first_row_id: 41,
            insert_timestamp_us: 7,
            tsd_name: "12",
            tsd_id: 3,
        }),
    };
    let mut types = vec![Wire::Int8, Wire::Timestamp, Wire::Text, Wire::Int4];
    types.extend(ALL);
    let mut reader = CopyReader::new(types);
    reader.feed(&encoded(&encoder, None)).unwrap();
    for id in 41..44 {
        assert!(reader.advance().unwrap());
        let own = row(&reader, 4);
        assert_eq!(
            own,
            [
                Field::Int(id),
                Field::Int(7),
                Field::Text(b"12"),
                Field::Int(3)
            ]
        );
    }
}

#[test]
fn pieces_end_where_there_is_enough() {
    let chunk = chunk();
    let encoder = Encoder {
        chunk: &chunk,
        types: &ALL,
        automatic: None,
    };
    let (mut at, mut pieces) = (0, 0);
    while at < 3 {
        let mut out = Vec::new();
        at += encoder.rows(at..3, 0, None, 1, &mut out).unwrap();
        pieces += 1;
    }
    assert_eq!((at, pieces), (3, 3));
}

#[test]
fn what_does_not_fit_is_named() {
    let chunk = chunk();
    let encoder = Encoder {
        chunk: &chunk,
        types: &[Wire::Bool, Wire::Int4, Wire::Int4],
        automatic: None,
    };
    let wrong = encoder
        .rows(0..3, 0, None, usize::MAX, &mut Vec::new())
        .unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "row 0, column l: a whole number beyond 32 bits"
    );
}

#[test]
fn numerics_keep_their_digits() {
    let cases = [
        ("0", numeric::Number::Int(0)),
        ("-0.0", numeric::Number::Float(0.0)),
        ("10000", numeric::Number::Int(10_000)),
        ("-12345678", numeric::Number::Int(-12_345_678)),
        ("0.00001", numeric::Number::Float(0.00001)),
        ("100000000.5", numeric::Number::Float(100_000_000.5)),
        ("20000.0", numeric::Number::Float(20_000.0)),
        ("2.5009", numeric::Number::Float(2.5009)),
    ];
    for (text, wanted) in cases {
        let mut out = Vec::new();
        assert!(numeric::put(text, &mut out), "{text}");
        assert_eq!(numeric::get(&out[4..]), Some(wanted), "{text}");
    }
    for text in ["", "-", "1e5", "NaN", ".5", "1.2.3", "+1"] {
        assert!(!numeric::put(text, &mut Vec::new()), "{text}");
    }
}

#[test]
fn cut_and_foreign_bytes_are_refused() {
    let chunk = chunk();
    let encoder = Encoder {
        chunk: &chunk,
        types: &ALL,
        automatic: None,
    };
    let whole = encoded(&encoder, None);
    for end in 0..whole.len() {
        let mut reader = CopyReader::new(ALL.to_vec());
        if reader.feed(&whole[..end]).is_err() {
            continue;
        }
        let mut rows = 0;
        while let Ok(true) = reader.advance() {
            for at in 0..7 {
                let _ = reader.field(at);
            }
            rows += 1;
        }
        assert!(rows <= 3);
    }
    let mut reader = CopyReader::new(vec![Wire::Bool]);
    reader.feed(&whole).unwrap();
    assert!(reader.advance().is_err());
}
