//! Values of expressions, by Python's rules.

use super::super::super::value::{Cell, Val, compare, float_text};
use super::{Function, Op, Parsed};

/// Longest text that an expression may build.
const MAX_TEXT_BYTES: usize = 1 << 20;

pub fn truth(value: bool) -> Val {
    Val::Int(i64::from(value))
}

pub fn is_true(value: &Val) -> bool {
    match value {
        Val::Null => false,
        Val::Int(i) => *i != 0,
        Val::Float(f) => *f != 0.0,
        Val::Text(text) => !text.is_empty(),
        Val::Blob(bytes) => !bytes.is_empty(),
    }
}

/// The number of a value; None of a null. Texts are no numbers: write `float([x])`.
pub fn numeric(value: &Val, what: &str) -> Parsed<Option<f64>> {
    match value {
        Val::Null => Ok(None),
        Val::Int(i) => Ok(Some(*i as f64)),
        Val::Float(f) => Ok(Some(*f)),
        Val::Text(text) => Err(format!("'{what}' with the text '{}'", shortened(text))),
        Val::Blob(_) => Err(format!("'{what}' with a binary value")),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

pub fn int_or_float(exact: Option<i64>, float: impl Fn() -> f64) -> Val {
    exact.map_or_else(|| Val::Float(float()), Val::Int)
}

pub fn binary(op: Op, left: &Val, right: &Val) -> Parsed<Val> {
    use Op::{Equal, Greater, GreaterEqual, In, Less, LessEqual, Unequal};
    if let Equal | Unequal | Less | LessEqual | Greater | GreaterEqual | In = op {
        return comparison(op, left, right);
    }
    if let (Op::Add, Val::Text(a), Val::Text(b)) = (op, left, right) {
        return bounded(format!("{a}{b}"));
    }
    let name = match op {
        Op::Add => "+",
        Op::Subtract => "-",
        Op::Multiply => "*",
        Op::Divide => "/",
        Op::FloorDivide => "//",
        Op::Modulo => "%",
        _ => "**",
    };
    let (Some(x), Some(y)) = (numeric(left, name)?, numeric(right, name)?) else {
        return Ok(Val::Null);
    };
    if y == 0.0 && matches!(op, Op::Divide | Op::FloorDivide | Op::Modulo) {
        return Err("division by zero".to_owned());
    }
    let value = match (op, left, right) {
        (Op::Add, Val::Int(a), Val::Int(b)) => int_or_float(a.checked_add(*b), || x + y),
        (Op::Subtract, Val::Int(a), Val::Int(b)) => int_or_float(a.checked_sub(*b), || x - y),
        (Op::Multiply, Val::Int(a), Val::Int(b)) => int_or_float(a.checked_mul(*b), || x * y),
        (Op::FloorDivide, Val::Int(a), Val::Int(b)) => {
            // Towards minus infinity, as Python divides.
            let floor = a.checked_div_euclid(*b).map(|q| {
                if *b < 0 && a.rem_euclid(*b) != 0 {
                    q - 1
                } else {
                    q
                }
            });
            int_or_float(floor, || (x / y).floor())
        }
        (Op::Modulo, Val::Int(a), Val::Int(b)) => {
            let rest = a.checked_rem(*b).unwrap_or(0);
            Val::Int(if rest != 0 && (rest < 0) != (*b < 0) {
                rest + b
            } else {
                rest
            })
        }
        (Op::Power, Val::Int(a), Val::Int(b)) => {
            let exact = u32::try_from(*b).ok().and_then(|b| a.checked_pow(b));
            int_or_float(exact, || x.powf(y))
        }
        (Op::Add, ..) => Val::Float(x + y),
        (Op::Subtract, ..) => Val::Float(x - y),
        (Op::Multiply, ..) => Val::Float(x * y),
        (Op::Divide, ..) => Val::Float(x / y),
        (Op::FloorDivide, ..) => Val::Float((x / y).floor()),
        (Op::Modulo, ..) => Val::Float(x - y * (x / y).floor()),
        _ => Val::Float(x.powf(y)),
    };
    match value {
        Val::Float(f) if !f.is_finite() => Err(format!("'{name}' has no finite result")),
        value => Ok(value),
    }
}

fn comparison(op: Op, left: &Val, right: &Val) -> Parsed<Val> {
    if op == Op::In {
        return match (left, right) {
            (Val::Text(part), Val::Text(whole)) => Ok(truth(whole.contains(&**part))),
            (Val::Null, _) | (_, Val::Null) => Ok(truth(false)),
            _ => Err("'in' needs two texts".to_owned()),
        };
    }
    let (a, b) = (left.cell(), right.cell());
    let order = compare(a, b);
    let sized = !left.is_null() && !right.is_null();
    if sized && matches!(a, Cell::Text(_)) != matches!(b, Cell::Text(_)) {
        match op {
            Op::Equal => return Ok(truth(false)),
            Op::Unequal => return Ok(truth(true)),
            _ => return Err("a text and a number have no order".to_owned()),
        }
    }
    Ok(truth(match op {
        Op::Equal => order.is_eq(),
        Op::Unequal => order.is_ne(),
        Op::Less => sized && order.is_lt(),
        Op::LessEqual => sized && order.is_le(),
        Op::Greater => sized && order.is_gt(),
        _ => sized && order.is_ge(),
    }))
}

fn bounded(text: String) -> Parsed<Val> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(format!("a text of more than {MAX_TEXT_BYTES} bytes"));
    }
    Ok(Val::Text(text.into()))
}

/// Rounded half-even on the binary value; `digits` behind the point.
pub fn round_to(value: f64, digits: usize) -> f64 {
    // Formatting rounds the exact value, which scaling by a power of ten would not.
    format!("{value:.digits$}").parse().unwrap_or(value)
}

/// A value as an integer: floats are cut, texts may hold either.
pub fn to_int(value: &Val) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    let cut = |f: f64| (f > -LIMIT && f < LIMIT).then_some(f as i64);
    match value {
        Val::Int(i) => Some(*i),
        Val::Float(f) => cut(*f),
        Val::Text(text) => match text.trim() {
            "true" => Some(1),
            "false" => Some(0),
            text => text.parse().ok().or_else(|| cut(text.parse().ok()?)),
        },
        Val::Null | Val::Blob(_) => None,
    }
}

pub fn to_float(value: &Val) -> Option<f64> {
    match value {
        Val::Int(i) => Some(*i as f64),
        Val::Float(f) => Some(*f),
        Val::Text(text) => text.trim().parse().ok().filter(|f: &f64| f.is_finite()),
        Val::Null | Val::Blob(_) => None,
    }
}

/// A value as text, numbers as JSON writes them; None of binary values and nulls.
pub fn to_text(value: &Val) -> Option<String> {
    match value {
        Val::Int(i) => Some(i.to_string()),
        Val::Float(f) => Some(float_text(*f)),
        Val::Text(text) => Some(text.to_string()),
        Val::Null | Val::Blob(_) => None,
    }
}

pub fn call(function: Function, values: &[Val]) -> Parsed<Val> {
    let several = matches!(function, Function::Min | Function::Max);
    let most = if function == Function::Round { 2 } else { 1 };
    if values.len() > most && !several {
        return Err(format!("{function:?} takes {most} value(s)"));
    }
    let Some(first) = values.first() else {
        return Err(format!("{function:?} needs a value"));
    };
    if values.iter().any(Val::is_null) {
        return Ok(Val::Null);
    }
    let failed = || format!("{function:?} of {first:?}");
    match function {
        Function::Abs => match first {
            Val::Int(i) => Ok(int_or_float(i.checked_abs(), || (*i as f64).abs())),
            other => Ok(numeric(other, "abs")?.map_or(Val::Null, |f| Val::Float(f.abs()))),
        },
        Function::Round => match (first, values.get(1)) {
            (Val::Int(i), _) => Ok(Val::Int(*i)),
            (Val::Float(f), None) => to_int(&Val::Float(f.round_ties_even()))
                .map(Val::Int)
                .ok_or_else(failed),
            (Val::Float(f), Some(Val::Int(n @ 0..=300))) => {
                Ok(Val::Float(round_to(*f, *n as usize)))
            }
            _ => Err(failed()),
        },
        Function::Int => to_int(first).map(Val::Int).ok_or_else(failed),
        Function::Float => to_float(first).map(Val::Float).ok_or_else(failed),
        Function::Str => to_text(first).map(|t| Val::text(&t)).ok_or_else(failed),
        Function::Min | Function::Max => {
            let mut best = first;
            for value in values {
                let order = compare(value.cell(), best.cell());
                if order.is_lt() == (function == Function::Min) && order.is_ne() {
                    best = value;
                }
            }
            Ok(best.clone())
        }
        Function::Len | Function::Upper | Function::Lower | Function::Strip => {
            let Val::Text(text) = first else {
                return Err(failed());
            };
            Ok(match function {
                Function::Len => Val::Int(text.chars().count() as i64),
                Function::Upper => Val::Text(text.to_uppercase().into()),
                Function::Lower => Val::Text(text.to_lowercase().into()),
                _ => Val::text(text.trim()),
            })
        }
    }
}
