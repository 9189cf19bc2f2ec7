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

    /// Forget the last bit.
    pub fn pop(&mut self) {
        if self.len > 0 {
            self.truncate(self.len - 1);
        }
    }

    /// Keep the first `len` bits.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.len {
            return;
        }
        self.words.truncate(len.div_ceil(64));
        if !len.is_multiple_of(64)
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1 << (len % 64)) - 1;
        }
        self.len = len;
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

    /// Number of set bits.
    pub fn ones(&self) -> usize {
        self.words.iter().map(|w| w.count_ones() as usize).sum()
    }

    /// The bits, 64 a word, lowest first; bits past the end are 0.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Bits from words; `None` when their number does not fit `len`.
    pub fn from_words(mut words: Vec<u64>, len: usize) -> Option<Self> {
        if words.len() != len.div_ceil(64) {
            return None;
        }
        if !len.is_multiple_of(64)
            && let Some(last) = words.last_mut()
        {
            *last &= (1 << (len % 64)) - 1;
        }
        Some(Self { words, len })
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
    /// Microseconds UTC.
    Time(i64),
}

impl Value {
    pub fn as_cell(&self) -> Cell<'_> {
        match self {
            Self::Null => Cell::Null,
            Self::Bool(b) => Cell::Bool(*b),
            Self::Int(i) => Cell::Int(*i),
            Self::BigInt(digits) => Cell::BigInt(digits),
            Self::Float(f) => Cell::Float(*f),
            Self::Text(text) => Cell::Text(text),
            Self::Json(text) => Cell::Json(text),
            Self::Time(us) => Cell::Time(*us),
        }
    }
}

/// A value, borrowed: what goes into a builder and comes out of a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// Digits of an integer that 64 bits cannot hold.
    BigInt(&'a str),
    Float(f64),
    Text(&'a str),
    /// A JSON object or list, as its text.
    Json(&'a str),
    /// Microseconds UTC.
    Time(i64),
}

impl From<Cell<'_>> for Value {
    fn from(cell: Cell<'_>) -> Self {
        match cell {
            Cell::Null => Self::Null,
            Cell::Bool(b) => Self::Bool(b),
            Cell::Int(i) => Self::Int(i),
            Cell::BigInt(digits) => Self::BigInt(digits.to_owned()),
            Cell::Float(f) => Self::Float(f),
            Cell::Text(text) => Self::Text(text.to_owned()),
            Cell::Json(text) => Self::Json(text.to_owned()),
            Cell::Time(us) => Self::Time(us),
        }
    }
}

/// Texts end to end, with the offset at which each ends. At most 4 GiB together: `parse`, `append`
/// and `decode` keep chunks far below.
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

    /// Keep the first `len` texts.
    pub fn truncate(&mut self, len: usize) {
        self.ends.truncate(len);
        let end = self.ends.last().map_or(0, |e| *e as usize);
        self.bytes.truncate(end);
    }

    /// `len` empty texts.
    pub fn blank(len: usize) -> Self {
        Self {
            ends: vec![0; len],
            bytes: String::new(),
        }
    }
}

/// The values of one column. A null row holds a filler (0, empty text) that the validity bitmap hides.
/// Builders turn empty texts and floats that are no numbers into nulls (spec: ingestion, section 9).
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

impl ColumnData {
    pub fn len(&self) -> usize {
        match self {
            Self::Bool(v) => v.len(),
            Self::Int(v) | Self::Time(v) => v.len(),
            Self::Float(v) => v.len(),
            Self::Text(v) => v.len(),
            Self::Mixed(v) => v.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
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

    /// No row has a value.
    pub fn is_all_null(&self) -> bool {
        self.validity.as_ref().is_some_and(|v| v.ones() == 0)
    }

    /// The value of a row below the chunk's length.
    pub fn cell(&self, row: usize) -> Cell<'_> {
        if self.is_null(row) {
            return Cell::Null;
        }
        match &self.data {
            ColumnData::Bool(v) => Cell::Bool(v[row]),
            ColumnData::Int(v) => Cell::Int(v[row]),
            ColumnData::Float(v) => Cell::Float(v[row]),
            ColumnData::Time(v) => Cell::Time(v[row]),
            ColumnData::Text(v) => Cell::Text(v.get(row)),
            ColumnData::Mixed(v) => v[row].as_cell(),
        }
    }

    /// `len` nulls.
    pub fn nulls(name: String, len: usize) -> Self {
        Self {
            name,
            data: ColumnData::Text(TextColumn::blank(len)),
            validity: Some(Bitmap::filled(len, false)),
        }
    }
}

/// Rows of one payload (or several joined), as columns of equal length and different names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chunk {
    pub columns: Vec<Column>,
    pub len: usize,
}

impl Chunk {
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Memory that the chunk occupies, without what the values of mixed columns hold themselves
    /// (`mixed_bytes`): the cost of asking doesn't grow with the rows.
    pub fn reserved_bytes(&self) -> usize {
        self.columns
            .iter()
            .map(|column| {
                let values = match &column.data {
                    ColumnData::Bool(v) => v.capacity(),
                    ColumnData::Int(v) | ColumnData::Time(v) => v.capacity() * 8,
                    ColumnData::Float(v) => v.capacity() * 8,
                    ColumnData::Text(v) => v.bytes.capacity() + v.ends.capacity() * 4,
                    ColumnData::Mixed(v) => v.capacity() * size_of::<Value>(),
                };
                let bits = column
                    .validity
                    .as_ref()
                    .map_or(0, |bits| bits.words.capacity() * 8);
                size_of::<Column>() + column.name.capacity() + bits + values
            })
            .sum()
    }

    /// Memory of the texts in mixed columns.
    pub fn mixed_bytes(&self) -> usize {
        self.columns
            .iter()
            .map(|column| match &column.data {
                ColumnData::Mixed(v) => v
                    .iter()
                    .map(|value| match value {
                        Value::BigInt(t) | Value::Text(t) | Value::Json(t) => t.capacity(),
                        _ => 0,
                    })
                    .sum(),
                _ => 0,
            })
            .sum()
    }
}
