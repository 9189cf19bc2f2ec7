//! TLS without a socket (rustls): certificates, and bytes in, bytes out.

use std::io::{self, Read, Write};
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};

/// Certificate, key and the authority of clients, checked. Copies share what `renew` puts into one of them.
#[derive(Clone)]
pub struct TlsConfig(Arc<RwLock<Arc<ServerConfig>>>);

/// Why certificates cannot be used; says which file is meant.
#[derive(Debug, thiserror::Error)]
#[error("{part}: {text}")]
pub struct TlsError {
    pub part: &'static str,
    pub text: String,
}

fn fault(part: &'static str) -> impl Fn(&dyn std::fmt::Display) -> TlsError {
    move |text| TlsError {
        part,
        text: text.to_string(),
    }
}

fn certificates(part: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| fault(part)(&e))?;
    if found.is_empty() {
        return Err(fault(part)(&"no certificate in it"));
    }
    Ok(found)
}

impl TlsConfig {
    /// `client_authority`: clients have to show a certificate that it signed.
    pub fn new(
        certificate_pem: &[u8],
        key_pem: &[u8],
        client_authority_pem: Option<&[u8]>,
    ) -> Result<Self, TlsError> {
        let chain = certificates("certificate", certificate_pem)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|e| fault("key")(&e))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| fault("TLS")(&e))?;
        let builder = match client_authority_pem {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let part = "certificate authority of the clients";
                let mut roots = RootCertStore::empty();
                for certificate in certificates(part, pem)? {
                    roots.add(certificate).map_err(|e| fault(part)(&e))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .map_err(|e| fault(part)(&e))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let config = builder
            .with_single_cert(chain, key)
            .map_err(|e| fault("certificate and key")(&e))?;
        Ok(Self(Arc::new(RwLock::new(Arc::new(config)))))
    }

    /// Use what `newer` has for connections from now on; those that are open go on.
    pub fn renew(&self, newer: &Self) {
        let config = newer.0.read().clone();
        *self.0.write() = config;
    }
}

/// One side of a TLS connection.
pub(super) struct Tls(Box<ServerConnection>);

impl Tls {
    pub(super) fn new(config: &TlsConfig) -> io::Result<Self> {
        let mut inner = ServerConnection::new(config.0.read().clone()).map_err(io::Error::other)?;
        // What is written is bounded by the caller.
        inner.set_buffer_limit(None);
        Ok(Self(Box::new(inner)))
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }

    /// Takes bytes of the socket; what they say is appended to `plain`. `Ok(true)`: the peer has closed its side.
    pub(super) fn received(&mut self, mut raw: &[u8], plain: &mut Vec<u8>) -> io::Result<bool> {
        let mut ended = false;
        while !raw.is_empty() && !ended {
            if self.0.read_tls(&mut raw)? == 0 {
                break;
            }
            let state = self.0.process_new_packets().map_err(io::Error::other)?;
            ended = state.peer_has_closed();
            let n = state.plaintext_bytes_to_read();
            if n > 0 {
                let at = plain.len();
                plain.resize(at + n, 0);
                self.0.reader().read_exact(&mut plain[at..])?;
            }
        }
        Ok(ended)
    }

    /// Encrypts `plain`; it goes out with `write`.
    pub(super) fn put(&mut self, plain: &[u8]) -> io::Result<()> {
        self.0.writer().write_all(plain)
    }

    /// Writes what is encrypted. `Ok(false)`: the socket takes no more now.
    pub(super) fn write(&mut self, socket: &mut impl Write) -> io::Result<bool> {
        while self.0.wants_write() {
            match self.0.write_tls(socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    pub(super) fn close(&mut self) {
        self.0.send_close_notify();
    }

    /// Common name of the client's certificate, when there is one; it has been verified.
    pub(super) fn client_name(&self) -> Option<String> {
        let first = self.0.peer_certificates()?.first()?;
        let (_, certificate) = x509_parser::parse_x509_certificate(first).ok()?;
        let name = certificate.subject().iter_common_name().next()?;
        name.as_str().ok().map(str::to_owned)
    }
}
