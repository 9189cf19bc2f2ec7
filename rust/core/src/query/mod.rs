//! SQL of the time-series dialect: values, time expressions, buckets of `increments`.

pub mod bucket;
pub mod cast;
pub mod catalogue;
mod compare;
pub mod content;
pub mod dialect;
mod emit;
mod engine_functions;
pub mod error;
pub mod group;
mod lexer;
mod moments;
pub mod peer_rows;
pub mod plan;
mod ranges;
pub mod render;
pub mod spec;
pub mod time;
pub mod value;
