//! Self-signed certificates for HTTPS.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, date_time_ymd};

/// A self-signed certificate (PEM) and its ECDSA key (PEM, PKCS#8).
///
/// `names` are host names and addresses; it is valid from 1 January of `first_year` to that of `last_year`.
#[pyfunction]
pub fn self_signed_certificate(
    names: Vec<String>,
    first_year: u16,
    last_year: u16,
) -> PyResult<(String, String)> {
    if !(1970..=9998).contains(&first_year) || !(first_year + 1..=9999).contains(&last_year) {
        return Err(PyValueError::new_err("years out of range"));
    }
    make(names, first_year, last_year).map_err(|e| PyValueError::new_err(e.to_string()))
}

fn make(
    names: Vec<String>,
    first_year: u16,
    last_year: u16,
) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "EdgeLake node");
    params.not_before = date_time_ymd(i32::from(first_year), 1, 1);
    params.not_after = date_time_ymd(i32::from(last_year), 1, 1);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}
