//! From the text of an expression to its tree.

use super::super::super::value::Val;
use super::{Expression, Function, Op, Parsed};

/// Longer expressions, and deeper ones, are refused.
const MAX_BYTES: usize = 4096;
const MAX_DEPTH: usize = 40;

pub fn read(text: &str) -> Parsed<Expression> {
    let mut reader = Reader {
        tokens: tokens(text)?,
        at: 0,
        depth: 0,
    };
    let made = reader.whole()?;
    match reader.tokens.get(reader.at) {
        None => Ok(made),
        Some(token) => Err(format!("{token:?} is too much")),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Value(Val),
    Title(String),
    Word(String),
    Sign(&'static str),
}

/// Longer signs first.
const SIGNS: [&str; 19] = [
    "**", "//", "==", "!=", "<>", "<=", ">=", "<", ">", "=", "+", "-", "*", "/", "%", "(", ")",
    ",", ".",
];

fn tokens(text: &str) -> Parsed<Vec<Token>> {
    if text.len() > MAX_BYTES {
        return Err(format!("longer than {MAX_BYTES} bytes"));
    }
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, used) = match first {
            '[' => {
                let end = rest.find(']').ok_or("a '[' is not closed")?;
                let title = rest[1..end].trim().to_lowercase();
                (Token::Title(title), end + 1)
            }
            '\'' | '"' => {
                let end = rest[1..].find(first).ok_or("a text is not closed")?;
                (Token::Value(Val::text(&rest[1..=end])), end + 2)
            }
            _ if first.is_ascii_digit()
                || first == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit()) =>
            {
                number(rest)?
            }
            _ if first.is_alphabetic() || first == '_' => {
                let end = rest
                    .find(|c: char| !c.is_alphanumeric() && c != '_')
                    .unwrap_or(rest.len());
                (word(&rest[..end]), end)
            }
            _ => {
                let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
                let sign = sign.ok_or_else(|| format!("'{first}' has no meaning"))?;
                (Token::Sign(sign), sign.len())
            }
        };
        found.push(token);
        rest = rest[used..].trim_start();
    }
    Ok(found)
}

fn word(text: &str) -> Token {
    match text.to_ascii_lowercase().as_str() {
        "none" | "null" => Token::Value(Val::Null),
        "true" => Token::Value(Val::Int(1)),
        "false" => Token::Value(Val::Int(0)),
        lower => Token::Word(lower.to_owned()),
    }
}

fn number(text: &str) -> Parsed<(Token, usize)> {
    let bytes = text.as_bytes();
    let mut end = 0;
    while let Some(byte) = bytes.get(end) {
        let exponent = matches!(byte, b'e' | b'E')
            && bytes
                .get(end + 1)
                .is_some_and(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-'));
        if exponent {
            end += 1;
        } else if !byte.is_ascii_digit() && *byte != b'.' {
            break;
        }
        end += 1;
    }
    let text = &text[..end];
    let whole = text.parse().map(Val::Int);
    let value = whole.or_else(|_| text.parse().map(Val::Float));
    let value = value.map_err(|_| format!("'{text}' is no number"))?;
    Ok((Token::Value(value), end))
}

struct Reader {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

/// Operators by how loosely they bind; all group to the left.
const LEVELS: [&[(&str, Op)]; 5] = [
    &[("or", Op::Or)],
    &[("and", Op::And)],
    &[
        ("==", Op::Equal),
        ("=", Op::Equal),
        ("!=", Op::Unequal),
        ("<>", Op::Unequal),
        ("<=", Op::LessEqual),
        (">=", Op::GreaterEqual),
        ("<", Op::Less),
        (">", Op::Greater),
        ("in", Op::In),
        ("is", Op::Equal),
    ],
    &[("+", Op::Add), ("-", Op::Subtract)],
    &[
        ("*", Op::Multiply),
        ("/", Op::Divide),
        ("//", Op::FloorDivide),
        ("%", Op::Modulo),
    ],
];

/// The level of comparisons, before which `not` stands.
const COMPARISONS: usize = 2;

impl Reader {
    fn peek(&self) -> Option<&str> {
        match self.tokens.get(self.at)? {
            Token::Word(word) => Some(word),
            Token::Sign(sign) => Some(sign),
            _ => None,
        }
    }

    fn take(&mut self, wanted: &str) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, wanted: &str) -> Parsed<()> {
        if self.take(wanted) {
            return Ok(());
        }
        Err(format!("'{wanted}' is missing"))
    }

    fn whole(&mut self) -> Parsed<Expression> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("nested too deep".to_owned());
        }
        let mut made = self.level(0)?;
        if self.take("if") {
            let condition = self.level(0)?;
            self.expect("else")?;
            let other = self.whole()?;
            made = Expression::If(Box::new((made, condition, other)));
        }
        self.depth -= 1;
        Ok(made)
    }

    fn level(&mut self, level: usize) -> Parsed<Expression> {
        if level == COMPARISONS && self.take("not") {
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return Err("nested too deep".to_owned());
            }
            let made = Expression::Not(Box::new(self.level(level)?));
            self.depth -= 1;
            return Ok(made);
        }
        let Some(operators) = LEVELS.get(level) else {
            return self.unary();
        };
        let mut left = self.level(level + 1)?;
        while let Some((word, op)) = self
            .peek()
            .and_then(|sign| operators.iter().find(|(word, _)| *word == sign).copied())
        {
            self.at += 1;
            let is_not = word == "is" && self.take("not");
            let op = if is_not { Op::Unequal } else { op };
            let right = self.level(level + 1)?;
            left = Expression::Binary(op, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed<Expression> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("nested too deep".to_owned());
        }
        let made = if self.take("-") {
            Expression::Negate(Box::new(self.unary()?))
        } else if self.take("+") {
            self.unary()?
        } else {
            let base = self.postfix()?;
            if self.take("**") {
                let exponent = self.unary()?;
                Expression::Binary(Op::Power, Box::new(base), Box::new(exponent))
            } else {
                base
            }
        };
        self.depth -= 1;
        Ok(made)
    }

    /// A value, and methods behind it: `[name].upper()`.
    fn postfix(&mut self) -> Parsed<Expression> {
        let mut made = self.atom()?;
        while self.take(".") {
            let name = self.name()?;
            let function = Function::named(&name)
                .filter(|f| matches!(f, Function::Upper | Function::Lower | Function::Strip));
            let function = function.ok_or_else(|| format!("'.{name}' is not known"))?;
            self.expect("(")?;
            self.expect(")")?;
            made = Expression::Call(function, vec![made]);
        }
        Ok(made)
    }

    fn name(&mut self) -> Parsed<String> {
        match self.tokens.get(self.at) {
            Some(Token::Word(word)) => {
                self.at += 1;
                Ok(word.clone())
            }
            _ => Err("a name is missing".to_owned()),
        }
    }

    fn atom(&mut self) -> Parsed<Expression> {
        if self.take("(") {
            let made = self.whole()?;
            self.expect(")")?;
            return Ok(made);
        }
        match self.tokens.get(self.at).cloned() {
            Some(Token::Value(value)) => {
                self.at += 1;
                Ok(Expression::Value(value))
            }
            Some(Token::Title(title)) => {
                self.at += 1;
                Ok(Expression::Title(title))
            }
            Some(Token::Word(name)) => {
                self.at += 1;
                let function = Function::named(&name).ok_or_else(|| {
                    format!("'{name}' is not known: values of the row are written [{name}]")
                })?;
                self.expect("(")?;
                let mut arguments = vec![self.whole()?];
                while self.take(",") {
                    arguments.push(self.whole()?);
                }
                self.expect(")")?;
                Ok(Expression::Call(function, arguments))
            }
            Some(Token::Sign(sign)) => Err(format!("'{sign}' where a value should stand")),
            None => Err("it ends where a value should stand".to_owned()),
        }
    }
}
