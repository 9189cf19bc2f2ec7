//! SQL of the time-series dialect: values, time expressions, buckets of `increments`.

pub mod bucket;
pub mod error;
pub mod time;
pub mod value;
