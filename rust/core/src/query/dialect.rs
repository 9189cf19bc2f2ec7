//! Text of a user to SQL that the parser takes: casts, lenient forms and time steps (spec: query, sections 5 and 6).

use std::fmt::Write;

use sqlparser::ast::{Expr, Query, SetExpr, Statement as Parsed};
use sqlparser::dialect::Dialect;
use sqlparser::parser::Parser;

use super::cast::Cast;
use super::error::{QueryError, Result, parse_error};
use super::lexer::{Token, TokenKind, tokens};
use super::moments::Moments;
use super::time::{Unit, Zone};

/// The function that stands for `n unit` behind a sign.
pub const STEP: &str = "edgelake_step";
const MAX_BYTES: usize = 1 << 20;
/// Operators of one statement; each may nest the syntax tree by one (SQLite's own limit is 1000).
const MAX_OPERATORS: usize = 1000;

/// An item of the select list as the user wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The alias, or the text after normalising.
    pub title: String,
    pub casts: Vec<Cast>,
}

/// A select in the parser's words, with what only the dialect knows.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub query: Query,
    /// One for each entry of the outer select list; empty for a query that does not begin with `select`.
    pub items: Vec<Item>,
    /// `limit n per column`.
    pub per_column: Option<(u64, String)>,
    pub warnings: Vec<String>,
}

/// A condition, as it stands behind `where`.
pub fn condition(source: &str) -> Result<Expr> {
    let prepared = prepare(&format!("select 1 from t where {source}"))?;
    let selection = prepared.select().and_then(|s| s.selection.clone());
    selection.ok_or_else(|| QueryError::Parse(format!("'{source}' is no condition")))
}

/// The statement's first word in lower case: `select`, `insert` ...
pub fn first_word(source: &str) -> String {
    tokens(source)
        .iter()
        .find(|t| !t.is_symbol("("))
        .map(Token::normal)
        .unwrap_or_default()
}

/// Read a select. Errors are `QueryError::Parse` and those of casts.
pub fn prepare(source: &str) -> Result<Prepared> {
    if source.len() > MAX_BYTES {
        return parse_error(format!("a statement of more than {MAX_BYTES} bytes"));
    }
    let mut all = tokens(source);
    while all.last().is_some_and(|t| t.is_symbol(";")) {
        all.pop();
    }
    if all.iter().any(|t| t.is_symbol(";")) {
        return parse_error("more than one statement: send them one at a time");
    }
    check_size(&all)?;
    let mut shape = Shape::default();
    if all.first().is_some_and(|t| t.is("select")) {
        shape.read(source, &all)?;
    } else if !all.first().is_some_and(|t| t.is("with")) {
        return parse_error(format!(
            "'{}' is no select statement",
            source.trim().chars().take(40).collect::<String>()
        ));
    } else {
        shape.push_all(&all);
    }
    Ok(Prepared {
        query: parse(&shape.text)?,
        items: shape.items,
        per_column: shape.per_column,
        warnings: shape.warnings,
    })
}

fn check_size(all: &[Token<'_>]) -> Result<()> {
    const WORDS: [&str; 8] = ["and", "or", "not", "like", "is", "between", "union", "case"];
    let operators = all
        .iter()
        .filter(|t| match t.kind {
            TokenKind::Symbol => !matches!(t.text, "," | ")" | "."),
            TokenKind::Word => WORDS.iter().any(|w| t.is(w)),
            _ => false,
        })
        .count();
    if operators > MAX_OPERATORS {
        return parse_error(format!(
            "more than {MAX_OPERATORS} operators in a statement: use in (...) for long lists"
        ));
    }
    Ok(())
}

/// The select while it is taken apart.
#[derive(Default)]
struct Shape {
    text: String,
    items: Vec<Item>,
    per_column: Option<(u64, String)>,
    warnings: Vec<String>,
}

impl Shape {
    fn read(&mut self, source: &str, all: &[Token<'_>]) -> Result<()> {
        let mut at = 1;
        self.text.push_str("select");
        let distinct = all.get(at).is_some_and(|t| t.is("distinct"));
        if distinct || all.get(at).is_some_and(|t| t.is("all")) {
            at += 1;
        }
        let mut limit = None;
        if all.get(at).is_some_and(|t| t.is("top")) {
            limit = Some(count(all.get(at + 1), "top")?);
            at += 2;
        }
        if distinct {
            self.push("distinct");
        }
        let end = all[at..]
            .iter()
            .position(|t| t.depth == 0 && t.is("from"))
            .map_or(all.len(), |i| at + i);
        self.read_items(source, &all[at..end], distinct)?;
        self.read_rest(&all[end..], limit)
    }

    fn read_items(&mut self, source: &str, list: &[Token<'_>], distinct: bool) -> Result<()> {
        for (index, part) in list.split(|t| t.depth == 0 && t.is_symbol(",")).enumerate() {
            if part.is_empty() {
                return parse_error("a column is missing in the select list");
            }
            if index > 0 {
                self.text.push(',');
            }
            self.read_item(source, part, distinct && index == 0)?;
        }
        Ok(())
    }

    /// `expression [::cast ...] [as name ...]`
    fn read_item(&mut self, source: &str, part: &[Token<'_>], distinct: bool) -> Result<()> {
        let mut rest = part;
        let mut alias = None;
        // "as x as x" is in the official suite.
        while let [before @ .., word, name] = rest {
            if !word.is("as") || word.depth > 0 || before.is_empty() {
                break;
            }
            alias = Some(unquoted(name));
            rest = before;
        }
        let first_cast = casts_begin(rest);
        let casts = rest
            .get(first_cast..)
            .map_or_else(|| Ok(Vec::new()), |list| read_casts(source, list))?;
        let rest = &rest[..first_cast];
        if rest.is_empty() {
            return parse_error("a column is missing in the select list");
        }
        let plain = joined(rest);
        let title = alias.unwrap_or_else(|| match rest {
            [name] if name.kind == TokenKind::Quoted => unquoted(name),
            // count( * ) and the like keep the user's blanks, normalised.
            _ if distinct && rest[0].is_symbol("(") => format!("distinct{}", written(source, rest)),
            _ => written(source, rest),
        });
        self.items.push(Item { title, casts });
        self.push(&plain);
        Ok(())
    }

    /// From `from` to the end.
    fn read_rest(&mut self, rest: &[Token<'_>], top: Option<u64>) -> Result<()> {
        let mut rest = rest.to_vec();
        if let Some(at) = rest.iter().position(|t| t.depth == 0 && t.is("per")) {
            match rest[at.saturating_sub(2)..] {
                [limit, n, _, column] if limit.is("limit") => {
                    self.per_column = Some((count(Some(&n), "limit")?, unquoted(&column)));
                }
                _ => return parse_error("'per' stands as in: limit 2 per name"),
            }
            rest.truncate(at - 2);
        }
        self.drop_order_without_by(&mut rest);
        self.push_all(&rest);
        if let Some(n) = top {
            if rest.iter().any(|t| t.depth == 0 && t.is("limit")) || self.per_column.is_some() {
                return parse_error("top and limit in one statement");
            }
            self.push(&format!("limit {n}"));
        }
        Ok(())
    }

    /// The reference ignores `order a` without `by`, and an official suite relies on it.
    fn drop_order_without_by(&mut self, rest: &mut Vec<Token<'_>>) {
        let begins = |pair: &[Token<'_>]| {
            pair[0].depth == 0
                && pair[0].is("order")
                && !pair[1].is("by")
                && pair[1].kind != TokenKind::Symbol
        };
        let Some(start) = rest.windows(2).position(begins) else {
            return;
        };
        let end = rest[start..]
            .iter()
            .position(|t| t.depth == 0 && t.is("limit"))
            .map_or(rest.len(), |i| start + i);
        self.warnings.push(format!(
            "'{}' without 'by' is ignored",
            joined(&rest[start..end])
        ));
        rest.drain(start..end);
    }

    /// Tokens as they are, but `+ 3 days` as a step and `, and` inside period as a comma.
    fn push_all(&mut self, list: &[Token<'_>]) {
        let mut at = 0;
        while let Some(token) = list.get(at) {
            if let Some((n, unit)) = step(&list[at..], 1) {
                self.push(&format!("{} {STEP}({n}, '{}')", token.text, unit.name()));
                at += 3;
                continue;
            }
            let begins_filter = token.is("and") && at > 0 && list[at - 1].is_symbol(",");
            if !begins_filter {
                self.push(&token.normal());
            }
            at += 1;
        }
    }

    fn push(&mut self, text: &str) {
        self.text.push(' ');
        self.text.push_str(text);
    }
}

/// `+ 3 days` or `- 4t`: the number and the unit. `shortest`: letters that a unit needs.
fn step<'a>(list: &[Token<'a>], shortest: usize) -> Option<(&'a str, Unit)> {
    let [sign, number, unit, ..] = list else {
        return None;
    };
    let fits = (sign.is_symbol("+") || sign.is_symbol("-"))
        && number.kind == TokenKind::Number
        && number.text.bytes().all(|b| b.is_ascii_digit())
        && unit.kind == TokenKind::Word
        && unit.text.len() >= shortest;
    fits.then(|| Some((number.text, Unit::lenient(&unit.text.to_lowercase())?)))?
}

fn count(token: Option<&Token<'_>>, word: &str) -> Result<u64> {
    token
        .and_then(|t| t.text.parse().ok())
        .ok_or_else(|| QueryError::Parse(format!("a number stands behind '{word}'")))
}

fn unquoted(token: &Token<'_>) -> String {
    let text = token.text;
    match token.kind {
        TokenKind::Quoted | TokenKind::Text if text.len() > 1 => {
            let quote = &text[..1];
            text[1..text.len() - 1].replace(&quote.repeat(2), quote)
        }
        _ => token.normal(),
    }
}

/// Index where the casts at the end of an item begin; its length when there are none.
fn casts_begin(item: &[Token<'_>]) -> usize {
    item.iter()
        .position(|t| t.depth == 0 && t.is_symbol("::"))
        .unwrap_or(item.len())
}

/// `::name`, `::name(arguments)`, one after the other. The arguments keep their case.
fn read_casts(source: &str, list: &[Token<'_>]) -> Result<Vec<Cast>> {
    let mut casts = Vec::new();
    let mut at = 0;
    while at < list.len() {
        let name = list.get(at + 1).filter(|t| t.kind == TokenKind::Word);
        let (true, Some(name)) = (list[at].is_symbol("::"), name) else {
            return parse_error("casts stand at the end of a column, as in: value::float(2)::str");
        };
        let mut end = at + 1;
        if list.get(at + 2).is_some_and(|t| t.is_symbol("(")) {
            end = list[at + 2..]
                .iter()
                .position(|t| t.depth == 0 && t.is_symbol(")"))
                .map_or(list.len() - 1, |i| at + 2 + i);
        }
        let arguments = &source[name.end()..list[end].end()];
        casts.push(Cast::parse(&format!("{}{}", name.normal(), arguments))?);
        at = end + 1;
    }
    Ok(casts)
}

/// Tokens with one blank between, in lower case outside quotes.
fn joined(list: &[Token<'_>]) -> String {
    let mut text = String::new();
    let mut at = 0;
    while let Some(token) = list.get(at) {
        if at > 0 {
            text.push(' ');
        }
        if let Some((n, unit)) = step(&list[at..], 3) {
            let _ = write!(text, "{} {STEP}({n}, '{}')", token.text, unit.name());
            at += 3;
            continue;
        }
        text.push_str(&token.normal());
        at += 1;
    }
    text
}

/// The user's text in lower case outside quotes, each gap one blank.
fn written(source: &str, list: &[Token<'_>]) -> String {
    let mut text = String::new();
    for (index, token) in list.iter().enumerate() {
        if index > 0 && token.start > list[index - 1].end() {
            text.push(' ');
        }
        text.push_str(&token.normal());
    }
    debug_assert!(source.len() >= text.len());
    text
}

fn parse(text: &str) -> Result<Query> {
    match parse_one(text)? {
        Parsed::Query(query) => Ok(*query),
        _ => parse_error("one select statement is expected"),
    }
}

fn parse_one(text: &str) -> Result<Parsed> {
    let failed = |e: sqlparser::parser::ParserError| {
        QueryError::Parse(
            e.to_string()
                .replace("sql parser error: ", "")
                .replace(STEP, "a step of time"),
        )
    };
    let mut parser = Parser::new(&TimeSeries)
        .try_with_sql(text)
        .map_err(failed)?;
    let mut statements = parser.parse_statements().map_err(failed)?;
    match (statements.pop(), statements.is_empty()) {
        (Some(statement), true) => Ok(statement),
        _ => parse_error("one statement is expected"),
    }
}

/// One statement that changes something.
pub fn parse_change(sql: &str) -> Result<Parsed> {
    let mut all = tokens(sql);
    while all.last().is_some_and(|t| t.is_symbol(";")) {
        all.pop();
    }
    check_size(&all)?;
    let mut shape = Shape::default();
    shape.push_all(&all);
    parse_one(&shape.text)
}

/// An expression by itself.
pub fn parse_expression(text: &str) -> Result<Expr> {
    Parser::new(&TimeSeries)
        .try_with_sql(text)
        .and_then(|mut parser| parser.parse_expr())
        .map_err(|e| QueryError::Parse(e.to_string()))
}

/// The instant of a time expression by itself (spec: query, section 6).
pub fn time_expression(text: &str, now_us: i64, local: Zone) -> Result<i64> {
    let prepared = prepare(&format!("select a from t where a = {text}"))?;
    let moments = Moments { now_us, local };
    let selection = prepared.select().and_then(|s| s.selection.as_ref());
    match selection {
        Some(Expr::BinaryOp { right, .. }) => moments.instant(right)?,
        _ => None,
    }
    .ok_or_else(|| {
        QueryError::Parse(format!(
            "'{text}' is no time: write now(), '2025-01-31 10:00:00', now() - 3 days"
        ))
    })
}

impl Prepared {
    /// Tables that the statement names anywhere, each as (dbms or empty, table), without common table expressions.
    pub fn tables(&self) -> Vec<(String, String)> {
        let mut found: Vec<(String, String)> = Vec::new();
        let mut own: Vec<String> = Vec::new();
        if let Some(with) = &self.query.with {
            own.extend(with.cte_tables.iter().map(|t| t.alias.name.value.clone()));
        }
        let _ = sqlparser::ast::visit_relations(&self.query, |name| {
            let parts: Vec<String> = name
                .0
                .iter()
                .filter_map(|p| p.as_ident().map(|i| i.value.clone()))
                .collect();
            let entry = match parts.as_slice() {
                [table] if own.contains(table) => None,
                [table] => Some((String::new(), table.clone())),
                [dbms, table] => Some((dbms.clone(), table.clone())),
                _ => None,
            };
            if let Some(entry) = entry.filter(|e| !found.contains(e)) {
                found.push(entry);
            }
            std::ops::ControlFlow::<()>::Continue(())
        });
        found
    }

    /// The select itself, when the statement is one select and no union.
    pub fn select(&self) -> Option<&sqlparser::ast::Select> {
        match self.query.body.as_ref() {
            SetExpr::Select(select) => Some(select),
            _ => None,
        }
    }
}

/// SQLite's identifiers and operators, and what other engines add that users write.
#[derive(Debug)]
struct TimeSeries;

impl Dialect for TimeSeries {
    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '"' || ch == '`'
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_ascii_alphabetic() || ch == '_' || ch == '$' || ch >= '\u{80}'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        self.is_identifier_start(ch) || ch.is_ascii_digit()
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }
}
