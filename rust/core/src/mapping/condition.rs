//! `if ...` of mapping policies: `[path] op value`, `[path]` alone, `not`, `and`, `or`, parentheses
//! (spec: brokers and mapping, section 9; command language, section 8).

use super::bring::Bring;
use super::json::Json;
use super::path::Path;
use super::{CompileError, Fault};

const MAX_DEPTH: usize = 50;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Contains,
    StartsWith,
    EndsWith,
    /// A direct child of a path, whose last character is the separator.
    ChildFrom,
}

/// A compiled condition.
#[derive(Debug)]
pub enum Condition {
    Present(Bring),
    Compare(Bring, Operator, String),
    Not(Box<Condition>),
    And(Vec<Condition>),
    Or(Vec<Condition>),
}

impl Condition {
    /// From `if <condition>` (the `if` may be missing).
    pub fn compile(text: &str) -> Result<Self, CompileError> {
        let text = text.trim();
        let text = text.strip_prefix("if ").unwrap_or(text);
        let mut parser = Parser {
            words: words(text)?,
            at: 0,
            text,
        };
        let condition = parser.or(0)?;
        if parser.at < parser.words.len() {
            return Err(parser.wrong());
        }
        Ok(condition)
    }

    pub fn holds(&self, root: &Json<'_>) -> Result<bool, Fault> {
        Ok(match self {
            Condition::Present(bring) => !bring.value(root)?.is_absent(),
            Condition::Compare(bring, operator, wanted) => {
                let found = bring.value(root)?;
                match found.text() {
                    Some(given) if !found.is_absent() => compare(&given, *operator, wanted),
                    _ => *operator == Operator::NotEqual,
                }
            }
            Condition::Not(inner) => !inner.holds(root)?,
            Condition::And(all) => {
                for one in all {
                    if !one.holds(root)? {
                        return Ok(false);
                    }
                }
                true
            }
            Condition::Or(any) => {
                for one in any {
                    if one.holds(root)? {
                        return Ok(true);
                    }
                }
                false
            }
        })
    }
}

/// Numbers when both sides are, else texts in any case.
fn compare(given: &str, operator: Operator, wanted: &str) -> bool {
    let given_lower = given.to_lowercase();
    match operator {
        Operator::Contains => return given_lower.contains(wanted),
        Operator::StartsWith => return given_lower.starts_with(wanted),
        Operator::EndsWith => return given_lower.ends_with(wanted),
        Operator::ChildFrom => {
            let below = given_lower.strip_prefix(wanted).zip(wanted.chars().last());
            return below
                .is_some_and(|(child, parting)| !child.is_empty() && !child.contains(parting));
        }
        _ => {}
    }
    let order = match (given.parse::<f64>(), wanted.parse::<f64>()) {
        (Ok(left), Ok(right)) => left.total_cmp(&right),
        _ => given_lower.as_str().cmp(wanted),
    };
    match operator {
        Operator::Equal => order.is_eq(),
        Operator::NotEqual => order.is_ne(),
        Operator::Less => order.is_lt(),
        Operator::LessOrEqual => order.is_le(),
        Operator::Greater => order.is_gt(),
        _ => order.is_ge(),
    }
}

#[derive(Debug)]
enum Word<'t> {
    /// A path in brackets, as text.
    Path(&'t str),
    Text(&'t str),
    Bare(&'t str),
    Operator(Operator),
    Open,
    Close,
}

fn words(text: &str) -> Result<Vec<Word<'_>>, CompileError> {
    const SIGNS: [(&str, Operator); 7] = [
        ("==", Operator::Equal),
        ("!=", Operator::NotEqual),
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("<", Operator::Less),
        (">", Operator::Greater),
        ("=", Operator::Equal),
    ];
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if let Some((sign, operator)) = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign)) {
            found.push(Word::Operator(*operator));
            rest = &rest[sign.len()..];
        } else if first == '[' {
            let (_, tail) = Path::scan(rest)?;
            found.push(Word::Path(&rest[..rest.len() - tail.len()]));
            rest = tail;
        } else if first == '(' {
            found.push(Word::Open);
            rest = &rest[1..];
        } else if first == ')' {
            found.push(Word::Close);
            rest = &rest[1..];
        } else if matches!(first, '"' | '\'') {
            let close = rest[1..].find(first).ok_or_else(|| {
                CompileError::new(format!("missing quotation in condition '{text}'"))
            })?;
            found.push(Word::Text(&rest[1..=close]));
            rest = &rest[close + 2..];
        } else {
            let end = rest
                .find(|c: char| c.is_whitespace() || "()=<>!".contains(c))
                .filter(|&end| end > 0)
                .unwrap_or(if first == '!' { 1 } else { rest.len() });
            found.push(match rest[..end].to_ascii_lowercase().as_str() {
                "contains" => Word::Operator(Operator::Contains),
                "startswith" => Word::Operator(Operator::StartsWith),
                "endswith" => Word::Operator(Operator::EndsWith),
                "childfrom" => Word::Operator(Operator::ChildFrom),
                _ => Word::Bare(&rest[..end]),
            });
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    Ok(found)
}

struct Parser<'t> {
    words: Vec<Word<'t>>,
    at: usize,
    text: &'t str,
}

impl Parser<'_> {
    fn wrong(&self) -> CompileError {
        let near = self
            .words
            .get(self.at)
            .map_or("its end".to_owned(), |word| format!("{word:?}"));
        CompileError::new(format!("condition '{}' is wrong at {near}", self.text))
    }

    fn keyword(&mut self, keyword: &str) -> bool {
        let is = matches!(self.words.get(self.at), Some(Word::Bare(word)) if word.eq_ignore_ascii_case(keyword));
        self.at += usize::from(is);
        is
    }

    fn or(&mut self, depth: usize) -> Result<Condition, CompileError> {
        let mut any = vec![self.and(depth)?];
        while self.keyword("or") {
            any.push(self.and(depth)?);
        }
        Ok(if any.len() == 1 {
            any.remove(0)
        } else {
            Condition::Or(any)
        })
    }

    fn and(&mut self, depth: usize) -> Result<Condition, CompileError> {
        let mut all = vec![self.not(depth)?];
        while self.keyword("and") {
            all.push(self.not(depth)?);
        }
        Ok(if all.len() == 1 {
            all.remove(0)
        } else {
            Condition::And(all)
        })
    }

    fn not(&mut self, depth: usize) -> Result<Condition, CompileError> {
        if depth > MAX_DEPTH {
            return Err(CompileError::new("condition is nested too deeply"));
        }
        if self.keyword("not") {
            return Ok(Condition::Not(Box::new(self.not(depth + 1)?)));
        }
        if matches!(self.words.get(self.at), Some(Word::Open)) {
            self.at += 1;
            let inner = self.or(depth + 1)?;
            if !matches!(self.words.get(self.at), Some(Word::Close)) {
                return Err(self.wrong());
            }
            self.at += 1;
            return Ok(inner);
        }
        let Some(Word::Path(path)) = self.words.get(self.at) else {
            return Err(self.wrong());
        };
        let bring = Bring::compile(path)?;
        self.at += 1;
        let Some(Word::Operator(operator)) = self.words.get(self.at) else {
            return Ok(Condition::Present(bring));
        };
        let operator = *operator;
        self.at += 1;
        let mut value: Vec<&str> = Vec::new();
        while let Some(Word::Bare(word) | Word::Text(word)) = self.words.get(self.at) {
            let bare = matches!(self.words[self.at], Word::Bare(_));
            if bare && (word.eq_ignore_ascii_case("and") || word.eq_ignore_ascii_case("or")) {
                break;
            }
            value.push(word);
            self.at += 1;
        }
        if value.is_empty() {
            return Err(self.wrong());
        }
        Ok(Condition::Compare(
            bring,
            operator,
            value.join(" ").to_lowercase(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn conditions_hold_by_type() {
        let root = Json::parse(
            br#"{"a": 10, "b": "Cool Mode", "c": "9", "e": "", "p": "Plant/Line/Motor"}"#,
        )
        .unwrap();
        for (text, holds) in [
            ("if [a] > 9", true),
            ("if [c] > 10", false),
            ("[b] == 'cool mode'", true),
            ("[b] == cool mode and [a] == 10", true),
            ("[b] contains MODE", true),
            ("not [e]", true),
            ("[e] or ([a] and not [d])", true),
            ("[d] != x", true),
            ("[d] == x", false),
            ("[p] childfrom 'plant/line/'", true),
            ("[p] childfrom plant/", false),
            ("[p] childfrom 'plant/line/motor'", false),
        ] {
            assert_eq!(
                Condition::compile(text).unwrap().holds(&root).ok(),
                Some(holds),
                "{text}"
            );
        }
        for text in ["", "if", "[a] ==", "([a]", "a == b", "[a] [b]", "[a"] {
            assert!(Condition::compile(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_compiles_or_fails(text in r#"(if )?(\[a\]|not|and|or|\(|\)|==|<|!|'|"| |x|é){0,12}"#) {
            let root = Json::parse(br#"{"a": 10}"#).unwrap();
            if let Ok(condition) = Condition::compile(&text) {
                let _ = condition.holds(&root);
            }
        }
    }
}
