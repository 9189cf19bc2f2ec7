//! A chunk: the rows of one payload as columns.

/// One bit a row; set = the value is present (not null).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bitmap {
    words: Vec<u64>,
    len: usize,
}

impl Bitmap {
    pub fn push(&mut self, set: bool) {
        if self.len.is_multiple_of(64) {
            self.words.push(0);
        }
        if set && let Some(last) = self.words.last_mut() {
            *last |= 1 << (self.len % 64);
        }
        self.len += 1;
    }

    pub fn get(&self, row: usize) -> bool {
        self.words
            .get(row / 64)
            .is_some_and(|w| w >> (row % 64) & 1 == 1)
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// `len` bits, all equal to `set`.
    pub fn filled(len: usize, set: bool) -> Self {
        let mut words = vec![if set { u64::MAX } else { 0 }; len.div_ceil(64)];
        if set
            && !len.is_multiple_of(64)
            && let Some(last) = words.last_mut()
        {
            *last = (1 << (len % 64)) - 1;
        }
        Self { words, len }
    }
}

/// A value of a column that holds more than one kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    /// Digits of an integer that 64 bits cannot hold.
    BigInt(String),
    Float(f64),
    Text(String),
    /// A JSON object or list, as its text.
    Json(String),
}

/// Texts end to end, with the offset at which each ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextColumn {
    pub ends: Vec<u32>,
    pub bytes: String,
}

impl TextColumn {
    pub fn push(&mut self, text: &str) {
        self.bytes.push_str(text);
        self.ends.push(self.bytes.len() as u32);
    }

    pub fn get(&self, row: usize) -> &str {
        let start = if row == 0 {
            0
        } else {
            self.ends[row - 1] as usize
        };
        &self.bytes[start..self.ends[row] as usize]
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

/// The values of one column. A null row holds a filler (0, empty text) that the validity bitmap hides.
#[derive(Clone, Debug, PartialEq)]
pub enum ColumnData {
    Bool(Vec<bool>),
    Int(Vec<i64>),
    Float(Vec<f64>),
    /// Microseconds UTC.
    Time(Vec<i64>),
    Text(TextColumn),
    Mixed(Vec<Value>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Sanitised name.
    pub name: String,
    pub data: ColumnData,
    /// `None` = every row has a value.
    pub validity: Option<Bitmap>,
}

impl Column {
    pub fn is_null(&self, row: usize) -> bool {
        self.validity.as_ref().is_some_and(|v| !v.get(row))
    }
}

/// Rows of one payload (or several joined), as columns of equal length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chunk {
    pub columns: Vec<Column>,
    pub len: usize,
}

impl Chunk {
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }
}
