//! Typed columnar rows: what every reading becomes, whatever way it came in.

mod builder;
mod check;
mod chunk;
mod columnar;
mod fit;
mod infer;
mod join;
mod lenient;
mod lines;
mod parse;
mod split;
pub mod time;
mod types;

pub use builder::{ChunkBuilder, MAX_COLUMNS, TooManyColumns};
pub use check::Check;
pub use chunk::{Bitmap, Cell, Chunk, Column, ColumnData, TextColumn, Value};
pub use columnar::{ColumnError, Kind, Memory, column};
pub use fit::{Fitted, changes, fit};
pub use infer::infer;
pub use lines::json_lines;
pub use parse::{Parsed, PayloadError, parse, pick};
pub use split::{Block, Limits, SplitError, Splitter};
pub use types::{ColumnDef, LogicalType, Physical, Schema, UnknownType};
