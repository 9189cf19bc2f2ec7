//! Payloads as files hold them: one object a line, otherwise as they came.

use serde_json::value::RawValue;

use super::lenient;

/// Append the rows of a payload that `parse` has taken, one JSON object a line.
pub fn json_lines(payload: &[u8], out: &mut Vec<u8>) {
    let Ok(text) = std::str::from_utf8(payload) else {
        return; // `parse` takes no such payload
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let before = out.len();
    if push_values(text, out).is_none() {
        out.truncate(before);
        // What only the second, lenient try of `parse` takes.
        if let Some(mended) = lenient::normalise(text) {
            push_values(&mended, out);
        }
    }
}

fn push_values(text: &str, out: &mut Vec<u8>) -> Option<()> {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ',');
        if rest.is_empty() {
            return Some(());
        }
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
        let raw = values.next()?.ok()?.get();
        let taken = values.byte_offset();
        if raw.starts_with('[') {
            let list: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
            for row in list {
                push_line(row.get(), out);
            }
        } else {
            push_line(raw, out);
        }
        rest = rest.get(taken..)?;
    }
}

/// In valid JSON a line feed stands between tokens only, where it means as much as a blank.
fn push_line(row: &str, out: &mut Vec<u8>) {
    out.extend(
        row.bytes()
            .map(|b| if b == b'\n' || b == b'\r' { b' ' } else { b }),
    );
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::json_lines;

    fn lines(payload: &str) -> String {
        let mut out = Vec::new();
        json_lines(payload.as_bytes(), &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn every_form_of_a_payload_becomes_one_object_a_line() {
        for payload in [
            "{\"a\": 1}\n{\"b\": [1, 2]}",
            "[{\"a\": 1},\n{\"b\": [1, 2]}]",
            "{\"a\": 1},{\"b\": [1, 2]},",
            "\u{feff}{\"a\": 1}{\"b\": [1, 2]}\n",
        ] {
            assert_eq!(lines(payload), "{\"a\": 1}\n{\"b\": [1, 2]}\n", "{payload}");
        }
        assert_eq!(lines("{\"a\":\n1}"), "{\"a\": 1}\n");
    }

    #[test]
    fn what_is_no_strict_json_is_mended() {
        assert_eq!(
            super::super::parse(b"{'a': 1,}", None, &super::super::time::Zone::local())
                .expect("taken")
                .chunk
                .len,
            1
        );
        assert_eq!(lines("{'a': 1,}").matches('\n').count(), 1);
    }
}
