//! TLS towards agents: `kubesvc.grpc.server.security.*`.

use std::path::PathBuf;

use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

use super::FileError;
use super::front::{ClientAuth, H2, contents, server};
use super::watched::{self, Contents};

/// What may be spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// TLS 1.2.
    pub tls12: bool,
    /// TLS 1.3.
    pub tls13: bool,
}

/// Where certificate, key and CAs lie. To be opened by [`super::front::Acceptor::open`].
#[derive(Clone, Debug)]
pub struct Files {
    /// `certificateChain`.
    pub certificate: PathBuf,
    /// `privateKey`.
    pub key: PathBuf,
    /// `trustCertCollection`: the CAs of agents.
    pub trust: Option<PathBuf>,
    /// `clientAuth`. Without [`Files::trust`] nobody is asked.
    pub client_auth: ClientAuth,
    /// `protocols`.
    pub versions: Versions,
}

impl watched::Files for Files {
    type Made = ServerConfig;
    const KEYS: &'static str = "kubesvc.grpc.server.security";

    fn read(&self) -> Result<Contents, FileError> {
        contents(&self.certificate, &self.key, self.trust.as_deref())
    }

    fn make(&self, contents: &Contents) -> Result<ServerConfig, FileError> {
        let all: [(bool, &'static SupportedProtocolVersion); 2] = [(self.versions.tls13, &TLS13), (self.versions.tls12, &TLS12)];
        let versions: Vec<_> = all.into_iter().filter_map(|(on, version)| on.then_some(version)).collect();
        // gRPC is nothing else than HTTP/2: who cannot agree on it learns so in the handshake.
        server(&contents.0, self.client_auth, &versions, &[H2])
    }
}
