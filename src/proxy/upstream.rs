//! The way to Clouddriver: connections, made and kept.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::connect::connect;
use super::link::{Buffers, Link};
use super::pool::Pool;
use super::stream::Stream;
use super::streams::Streams;
use super::{Cause, Counters, UpstreamError};
use crate::config;
use crate::tls;

/// Where Clouddriver is and how long it may take.
#[derive(Clone, Debug)]
pub struct Config {
    /// Host name or address.
    pub host: Arc<str>,
    /// Port.
    pub port: u16,
    /// TLS; `None`: plain.
    pub tls: Option<tls::upstream::Connector>,
    /// HTTP/2: by TLS where Clouddriver agrees to it, else with prior knowledge.
    pub http2: bool,
    /// For name resolution, connect and TLS handshake together, all addresses included.
    pub connect_timeout: Duration,
    /// From the last part of the request that could be sent to the head of the answer; `None`: for as long as the client waits.
    pub response_timeout: Option<Duration>,
    /// How long a connection is kept unused; below Tomcat's 20 s, so that it is we who close.
    pub pool_idle_timeout: Duration,
    /// How many are kept, for each thread.
    pub pool_max_idle: usize,
    /// How old a connection may be that another request goes out on; up to a fifth less, by chance. `None`: of any age.
    pub pool_max_age: Option<Duration>,
}

impl Config {
    /// As the operator set it; `tls` is made from [`config::Clouddriver::tls`].
    pub fn new(clouddriver: &config::Clouddriver, proxy: &config::Proxy, tls: Option<tls::upstream::Connector>) -> Self {
        Self {
            host: clouddriver.host.clone(),
            port: clouddriver.port,
            tls,
            http2: clouddriver.http2,
            connect_timeout: proxy.connect_timeout,
            response_timeout: proxy.response_timeout,
            pool_idle_timeout: proxy.pool_idle_timeout,
            pool_max_idle: proxy.pool_max_idle,
            pool_max_age: proxy.pool_max_age,
        }
    }
}

/// Clouddriver, for one thread: cheap to clone, not `Send`, to be used where local tasks can be spawned. As a tower service, see
/// [`super::call`].
#[derive(Clone)]
pub struct Upstream(Rc<Inner>);

pub(super) struct Inner {
    config: Config,
    hop: Arc<str>,
    pool: Rc<Pool>,
    /// Those of HTTP/2, where it is to be spoken.
    pub(super) streams: Option<Streams>,
    buffers: Buffers,
    counters: Arc<Counters>,
}

impl Inner {
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }
}

impl From<Rc<Inner>> for Upstream {
    fn from(inner: Rc<Inner>) -> Self {
        Self(inner)
    }
}

impl Upstream {
    /// With an empty pool; connects when the first request comes.
    pub fn new(config: Config, counters: Arc<Counters>) -> Self {
        let hop = if config.host.contains(':') {
            format!("[{}]:{}", config.host, config.port)
        } else {
            format!("{}:{}", config.host, config.port)
        };
        let pool = Pool::new(config.pool_max_idle, config.pool_idle_timeout);
        let streams = config.http2.then(Streams::default);
        Self(Rc::new(Inner { pool, hop: hop.into(), streams, buffers: Buffers::default(), config, counters }))
    }

    pub(super) fn inner(&self) -> &Rc<Inner> {
        &self.0
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.0.counters
    }

    pub(super) fn is_tls(&self) -> bool {
        self.0.config.tls.is_some()
    }

    /// Connections that requests share, unless Clouddriver is known to speak HTTP/1.1 only.
    pub(super) fn streams(&self) -> Option<&Streams> {
        self.0.streams.as_ref().filter(|streams| streams.are_spoken())
    }

    pub(super) fn buffers(&self) -> &Buffers {
        &self.0.buffers
    }

    pub(super) fn response_timeout(&self) -> Option<Duration> {
        self.0.config.response_timeout
    }

    /// A kept connection.
    pub(super) fn kept(&self) -> Option<Link> {
        let link = self.0.pool.take()?;
        self.0.counters.pool_reused.fetch_add(1, Relaxed);
        Some(link)
    }

    /// A new connection of HTTP/1.1.
    pub(super) async fn connect(&self) -> Result<Link, Cause> {
        let stream = self.stream(false, Instant::now() + self.0.config.connect_timeout).await?;
        Ok(self.link(stream))
    }

    /// TCP, and TLS where it is spoken.
    pub(super) async fn stream(&self, http2: bool, deadline: Instant) -> Result<Stream, Cause> {
        let config = &self.0.config;
        crate::crash_point!("clouddriver-connect");
        let stream = connect(&config.host, config.port, config.connect_timeout).await?;
        if is_ourselves(&stream, &self.0.counters).unwrap_or(false) {
            return Err(Cause::Loop);
        }
        let stream: Stream = match &config.tls {
            None => stream.into(),
            Some(tls) => match timeout_at(deadline, Box::pin(tls.connect(stream, http2))).await {
                Ok(shaken) => shaken.map_err(Cause::Tls)?.into(),
                Err(_) => return Err(Cause::ConnectTimeout(config.connect_timeout)),
            },
        };
        self.0.counters.pool_opened.fetch_add(1, Relaxed);
        Ok(stream)
    }

    pub(super) fn link(&self, stream: Stream) -> Link {
        let mut link = Link::new(stream, self.0.buffers.clone());
        if let Some(at) = self.retire_at() {
            link.retire_at(at);
        }
        link
    }

    /// Until when a connection that is made now is used.
    pub(super) fn retire_at(&self) -> Option<Instant> {
        // Those that were made together are not to end together.
        self.0.config.pool_max_age.map(|age| Instant::now() + age.mul_f64(1.0 - 0.2 * fastrand::f64()))
    }

    /// Keeps a connection on which one exchange has come to its end.
    pub(super) fn keep(&self, link: Link) {
        self.0.pool.put(link);
    }

    /// The error for a request that got no answer; counted.
    pub(super) fn failed(&self, cause: Cause) -> UpstreamError {
        let cause = match cause {
            Cause::Broken(error) => match tls::late_refusal(&error) {
                Some(why) => Cause::TlsRefused(why),
                None => Cause::Broken(error),
            },
            cause => cause,
        };
        self.0.counters.upstream_errors[cause.index()].fetch_add(1, Relaxed);
        UpstreamError { hop: self.0.hop.clone(), cause }
    }
}

/// Whether a connection ends at our own listener: an address of this machine, with our port.
fn is_ourselves(stream: &tokio::net::TcpStream, counters: &Counters) -> io::Result<bool> {
    let Some(listen) = counters.listen.get() else { return Ok(false) };
    let (peer, local): (SocketAddr, SocketAddr) = (stream.peer_addr()?, stream.local_addr()?);
    let there = peer.ip().to_canonical();
    Ok(peer.port() == listen.port()
        && if listen.ip().is_unspecified() { there == local.ip().to_canonical() } else { there == listen.ip().to_canonical() })
}
