//! What stands between a socket and the packets of its connection: TLS, WebSocket, or both.

use std::io::{self, Write};

use super::output::Output;
use super::tls::Tls;
use super::web::{Progress, Web};

/// Plain bytes that are put into the layers at a time; so much may be ahead of the output.
const CHUNK_BYTES: usize = 64 << 10;

pub(super) struct Layers {
    tls: Option<Tls>,
    web: Option<Web>,
    /// Of the WebSocket without TLS.
    wire: Output,
    open: bool,
    /// The socket did not take all that the layers hold.
    blocked: bool,
}

/// What received bytes led to. A peer may end its handshake and say all that it has to say at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    /// The last handshake has just ended.
    pub(super) opened: bool,
    /// The peer closed its side, or was refused.
    pub(super) ended: bool,
}

impl Layers {
    pub(super) fn new(tls: Option<Tls>, web: Option<Web>) -> Self {
        Self {
            tls,
            web,
            wire: Output::default(),
            open: false,
            blocked: false,
        }
    }

    /// Asymmetric cryptography is still to be done.
    pub(super) fn is_costly(&self) -> bool {
        self.tls.as_ref().is_some_and(Tls::is_handshaking)
    }

    pub(super) fn client_name(&self) -> Option<String> {
        self.tls.as_ref().and_then(Tls::client_name)
    }

    /// Bytes taken in that are no packets yet.
    pub(super) fn held_bytes(&self) -> usize {
        self.web.as_ref().map_or(0, Web::held_bytes)
    }

    /// Nothing waits for the socket here.
    pub(super) fn is_drained(&self) -> bool {
        !self.blocked && self.wire.is_empty()
    }

    pub(super) fn backlog(&self) -> usize {
        self.wire.len()
    }

    /// Takes bytes of the socket; the bytes of packets are appended to `plain`.
    pub(super) fn received(&mut self, raw: &[u8], plain: &mut Vec<u8>) -> io::Result<Received> {
        let mut decrypted = Vec::new();
        let (bytes, mut ended) = match (&mut self.tls, &self.web) {
            (Some(tls), Some(_)) => {
                let ended = tls.received(raw, &mut decrypted)?;
                (decrypted.as_slice(), ended)
            }
            (Some(tls), None) => (&[][..], tls.received(raw, plain)?),
            (None, _) => (raw, false),
        };
        let mut shaking = self.tls.as_ref().is_some_and(Tls::is_handshaking);
        if let Some(web) = &mut self.web {
            if !bytes.is_empty() {
                let progress = web.received(bytes, plain)?;
                ended |= progress == Progress::Ended;
            }
            shaking |= web.is_shaking();
            let output = web.take_output();
            self.pass_down(&output)?;
        }
        let opened = !shaking && !self.open;
        self.open |= opened;
        Ok(Received { opened, ended })
    }

    fn pass_down(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            return tls.put(bytes);
        }
        self.wire.buffer().extend_from_slice(bytes);
        Ok(())
    }

    /// Writes its own bytes and those of `output`, as much as the socket takes. Returns the bytes of `output`.
    pub(super) fn write(
        &mut self,
        output: &mut Output,
        socket: &mut impl Write,
    ) -> io::Result<usize> {
        let mut taken = 0;
        loop {
            let free = match &mut self.tls {
                Some(tls) => tls.write(socket)?,
                None => self.wire.write_to(socket)?.1,
            };
            self.blocked = !free;
            if !free || output.is_empty() || !self.open {
                return Ok(taken);
            }
            let n = output.len().min(CHUNK_BYTES);
            let chunk = &output.pending()[..n];
            if let Some(web) = &mut self.web {
                web.put(chunk)?;
                let framed = web.take_output();
                self.pass_down(&framed)?;
            } else if let Some(tls) = &mut self.tls {
                tls.put(chunk)?;
            }
            output.advance(n);
            taken += n;
        }
    }

    /// Says good-bye on every layer; `write` sends it.
    pub(super) fn close(&mut self) -> io::Result<()> {
        if let Some(web) = &mut self.web {
            web.close();
            let output = web.take_output();
            self.pass_down(&output)?;
        }
        if let Some(tls) = &mut self.tls {
            tls.close();
        }
        Ok(())
    }

    /// Memory of buffers that are empty.
    pub(super) fn shrink(&mut self) {
        if self.wire.is_empty() {
            self.wire = Output::default();
        }
    }
}
