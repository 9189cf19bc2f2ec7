//! Time expressions to absolute instants (spec: query, section 6).

use sqlparser::ast::{
    BinaryOperator, DateTimeField, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    Interval, UnaryOperator, Value,
};

use super::dialect::STEP;
use super::error::{QueryError, Result};
use super::time::{Unit, Zone, modify, parse_instant, shift, truncate};

/// What a time expression needs: the moment of the query, and the node's zone for wall clock times.
#[derive(Clone, Debug)]
pub struct Moments {
    pub now_us: i64,
    pub local: Zone,
}

impl Moments {
    /// The instant that an expression stands for; `None` when it is no expression of time.
    ///
    /// A text counts as one: the caller knows that a time stands on the other side. Errors say what is wrong with a
    /// text or a modifier.
    pub fn instant(&self, expr: &Expr) -> Result<Option<i64>> {
        match expr {
            Expr::Nested(inner) => self.instant(inner),
            Expr::Value(value) => match &value.value {
                Value::SingleQuotedString(text) => parse_instant(text, &self.local).map(Some),
                _ => Ok(None),
            },
            Expr::TypedString(typed) => match &typed.value.value {
                Value::SingleQuotedString(text) => parse_instant(text, &self.local).map(Some),
                _ => Ok(None),
            },
            Expr::Identifier(name) if name.quote_style.is_some() => {
                parse_instant(&name.value, &self.local).map(Some)
            }
            Expr::BinaryOp { left, op, right } => self.moved(left, op, right),
            Expr::UnaryOp {
                op: op @ (UnaryOperator::Minus | UnaryOperator::Plus),
                expr,
            } => match step(expr)? {
                Some((n, unit)) => {
                    let n = if *op == UnaryOperator::Minus { -n } else { n };
                    shift(self.now_us, n, unit).map(Some)
                }
                None => Ok(None),
            },
            Expr::Function(function) => self.called(function),
            _ => Ok(None),
        }
    }

    /// As `instant`, but a text alone is no time.
    pub fn instant_but_text(&self, expr: &Expr) -> Result<Option<i64>> {
        match expr {
            Expr::Value(_) | Expr::Identifier(_) => Ok(None),
            Expr::Nested(inner) => self.instant_but_text(inner),
            _ => self.instant(expr),
        }
    }

    fn moved(&self, left: &Expr, op: &BinaryOperator, right: &Expr) -> Result<Option<i64>> {
        let sign = match op {
            BinaryOperator::Plus => 1,
            BinaryOperator::Minus => -1,
            _ => return Ok(None),
        };
        let Some((n, unit)) = step(right)? else {
            return Ok(None);
        };
        match self.instant(left)? {
            Some(us) => shift(us, sign * n, unit).map(Some),
            None => Ok(None),
        }
    }

    fn called(&self, function: &Function) -> Result<Option<i64>> {
        let name = function.name.to_string().to_ascii_lowercase();
        let arguments = plain_arguments(function).unwrap_or_default();
        match name.as_str() {
            "now" | "current_timestamp" | "localtimestamp" => Ok(Some(self.now_us)),
            "current_date" => Ok(Some(truncate(self.now_us, Unit::Day))),
            "date" | "timestamp" | "datetime" => {
                let start = match arguments.split_first() {
                    None => self.now_us,
                    Some((base, _)) if text_of(base).as_deref() == Some("now") => self.now_us,
                    Some((base, _)) => match self.instant(base)? {
                        Some(us) => us,
                        None => return Ok(None),
                    },
                };
                let mut us = start;
                for modifier in arguments.iter().skip(1) {
                    let Some(text) = text_of(modifier) else {
                        return Ok(None);
                    };
                    us = modify(us, &text)?;
                }
                Ok(Some(if name == "date" {
                    truncate(us, Unit::Day)
                } else {
                    us
                }))
            }
            _ => Ok(None),
        }
    }
}

/// `n unit` behind a sign, or `interval 'n unit'`.
pub fn step(expr: &Expr) -> Result<Option<(i64, Unit)>> {
    match expr {
        Expr::Nested(inner) => step(inner),
        Expr::Function(function) if function.name.to_string() == STEP => {
            let arguments = plain_arguments(function).unwrap_or_default();
            let [n, unit] = arguments.as_slice() else {
                return Ok(None);
            };
            let n: i64 = n
                .to_string()
                .parse()
                .map_err(|_| QueryError::Parse(format!("'{n}' is too large a step of time")))?;
            Ok(text_of(unit)
                .and_then(|u| Unit::singular(&u))
                .map(|u| (n, u)))
        }
        Expr::Interval(interval) => interval_step(interval).map(Some),
        _ => Ok(None),
    }
}

fn interval_step(interval: &Interval) -> Result<(i64, Unit)> {
    let text = text_of(&interval.value).unwrap_or_else(|| interval.value.to_string());
    let whole = match &interval.leading_field {
        Some(field) => format!("{text} {}", field_name(field)),
        None => text,
    };
    let mut words = whole.split_whitespace();
    let parsed = || -> Option<(i64, Unit)> {
        let n = words.next()?.parse().ok()?;
        let unit = Unit::lenient(&words.next()?.to_ascii_lowercase())?;
        words.next().is_none().then_some((n, unit))
    };
    let mut parsed = parsed;
    parsed().ok_or_else(|| {
        QueryError::Parse(format!("'{whole}' is no interval: write interval '3 days'"))
    })
}

/// A field as `extract` and intervals name it, in lower case.
pub fn field_name(field: &DateTimeField) -> String {
    field.to_string().to_ascii_lowercase()
}

/// The text of a literal, in single or double quotes.
pub fn text_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        Expr::Identifier(name) if name.quote_style.is_some() => Some(name.value.clone()),
        Expr::Nested(inner) => text_of(inner),
        _ => None,
    }
}

/// Arguments that are plain expressions; `None` when one is not (`*`, a subquery).
pub fn plain_arguments(function: &Function) -> Option<Vec<&Expr>> {
    match &function.args {
        FunctionArguments::None => Some(Vec::new()),
        FunctionArguments::Subquery(_) => None,
        FunctionArguments::List(list) => list
            .args
            .iter()
            .map(|a| match a {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
                _ => None,
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::dialect::prepare;

    fn instant(text: &str) -> Result<Option<i64>> {
        let prepared = prepare(&format!("select a from t where a > {text}"))?;
        let moments = Moments {
            now_us: parse_instant("2025-05-17T10:11:12Z", &Zone::Utc)?,
            local: Zone::named("et", &Zone::Utc)?,
        };
        match prepared.select().and_then(|s| s.selection.clone()) {
            Some(Expr::BinaryOp { right, .. }) => moments.instant(&right),
            other => panic!("{other:?}"),
        }
    }

    fn at(text: &str) -> Result<Option<i64>> {
        parse_instant(text, &Zone::Utc).map(Some)
    }

    #[test]
    fn every_form_of_section_6() {
        for (text, expected) in [
            ("'2025-01-02 00:00:00'", "2025-01-02T05:00:00Z"),
            ("'2025-01-02T00:00:00'", "2025-01-02T00:00:00Z"),
            ("\"2025-01-02\"", "2025-01-02T00:00:00Z"),
            ("now()", "2025-05-17T10:11:12Z"),
            ("date()", "2025-05-17"),
            ("now() -4t", "2025-05-17T10:07:12Z"),
            ("now()-4t+1h", "2025-05-17T11:07:12Z"),
            ("-3d", "2025-05-14T10:11:12Z"),
            ("now() - 3 days", "2025-05-14T10:11:12Z"),
            ("'2025-01-31T00:00:00Z' + 1 month", "2025-02-28"),
            ("'2025-01-02' - 1d + 2 hours", "2025-01-01T02:00:00Z"),
            ("timestamp('2025-01-31T00:00:00.0Z','+1 day')", "2025-02-01"),
            (
                "timestamp('now','start of month','-2 hours')",
                "2025-04-30T22:00:00Z",
            ),
            ("date('now','start of year','-30 years')", "1995-01-01"),
            ("date('2025-02-01')", "2025-02-01"),
            ("now() - interval '2 days'", "2025-05-15T10:11:12Z"),
            ("now() - interval 2 day", "2025-05-15T10:11:12Z"),
            ("timestamp '2025-01-02T00:00:00Z'", "2025-01-02"),
            ("(now() - 1 week)", "2025-05-10T10:11:12Z"),
        ] {
            assert_eq!(instant(text), at(expected), "{text}");
        }
        assert_eq!(instant("5"), Ok(None));
        assert_eq!(instant("b + 1"), Ok(None));
        for wrong in [
            "'tomorrow'",
            "date('2025-02-30')",
            "timestamp('now', '+1 lunch')",
            "now() - 99999999999999999999d",
        ] {
            assert!(instant(wrong).is_err(), "{wrong}");
        }
    }
}
