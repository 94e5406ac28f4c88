//! The client's half of a handshake, as an agent needs it: CAs of its own, of the system or none, and in the end what was seen.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{AlertDescription, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::pem::{File, identity};
use super::{FileError, Role, der, inside, provider, reason};

/// Who is believed.
pub(crate) enum Trust {
    /// The system's CAs.
    System,
    /// The CAs of this file, and nobody else.
    These(File),
    /// Anybody. The connection is private to nobody who stands on the way.
    Anybody,
}

/// Makes handshakes, and says of each what was seen.
#[derive(Clone)]
pub(crate) struct Client {
    config: Arc<ClientConfig>,
    /// Who judges what is shown; none where anybody is believed.
    judge: Option<Arc<WebPkiServerVerifier>>,
    /// Whom we believe; none where that is anybody.
    roots: Arc<[CertificateDer<'static>]>,
}

/// Why there was no handshake, in words that follow the other side's name.
#[derive(Debug)]
pub(crate) struct Trouble {
    /// The words.
    pub(crate) text: String,
    /// It is about the certificate, ours or theirs, or about what is spoken; else the connection broke.
    pub(crate) of_tls: bool,
}

impl Client {
    /// `alpn` is offered, the best first.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub(crate) fn new(trust: Trust, own: Option<(File, File)>, alpn: &[&[u8]]) -> Result<Self, FileError> {
        let (roots, name) = match &trust {
            Trust::System => (system()?, "the system's CAs".to_owned()),
            Trust::These(file) => (file.certificates()?.into(), file.roots().map(|_| String::new())?),
            Trust::Anybody => (Arc::from([]), String::new()),
        };
        let unusable =
            |why: &dyn std::fmt::Display| FileError { role: Role::Trust, path: name.clone(), why: format!("cannot be used ({why})") };
        let judge = match &trust {
            Trust::Anybody => None,
            _ => Some(believing(roots.iter().cloned()).map_err(|e| unusable(&e))?),
        };
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(|e| unusable(&e))?;
        let builder = builder.dangerous().with_custom_certificate_verifier(Witness::new(judge.clone()));
        let mut config = match &own {
            Some((certificate, key)) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity(certificate, key)?))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
        // A resumed session shows no certificate, and what it shows is a part of what we tell.
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config), judge, roots })
    }

    /// A handshake. Has no bound of its own.
    pub(crate) async fn connect(&self, name: ServerName<'static>, stream: TcpStream) -> Result<TlsStream<TcpStream>, Trouble> {
        let witness = Witness::new(self.judge.clone());
        let mut config = ClientConfig::clone(&self.config);
        config.dangerous().set_certificate_verifier(Arc::clone(&witness) as _);
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|e| {
            let seen = witness.seen.lock().unwrap_or_else(PoisonError::into_inner).take();
            self.trouble(&e, seen.as_ref())
        })
    }

    fn trouble(&self, error: &io::Error, seen: Option<&CertificateDer<'static>>) -> Trouble {
        let of_tls = inside(error).is_some();
        let refused = matches!(inside(error), Some(Error::AlertReceived(AlertDescription::NoApplicationProtocol)));
        let mut text = if refused || matches!(inside(error), Some(Error::NoApplicationProtocol)) {
            let offered: Vec<_> = self.config.alpn_protocols.iter().map(|p| String::from_utf8_lossy(p)).collect();
            format!("it speaks none of {} by ALPN", offered.join(", "))
        } else {
            reason(error)
        };
        if let Some(issuer) = seen.filter(|_| matches!(inside(error), Some(Error::InvalidCertificate(_)))).and_then(|c| der::issuer(c)) {
            text += &format!("; the certificate that was shown is issued by {issuer}");
        }
        Trouble { text, of_tls }
    }

    /// SHA-256 of the CA that a chain leads to, where we have it.
    pub(crate) fn anchor(&self, chain: &[CertificateDer<'_>], name: &ServerName<'_>) -> Option<[u8; 32]> {
        let (leaf, between) = chain.split_first()?;
        let found = self.roots.iter().find(|root| {
            self.roots.len() == 1
                || believing(std::iter::once((*root).clone()))
                    .is_ok_and(|v| v.verify_server_cert(leaf, between, name, &[], UnixTime::now()).is_ok())
        })?;
        digest(&SHA256, found).as_ref().try_into().ok()
    }
}

fn believing(roots: impl Iterator<Item = CertificateDer<'static>>) -> Result<Arc<WebPkiServerVerifier>, String> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots);
    WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider()).build().map_err(|e| e.to_string())
}

/// The system's CAs, read once.
fn system() -> Result<Arc<[CertificateDer<'static>]>, FileError> {
    static SYSTEM: std::sync::OnceLock<Arc<[CertificateDer<'static>]>> = std::sync::OnceLock::new();
    let roots = SYSTEM.get_or_init(|| rustls_native_certs::load_native_certs().certs.into());
    if roots.is_empty() {
        let path = "the system's set of CAs".to_owned();
        return Err(FileError { role: Role::Trust, path, why: "is empty or cannot be read: name a file of CAs".to_owned() });
    }
    Ok(Arc::clone(roots))
}

/// Keeps what was shown, and leaves the judgement of it to another, or to nobody: then any certificate is believed whose key the other
/// side has.
#[derive(Debug)]
struct Witness {
    judge: Option<Arc<WebPkiServerVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
    seen: Mutex<Option<CertificateDer<'static>>>,
}

impl Witness {
    fn new(judge: Option<Arc<WebPkiServerVerifier>>) -> Arc<Self> {
        Arc::new(Self { judge, algorithms: provider().signature_verification_algorithms, seen: Mutex::default() })
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(end_entity.clone().into_owned());
        match &self.judge {
            Some(judge) => judge.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now),
            None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
