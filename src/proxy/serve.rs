//! The data plane: its threads, and the handle that ends them.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use http::{Request, Response};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, timeout_at};
use tower::Service;

use super::accept::{Acceptor, Phase};
use super::call::MAX_HEAD;
use super::pace::Least;
use super::select::Selector;
use super::{Body, Metrics, Upstream, balance, listen};
use crate::tls::front;

/// How often the end of the last tasks is looked for in a drain.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Where and how to serve.
#[derive(Clone, Debug)]
pub struct Config {
    /// Port 0: the system chooses, [`Handle::local_addr`] tells.
    pub listen: SocketAddr,
    /// 0: one for each core.
    pub threads: usize,
    /// What clients may take.
    pub limits: Limits,
    /// TLS; `None`: plain.
    pub tls: Option<front::Acceptor>,
}

/// What clients may take of time and room. Counts are for each thread.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For a client to send a request's head, from its first byte (of the first request: from the connect).
    pub header_timeout: Duration,
    /// How long a kept connection may be idle. Longer than clients keep theirs, so that it is they who close.
    pub idle_timeout: Duration,
    /// How long a client may neither send what it announced nor take what is due to it.
    pub stall_timeout: Duration,
    /// Bytes a second that it has to send or take on average, over each `stall_timeout` in which it is waited for; 0: any.
    pub min_rate: u64,
    /// From a request's head to the end of its answer, where it passes as bytes.
    pub total_timeout: Option<Duration>,
    /// A client that ends its writing side while it waits has given up.
    pub cancel_on_half_close: bool,
    /// Bytes of a request's head.
    pub max_head: usize,
    /// More wait in the kernel's queue until one ends.
    pub max_connections: usize,
    /// More are answered 503.
    pub max_in_flight: usize,
}

impl Limits {
    pub(super) fn least(&self) -> Least {
        Least { stall: self.stall_timeout, rate: self.min_rate }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(330),
            stall_timeout: Duration::from_secs(120),
            min_rate: 16,
            total_timeout: None,
            cancel_on_half_close: false,
            max_head: MAX_HEAD,
            max_connections: 16_384,
            max_in_flight: 8_192,
        }
    }
}

/// What a thread serves with.
#[derive(Clone)]
pub struct Stack<S> {
    /// Clouddriver, for what passes as bytes.
    pub upstream: Upstream,
    /// What goes through the service.
    pub selector: Selector,
    /// For that, and for all requests by HTTP/2.
    pub service: S,
}

impl Config {
    /// As the operator set it; `tls` is made from [`crate::config::Settings::tls`].
    pub fn new(settings: &crate::config::Settings, tls: Option<front::Acceptor>) -> Self {
        Self {
            listen: settings.listen,
            threads: settings.proxy.threads,
            limits: Limits {
                header_timeout: settings.proxy.header_timeout,
                idle_timeout: settings.proxy.client_idle_timeout,
                stall_timeout: settings.proxy.stall_timeout,
                min_rate: settings.proxy.min_rate,
                total_timeout: settings.proxy.total_timeout,
                cancel_on_half_close: settings.proxy.cancel_on_half_close,
                max_head: settings.proxy.max_head,
                max_connections: settings.proxy.max_connections,
                max_in_flight: settings.proxy.max_in_flight,
            },
            tls,
        }
    }
}

impl<S> Stack<S> {
    /// Everything goes through the service, and nothing passes as bytes.
    pub fn looking_into_everything(service: S) -> Self {
        let nowhere = super::upstream::Config {
            host: "".into(),
            port: 0,
            tls: None,
            http2: false,
            connect_timeout: Duration::from_secs(1),
            response_timeout: None,
            pool_idle_timeout: Duration::ZERO,
            pool_max_idle: 0,
            pool_max_age: None,
        };
        Self { upstream: Upstream::new(nowhere, std::sync::Arc::default()), selector: Selector::everything(), service }
    }
}

/// Why the data plane did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    /// A thread or its runtime could not be made.
    #[error("cannot start a data-plane thread: {0}")]
    Thread(#[source] io::Error),
    /// The factory panicked.
    #[error("a data-plane thread failed while it built its services")]
    Factory,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Client connections that were still open at the deadline and were cut.
    pub aborted: usize,
    /// Threads on which other work (an account change whose client had left) was still running at the deadline and was cut.
    pub unfinished: usize,
}

/// The running data plane. Dropped without [`Handle::drain`], it tells the threads to stop at once and waits for nothing.
#[derive(Debug)]
pub struct Handle {
    address: SocketAddr,
    phase: watch::Sender<Phase>,
    threads: Vec<(JoinHandle<()>, oneshot::Receiver<Drained>)>,
}

/// Binds the listeners and starts the threads; returns when all of them accept.
///
/// Each thread calls a clone of `factory` once, inside its runtime, to build its own services, which need not be `Send`. A panic
/// in a request is a 500 there and nowhere else.
pub fn serve<F, S>(config: &Config, metrics: &Metrics, factory: F) -> Result<Handle, ServeError>
where
    F: FnOnce() -> Stack<S> + Send + Clone + 'static,
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + 'static,
{
    let count = match config.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    let listeners = listen::bind(config.listen, count).map_err(|e| ServeError::Listen(config.listen, e))?;
    let address = listeners[0].local_addr().map_err(|e| ServeError::Listen(config.listen, e))?;
    metrics.listening(address);
    let (phase, receiver) = watch::channel(Phase::Serve);
    let mut handle = Handle { address, phase, threads: Vec::with_capacity(count) };
    let (ready, started) = std::sync::mpsc::sync_channel(count);
    for (i, (listener, seat)) in listeners.into_iter().zip(balance::seats(count)).enumerate() {
        let (done, ended) = oneshot::channel();
        let (factory, counters, phase, ready) = (factory.clone(), metrics.thread(), receiver.clone(), ready.clone());
        let (limits, tls) = (config.limits, config.tls.clone());
        let body = move || {
            // It belongs to the thread that made it.
            let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
                Ok(runtime) => runtime,
                Err(error) => {
                    let _ = ready.send(Err(error));
                    return;
                }
            };
            let work = async move {
                let listener = TcpListener::from_std(listener)?;
                let acceptor = Acceptor { stack: factory(), counters, limits, tls, seat };
                let _ = ready.send(Ok(()));
                drop(ready);
                Ok::<_, io::Error>(acceptor.run(listener, phase).await)
            };
            let drained = run(&runtime, work);
            // Not a plain drop: that would wait for a name resolution that hangs.
            runtime.shutdown_background();
            let _ = done.send(drained);
        };
        let thread = std::thread::Builder::new().name(format!("proxy-{i}")).spawn(body).map_err(ServeError::Thread)?;
        handle.threads.push((thread, ended));
    }
    drop(ready);
    for _ in 0..count {
        started.recv().map_err(|_| ServeError::Factory)?.map_err(ServeError::Thread)?;
    }
    Ok(handle)
}

fn run(runtime: &LocalRuntime, work: impl Future<Output = io::Result<(Instant, usize)>>) -> Drained {
    runtime.block_on(async {
        match work.await {
            Ok((deadline, aborted)) => {
                // What is left are changes that go on without their client, and pooled connections, which end by themselves now
                // that nobody holds the pool.
                let rest = if aborted > 0 { Instant::now() } else { deadline };
                let all_ended = async {
                    while runtime.metrics().num_alive_tasks() > 0 {
                        sleep(LOOK_AGAIN).await;
                    }
                };
                let unfinished = timeout_at(rest, all_ended).await.is_err();
                Drained { aborted, unfinished: usize::from(unfinished && aborted == 0) }
            }
            Err(error) => {
                tracing::error!(%error, "a data-plane thread cannot use its listener");
                Drained::default()
            }
        }
    })
}

impl Handle {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Stops to accept, closes idle connections, lets requests in flight finish (their answers say `Connection: close`), and after
    /// `timeout` cuts what is left. Returns when all threads have ended, soon after `timeout` at the latest. Dropping the future
    /// cuts at once.
    pub async fn drain(mut self, timeout: Duration) -> Drained {
        let _ = self.phase.send(Phase::DrainUntil(Instant::now() + timeout));
        let mut sum = Drained::default();
        for (thread, ended) in std::mem::take(&mut self.threads) {
            match ended.await {
                Ok(drained) => {
                    sum.aborted += drained.aborted;
                    sum.unfinished += drained.unfinished;
                    // It has sent its last word and only returns now.
                    let _ = thread.join();
                }
                Err(_) => tracing::error!("a data-plane thread had ended by a panic"),
            }
        }
        sum
    }
}
