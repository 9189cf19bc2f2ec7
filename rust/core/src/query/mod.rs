//! SQL of the time-series dialect: values, time expressions, buckets of `increments`.

pub mod bucket;
pub mod cast;
pub mod error;
pub mod group;
pub mod render;
pub mod spec;
pub mod time;
pub mod value;
