//! An HTTP proxy that knows CONNECT and one host, so that a name leads to this machine for those who ask it, and nowhere for others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// Serves as long as it is held.
pub struct ConnectProxy {
    pub port: u16,
    taken: Arc<AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

impl ConnectProxy {
    /// `CONNECT host:PORT` leads to PORT of this machine; all else is 502.
    pub async fn start(host: &'static str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let taken = Arc::new(AtomicUsize::new(0));
        let count = taken.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let count = count.clone();
                // Where one side goes, so does the other.
                tokio::spawn(async move { drop(serve(client, host, &count).await) });
            }
        });
        Self { port, taken, _task: AbortOnDropHandle::new(task) }
    }

    /// How many it has led on.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

async fn serve(mut client: TcpStream, host: &str, taken: &AtomicUsize) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 8192 {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    let port = target.rsplit_once(':').filter(|(h, _)| *h == host).and_then(|(_, p)| p.parse::<u16>().ok());
    let upstream = match port {
        Some(port) => TcpStream::connect(("127.0.0.1", port)).await.ok(),
        None => None,
    };
    let Some(mut upstream) = upstream else {
        return client.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n").await;
    };
    taken.fetch_add(1, Ordering::Relaxed);
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut upstream).await.map(drop)
}
