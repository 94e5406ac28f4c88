//! PEM files: read, and turned into what rustls takes. Errors name the file and never quote it.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};

use super::{FileError, Role, provider};

/// Bytes of one file: a bundle of all public CAs has a quarter of it.
const MAX_FILE: u64 = 1 << 20;

/// A file as it was read.
pub(crate) struct File {
    role: Role,
    path: String,
    bytes: Vec<u8>,
}

impl File {
    pub(crate) fn read(role: Role, path: &Path) -> Result<Self, FileError> {
        let name = path.display().to_string();
        let cannot = |why: String| FileError { role, path: name.clone(), why };
        let unreadable = |e: std::io::Error| cannot(format!("cannot be read ({e})"));
        // A FIFO or a device could be waited for without end.
        if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(cannot("cannot be read (not a file)".to_owned()));
        }
        let mut bytes = Vec::new();
        std::fs::File::open(path).map_err(unreadable)?.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(cannot(format!("is larger than {MAX_FILE} bytes")));
        }
        Ok(Self { role, path: name, bytes })
    }

    /// What did not come from a file; `name` says what it is.
    pub(crate) fn of(role: Role, name: &str, bytes: Vec<u8>) -> Self {
        Self { role, path: name.to_owned(), bytes }
    }

    pub(super) fn error(&self, why: impl Into<String>) -> FileError {
        FileError { role: self.role, path: self.path.clone(), why: why.into() }
    }

    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, FileError> {
        let read = CertificateDer::pem_slice_iter(&self.bytes).collect::<Result<Vec<_>, _>>();
        let certificates = read.map_err(|_| self.error("holds PEM that cannot be read"))?;
        if certificates.is_empty() {
            return Err(self.error("holds no certificate in PEM (-----BEGIN CERTIFICATE-----)"));
        }
        Ok(certificates)
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, FileError> {
        PrivateKeyDer::from_pem_slice(&self.bytes).map_err(|e| {
            let encrypted = self.bytes.windows(9).any(|w| w == b"ENCRYPTED");
            self.error(match e {
                _ if encrypted => {
                    "holds a private key under a password, which is not supported: keep it without one, readable to Fairlead only"
                }
                PemError::NoItemsFound => "holds no private key in PEM (-----BEGIN PRIVATE KEY-----)",
                _ => "holds PEM that cannot be read",
            })
        })
    }

    /// The CAs in it.
    pub(super) fn roots(&self) -> Result<RootCertStore, FileError> {
        let mut roots = RootCertStore::empty();
        for (i, certificate) in self.certificates()?.into_iter().enumerate() {
            roots.add(certificate).map_err(|_| self.error(format!("holds what is no X.509 certificate (number {})", i + 1)))?;
        }
        Ok(roots)
    }
}

/// A certificate with its key; that they belong together is checked.
pub(super) fn identity(certificate: &File, key: &File) -> Result<CertifiedKey, FileError> {
    let chain = certificate.certificates()?;
    let signing = provider().key_provider.load_private_key(key.key()?);
    let signing = signing.map_err(|_| key.error("holds a private key that cannot be used: RSA from 2048 bits on, ECDSA or Ed25519 can"))?;
    let identity = CertifiedKey::new(chain, signing);
    match identity.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(identity),
        Err(Error::InconsistentKeys(_)) => Err(key.error(format!("is not the private key of the certificate in {}", certificate.path))),
        Err(_) => Err(certificate.error("holds what is no X.509 certificate (number 1)")),
    }
}

/// Tells one content of the files from another, without keeping it.
pub(super) fn digest(files: &[File]) -> Arc<[u8]> {
    let mut context = Context::new(&SHA256);
    for file in files {
        context.update(&(file.bytes.len() as u64).to_le_bytes());
        context.update(&file.bytes);
    }
    context.finish().as_ref().into()
}
