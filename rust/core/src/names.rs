//! Names: of columns, of data files, of partitions; hashes and units that go with them.

mod file_name;
mod partition;

use std::fmt::Write;

use md5::{Digest, Md5};

pub use file_name::{FileKind, FileName, FileNameError, Member, error_name, strip_error};
pub use partition::{Partition, PartitionError, PartitionSpec, Unit};

/// Columns that the node fills; user data with such a name gets a leading `_`.
pub const AUTOMATIC_COLUMNS: [&str; 4] = ["row_id", "insert_timestamp", "tsd_name", "tsd_id"];

/// A name as databases, tables and columns carry it: lower case; blank `-` `.` `/` `\` `:` become `_`,
/// other characters up to U+00FF that are no letter a-z, digit or `_` become `0x` and two hex digits
/// (spec: ingestion, section 8).
pub fn sanitize(name: &str) -> String {
    let mut clean = String::with_capacity(name.len());
    for c in name.chars().flat_map(char::to_lowercase) {
        match c {
            'a'..='z' | '0'..='9' | '_' => clean.push(c),
            ' ' | '-' | '.' | '/' | '\\' | ':' => clean.push('_'),
            '\0' => {}
            '\u{1}'..='\u{ff}' => {
                // Writing to a String cannot fail.
                let _ = write!(clean, "0x{:02x}", c as u32);
            }
            _ => clean.push(c),
        }
    }
    clean
}

/// The column that an attribute of a row goes to; `None` for an empty name, which has none.
pub fn column_name(name: &str) -> Option<String> {
    let mut clean = sanitize(name);
    if clean.is_empty() {
        return None;
    }
    if clean.as_bytes()[0].is_ascii_digit() || AUTOMATIC_COLUMNS.contains(&clean.as_str()) {
        clean.insert(0, '_');
    }
    Some(clean)
}

/// The md5 of a data file, in hex: over `<dbms>.<table>` and the content. For the file of a streamed batch
/// `data` is the node's id and the journal position (spec: ingestion, section 5).
pub fn payload_hash(dbms: &str, table: &str, data: &[u8]) -> String {
    let mut hash = PayloadHash::new(dbms, table);
    hash.update(data);
    hash.hex()
}

/// `payload_hash` of content that comes in pieces.
pub struct PayloadHash(Md5);

impl PayloadHash {
    pub fn new(dbms: &str, table: &str) -> Self {
        let mut md5 = Md5::new();
        md5.update(dbms);
        md5.update(".");
        md5.update(table);
        Self(md5)
    }

    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    pub fn hex(self) -> String {
        let mut hex = String::with_capacity(32);
        for byte in self.0.finalize() {
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    }
}

/// Bytes of a size such as `10000`, `2KB`, `1MB`, `1GB`, `1TB` (1024 based, unit glued to the number).
pub fn storage_bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let shift = match text[digits..].to_ascii_uppercase().as_str() {
        "" => 0,
        "KB" => 10,
        "MB" => 20,
        "GB" => 30,
        "TB" => 40,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_become_columns() {
        for (name, column) in [
            ("Value Of-X", Some("value_of_x")),
            ("CPU%", Some("cpu0x25")),
            ("Größe", Some("gr0xf60xdfe")),
            ("40001", Some("_40001")),
            ("1abc", Some("_1abc")),
            ("row_id", Some("_row_id")),
            ("Insert-Timestamp", Some("_insert_timestamp")),
            ("日本", Some("日本")),
            ("", None),
            ("\0", None),
        ] {
            assert_eq!(column_name(name).as_deref(), column, "{name}");
        }
    }

    #[test]
    fn sizes_are_glued_and_1024_based() {
        assert_eq!(storage_bytes("2KB"), Some(2048));
        assert_eq!(storage_bytes("10000"), Some(10_000));
        assert_eq!(storage_bytes("1TB"), Some(1 << 40));
        for text in [
            "5 KB",
            "abc",
            "",
            "KB",
            "-1",
            "99999999999999999999",
            "9999999999TB",
        ] {
            assert_eq!(storage_bytes(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn sanitising_twice_changes_nothing(name in ".{0,20}") {
            let once = sanitize(&name);
            prop_assert_eq!(sanitize(&once), once.clone());
            storage_bytes(&name);
        }
    }
}
