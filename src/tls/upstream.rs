//! TLS towards Clouddriver: `services.clouddriver.ssl.*`.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::front::H2;
use super::pem::{File, identity};
use super::watched::{self, Contents, Watched};
use super::{FileError, Role, provider, reason};

/// Where CAs, and our own certificate and key, lie.
#[derive(Clone, Debug)]
pub struct Files {
    /// `services.clouddriver.ssl.trustCertificate`: who is believed, and nobody else.
    pub trust: PathBuf,
    /// `services.clouddriver.ssl.certificate` and `.certificatePrivateKey`: shown if Clouddriver asks.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl watched::Files for Files {
    type Made = ClientConfig;
    const KEYS: &'static str = "services.clouddriver.ssl";

    fn read(&self) -> Result<Contents, FileError> {
        let mut files = vec![File::read(Role::Trust, &self.trust)?];
        if let Some((certificate, key)) = &self.identity {
            files.extend([File::read(Role::Certificate, certificate)?, File::read(Role::Key, key)?]);
        }
        Ok(Contents(files))
    }

    fn make(&self, contents: &Contents) -> Result<ClientConfig, FileError> {
        let files = &contents.0;
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(|e| FileError {
            role: Role::Trust,
            path: self.trust.display().to_string(),
            why: format!("cannot be used ({e})"),
        })?;
        let builder = builder.with_root_certificates(files[0].roots()?);
        let mut config = match files.get(1..3) {
            Some([certificate, key]) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity(certificate, key)?))),
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// Makes the client's half of handshakes, each with the files as they are then. Clones share the files.
#[derive(Clone)]
pub struct Connector {
    config: watch::Receiver<Arc<ClientConfig>>,
    name: ServerName<'static>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connector").field(&self.name).finish()
    }
}

/// The name that Clouddriver's certificate has to be for: the host of its URL.
pub(crate) fn name_of(host: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).ok()
}

impl Connector {
    /// Reads the files; the second is to be run, or they stay as they are now.
    ///
    /// # Errors
    /// The first file that cannot be used, or a host that can be no certificate's name.
    pub fn open(files: Files, host: &str) -> Result<(Self, Watched<Files>), FileError> {
        let name = name_of(host).ok_or_else(|| FileError {
            role: Role::Trust,
            path: files.trust.display().to_string(),
            why: format!("cannot verify {host}, which is no name that a certificate can have"),
        })?;
        let (watched, config) = Watched::open(files)?;
        Ok((Self { config, name }, watched))
    }

    /// A handshake, which offers HTTP/2 or does not; fails with the reason. Has no bound of its own.
    pub(crate) async fn connect(&self, stream: TcpStream, http2: bool) -> Result<TlsStream<TcpStream>, String> {
        let mut config = self.config.borrow().clone();
        if http2 {
            Arc::make_mut(&mut config).alpn_protocols.insert(0, H2.to_vec());
        }
        TlsConnector::from(config).connect(self.name.clone(), stream).await.map_err(|e| reason(&e))
    }
}
