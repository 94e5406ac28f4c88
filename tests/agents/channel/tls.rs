//! Agents that come by TLS, and such that should.

use std::sync::Arc;

use fairlead::tls::agents::{Files, Versions};
use fairlead::tls::front::Acceptor;
use fairlead::tls::{ClientAuth, Watched};
use fairlead::wire::Ping;
use fairlead::wire::agent_service_client::AgentServiceClient;
use fairlead::wire::operate_request::Message as Said;
use fairlead::wire::operate_response::Message as Heard;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Error, Identity};

use super::frames::GOAWAY;
use super::port::say;
use super::rig::{Rig, config, until};
use crate::scripted_agent::{ScriptedAgent, connect, register};
use crate::support::certificates::{Ca, Folder, Pair};

struct Secured {
    rig: Rig,
    ca: Ca,
    folder: Folder,
    watched: Watched<Files>,
}

const BOTH: Versions = Versions { tls12: true, tls13: true };

impl Secured {
    async fn start(client_auth: ClientAuth, clients: Option<&Ca>) -> Self {
        Self::with(client_auth, clients, BOTH).await
    }

    async fn with(client_auth: ClientAuth, clients: Option<&Ca>, versions: Versions) -> Self {
        let (ca, folder) = (Ca::new(), Folder::new());
        let pair = ca.issue();
        let files = Files {
            certificate: folder.write("tls.crt", &pair.certificate),
            key: folder.write("tls.key", &pair.key),
            trust: clients.map(|ca| folder.write("clients.crt", &ca.certificate())),
            client_auth,
            versions,
        };
        let (acceptor, watched) = Acceptor::open(files).unwrap();
        Self { rig: Rig::with(config(), Some(acceptor)).await, ca, folder, watched }
    }

    /// A connection of an agent that trusts this CA and shows that certificate.
    async fn connect(&self, ca: &Ca, identity: Option<&Pair>) -> Result<AgentServiceClient<tonic::transport::Channel>, Error> {
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca.certificate())).domain_name("localhost");
        if let Some(pair) = identity {
            tls = tls.identity(Identity::from_pem(&pair.certificate, &pair.key));
        }
        let endpoint = Endpoint::from_shared(format!("https://{}", self.rig.address))?.tls_config(tls)?;
        Ok(AgentServiceClient::new(endpoint.connect().await?))
    }

    /// Whether an agent is let in that shows this certificate.
    async fn lets_in(&self, identity: Option<&Pair>) -> bool {
        let Ok(mut client) = self.connect(&self.ca, identity).await else { return false };
        let first = fairlead::wire::OperateRequest { message: Some(Said::Register(register("a", "z", &[]))) };
        // With TLS 1.3 a client learns only now that it is not believed.
        let Ok(stream) = client.operate(futures_util::stream::iter([first])).await else { return false };
        matches!(stream.into_inner().message().await, Ok(Some(said)) if matches!(said.message, Some(Heard::Registered(_))))
    }

    fn refused(&self, reason: &str) -> f64 {
        self.rig.metric(&format!("fairlead_channel_connections_refused_total{{reason=\"{reason}\"}}"))
    }
}

#[tokio::test]
async fn an_agent_comes_by_tls() {
    let secured = Secured::start(ClientAuth::None, None).await;
    assert!(secured.lets_in(None).await);
    assert!(secured.connect(&Ca::named("another"), None).await.is_err());
    until("the failed handshake is counted", || secured.refused("handshake") == 1.0).await;
}

#[tokio::test]
async fn agents_have_to_show_a_certificate_of_the_right_ca_and_of_today() {
    let (agents, others) = (Ca::named("of agents"), Ca::named("of agents"));
    let secured = Secured::start(ClientAuth::Need, Some(&agents)).await;
    for (who, identity) in [("nobody", None), ("another CA's", Some(others.issue())), ("an expired one", Some(agents.issue_expired()))] {
        assert!(!secured.lets_in(identity.as_ref()).await, "{who}");
    }
    until("each is counted", || secured.refused("handshake") >= 3.0).await;
    assert!(secured.lets_in(Some(&agents.issue())).await);
}

#[tokio::test]
async fn a_certificate_that_may_lack_has_to_be_right_where_it_is_shown() {
    let (agents, others) = (Ca::named("of agents"), Ca::named("of others"));
    let secured = Secured::start(ClientAuth::Want, Some(&agents)).await;
    assert!(secured.lets_in(None).await);
    assert!(secured.lets_in(Some(&agents.issue())).await);
    assert!(!secured.lets_in(Some(&others.issue())).await);
}

#[tokio::test]
async fn a_changed_certificate_counts_for_new_connections_and_drops_no_session() {
    let mut secured = Secured::start(ClientAuth::None, None).await;
    let client = secured.connect(&secured.ca, None).await.unwrap();
    let mut agent = ScriptedAgent::with(client, register("a", "z", &["x"])).await;
    let next = Ca::named("the next CA");
    let pair = next.issue();
    secured.folder.write("tls.crt", &pair.certificate);
    secured.folder.write("tls.key", &pair.key);
    assert!(secured.watched.look().unwrap());
    assert!(secured.connect(&secured.ca, None).await.is_err());
    let newer = secured.connect(&next, None).await.unwrap();
    ScriptedAgent::with(newer, register("b", "z", &[])).await;
    agent.say(Said::Ping(Ping { number: 3 })).await;
    assert!(matches!(agent.hear().await, Some(Heard::Pong(_))));
    assert_eq!(secured.rig.session("a").epoch, agent.registered.epoch);
    // What cannot be used changes nothing.
    secured.folder.write("tls.key", "nonsense");
    assert!(secured.watched.look().is_err());
    assert!(secured.connect(&next, None).await.is_ok());
}

/// A handshake by hand, with these protocols.
async fn shake(
    secured: &Secured,
    alpn: &[&[u8]],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(secured.ca.certificate().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let mut client = builder.with_root_certificates(roots).with_no_client_auth();
    client.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    let stream = TcpStream::connect(secured.rig.address).await?;
    tokio_rustls::TlsConnector::from(Arc::new(client)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

#[tokio::test]
async fn who_cannot_agree_on_http2_learns_so_in_the_handshake() {
    let secured = Secured::start(ClientAuth::None, None).await;
    let refused = shake(&secured, &[b"http/1.1"], rustls::DEFAULT_VERSIONS).await.unwrap_err();
    assert!(refused.to_string().contains("NoApplicationProtocol"), "{refused}");
    // Without ALPN it is seen by its first words.
    let mut stream = shake(&secured, &[], rustls::DEFAULT_VERSIONS).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 505 "));
    assert_eq!((secured.refused("handshake"), secured.refused("http1")), (1.0, 1.0));
}

#[tokio::test]
async fn only_the_versions_that_were_chosen_are_spoken() {
    let secured = Secured::with(ClientAuth::None, None, Versions { tls12: false, tls13: true }).await;
    assert!(shake(&secured, &[b"h2"], &[&rustls::version::TLS12]).await.is_err());
    assert!(shake(&secured, &[b"h2"], &[&rustls::version::TLS13]).await.is_ok());
}

#[tokio::test]
async fn who_comes_without_tls_is_told_that_there_is_some() {
    let secured = Secured::start(ClientAuth::None, None).await;
    let answer = say(&secured.rig, b"GET / HTTP/1.1\r\n\r\n").await;
    assert!(String::from_utf8_lossy(&answer).contains("this port speaks TLS"));
    let answer = say(&secured.rig, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!((answer[3], answer[12]), (4, GOAWAY), "{answer:?}");
    assert!(String::from_utf8_lossy(&answer).contains("this port speaks TLS"));
    assert_eq!((secured.refused("http1"), secured.refused("plaintext")), (1.0, 1.0));
    let mut client = connect(secured.rig.address).await;
    let refused = client.operate(futures_util::stream::pending()).await.unwrap_err();
    println!("an agent without TLS reads: {refused:?}");
}
