//! The Python face of `edgelake-core`. Conversions and errors only; the logic is in the core crate.

mod aggregate;
mod bench;
mod broker;
mod clients;
mod errors;
mod flush;
mod load;
mod load_mqtt;
mod loaded;
mod mapping;
mod payload;
mod peer;
mod pipeline;
mod postgres;
mod proto;
mod query;
mod rows;
mod sqlite;
mod tls;
mod watch;

#[pyo3::pymodule(gil_used = false)]
mod _rust {
    /// `"dev"` or `"release"`: benches refuse a dev build.
    #[pymodule_export]
    const BUILD_PROFILE: &str = if cfg!(debug_assertions) {
        "dev"
    } else {
        "release"
    };

    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_export]
    use crate::aggregate::{Aggregated, derived_rows, interval_values};
    #[pymodule_export]
    use crate::bench::bench_native_loop;
    #[pymodule_export]
    use crate::broker::{MqttAcl, MqttBroker};
    #[pymodule_export]
    use crate::clients::{MessageClients, ReadMessages};
    #[pymodule_export]
    use crate::flush::{Content, FileBatch, Flush, FlushPart};
    #[pymodule_export]
    use crate::load::{load_put, workload_body};
    #[pymodule_export]
    use crate::load_mqtt::{MqttCrowd, load_mqtt_flow, load_mqtt_pace, load_mqtt_sink};
    #[pymodule_export]
    use crate::mapping::{MappingProgram, check_condition};
    #[pymodule_export]
    use crate::payload::{PayloadCheck, PayloadSplitter, pick_rows};
    #[pymodule_export]
    use crate::peer::{
        PeerFrames, PeerMessage, PeerReader, PeerRowWriter, peer_blocks, peer_frames,
    };
    #[pymodule_export]
    use crate::pipeline::Pipeline;
    #[pymodule_export]
    use crate::postgres::CopyBatch;
    #[pymodule_export]
    use crate::proto::ProtoDecoder;
    #[pymodule_export]
    use crate::query::{
        GroupScan, PeerMerge, Plan, RowReader, Select, add_functions, change_statement,
        statement_word, time_expression, time_text,
    };
    #[pymodule_export]
    use crate::rows::{
        Rows, format_time, json_lines, parse_file_name, parse_time, partition_of, payload_hash,
        sanitize_name, storage_bytes,
    };
    #[pymodule_export]
    use crate::sqlite::{BatchTable, RemoteTables, sqlite_ready};
    #[pymodule_export]
    use crate::tls::self_signed_certificate;
    #[pymodule_export]
    use crate::watch::DirectoryWatch;
}
