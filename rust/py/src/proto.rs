//! `ProtoDecoder`: protobuf messages of a type that is known at run time, as JSON.

use edgelake_core::proto::Decoder;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::rows::DETACH_BYTES;

/// Decodes messages of one type.
#[pyclass(module = "edgelake._rust", frozen)]
pub struct ProtoDecoder(Decoder);

#[pymethods]
impl ProtoDecoder {
    #[new]
    #[pyo3(signature = (descriptors, message, added = Vec::new(), *, defaults = false))]
    #[allow(clippy::needless_pass_by_value)] // what PyO3 extracts is owned
    fn new(
        descriptors: &[u8],
        message: &str,
        added: Vec<(String, String)>,
        defaults: bool,
    ) -> PyResult<Self> {
        Decoder::new(descriptors, message, &added, defaults)
            .map(Self)
            .map_err(|e| PyValueError::new_err(e.to_string()))
    }

    /// (JSON list, objects in it, messages that could not be decoded, what was wrong with the first of them)
    #[allow(clippy::needless_pass_by_value)]
    fn decode<'py>(
        &self,
        py: Python<'py>,
        messages: Vec<PyBackedBytes>,
    ) -> (Bound<'py, PyBytes>, usize, usize, String) {
        let bytes: usize = messages.iter().map(|message| message.len()).sum();
        let work = || self.0.decode(messages.iter().map(AsRef::as_ref));
        let decoded = if bytes > DETACH_BYTES {
            py.detach(work)
        } else {
            work()
        };
        let json = PyBytes::new(py, &decoded.json);
        (json, decoded.objects, decoded.failed, decoded.reason)
    }
}
