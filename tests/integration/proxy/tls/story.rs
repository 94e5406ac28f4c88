//! The main job with TLS on both sides, as a whole program has it: settings, data plane, interceptor, mirror, and Clouddriver's API
//! as the place where accounts are read.

use std::net::SocketAddr;
use std::sync::Arc;

use fairlead::app::App;
use fairlead::config::load_text;
use fairlead::demo::{Options, StandIn, story};
use rustls::pki_types::ServerName;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{client, server};
use crate::support::certificates::{Ca, Folder};

/// Takes TLS off before `to`.
async fn taking_off(acceptor: TlsAcceptor, to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut inside = acceptor.accept(stream).await?;
                copy_bidirectional(&mut inside, &mut TcpStream::connect(to).await?).await
            });
        }
    });
    address
}

/// Puts TLS on before `to`.
async fn putting_on(connector: TlsConnector, to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let connector = connector.clone();
            tokio::spawn(async move {
                let name = ServerName::try_from("localhost").unwrap();
                let mut inside = connector.connect(name, TcpStream::connect(to).await?).await?;
                copy_bidirectional(&mut stream, &mut inside).await
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn account_changes_are_mirrored_with_tls_and_certificates_of_clients_on_both_sides() {
    let (ca, folder) = (Ca::new(), Folder::new());
    let (theirs, ours) = (ca.issue(), ca.issue());
    let stand_in = StandIn::start(Options::default()).await.unwrap();
    let clouddriver = taking_off(TlsAcceptor::from(server(&theirs, Some(&ca))), stand_in.address()).await;
    let yaml = format!(
        "server:\n  address: 127.0.0.1\n  port: 0\n  ssl:\n    certificate: {certificate}\n    certificate-private-key: file:{key}\n    \
         trust-certificate: {ca}\n    client-auth: need\n\
         services.clouddriver:\n  baseUrl: https://localhost:{port}\n  ssl:\n    trustCertificate: {ca}\n    certificate: {certificate}\n    \
         certificatePrivateKey: {key}\n\
         kubesvc.grpc.server: {{ address: 127.0.0.1, port: 0 }}\n\
         fairlead:\n  admin: {{ address: 127.0.0.1, port: 0 }}\n  source: api\n  sqlite.path: {database}\n",
        certificate = folder.write("tls.crt", &ours.certificate).display(),
        key = folder.write("tls.key", &ours.key).display(),
        ca = folder.write("ca.crt", &ca.certificate()).display(),
        port = clouddriver.port(),
        database = folder.path("fairlead.db").display(),
    );
    let app = App::start(load_text(&yaml, &[]).unwrap_or_else(|e| panic!("{e}")).settings).await.unwrap();
    let config = client(&ca, Some(&ours), &["http/1.1"]);
    let proxy = putting_on(TlsConnector::from(Arc::clone(&config)), app.proxy_addr()).await;
    let mut told = Vec::new();
    let ended = story::run(proxy, &mut told).await;
    assert!(ended.is_ok(), "{ended:?}\n{}", String::from_utf8_lossy(&told));
    app.drain().await;
}
