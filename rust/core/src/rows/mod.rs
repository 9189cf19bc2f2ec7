//! Typed columnar rows: what every reading becomes, whatever way it came in.

mod chunk;
mod parse;
mod types;

pub use chunk::{Bitmap, Chunk, Column, ColumnData, TextColumn, Value};
pub use parse::{Parsed, PayloadError, parse};
pub use types::{ColumnDef, LogicalType, Physical, Schema};
