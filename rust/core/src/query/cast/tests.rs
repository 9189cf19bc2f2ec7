use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_767_229_200 * SECOND; // 2026-01-01T01:00:00Z

fn row(title: &str) -> Val {
    match title {
        "lo" => Val::Float(-3.0),
        "hi" => Val::Int(100),
        "seen" => Val::text("2026-01-01T00:00:00.000000Z"),
        _ => Val::Null,
    }
}

fn cast(value: Val, texts: &str) -> Result<Val> {
    let around = Surroundings {
        row: &row,
        now_us: NOW,
    };
    texts.split("::").try_fold(value, |value, text| {
        Cast::parse(text)?.apply(&value, &around)
    })
}

fn text(text: &str) -> Val {
    Val::text(text)
}

#[test]
fn every_cast_of_the_specification() {
    let time = "2026-01-01T00:00:00.123456Z";
    for (value, casts, expected) in [
        (Val::Float(-4.9), "int", Val::Int(-4)),
        (text(" 12 "), "int", Val::Int(12)),
        (text("12.9"), "INT", Val::Int(12)),
        (text("true"), "int", Val::Int(1)),
        (Val::Int(2), "str", text("2")),
        (Val::Float(4.0), "str", text("4.0")),
        (text("  x "), "lstrip", text("x ")),
        (text("  x "), "rstrip", text("  x")),
        (Val::Float(2.675), "float(2)", Val::Float(2.67)),
        (Val::Float(0.125), "float(2)", Val::Float(0.12)),
        (Val::Float(0.375), "float(2)", Val::Float(0.38)),
        (Val::Int(4), "float(1)", Val::Float(4.0)),
        (text("4.25"), "float(1)", Val::Float(4.2)),
        (text("1e3"), "float", Val::Float(1000.0)),
        (Val::Float(160.75), "float(%2)", text("160.75")),
        (
            Val::Float(-1_234_567.891),
            "float(%2)",
            text("-1,234,567.89"),
        ),
        (Val::Int(1_234_567), "float(% 0)", text("1,234,567")),
        (text("b"), "ljust(3)", text("b  ")),
        (text("bäcd"), "ljust(3)", text("bäc")),
        (text("b"), "rjust(3)", text("  b")),
        (text("bäcd"), "rjust(3)", text("äcd")),
        (text(time), "ljust(19)", text("2026-01-01T00:00:00")),
        (Val::Float(100.0), "format(\":08.3f\")", text("0100.000")),
        (Val::Float(100.0), "format(0:08.3f)", text("0100.000")),
        (Val::Float(1e6), "format(':,.0f')", text("1,000,000")),
        (text(time), "datetime('%d-%m-%Y')", text("01-01-2026")),
        (
            text(time),
            "datetime(%H:%M:%S.%f %j %a %p)",
            text("00:00:00.123456 001 Thu AM"),
        ),
        (
            text(time),
            "datetime(%c|%x|%X|%%)",
            text("Thu Jan  1 00:00:00 2026|01/01/26|00:00:00|%"),
        ),
        (text(time), "timezone(et)", text("2025-12-31 19:00:00")),
        (
            text(time),
            "timezone('Europe/Berlin')",
            text("2026-01-01 01:00:00"),
        ),
        (
            text(time),
            "ljust(19)::timezone(utc)",
            text("2026-01-01 00:00:00"),
        ),
        (
            text(time),
            "timediff('2026-01-01 01:02:03.5')",
            text("01:02:03.37654"),
        ),
        (text(time), "timediff(now())", text("00:59:59.87654")),
        (text(time), "timediff(seen)", text("00:00:00.12345")),
        (text(time), "timediff([seen])", text("00:00:00.12345")),
        (text(time), "timediff(gone)", Val::Null),
        (text(time), "timediff(2026-01-06)", text("119:59:59.87654")),
        (Val::Int(1), "function([lo] + [hi])", Val::Float(97.0)),
        (
            Val::Int(1),
            "function('on' if [lo] > 0 else 'off')",
            text("off"),
        ),
        (text("abcabc"), "replace(bc by X)", text("aXabc")),
        (text("abc"), "replace(b by )", text("ac")),
        (text("a by c"), "replace(' by ' by '-')", text("a-c")),
        (text("abc"), "replace(z by y)::rjust(4)", text(" abc")),
        (Val::Null, "int::str::ljust(3)", Val::Null),
    ] {
        assert_eq!(cast(value, casts), Ok(expected), "{casts}");
    }
}

#[test]
fn failures_say_which_cast_and_value() {
    for (value, casts) in [
        (text("x"), "int"),
        (Val::Float(1e300), "int"),
        (text("nan"), "float(2)"),
        (Val::Blob((*b"x").into()), "str"),
        (Val::Float(1.5), "format(:d)"),
        (text("soon"), "timezone(et)"),
        (Val::Int(5), "datetime(%Y)"),
        (text("soon"), "timediff(now())"),
        (Val::Int(1), "function(1 / 0)"),
        (Val::Int(1), "float(x)"),
        (Val::Int(1), "float(999)"),
        (Val::Int(1), "ljust"),
        (Val::Int(1), "ljust(-1)"),
        (Val::Int(1), "ljust(2000)"),
        (Val::Int(1), "ljust(3"),
        (Val::Int(1), "format(08.3f)"),
        (Val::Int(1), "format(:q)"),
        (Val::Int(1), "datetime(%Q!)"),
        (Val::Int(1), "timezone(nowhere)"),
        (Val::Int(1), "timediff(2026-99-99)"),
        (Val::Int(1), "function(exit())"),
        (Val::Int(1), "replace(a)"),
        (Val::Int(1), "replace( by b)"),
        (Val::Int(1), "int(5)"),
    ] {
        let failed = cast(value, casts);
        let name = casts.split('(').next().unwrap_or_default();
        let Err(QueryError::CastFailed(said)) = &failed else {
            panic!("{casts}: {failed:?}");
        };
        assert!(said.contains(name), "{said}");
    }
    for casts in ["money", "eval(1)", ""] {
        assert!(
            matches!(cast(Val::Int(1), casts), Err(QueryError::UnknownCast(_))),
            "{casts}"
        );
    }
}

#[test]
fn titles_are_known_before_a_row_is() {
    let titles = |text: &str| Cast::parse(text).expect("a cast").titles().join(",");
    assert_eq!(titles("function([Lo] + abs([hi]))"), "lo,hi");
    assert_eq!(titles("timediff(Seen)"), "seen");
    assert_eq!(titles("timediff(now())"), "");
    assert_eq!(titles("int"), "");
}

proptest! {
    /// The decimal that is rounded is the binary value's own, as Python's `round` takes it.
    #[test]
    fn rounding_is_nearest(cents in -100_000_000_i64..100_000_000, digits in 0_usize..4) {
        let value = cents as f64 / 1000.0;
        let Ok(Val::Float(rounded)) = cast(Val::Float(value), &format!("float({digits})")) else {
            return Err(TestCaseError::fail("no float"));
        };
        let half = 0.5 / 10_f64.powi(digits as i32);
        prop_assert!((rounded - value).abs() <= half * (1.0 + 1e-9) + value.abs() * 1e-15);
    }

    #[test]
    fn justified_texts_have_the_width(word in ".{0,8}", width in 0_usize..12) {
        for name in ["ljust", "rjust"] {
            let Ok(Val::Text(made)) = cast(text(&word), &format!("{name}({width})")) else {
                return Err(TestCaseError::fail("no text"));
            };
            prop_assert_eq!(made.chars().count(), width);
        }
    }

    #[test]
    fn no_argument_makes_it_panic(name in "int|float|ljust|format|datetime|timediff|function|replace|timezone", argument in ".{0,20}") {
        let _ = cast(Val::Float(-1.5), &format!("{name}({argument})"));
        let _ = cast(text("2026-01-01T00:00:00.123456Z"), &format!("{name}({argument})"));
    }
}
