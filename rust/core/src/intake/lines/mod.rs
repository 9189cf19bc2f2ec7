//! Lines of text on the broker's port: syslog and the like (spec: brokers and mapping, section 3).
//!
//! A connection whose first bytes are no MQTT is asked for its rule (`Rules::find`); `Lines` then makes rows of what
//! comes. No rule: the connection is closed.

mod rules;
mod syslog;

use std::net::IpAddr;
use std::sync::Arc;

pub use rules::{LineFormat, LineRule, Rules};

use crate::pipeline::{Key, MappedRows, Origin, Receipts};
use crate::rows::time::Zone;
use crate::rows::{Cell, Chunk, ChunkBuilder, ColumnDef, LogicalType};

/// A longer line is taken in pieces.
const LINE_BYTES: usize = 64 * 1024;
/// Columns that a first line may name.
const MAX_COLUMNS: usize = 200;
/// Digits of a count that is not too large.
const COUNT_DIGITS: usize = 5;

/// Where the next line ends.
enum Frame {
    /// After so many bytes, behind the count.
    Counted { head: usize, bytes: usize },
    /// At the end of the line.
    Ended,
    /// More bytes will tell.
    Undecided,
}

/// A connection that sends lines.
pub struct Lines {
    rule: Arc<LineRule>,
    source: String,
    /// The begin of a line whose end has not come yet.
    partial: Vec<u8>,
    /// Columns and where they begin, out of the first line (`structure = included`).
    columns: Option<Vec<(String, usize)>>,
}

impl Lines {
    pub fn new(rule: Arc<LineRule>, peer: IpAddr) -> Self {
        Self {
            rule,
            source: peer.to_string(),
            partial: Vec::new(),
            columns: None,
        }
    }

    pub fn rule(&self) -> &LineRule {
        &self.rule
    }

    /// Rows of the lines that `bytes` ends; `now_us` is the time of arrival.
    pub fn feed(&mut self, bytes: &[u8], now_us: i64) -> Option<MappedRows> {
        let mut builder = ChunkBuilder::new(None, &Zone::UTC);
        let whole;
        let mut rest = bytes;
        if !self.partial.is_empty() {
            let mut begun = std::mem::take(&mut self.partial);
            begun.extend_from_slice(bytes);
            whole = begun;
            rest = &whole;
        }
        while let Some(line) = self.next_line(&mut rest) {
            self.line(line, &mut builder, now_us);
        }
        self.partial = rest.to_vec();
        self.rows(builder.finish(), now_us)
    }

    /// The next line out of `rest`, if all of it is there.
    fn next_line<'b>(&self, rest: &mut &'b [u8]) -> Option<&'b [u8]> {
        let (begin, end, next) = match self.frame(rest) {
            Frame::Counted { head, bytes } => {
                let end = head + bytes;
                if rest.len() < end {
                    return None;
                }
                (head, end, end)
            }
            Frame::Undecided => return None,
            Frame::Ended => match memchr::memchr(b'\n', rest) {
                Some(end) => (0, end, end + 1),
                None if rest.len() > LINE_BYTES => (0, LINE_BYTES, LINE_BYTES),
                None => return None,
            },
        };
        let line = &rest[begin..end];
        *rest = &rest[next..];
        Some(line)
    }

    /// How the end of the next syslog message is known: RFC 6587 lets the sender choose. No message begins with a digit,
    /// so `83 <34>` is a count. A count that is too large is the text of a line.
    fn frame(&self, bytes: &[u8]) -> Frame {
        if self.rule.format == LineFormat::Plain {
            return Frame::Ended;
        }
        let digits = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 || digits > COUNT_DIGITS || bytes[0] == b'0' {
            return Frame::Ended;
        }
        match bytes[digits..] {
            [] | [b' '] => Frame::Undecided,
            [b' ', b'<', ..] => {
                let text = std::str::from_utf8(&bytes[..digits]).unwrap_or_default();
                match text.parse() {
                    Ok(bytes) if bytes <= LINE_BYTES => Frame::Counted {
                        head: digits + 1,
                        bytes,
                    },
                    _ => Frame::Ended,
                }
            }
            _ => Frame::Ended,
        }
    }

    /// Memory of a line that has not come whole.
    pub fn held_bytes(&self) -> usize {
        self.partial.capacity()
    }

    /// Rows of what is left when the connection ends.
    pub fn finish(&mut self, now_us: i64) -> Option<MappedRows> {
        let mut builder = ChunkBuilder::new(None, &Zone::UTC);
        let left = std::mem::take(&mut self.partial);
        let head = match self.frame(&left) {
            Frame::Counted { head, .. } => head,
            Frame::Undecided | Frame::Ended => 0,
        };
        self.line(&left[head..], &mut builder, now_us);
        self.rows(builder.finish(), now_us)
    }

    fn rows(&self, chunk: Chunk, now_us: i64) -> Option<MappedRows> {
        (chunk.len > 0).then(|| MappedRows {
            key: Key::new(&self.rule.dbms, &self.rule.table),
            origin: Origin {
                source: "0".to_owned(),
                instructions: "0".to_owned(),
            },
            chunk,
            declared: self.declared(),
            arrival_us: now_us,
            receipts: Receipts::default(),
        })
    }

    fn declared(&self) -> Vec<ColumnDef> {
        let names: &[(&str, LogicalType)] = match self.rule.format {
            LineFormat::Bsd => &syslog::BSD_COLUMNS,
            LineFormat::Ietf => &syslog::IETF_COLUMNS,
            LineFormat::Plain => &[("message", LogicalType::Varchar)],
        };
        let columns = names.iter().map(|(name, kind)| ColumnDef {
            name: (*name).to_owned(),
            kind: *kind,
            default_now: false,
        });
        columns.collect()
    }

    /// The line that is complete becomes a row.
    fn line(&mut self, raw: &[u8], builder: &mut ChunkBuilder, now_us: i64) {
        let text = String::from_utf8_lossy(raw);
        let text = text.trim_end_matches(['\r', '\n']).replace('\0', "");
        let header = self.rule.header.as_deref().unwrap_or_default();
        let text = text.strip_prefix(header).unwrap_or(&text);
        if text.trim().is_empty() {
            return;
        }
        if self.rule.included && self.columns.is_none() {
            self.columns = Some(columns_of(text));
            return;
        }
        builder.begin_row();
        let mut push = |name: &str, cell: Cell<'_>| {
            // The names are few and ours, or those of one line.
            let _ = builder.push(name, cell);
        };
        if self.rule.extend_ip {
            push("source_ip", Cell::Text(&self.source));
        }
        match (&self.columns, self.rule.format) {
            (Some(columns), _) => fixed(columns, text, &mut push),
            (None, LineFormat::Bsd) => syslog::bsd(text, now_us, &mut push),
            (None, LineFormat::Ietf) => syslog::ietf(text, now_us, &mut push),
            (None, LineFormat::Plain) => {
                push("timestamp", Cell::Time(now_us));
                push("message", Cell::Text(text));
            }
        }
        builder.end_row();
    }
}

/// Names of the words of a line, and where they begin. Further words than a table should have columns belong to the
/// last one, which is the message.
fn columns_of(line: &str) -> Vec<(String, usize)> {
    let mut columns = Vec::new();
    let mut before = ' ';
    for (at, c) in line.chars().enumerate() {
        if before.is_whitespace() && !c.is_whitespace() {
            if columns.len() == MAX_COLUMNS {
                break;
            }
            columns.push((String::new(), at));
        }
        if let Some((name, _)) = columns.last_mut()
            && !c.is_whitespace()
        {
            name.push(c);
        }
        before = c;
    }
    columns
}

/// Parts of a line by the places of its columns. The last one is the message.
fn fixed(columns: &[(String, usize)], line: &str, push: &mut dyn FnMut(&str, Cell<'_>)) {
    let mut indices = line.char_indices();
    let mut passed = 0;
    let mut begins = Vec::with_capacity(columns.len());
    for (_, begin) in columns {
        let byte = indices.nth(begin - passed).map_or(line.len(), |(at, _)| at);
        passed = begin + 1;
        begins.push(byte);
    }
    for (number, (name, _)) in columns.iter().enumerate() {
        let next = begins.get(number + 1);
        let end = next.copied().unwrap_or(line.len());
        let name = if next.is_some() { name } else { "message" };
        push(name, Cell::Text(line[begins[number]..end].trim()));
    }
}

#[cfg(test)]
mod tests;
