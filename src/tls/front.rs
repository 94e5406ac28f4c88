//! TLS towards clients: `server.ssl.*`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::pem::{File, identity};
use super::watched::{self, Contents, Watched};
use super::{FileError, Role, provider};

/// What clients may speak, the best first.
pub(super) const H2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// Whether clients have to show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    None,
    /// They may; one that is not of our CAs ends the handshake.
    Want,
    /// They must.
    Need,
}

/// Where certificate, key and CAs lie.
#[derive(Clone, Debug)]
pub struct Files {
    /// `server.ssl.certificate`.
    pub certificate: PathBuf,
    /// `server.ssl.certificatePrivateKey`.
    pub key: PathBuf,
    /// `server.ssl.trustCertificate`: the CAs of clients.
    pub trust: Option<PathBuf>,
    /// `server.ssl.clientAuth`. Without [`Files::trust`] nobody is asked.
    pub client_auth: ClientAuth,
}

impl watched::Files for Files {
    type Made = ServerConfig;
    const KEYS: &'static str = "server.ssl";

    fn read(&self) -> Result<Contents, FileError> {
        contents(&self.certificate, &self.key, self.trust.as_deref())
    }

    fn make(&self, contents: &Contents) -> Result<ServerConfig, FileError> {
        server(&contents.0, self.client_auth, rustls::DEFAULT_VERSIONS, &[H2, HTTP1])
    }
}

/// Certificate, key and, where there are any, CAs: in this order.
pub(super) fn contents(certificate: &Path, key: &Path, trust: Option<&Path>) -> Result<Contents, FileError> {
    let mut files = vec![File::read(Role::Certificate, certificate)?, File::read(Role::Key, key)?];
    if let Some(trust) = trust {
        files.push(File::read(Role::Trust, trust)?);
    }
    Ok(Contents(files))
}

/// From what [`contents`] gives.
pub(super) fn server(
    files: &[File],
    client_auth: ClientAuth,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&[u8]],
) -> Result<ServerConfig, FileError> {
    let identity = identity(&files[0], &files[1])?;
    let verifier = match files.get(2) {
        Some(file) if client_auth != ClientAuth::None => {
            let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(file.roots()?), provider());
            if client_auth == ClientAuth::Want {
                builder = builder.allow_unauthenticated();
            }
            builder.build().map_err(|e| file.error(format!("cannot be used ({e})")))?
        }
        _ => Arc::new(NoClientAuth),
    };
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(|e| files[0].error(format!("cannot be used ({e})")))?;
    let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

/// Makes the server's half of handshakes, each with the files as they are then. Clones share the files.
#[derive(Clone)]
pub struct Acceptor(watch::Receiver<Arc<ServerConfig>>);

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acceptor")
    }
}

impl Acceptor {
    /// Reads the files; the second is to be run, or they stay as they are now.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn open<F: watched::Files<Made = ServerConfig>>(files: F) -> Result<(Self, Watched<F>), FileError> {
        let (watched, receiver) = Watched::open(files)?;
        Ok((Self(receiver), watched))
    }

    /// A handshake. Has no bound of its own.
    pub(crate) async fn accept<IO: AsyncRead + AsyncWrite + Unpin>(&self, stream: IO) -> io::Result<TlsStream<IO>> {
        let config = self.0.borrow().clone();
        TlsAcceptor::from(config).accept(stream).await
    }
}

/// Whether the two have agreed on HTTP/2.
pub(crate) fn is_http2(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(H2)
}
