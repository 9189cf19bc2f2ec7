use proptest::prelude::*;

use super::super::super::value::Val;
use super::*;

fn row(title: &str) -> Val {
    match title {
        "lo" => Val::Float(-3.0),
        "hi" => Val::Int(100),
        "name" => Val::text("Pump"),
        "min(value)" => Val::Int(7),
        _ => Val::Null,
    }
}

fn value(text: &str) -> Parsed<Val> {
    Expression::parse(text)?.value(&row)
}

#[test]
fn values_as_python_computes_them() {
    for (text, expected) in [
        ("[lo] + [hi]", Val::Float(97.0)),
        ("'on' if [lo] > 0 else 'off'", Val::text("off")),
        ("[Min(value)] * 2 ** 3 - 1", Val::Int(55)),
        ("-2 ** 2", Val::Int(-4)),
        ("7 // -2", Val::Int(-4)),
        ("-7 // 2", Val::Int(-4)),
        ("-7 // -2", Val::Int(3)),
        ("7 % -2", Val::Int(-1)),
        ("-7 % 2", Val::Int(1)),
        ("7.5 % 2", Val::Float(1.5)),
        ("7 / 2", Val::Float(3.5)),
        ("2 ** 0.5 > 1.41 and not 0", Val::Int(1)),
        ("[name] + '-1'", Val::text("Pump-1")),
        ("[name].upper()", Val::text("PUMP")),
        ("'um' in [name]", Val::Int(1)),
        ("len([name]) + abs([lo])", Val::Float(7.0)),
        ("round(2.675, 2)", Val::Float(2.67)),
        ("round(2.5)", Val::Int(2)),
        ("max(1, [hi], 2.5)", Val::Int(100)),
        ("min(1, [hi], 0.5)", Val::Float(0.5)),
        ("str(int('12') + float(' 0.5 '))", Val::text("12.5")),
        ("[gone] + 1", Val::Null),
        ("[gone] > 1", Val::Int(0)),
        ("[gone] is None", Val::Int(1)),
        ("[hi] is not None", Val::Int(1)),
        ("[gone] or 'none'", Val::text("none")),
        (
            "9223372036854775807 + 1",
            Val::Float(9.223_372_036_854_776e18),
        ),
        ("1 if 0 else 2 if 0 else 3", Val::Int(3)),
        ("(1 + 2) * 3", Val::Int(9)),
        ("1.5e3", Val::Float(1500.0)),
        ("'a' == 1", Val::Int(0)),
    ] {
        assert_eq!(value(text), Ok(expected), "{text}");
    }
}

#[test]
fn anything_else_is_an_error() {
    for text in [
        "",
        "1 +",
        "(1",
        "[lo",
        "'x",
        "1 2",
        "__import__('os')",
        "open('f')",
        "[name].__class__",
        "[name].replace('a','b')",
        "x",
        "1 / 0",
        "1 % 0",
        "10.0 ** 400",
        "'a' * 3",
        "'a' + 1",
        "'a' < 1",
        "-'a'",
        "lambda: 1",
        "abs(1, 2)",
        "int('x')",
        "float('nan')",
        "{}",
    ] {
        assert!(value(text).is_err(), "{text}");
    }
    assert!(value(&"(".repeat(4000)).is_err());
    assert!(value(&"-".repeat(4000)).is_err());
    assert!(value(&"not ".repeat(1000)).is_err());
    assert!(value(&"1+".repeat(4000)).is_err());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[-+*/%().,<>=!'\\[\\] a-z0-9é]{0,60}") {
        let _ = value(&text);
    }

    #[test]
    fn whole_arithmetic_is_python_s(a in -1000_i64..1000, b in -50_i64..50) {
        prop_assume!(b != 0);
        let floor = (a as f64 / b as f64).floor() as i64;
        prop_assert_eq!(value(&format!("{a} // {b}")), Ok(Val::Int(floor)));
        prop_assert_eq!(value(&format!("{a} % {b}")), Ok(Val::Int(a - b * floor)));
    }
}
