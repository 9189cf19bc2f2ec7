//! The second try: text that is nearly JSON, rewritten as JSON.

/// Rewrite what devices send instead of JSON (spec: ingestion, section 3): control characters become
/// blanks, trailing commas go, texts in single quotes get double ones, `NaN`, `Infinity` and numbers
/// beyond a double become null. `None` when there was nothing to mend, or a text has no end.
pub fn normalise(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len() + 16);
    let mut at = 0;
    let mut mended = false;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' | b'\'' => {
                let end = quoted(text, at, &mut out, &mut mended)?;
                at = end;
            }
            b',' => {
                let next = bytes[at + 1..].iter().find(|b| !b.is_ascii_whitespace());
                if matches!(next, Some(b'}' | b']')) {
                    mended = true;
                } else {
                    out.push(',');
                }
                at += 1;
            }
            b'N' | b'I' | b'-' | b'+' | b'0'..=b'9' => {
                let len = bytes[at..]
                    .iter()
                    .position(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'.' | b'+' | b'-')))
                    .unwrap_or(bytes.len() - at);
                let token = &text[at..at + len];
                if is_no_number(token) {
                    out.push_str("null");
                    mended = true;
                } else {
                    out.push_str(token);
                }
                at += len;
            }
            0..=31 if !byte.is_ascii_whitespace() => {
                out.push(' ');
                mended = true;
                at += 1;
            }
            _ => {
                let len = text[at..].chars().next().map_or(1, char::len_utf8);
                out.push_str(&text[at..at + len]);
                at += len;
            }
        }
    }
    mended.then_some(out)
}

/// A token that a database cannot hold as a number, though someone meant one.
fn is_no_number(token: &str) -> bool {
    let unsigned = token.trim_start_matches(['+', '-']);
    matches!(unsigned, "NaN" | "Infinity" | "Inf")
        || (unsigned.starts_with(|c: char| c.is_ascii_digit())
            && unsigned.contains(['e', 'E'])
            && unsigned.parse::<f64>().is_ok_and(f64::is_infinite))
}

/// Copy the text that starts at `at` with double quotes around it; returns where it ends.
fn quoted(text: &str, at: usize, out: &mut String, mended: &mut bool) -> Option<usize> {
    let quote = text[at..].chars().next()?;
    *mended |= quote == '\'';
    out.push('"');
    let mut chars = text[at + 1..].char_indices();
    while let Some((offset, c)) = chars.next() {
        match c {
            '\\' => {
                let (_, escaped) = chars.next()?;
                if escaped == '\'' {
                    out.push('\'');
                } else {
                    out.push('\\');
                    out.push(escaped);
                }
            }
            c if c == quote => {
                out.push('"');
                return Some(at + 1 + offset + c.len_utf8());
            }
            '"' => out.push_str("\\\""),
            c if (c as u32) < 32 => {
                out.push(' ');
                *mended = true;
            }
            c => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::normalise;

    #[test]
    fn near_json_becomes_json() {
        for (given, expected) in [
            ("{'a':1}", r#"{"a":1}"#),
            (r#"{'say': 'a "b"'}"#, r#"{"say": "a \"b\""}"#),
            (r#"{"a": NaN, "b": -Infinity}"#, r#"{"a": null, "b": null}"#),
            (r#"{"a": 1e400, "b": 2.5}"#, r#"{"a": null, "b": 2.5}"#),
            (r#"{"a": [1, 2,], }"#, r#"{"a": [1, 2] }"#),
            ("{\"a\": \"x\ty\"}", r#"{"a": "x y"}"#),
        ] {
            assert_eq!(normalise(given).as_deref(), Some(expected), "{given}");
        }
        assert_eq!(normalise(r#"{"a": 1}"#), None);
        assert_eq!(normalise("{'a"), None);
    }
}
