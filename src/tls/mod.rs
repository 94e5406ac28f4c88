//! TLS: certificates and keys from PEM files, and how connections are made with them.
//!
//! One cryptography library (aws-lc-rs), no other. What a file holds is checked when it is opened, so that a mistake ends the start
//! and names the file; after that a file that changes is read again, and one that has become unusable changes nothing ([`Watched`]).
//! Names are always verified. A private key is in no log, no error and no `Debug`.
//!
//! [`front`] is what clients meet, [`agents`] what agents meet, [`upstream`] the way to Clouddriver, `client` an agent's way to Fairlead
//! and to clusters.

pub mod agents;
pub(crate) mod client;
mod der;
pub mod front;
mod pem;
pub mod upstream;
mod watched;

use std::io;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

pub use front::ClientAuth;
pub(crate) use pem::File as Pem;
pub use watched::{Files, Watched};

/// What a file is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Our certificate, and what leads from it to a CA.
    Certificate,
    /// The private key of that certificate.
    Key,
    /// The CAs whose certificates are believed.
    Trust,
}

/// A file that cannot be used. Says nothing of what is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} {why}")]
pub struct FileError {
    /// Which of them.
    pub role: Role,
    /// Its name.
    pub path: String,
    /// To follow its name.
    pub why: String,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn inside(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// Why a handshake failed, in words for who runs Fairlead; `it` is the other side.
pub(crate) fn reason(error: &io::Error) -> String {
    match inside(error) {
        Some(Error::InvalidCertificate(e)) => match e {
            CertificateError::UnknownIssuer => "its certificate is of an unknown CA".to_owned(),
            CertificateError::BadSignature => {
                "its certificate is of an unknown CA (one of that name is known, with another key)".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name".to_owned()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired".to_owned(),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "its certificate is not valid yet".to_owned(),
            CertificateError::Revoked => "its certificate was revoked".to_owned(),
            e => format!("its certificate cannot be believed ({e})"),
        },
        Some(Error::AlertReceived(alert)) => format!("it refused the handshake ({alert:?})"),
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => "it does not speak TLS".to_owned(),
        Some(Error::NoApplicationProtocol) => "it offers none of this port's protocols (ALPN)".to_owned(),
        Some(Error::NoCertificatesPresented) => "it showed no certificate".to_owned(),
        Some(e) => format!("the handshake failed ({e})"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "it closed the connection in the handshake".to_owned(),
        None => format!("the connection broke in the handshake ({error})"),
    }
}

/// With TLS 1.3 a server that does not like our certificate says so when we have long begun to send.
pub(crate) fn late_refusal(error: &io::Error) -> Option<String> {
    use AlertDescription as A;
    match inside(error)? {
        Error::AlertReceived(
            alert @ (A::CertificateRequired
            | A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::UnknownCA
            | A::AccessDenied),
        ) => Some(format!("it refused our certificate ({alert:?})")),
        _ => None,
    }
}
