//! Messages of the protocol between nodes: bytes to messages and back (spec: network protocol, sections 1 to 3).

use edgelake_core::peer::{
    Address, BLOCK_BYTES, Flow, Header, Incoming, Info, Message, Outgoing, OutgoingRows,
};
use parking_lot::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

fn wrong(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// A whole message, or one block of a file.
#[pyclass(frozen)]
pub struct PeerMessage(pub(crate) Message);

#[pymethods]
impl PeerMessage {
    /// Text of the command, TABs as they came; what is no UTF-8 is replaced.
    #[getter]
    fn command(&self) -> String {
        String::from_utf8_lossy(&self.0.command).into_owned()
    }

    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.data)
    }

    #[getter]
    fn is_complete(&self) -> bool {
        self.0.is_complete
    }

    #[getter]
    fn error(&self) -> u16 {
        self.0.header.error
    }

    #[getter]
    fn generic_flag(&self) -> u16 {
        self.0.header.generic_flag
    }

    #[getter]
    fn has_rows(&self) -> bool {
        !self.0.rows.is_empty()
    }

    /// Streams of rows that the receiver sends.
    #[getter]
    fn partitions(&self) -> u16 {
        self.0.header.flow.partitions.max(1)
    }

    /// Location and id of the job, number of receivers, id of this one.
    #[getter]
    fn job(&self) -> (u16, u32, u16, u16) {
        let flow = &self.0.header.flow;
        (
            flow.job_location,
            flow.job_id,
            flow.receivers,
            flow.receiver_id,
        )
    }

    /// Host and port that replies go to. Errors: the host is no text.
    #[getter]
    fn source(&self) -> PyResult<(&str, u32)> {
        let source = &self.0.header.source;
        let host = source
            .host()
            .ok_or_else(|| wrong("the source address is no text"))?;
        Ok((host, source.port))
    }
}

struct Reading {
    incoming: Incoming,
    /// The beginning of a block.
    rest: Vec<u8>,
}

/// Joins the bytes of one connection to messages.
#[pyclass(frozen)]
pub struct PeerReader(Mutex<Reading>);

#[pymethods]
impl PeerReader {
    /// `limit_bytes`: of the text of a message.
    #[new]
    fn new(limit_bytes: usize) -> Self {
        Self(Mutex::new(Reading {
            incoming: Incoming::new(limit_bytes),
            rest: Vec::new(),
        }))
    }

    /// Whole messages, and blocks of files, that these bytes complete. Raises ValueError: the connection is of no
    /// more use.
    fn feed(&self, data: &[u8]) -> PyResult<Vec<PeerMessage>> {
        let mut reading = self.0.lock();
        let Reading { incoming, rest } = &mut *reading;
        rest.extend_from_slice(data);
        let mut found = Vec::new();
        let blocks = rest.chunks_exact(BLOCK_BYTES);
        let left = blocks.remainder().len();
        for block in blocks {
            let message = incoming.take(block).map_err(wrong)?;
            if message.is_complete || !message.data.is_empty() || !message.rows.is_empty() {
                found.push(PeerMessage(message));
            }
        }
        rest.drain(..rest.len() - left);
        Ok(found)
    }
}

/// Header of every block of a message.
fn header(source: (&str, u32), job: (u16, u32, u16, u16), info: Info) -> PyResult<Header> {
    Ok(Header {
        info,
        flow: Flow {
            job_location: job.0,
            job_id: job.1,
            receivers: job.2,
            receiver_id: job.3,
            partitions: 1,
            partition_id: 0,
        },
        source: Address::new(source.0, source.1)
            .ok_or_else(|| wrong("a host of more than 128 bytes"))?,
        ..Header::default()
    })
}

/// The blocks of a message. `data` is a text, cut at borders of characters, or (`is_file`) bytes of a file, whose
/// blocks are numbered from `first_block` on. Raises
/// ValueError when the command leaves no room, or a text is no UTF-8.
#[pyfunction]
#[pyo3(signature = (command, data, source, *, job = (0, 0, 0, 0), info = 0, error = 0, generic_flag = 0, is_file = false, first_block = 1))]
#[allow(clippy::too_many_arguments)] // keywords of Python
pub fn peer_blocks<'py>(
    py: Python<'py>,
    command: &str,
    data: &[u8],
    source: (&str, u32),
    job: (u16, u32, u16, u16),
    info: u8,
    error: u16,
    generic_flag: u16,
    is_file: bool,
    first_block: u32,
) -> PyResult<Bound<'py, PyBytes>> {
    let header = Header {
        error,
        generic_flag,
        block_number: first_block.saturating_sub(1),
        ..header(source, job, Info(info))?
    };
    let outgoing = Outgoing::new(header, command).map_err(wrong)?;
    let blocks = if is_file {
        outgoing.bytes(data)
    } else {
        outgoing.text(std::str::from_utf8(data).map_err(wrong)?)
    };
    Ok(PyBytes::new(py, &blocks.map_err(wrong)?))
}

/// Blocks of the rows that answer a query.
#[pyclass(frozen)]
pub struct PeerRowWriter(Mutex<OutgoingRows<'static>>);

#[pymethods]
impl PeerRowWriter {
    /// `job`: as the request has it. Raises ValueError for a host that is too long.
    #[new]
    fn new(source: (&str, u32), job: (u16, u32, u16, u16)) -> PyResult<Self> {
        let header = header(source, job, Info::ROWS)?;
        let blocks = Outgoing::new(header, "job reply").map_err(wrong)?;
        Ok(Self(Mutex::new(OutgoingRows::new(blocks))))
    }

    /// The blocks that these rows fill; a row a line.
    fn rows<'py>(&self, py: Python<'py>, lines: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let text = std::str::from_utf8(lines).map_err(wrong)?;
        let blocks = py.detach(|| {
            let mut out = Vec::with_capacity(text.len() + text.len() / 8);
            let mut writer = self.0.lock();
            for row in text.split_terminator('\n') {
                writer.row(&mut out, row)?;
            }
            Ok::<_, edgelake_core::peer::BlockError>(out)
        });
        Ok(PyBytes::new(py, &blocks.map_err(wrong)?))
    }

    /// The last block; with an error the rows are not whole.
    #[pyo3(signature = (error = 0))]
    fn finish<'py>(&self, py: Python<'py>, error: u16) -> PyResult<Bound<'py, PyBytes>> {
        let mut out = Vec::new();
        self.0.lock().finish(&mut out, error).map_err(wrong)?;
        Ok(PyBytes::new(py, &out))
    }
}
