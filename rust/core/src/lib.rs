//! EdgeLake without Python: row mapping, journal, ingestion pipeline, SQL planning.
//!
//! Nothing here opens a database or a socket of its own accord, and nothing knows about Python.

pub mod aggregate;
pub mod intake;
pub mod journal;
pub mod mapping;
pub mod mqtt;
pub mod names;
pub mod peer;
pub mod pipeline;
pub mod postgres;
pub mod proto;
pub mod query;
pub mod rows;
pub mod watch;
