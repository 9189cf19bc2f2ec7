//! Expressions of `function(...)`: arithmetic, texts and `a if c else b` over the values of a row. Nothing else can
//! be said in them, so that a query never runs code on the node.

mod compute;
mod read;
#[cfg(test)]
mod tests;

use self::compute::{binary, call, int_or_float, is_true, numeric, truth};
pub use self::compute::{round_to, to_float, to_int, to_text};
use super::super::value::Val;

type Parsed<T> = Result<T, String>;

#[derive(Clone, Debug)]
pub enum Expression {
    Value(Val),
    /// `[title]`
    Title(String),
    Negate(Box<Self>),
    Not(Box<Self>),
    Binary(Op, Box<Self>, Box<Self>),
    /// (then, condition, else)
    If(Box<(Self, Self, Self)>),
    Call(Function, Vec<Self>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Or,
    And,
    Equal,
    Unequal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Modulo,
    Power,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    Abs,
    Round,
    Int,
    Float,
    Str,
    Len,
    Min,
    Max,
    Upper,
    Lower,
    Strip,
}

impl Function {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "abs" => Self::Abs,
            "round" => Self::Round,
            "int" => Self::Int,
            "float" => Self::Float,
            "str" => Self::Str,
            "len" => Self::Len,
            "min" => Self::Min,
            "max" => Self::Max,
            "upper" => Self::Upper,
            "lower" => Self::Lower,
            "strip" => Self::Strip,
            _ => return None,
        })
    }
}

impl Expression {
    pub fn parse(text: &str) -> Parsed<Self> {
        read::read(text)
    }

    /// Titles that it reads, in lower case.
    pub fn titles<'a>(&'a self, into: &mut Vec<&'a str>) {
        match self {
            Self::Value(_) => {}
            Self::Title(title) => into.push(title),
            Self::Negate(inner) | Self::Not(inner) => inner.titles(into),
            Self::Binary(_, left, right) => {
                left.titles(into);
                right.titles(into);
            }
            Self::If(parts) => {
                for part in [&parts.0, &parts.1, &parts.2] {
                    part.titles(into);
                }
            }
            Self::Call(_, arguments) => arguments.iter().for_each(|a| a.titles(into)),
        }
    }

    /// Arithmetic with a null is null; comparisons and conditions take it for false.
    pub fn value(&self, row: &dyn Fn(&str) -> Val) -> Parsed<Val> {
        Ok(match self {
            Self::Value(value) => value.clone(),
            Self::Title(title) => row(title),
            Self::Negate(inner) => match inner.value(row)? {
                Val::Int(value) => int_or_float(value.checked_neg(), || -(value as f64)),
                other => numeric(&other, "-")?.map_or(Val::Null, |f| Val::Float(-f)),
            },
            Self::Not(inner) => truth(!is_true(&inner.value(row)?)),
            Self::Binary(op, left, right) => {
                let left = left.value(row)?;
                match op {
                    Op::Or if is_true(&left) => left,
                    Op::And if !is_true(&left) => left,
                    Op::Or | Op::And => right.value(row)?,
                    _ => binary(*op, &left, &right.value(row)?)?,
                }
            }
            Self::If(parts) => {
                let (then, condition, other) = &**parts;
                if is_true(&condition.value(row)?) {
                    then.value(row)?
                } else {
                    other.value(row)?
                }
            }
            Self::Call(function, arguments) => {
                let values: Vec<Val> = arguments
                    .iter()
                    .map(|a| a.value(row))
                    .collect::<Parsed<_>>()?;
                call(*function, &values)?
            }
        })
    }
}
