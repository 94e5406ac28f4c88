//! The agents' port: connections are accepted, bounded, looked at, and served to their end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tonic_health::server::HealthReporter;
use tracing::{error, warn};

use super::begin::{First, REFUSED_HTTP1, REFUSED_PLAINTEXT, first, refuse_http1, refuse_http2};
use super::registry::{Limits, Registry};
use super::serve::{KeepAlive, serve};
use super::{Agents, Metrics, service};
use crate::config::ChannelConfig;
use crate::tls::{self, front};

/// Connections that the kernel keeps for us until we accept.
const BACKLOG: i32 = 4_096;
/// How long somebody who came with the wrong words may read why.
const REFUSAL: Duration = Duration::from_secs(2);

/// The agents' channel of this replica.
#[derive(Debug)]
pub struct Channel {
    registry: Arc<Registry>,
    routes: Routes,
    health: Option<HealthReporter>,
    tls: Option<front::Acceptor>,
    keep_alive: KeepAlive,
    handshake_timeout: Duration,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    /// No new connections, and no new streams on those that are there.
    draining: CancellationToken,
    /// Connections end as they are.
    stop: CancellationToken,
}

impl Channel {
    /// Made, and nobody is let in yet.
    pub async fn new(config: &ChannelConfig, tls: Option<front::Acceptor>, replica: &str, metrics: Metrics) -> Arc<Self> {
        let limits = Limits {
            register_timeout: config.handshake_timeout,
            ping_interval: config.ping_interval,
            dead_after: config.dead_after,
            max_message: config.max_message,
        };
        let registry = Registry::new(limits, replica, metrics);
        let tasks = TaskTracker::new();
        let (routes, health) = service::routes(registry.clone(), tasks.clone(), config.health).await;
        Arc::new(Self {
            registry,
            routes,
            health,
            tls,
            keep_alive: KeepAlive { every: config.keep_alive, timeout: config.keep_alive_timeout },
            handshake_timeout: config.handshake_timeout,
            places: Arc::new(Semaphore::new(config.max_connections.min(Semaphore::MAX_PERMITS))),
            tasks,
            draining: CancellationToken::new(),
            stop: CancellationToken::new(),
        })
    }

    /// Who is connected, and the way to them.
    pub fn agents(&self) -> Arc<dyn Agents> {
        self.registry.clone()
    }

    /// Nobody is let in any more.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Accepts until the drain begins.
    pub fn listen(self: &Arc<Self>, listener: TcpListener) {
        self.tasks.spawn(self.clone().accept(listener));
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let mut failures = 0_u32;
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.draining.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => continue,
                Err(e) => {
                    // With no descriptors left, trying again at once would only spin.
                    failures = (failures + 1).min(6);
                    if let Some(more) = self.registry.quiet.say("accept", "") {
                        error!(error = %e, more, "the agents' port cannot accept connections; trying on");
                    }
                    tokio::time::sleep(Duration::from_millis(10 << failures)).await;
                    continue;
                }
            };
            failures = 0;
            if prepare(&stream).is_err() {
                continue;
            }
            let channel = self.clone();
            self.tasks.spawn(async move { channel.connection(stream, peer).await });
        }
    }

    /// Serves one connection to its end. For simulations too, whose connections are none of the system's.
    pub async fn connection<IO>(self: Arc<Self>, io: IO, peer: SocketAddr)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Ok(_place) = self.places.clone().try_acquire_owned() else {
            return self.refused("full", peer, "there are as many connections as there may be (fairlead.channel.maxConnections)");
        };
        let metrics = &self.registry.metrics;
        metrics.connections.inc();
        let _gauge = Open(&metrics.connections);
        tokio::select! {
            () = self.begin(io, peer) => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// What a connection at rest costs is the size of this future too: what is seldom waited for, or not for long, lies in a box.
    async fn begin<IO>(&self, io: IO, peer: SocketAddr)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let started = timeout(self.handshake_timeout, first(io)).await;
        let (begun, io) = match started {
            Ok(Ok(begun)) => begun,
            // Port scans and probes of load balancers come and go so.
            Ok(Err(_)) => return,
            Err(_) => return self.refused("slow", peer, "it said nothing in time"),
        };
        match (begun, &self.tls) {
            (First::Nothing, _) => {}
            (First::Http2, None) => serve(self.routes.clone(), io, peer, &self.keep_alive, &self.tasks, &self.draining).await,
            (First::Tls, Some(tls)) => {
                let accepted = Box::pin(timeout(self.handshake_timeout, tls.accept(io))).await;
                let shaken = match accepted.map(|done| done.map(Box::new)) {
                    Ok(Ok(stream)) => timeout(self.handshake_timeout, first(stream)).await,
                    Ok(Err(e)) => return self.refused("handshake", peer, &tls::reason(&e)),
                    Err(_) => return self.refused("slow", peer, "the handshake took too long"),
                };
                match shaken {
                    Ok(Ok((First::Http2, io))) => serve(self.routes.clone(), io, peer, &self.keep_alive, &self.tasks, &self.draining).await,
                    Ok(Ok((First::Http1, io))) => Box::pin(self.refuse_http1(io, peer, REFUSED_HTTP1)).await,
                    // With TLS 1.3 a client that does not believe us says so only now.
                    Ok(Err(e)) => self.refused("handshake", peer, &tls::reason(&e)),
                    Ok(Ok((First::Nothing, _))) => {}
                    _ => self.refused("other", peer, "it speaks no HTTP/2"),
                }
            }
            (First::Tls, None) => {
                let why = "it speaks TLS, and here is none: set kubesvc.grpc.server.security, or clouddriver.insecure: true at the agent";
                self.refused("tls", peer, why);
            }
            (First::Http1, None) => Box::pin(self.refuse_http1(io, peer, REFUSED_HTTP1)).await,
            (First::Http1, Some(_)) => Box::pin(self.refuse_http1(io, peer, REFUSED_PLAINTEXT)).await,
            (First::Http2, Some(_)) => {
                let why =
                    "it speaks without TLS, and kubesvc.grpc.server.security.enabled is true: set clouddriver.insecure: false at the agent";
                self.refused("plaintext", peer, why);
                let _ = Box::pin(timeout(REFUSAL, refuse_http2(io, REFUSED_PLAINTEXT))).await;
            }
            (First::Other, _) => self.refused("other", peer, "it speaks no HTTP/2"),
        }
    }

    async fn refuse_http1<IO: AsyncRead + AsyncWrite + Unpin>(&self, io: IO, peer: SocketAddr, why: &str) {
        self.refused("http1", peer, "it speaks HTTP/1, and gRPC needs HTTP/2: a proxy in between must pass HTTP/2 on");
        let _ = timeout(REFUSAL, refuse_http1(io, why)).await;
    }

    fn refused(&self, reason: &'static str, peer: SocketAddr, why: &str) {
        self.registry.metrics.connection_refused(reason);
        if let Some(more) = self.registry.quiet.say(reason, "") {
            warn!(peer = %peer, more, "a connection on the agents' port was refused: {why}");
        }
    }

    /// Lets nobody in any more, gives operations that are under way some time, says farewell, and ends what is left. Takes no longer
    /// than `bound`.
    pub async fn drain(&self, bound: Duration) {
        let until = tokio::time::Instant::now() + bound;
        self.registry.close();
        self.draining.cancel();
        if let Some(health) = &self.health {
            service::not_serving(health).await;
        }
        while self.registry.in_flight() > 0 && tokio::time::Instant::now() + bound / 2 < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.registry.drain();
        self.tasks.close();
        let _ = tokio::time::timeout_at(until - bound / 8, self.tasks.wait()).await;
        self.stop.cancel();
        let _ = tokio::time::timeout_at(until, self.tasks.wait()).await;
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// One more, until it is dropped.
struct Open<'a>(&'a prometheus_client::metrics::gauge::Gauge);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Listens, and does not accept yet.
///
/// # Errors
/// The address is taken, or not ours.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(socket2::Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn prepare(stream: &tokio::net::TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let probes = TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));
    let socket = SockRef::from(stream);
    // What was sent to a host that has vanished is else repeated for a quarter of an hour.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(Duration::from_secs(60)))?;
    socket.set_tcp_keepalive(&probes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<IO, F>(_: impl FnOnce(Arc<Channel>, IO, SocketAddr) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_connection_at_rest_costs_little() {
        let bytes = size(Channel::connection::<tokio::net::TcpStream>);
        assert!(bytes <= 1_024, "{bytes} bytes");
    }
}
