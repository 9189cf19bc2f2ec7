//! The batch being inserted, cut into windows by a time key.

use std::ops::Range;
use std::sync::Arc;

use edgelake_core::rows::{Chunk, Column, ColumnData, Value};

#[derive(Default)]
pub struct Loaded {
    pub chunk: Arc<Chunk>,
    /// Rows in the order of their keys; `None` when they stand so already, which is usual.
    pub order: Option<Arc<Vec<u32>>>,
    /// Column whose values are the keys; absent = the batch is one window.
    key: Option<usize>,
    fill_us: i64,
    taken: usize,
}

impl Loaded {
    pub fn new(chunk: Arc<Chunk>, key: Option<usize>, fill_us: i64) -> Self {
        let order = key.and_then(|key| order_by(&chunk, key, fill_us));
        Self {
            chunk,
            order,
            key,
            fill_us,
            taken: 0,
        }
    }

    /// Key of the first row that no window has shown; `None` at the end.
    pub fn next_key(&self) -> Option<i64> {
        (self.taken < self.chunk.len).then(|| self.key_at(self.taken))
    }

    /// The next window: positions of rows below a key, `limit` of them at most.
    pub fn take(&mut self, end_us: Option<i64>, limit: Option<usize>) -> Range<usize> {
        let start = self.taken;
        let end = end_us.map_or(self.chunk.len, |end_us| self.find(end_us));
        let end = limit.map_or(end, |limit| end.min(start.saturating_add(limit)));
        self.taken = end;
        start..end
    }

    fn key_at(&self, position: usize) -> i64 {
        let row = self
            .order
            .as_ref()
            .map_or(position, |order| order[position] as usize);
        self.key
            .and_then(|at| self.chunk.columns.get(at))
            .map_or(self.fill_us, |column| key_of(column, row, self.fill_us))
    }

    fn find(&self, end_us: i64) -> usize {
        let (mut low, mut high) = (self.taken, self.chunk.len);
        while low < high {
            let middle = low.midpoint(high);
            if self.key_at(middle) < end_us {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

fn key_of(column: &Column, row: usize, fill_us: i64) -> i64 {
    if column.is_null(row) {
        return fill_us;
    }
    match &column.data {
        ColumnData::Time(values) | ColumnData::Int(values) => values[row],
        ColumnData::Mixed(values) => match values[row] {
            Value::Int(value) => value,
            _ => fill_us,
        },
        _ => fill_us,
    }
}

/// Rows in the order of their keys; `None` when they stand so already, which is usual.
fn order_by(chunk: &Chunk, key: usize, fill_us: i64) -> Option<Arc<Vec<u32>>> {
    let column = chunk.columns.get(key)?;
    let sorted =
        (1..chunk.len).all(|row| key_of(column, row - 1, fill_us) <= key_of(column, row, fill_us));
    if sorted {
        return None;
    }
    let mut order: Vec<u32> = (0..chunk.len as u32).collect();
    // Stable: rows of one instant stay in the order of their arrival.
    order.sort_by_key(|&row| key_of(column, row as usize, fill_us));
    Some(Arc::new(order))
}
