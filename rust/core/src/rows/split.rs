//! A stream of rows cut into payloads of whole rows: bytes in, however they are cut; blocks out.

use super::PayloadError;

/// Deepest nesting of a row. The parser takes no more either; here it ends a document that only opens.
const MAX_DEPTH: u32 = 128;
/// What is kept of blanks between two rows.
const MAX_GAP: usize = 64;
const BOM: [u8; 3] = [0xef, 0xbb, 0xbf];

/// Why a stream cannot be cut.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SplitError {
    #[error(transparent)]
    Payload(#[from] PayloadError),
    #[error("row {row}, which begins at byte {offset}, is longer than {limit} bytes")]
    RowTooLong {
        row: usize,
        offset: usize,
        limit: usize,
    },
}

/// Rows of a stream as a payload of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub content: Vec<u8>,
    /// Number of its first row in the stream, from 0.
    pub first_row: usize,
    /// Where it begins in the stream. Places in it are as far from there, unless long blanks were left out.
    pub offset: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A block ends with the first row that makes it this long.
    pub block_bytes: usize,
    pub row_bytes: usize,
}

/// Where the last byte stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before everything; so many bytes of a byte order mark were there.
    Start(usize),
    /// Outside of lists: a row, a list or commas may come.
    Top,
    /// Behind `[`.
    ListStart,
    /// Behind a row of a list.
    ListRow,
    /// Behind a comma of a list.
    ListComma,
    Row,
    Text,
    /// Behind a backslash in a text.
    Escape,
}

/// Cuts what [`super::parse`] takes: an object, a list of objects, or objects one after another, also over
/// several lines. A payload up to `block_bytes` comes out as it came in, so that nearly JSON may be mended;
/// longer ones have to be JSON as far as quotes and brackets go. Holds a block and a row at most.
#[derive(Debug)]
pub struct Splitter {
    limits: Limits,
    /// The payload while it is short.
    head: Option<Vec<u8>>,
    place: Place,
    in_list: bool,
    depth: u32,
    /// One bit for each open bracket, the innermost last: 1 = `[`.
    kinds: u128,
    block: Block,
    /// Bytes of the row that is being read, and where it began in the stream.
    row_bytes: usize,
    row_offset: usize,
    /// Rows that ended.
    rows: usize,
    skip_rows: usize,
    gap: usize,
    /// Where the next byte stands in the stream.
    offset: usize,
}

impl Splitter {
    /// `skip_rows`: rows at the start that are left out, because they were dealt with before.
    pub fn new(limits: Limits, skip_rows: usize) -> Self {
        Self {
            limits,
            head: (skip_rows == 0).then(Vec::new),
            place: Place::Start(0),
            in_list: false,
            depth: 0,
            kinds: 0,
            block: Block {
                content: Vec::new(),
                first_row: 0,
                offset: 0,
            },
            row_bytes: 0,
            row_offset: 0,
            rows: 0,
            skip_rows,
            gap: 0,
            offset: 0,
        }
    }

    /// Rows that ended so far, skipped ones too; 0 while the payload is short.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The next bytes; blocks that are complete are added to `out`, also those before a fault.
    pub fn feed(&mut self, piece: &[u8], out: &mut Vec<Block>) -> Result<(), SplitError> {
        let Some(head) = &mut self.head else {
            return self.scan(piece, out);
        };
        head.extend_from_slice(piece);
        if head.len() <= self.limits.block_bytes {
            return Ok(());
        }
        let head = self.head.take().unwrap_or_default();
        self.scan(&head, out)
    }

    /// The stream is at its end: the last block, if rows are left. Nothing comes of an empty stream.
    pub fn finish(&mut self, out: &mut Vec<Block>) -> Result<(), SplitError> {
        if let Some(content) = self.head.take() {
            if !content.trim_ascii().is_empty() {
                out.push(Block {
                    content,
                    first_row: 0,
                    offset: 0,
                });
            }
            return Ok(());
        }
        match self.place {
            Place::Start(0) | Place::Top => {}
            Place::ListStart | Place::ListRow | Place::ListComma => {
                return Err(self.fault("the list has no end", self.offset));
            }
            Place::Start(_) => return Err(self.fault("the payload is not UTF-8 text", 0)),
            Place::Row | Place::Text | Place::Escape => {
                return Err(self.fault("the row has no end", self.row_offset));
            }
        }
        if !self.block.content.is_empty() {
            self.cut(out);
        }
        Ok(())
    }

    fn fault(&self, message: &str, offset: usize) -> SplitError {
        SplitError::Payload(PayloadError {
            message: message.to_owned(),
            row: self.rows + 1,
            offset,
        })
    }

    fn scan(&mut self, piece: &[u8], out: &mut Vec<Block>) -> Result<(), SplitError> {
        let mut at = 0;
        while at < piece.len() {
            if matches!(self.place, Place::Row | Place::Text | Place::Escape) {
                at = self.inside(piece, at, out)?;
            } else {
                self.between(piece[at], self.offset + at)?;
                at += 1;
            }
        }
        self.offset += piece.len();
        Ok(())
    }

    /// One byte outside of rows.
    fn between(&mut self, byte: u8, offset: usize) -> Result<(), SplitError> {
        if let Place::Start(seen) = self.place {
            if byte == BOM[seen] {
                self.place = if seen + 1 == BOM.len() {
                    Place::Top
                } else {
                    Place::Start(seen + 1)
                };
                return Ok(());
            }
            if seen > 0 {
                return Err(self.fault("the payload is not UTF-8 text", 0));
            }
            self.place = Place::Top;
        }
        match (byte, self.place) {
            (b'{', Place::Top | Place::ListStart | Place::ListComma) => {
                self.begin_row(offset);
                return Ok(());
            }
            (0..=b' ', _) | (b',', Place::Top) => {}
            (b'[', Place::Top) => {
                self.in_list = true;
                self.place = Place::ListStart;
            }
            (b',', Place::ListRow) => self.place = Place::ListComma,
            (b']', Place::ListStart | Place::ListRow | Place::ListComma) => {
                self.in_list = false;
                self.place = Place::Top;
            }
            (_, Place::ListRow) => {
                return Err(self.fault("expected `,` or `]` behind a row of the list", offset));
            }
            _ => return Err(self.fault("expected a JSON object (a row)", offset)),
        }
        // Byte by byte as it was, without what stood for the list: places in the block stay places in the
        // stream, and one row a line is the parser's fast way.
        if !self.block.content.is_empty() && self.gap < MAX_GAP {
            self.gap += 1;
            self.block.content.push(match byte {
                b',' | b'\n' => b'\n',
                _ => b' ',
            });
        }
        Ok(())
    }

    fn begin_row(&mut self, offset: usize) {
        self.place = Place::Row;
        self.depth = 1;
        self.kinds = 0;
        self.row_bytes = 1;
        self.row_offset = offset;
        self.gap = 0;
        if self.rows >= self.skip_rows {
            if self.block.content.is_empty() {
                self.block.first_row = self.rows;
                self.block.offset = offset;
            }
            self.block.content.push(b'{');
        }
    }

    /// The part of a row that the piece has from `from` on; returns where it ends.
    fn inside(
        &mut self,
        piece: &[u8],
        from: usize,
        out: &mut Vec<Block>,
    ) -> Result<usize, SplitError> {
        let mut at = from;
        while at < piece.len() && self.depth > 0 {
            match self.place {
                Place::Escape => {
                    at += 1;
                    self.place = Place::Text;
                }
                Place::Text => match memchr::memchr2(b'"', b'\\', &piece[at..]) {
                    None => at = piece.len(),
                    Some(found) => {
                        at += found + 1;
                        self.place = if piece[at - 1] == b'"' {
                            Place::Row
                        } else {
                            Place::Escape
                        };
                    }
                },
                _ => {
                    let structural = |b: &u8| matches!(b, b'"' | b'{' | b'}' | b'[' | b']');
                    match piece[at..].iter().position(structural) {
                        None => at = piece.len(),
                        Some(found) => {
                            at += found + 1;
                            self.bracket(piece[at - 1], self.offset + at - 1)?;
                        }
                    }
                }
            }
        }
        self.row_bytes += at - from;
        if self.row_bytes > self.limits.row_bytes {
            return Err(SplitError::RowTooLong {
                row: self.rows + 1,
                offset: self.row_offset,
                limit: self.limits.row_bytes,
            });
        }
        if self.rows >= self.skip_rows {
            self.block.content.extend_from_slice(&piece[from..at]);
        }
        if self.depth == 0 {
            self.rows += 1;
            self.place = if self.in_list {
                Place::ListRow
            } else {
                Place::Top
            };
            if self.block.content.len() >= self.limits.block_bytes {
                self.cut(out);
            }
        }
        Ok(at)
    }

    /// A quote or bracket of a row.
    fn bracket(&mut self, byte: u8, offset: usize) -> Result<(), SplitError> {
        match byte {
            b'"' => self.place = Place::Text,
            b'{' | b'[' => {
                if self.depth == MAX_DEPTH {
                    return Err(self.fault("the row is nested too deep", offset));
                }
                self.depth += 1;
                self.kinds = self.kinds << 1 | u128::from(byte == b'[');
            }
            _ => {
                if (self.kinds & 1 == 1) != (byte == b']') {
                    return Err(self.fault("a bracket closes what it did not open", offset));
                }
                self.depth -= 1;
                self.kinds >>= 1;
            }
        }
        Ok(())
    }

    fn cut(&mut self, out: &mut Vec<Block>) {
        let empty = Block {
            content: Vec::with_capacity(self.block.content.len()),
            first_row: self.rows,
            offset: self.offset,
        };
        out.push(std::mem::replace(&mut self.block, empty));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::time::Zone;
    use super::super::{parse, pick};
    use super::*;

    fn limits(block_bytes: usize) -> Limits {
        Limits {
            block_bytes,
            row_bytes: 1 << 20,
        }
    }

    /// Blocks of a payload that arrives in pieces of these lengths, over and over.
    fn split(
        payload: &[u8],
        cuts: &[usize],
        limits: Limits,
        skip_rows: usize,
    ) -> (Vec<Block>, Result<(), SplitError>) {
        let mut splitter = Splitter::new(limits, skip_rows);
        let mut out = Vec::new();
        let mut rest = payload;
        for &cut in cuts.iter().cycle() {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            if let Err(e) = splitter.feed(piece, &mut out) {
                return (out, Err(e));
            }
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        let end = splitter.finish(&mut out);
        (out, end)
    }

    fn rows_of(payload: &[u8]) -> Vec<String> {
        let zone = Zone::named("UTC").unwrap();
        let Ok(parsed) = parse(payload, None, &zone) else {
            return Vec::new();
        };
        let all: Vec<usize> = (0..parsed.chunk.len).collect();
        pick(payload, &all)
    }

    fn joined(rows: &[String], form: usize) -> String {
        match form {
            0 => rows.join("\n"),
            1 => rows.join(","),
            2 => rows.concat(),
            3 => format!("[{}]", rows.join(",")),
            4 => format!("\u{feff} [\r\n{}\n] ", rows.join(" ,\t\n")),
            _ => format!("{}\n[{}]\n", rows[0], rows.join(", ")),
        }
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![".{0,12}", r#"[\\"{}\[\],:'é]{0,8}"#]
    }

    fn value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            any::<i32>().prop_map(Into::into),
            text().prop_map(Into::into),
            Just(serde_json::Value::Null),
        ];
        leaf.prop_recursive(4, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                proptest::collection::btree_map(text(), inner, 0..4)
                    .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_cut_of_the_stream_gives_the_rows_of_the_whole(
            rows in proptest::collection::vec(proptest::collection::btree_map("[a-z]{1,4}", value(), 1..4), 1..12),
            pretty: bool,
            form in 0usize..6,
            cuts in proptest::collection::vec(1usize..40, 1..8),
            block_bytes in 0usize..200,
        ) {
            let rows: Vec<String> = rows.iter().map(|row| {
                let row = serde_json::json!(row);
                if pretty { serde_json::to_string_pretty(&row).unwrap() } else { row.to_string() }
            }).collect();
            let payload = joined(&rows, form);
            let whole = rows_of(payload.as_bytes());
            prop_assert_eq!(whole.len(), rows.len() + usize::from(form == 5));
            let (blocks, end) = split(payload.as_bytes(), &cuts, limits(block_bytes), 0);
            prop_assert_eq!(&end, &Ok(()));
            let mut found = Vec::new();
            for block in &blocks {
                prop_assert_eq!(block.first_row, found.len());
                found.extend(rows_of(&block.content));
            }
            prop_assert_eq!(&found, &whole);
            let again = split(payload.as_bytes(), &[payload.len()], limits(block_bytes), 0);
            prop_assert_eq!((blocks, end), again);
        }

        #[test]
        fn rows_may_be_skipped(count in 1usize..30, skip in 0usize..35, cut in 1usize..20, block_bytes in 0usize..60) {
            let rows: Vec<String> = (0..count).map(|n| format!("{{\"n\": {n}}}")).collect();
            let payload = joined(&rows, 3);
            let (blocks, end) = split(payload.as_bytes(), &[cut], limits(block_bytes), skip);
            prop_assert_eq!(end, Ok(()));
            let found: Vec<String> = blocks.iter().flat_map(|block| rows_of(&block.content)).collect();
            prop_assert_eq!(&found[..], rows.get(skip..).unwrap_or_default());
        }

        #[test]
        fn whatever_comes_is_cut_the_same_way_and_into_nothing_that_the_whole_is_not(
            payload in r#"[\[\]{}",:'a1 .\\\n]{0,50}"#, cut in 1usize..8) {
            let one = split(payload.as_bytes(), &[cut], limits(0), 0);
            prop_assert_eq!(&one, &split(payload.as_bytes(), &[64], limits(0), 0));
            let zone = Zone::named("UTC").unwrap();
            let (blocks, end) = one;
            if end.is_ok() && !blocks.is_empty() && blocks.iter().all(|b| parse(&b.content, None, &zone).is_ok()) {
                let found: Vec<String> = blocks.iter().flat_map(|block| rows_of(&block.content)).collect();
                prop_assert_eq!(found, rows_of(payload.as_bytes()));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(payload in proptest::collection::vec(any::<u8>(), 0..100), cut in 1usize..8) {
            let _ = split(&payload, &[cut], limits(0), 0);
        }
    }

    #[test]
    fn a_short_payload_is_one_block_as_it_came() {
        let payload = b" [{'a': 1,},]\n";
        let (blocks, end) = split(payload, &[3], limits(payload.len()), 0);
        assert_eq!(end, Ok(()));
        assert_eq!(blocks.len(), 1);
        assert_eq!(blocks[0].content, payload);
        for blank in [&b""[..], b" \r\n ", b"\xef\xbb\xbf  "] {
            let (blocks, end) = split(blank, &[2], limits(0), 0);
            assert_eq!((blocks.len(), end), (0, Ok(())));
        }
    }

    #[test]
    fn a_fault_has_its_row_and_place() {
        for (payload, message, row, offset) in [
            ("{\"a\":1}\n17", "expected a JSON object (a row)", 2, 8),
            (
                "[{\"a\":1} {\"a\":2}]",
                "expected `,` or `]` behind a row of the list",
                2,
                9,
            ),
            ("[,{\"a\":1}]", "expected a JSON object (a row)", 1, 1),
            ("[[{\"a\":1}]]", "expected a JSON object (a row)", 1, 1),
            ("{\"a\":[1}", "a bracket closes what it did not open", 1, 7),
            ("{\"a\":1}]", "expected a JSON object (a row)", 2, 7),
            ("[{\"a\":1}", "the list has no end", 2, 8),
            ("{\"a\":1}\n{\"a\": \"}", "the row has no end", 2, 8),
            (
                "\u{feff}{\"a\":1}\n\u{feff}",
                "expected a JSON object (a row)",
                2,
                11,
            ),
        ] {
            let (_, end) = split(payload.as_bytes(), &[2], limits(0), 0);
            let expected = PayloadError {
                message: message.into(),
                row,
                offset,
            };
            assert_eq!(end, Err(SplitError::Payload(expected)), "{payload}");
        }
    }

    #[test]
    fn what_only_opens_is_refused_before_it_is_held() {
        let deep = "{\"a\":".repeat(100_000);
        let (_, end) = split(deep.as_bytes(), &[4096], limits(0), 0);
        assert!(matches!(end, Err(SplitError::Payload(e)) if e.offset == 5 * 128));
        let long = format!("{{\"a\":1}}{{\"a\": \"{}\"}}", "x".repeat(2 << 20));
        let (blocks, end) = split(long.as_bytes(), &[4096], limits(0), 0);
        assert_eq!(blocks.len(), 1);
        let limit = 1 << 20;
        assert_eq!(
            end,
            Err(SplitError::RowTooLong {
                row: 2,
                offset: 7,
                limit
            })
        );
    }

    #[test]
    fn blanks_take_no_memory_and_places_stay() {
        let payload = format!("{{\"a\":1}}, {{\"a\":2}}{}{{\"a\":3}}", " ".repeat(1 << 20));
        let (blocks, end) = split(payload.as_bytes(), &[4096], limits(100), 0);
        assert_eq!(end, Ok(()));
        assert_eq!(blocks.len(), 1);
        assert!(blocks[0].content.len() < 200);
        assert_eq!(&blocks[0].content[9..16], b"{\"a\":2}");
    }
}
