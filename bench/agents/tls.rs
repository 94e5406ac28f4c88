//! A CA and a certificate for each run, and the client's side of TLS.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::client::Resumption;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Both sides of TLS.
pub struct Tls {
    /// PEM of the CA.
    pub ca: String,
    /// For who connects.
    pub client: Arc<ClientConfig>,
    /// For who listens; the same in files, for Fairlead.
    pub server: Arc<ServerConfig>,
}

impl Tls {
    /// Writes `tls.crt`, `tls.key` and `ca.crt` into a folder.
    pub fn new(folder: &Path) -> Self {
        let mut of_ca = CertificateParams::new(Vec::new()).expect("parameters");
        of_ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        of_ca.distinguished_name.push(DnType::CommonName, "crowd bench");
        let ca_key = KeyPair::generate().expect("a key");
        let ca = of_ca.self_signed(&ca_key).expect("a CA");
        let issuer = Issuer::new(of_ca, ca_key);
        let key = KeyPair::generate().expect("a key");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let leaf = CertificateParams::new(names).expect("parameters").signed_by(&key, &issuer).expect("a certificate");
        for (name, text) in [("tls.crt", leaf.pem()), ("tls.key", key.serialize_pem()), ("ca.crt", ca.pem())] {
            std::fs::write(folder.join(name), text).expect("a file of the run");
        }
        let mut roots = RootCertStore::empty();
        roots.add(ca.der().clone()).expect("our own CA");
        let mut client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        client.alpn_protocols = vec![b"h2".to_vec()];
        // Each agent is a process of its own, and comes to a server that has forgotten its tickets.
        client.resumption = Resumption::disabled();
        let der = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let server =
            ServerConfig::builder().with_no_client_auth().with_single_cert(vec![leaf.der().clone()], der).expect("a key that fits");
        Self { ca: ca.pem(), client: Arc::new(client), server: Arc::new(server) }
    }
}
