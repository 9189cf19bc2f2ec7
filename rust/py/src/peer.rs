//! Messages of the protocol between nodes: bytes to messages and back (spec: network protocol, sections 1 to 3).

use edgelake_core::peer::{
    Address, BLOCK_BYTES, Flow, Frames, Header, Incoming, Info, Message, Numbers, Outgoing,
    OutgoingRows, Structure, frame, text_frames,
};
use parking_lot::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// What a message says that does not name its sender.
const UNSIGNED: &[u8] = &[];

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

    /// What it says about who sends it.
    #[getter]
    fn authentication<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.authentication)
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
        !self.0.rows.is_empty() || (self.is_lines() && !self.0.data.is_empty())
    }

    /// Of the text and the rows.
    #[getter]
    fn size_bytes(&self) -> usize {
        self.0.data.len() + self.0.rows.iter().map(Vec::len).sum::<usize>()
    }

    /// What nodes of one kind tell each other in a block; zeros from others.
    #[getter]
    fn mark(&self) -> [u8; 8] {
        self.0.header.mark
    }

    /// Of a frame: its own number, and the last one that its sender has taken.
    #[getter]
    fn numbers(&self) -> (u32, u32) {
        let Numbers { number, confirmed } = Numbers::of(&self.0.header);
        (number, confirmed)
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

impl PeerMessage {
    fn is_lines(&self) -> bool {
        matches!(
            self.0.header.structure,
            Structure::LINES | Structure::PRINTED
        )
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

/// Joins the bytes of a kept connection to messages.
#[pyclass(frozen)]
pub struct PeerFrames(Mutex<Frames>);

#[pymethods]
impl PeerFrames {
    /// `limit_bytes`: of the text of a message.
    #[new]
    fn new(limit_bytes: usize) -> Self {
        Self(Mutex::new(Frames::new(limit_bytes)))
    }

    /// Messages that these bytes complete, and frames of rows. Raises ValueError: the connection is of no more use.
    fn feed(&self, data: &[u8]) -> PyResult<Vec<PeerMessage>> {
        let mut found = Vec::new();
        self.0.lock().feed(data, &mut found).map_err(wrong)?;
        Ok(found.into_iter().map(PeerMessage).collect())
    }
}

/// The frames of a message. `data` is a text; with `kind` it is a frame of rows, a line each, "printed" the way that
/// whoever asked wants them or as "lines" that are to be read, or a piece of a "file". Raises ValueError when the message
/// is too large, or no UTF-8.
#[pyfunction]
#[pyo3(signature = (command, data, source, *, numbers = (0, 0), job = (0, 0, 0, 0), info = 0, error = 0, generic_flag = 0, kind = "", is_last = true, authentication = UNSIGNED))]
#[allow(clippy::too_many_arguments)] // keywords of Python
pub fn peer_frames<'py>(
    py: Python<'py>,
    command: &str,
    data: &[u8],
    source: (&str, u32),
    numbers: (u32, u32),
    job: (u16, u32, u16, u16),
    info: u8,
    error: u16,
    generic_flag: u16,
    kind: &str,
    is_last: bool,
    authentication: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let structure = match kind {
        "" => Structure::NONE,
        "lines" => Structure::LINES,
        "printed" => Structure::PRINTED,
        "file" => Structure::FILE,
        other => return Err(wrong(format!("no frames of the kind '{other}'"))),
    };
    let header = Header {
        error,
        generic_flag,
        structure,
        is_last,
        ..header(source, job, Info(info), [0; 8])?
    };
    let numbers = Numbers {
        number: numbers.0,
        confirmed: numbers.1,
    };
    let mut out = Vec::new();
    if kind.is_empty() {
        let text = std::str::from_utf8(data).map_err(wrong)?;
        text_frames(
            &mut out,
            header,
            numbers,
            command.as_bytes(),
            authentication,
            text,
        )
        .map_err(wrong)?;
    } else {
        frame(
            &mut out,
            header,
            numbers,
            command.as_bytes(),
            authentication,
            data,
        )
        .map_err(wrong)?;
    }
    Ok(PyBytes::new(py, &out))
}

/// Header of every block of a message.
fn header(
    source: (&str, u32),
    job: (u16, u32, u16, u16),
    info: Info,
    mark: [u8; 8],
) -> PyResult<Header> {
    Ok(Header {
        mark,
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
#[pyo3(signature = (command, data, source, *, job = (0, 0, 0, 0), info = 0, error = 0, generic_flag = 0, is_file = false, first_block = 1, mark = [0; 8], authentication = UNSIGNED))]
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
    mark: [u8; 8],
    authentication: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let header = Header {
        error,
        generic_flag,
        block_number: first_block.saturating_sub(1),
        ..header(source, job, Info(info), mark)?
    };
    let outgoing = Outgoing::new(header, command)
        .and_then(|made| made.authenticated(authentication))
        .map_err(wrong)?;
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
    #[pyo3(signature = (source, job, *, mark = [0; 8]))]
    fn new(source: (&str, u32), job: (u16, u32, u16, u16), mark: [u8; 8]) -> PyResult<Self> {
        let header = header(source, job, Info::ROWS, mark)?;
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
