//! Tokens of the dialect, with their places in the source. Never fails: what is unknown is a symbol.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    Word,
    Number,
    /// `'...'`
    Text,
    /// `"..."` or back quotes: a name, or a text where no such column exists.
    Quoted,
    Symbol,
}

/// A token and its bytes in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    pub kind: TokenKind,
    pub text: &'a str,
    pub start: usize,
    /// Parentheses that are open around it.
    pub depth: u32,
}

impl Token<'_> {
    pub fn is(&self, word: &str) -> bool {
        self.kind == TokenKind::Word && self.text.eq_ignore_ascii_case(word)
    }

    pub fn is_symbol(&self, symbol: &str) -> bool {
        self.kind == TokenKind::Symbol && self.text == symbol
    }

    pub fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// The token in lower case, unless it is quoted.
    pub fn normal(&self) -> String {
        match self.kind {
            TokenKind::Word | TokenKind::Number => self.text.to_lowercase(),
            _ => self.text.to_owned(),
        }
    }
}

const SYMBOLS: [&str; 12] = [
    "->>", "::", "<=", ">=", "<>", "!=", "==", "||", "->", "<<", ">>", "!~",
];

/// Tokens of a text; comments and blanks are left out. An open quote takes the rest.
pub fn tokens(source: &str) -> Vec<Token<'_>> {
    let bytes = source.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    let mut depth = 0_u32;
    while at < bytes.len() {
        let byte = bytes[at];
        if byte.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        if source[at..].starts_with("--") {
            at += source[at..].find('\n').unwrap_or(source.len() - at);
            continue;
        }
        if source[at..].starts_with("/*") {
            at += source[at..].find("*/").map_or(source.len() - at, |i| i + 2);
            continue;
        }
        let (kind, end) = match byte {
            b'\'' => (TokenKind::Text, closing(bytes, at)),
            b'"' | b'`' => (TokenKind::Quoted, closing(bytes, at)),
            b'0'..=b'9' => (TokenKind::Number, number(bytes, at)),
            b'.' if bytes.get(at + 1).is_some_and(u8::is_ascii_digit) => {
                (TokenKind::Number, number(bytes, at))
            }
            _ if is_word(byte) => {
                let more = bytes[at..]
                    .iter()
                    .take_while(|b| is_word(**b) || b.is_ascii_digit());
                (TokenKind::Word, at + more.count())
            }
            _ => {
                let long = SYMBOLS.iter().find(|s| source[at..].starts_with(**s));
                (TokenKind::Symbol, at + long.map_or(1, |s| s.len()))
            }
        };
        let text = &source[at..end];
        if text == ")" {
            depth = depth.saturating_sub(1);
        }
        found.push(Token {
            kind,
            text,
            start: at,
            depth,
        });
        if text == "(" {
            depth += 1;
        }
        at = end;
    }
    found
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// End of a quoted token; a doubled quote belongs to it.
fn closing(bytes: &[u8], start: usize) -> usize {
    let quote = bytes[start];
    let mut at = start + 1;
    while at < bytes.len() {
        if bytes[at] == quote {
            if bytes.get(at + 1) != Some(&quote) {
                return at + 1;
            }
            at += 1;
        }
        at += 1;
    }
    bytes.len()
}

/// End of `12`, `1.5`, `.5`, `1e-3`; letters that are no exponent do not belong to it (`3d`).
fn number(bytes: &[u8], start: usize) -> usize {
    let digits = |mut at: usize| {
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        at
    };
    let mut end = digits(start);
    if bytes.get(end) == Some(&b'.') {
        end = digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(end + 1 + sign);
        if exponent > end + 1 + sign {
            end = exponent;
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<&str> {
        tokens(source).iter().map(|t| t.text).collect()
    }

    #[test]
    fn missing_blanks_are_no_matter() {
        assert_eq!(
            texts("value>=5and id!=3"),
            ["value", ">=", "5", "and", "id", "!=", "3"]
        );
        assert_eq!(texts("now()-4t"), ["now", "(", ")", "-", "4", "t"]);
        assert_eq!(texts("1e3 1.5e-2 2e .5"), ["1e3", "1.5e-2", "2", "e", ".5"]);
    }

    #[test]
    fn quotes_keep_what_is_in_them() {
        assert_eq!(
            texts("'O''Brien' \"a b\" -- c\n x /* y */ z"),
            ["'O''Brien'", "\"a b\"", "x", "z"]
        );
        assert_eq!(texts("'open"), ["'open"]);
        assert_eq!(texts("größe€"), ["größe€"]);
    }

    #[test]
    fn depth_counts_parentheses() {
        let depths: Vec<u32> = tokens("a(b(c))d").iter().map(|t| t.depth).collect();
        assert_eq!(depths, [0, 0, 1, 1, 2, 1, 0, 0]);
    }
}
