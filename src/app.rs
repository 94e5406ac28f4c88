//! The only place that knows all parts: from [`Settings`] to a running [`App`], and back to rest.
//!
//! The data plane starts whatever state the database is in: what is no account change passes from the first moment on. Tables,
//! epoch and background tasks follow as soon as the database answers; until then account changes go by `failurePolicy`.

pub mod command;
mod contact;
mod observe;
mod parts;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Layer as _;
use tracing::{info, warn};

use crate::api::front::{self, FrontLayer};
use crate::api::{Api, BoxFuture, Settler};
use crate::channel::{self, Agents, Channel};
use crate::config::Settings;
use crate::dispatch::{self, Bell, Desk, Dispatch};
use crate::mirror::{self, Engine};
use crate::proxy::{self, Selector, Stack, Upstream, respond::Respond, serve};
use crate::scan::{self, Scanner};
use crate::secrets::Resolver;
use crate::store::{self, Store};
use crate::telemetry::admin::{self, AdminState};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::{Facts, Readiness};
use crate::tls::{self, Watched, front as tls_front};
use contact::Contact;
use observe::Observer;
use parts::Parts;

/// How long the start waits for a database that neither works nor fails before it serves without it. One that refuses is not waited
/// for, and one that is slow to make its tables is: until the first epoch is registered, account changes would be refused.
const FIRST_CONTACT: Duration = Duration::from_secs(20);
/// How long a read of the API may wait for a name to be settled.
const SETTLE_BEFORE_READ: Duration = Duration::from_secs(2);
/// How long agents may take to end what is under way and to hear our farewell.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long settling may take after the last request, at the end.
const SETTLE_AT_END: Duration = Duration::from_secs(10);

/// Why Fairlead did not start. Nothing of it runs then.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The admin address is taken, or not ours.
    #[error("the admin listener cannot listen on {0}: {1}")]
    Admin(SocketAddr, #[source] std::io::Error),
    /// The agents' address is taken, or not ours.
    #[error("the agents' port cannot listen on {0}: {1} (kubesvc.grpc.server.address, .port)")]
    Channel(SocketAddr, #[source] std::io::Error),
    /// The data plane.
    #[error(transparent)]
    Proxy(#[from] serve::ServeError),
    /// A certificate, a key or a bundle of CAs cannot be used (any more: the settings had it checked).
    #[error("TLS: {0}")]
    Tls(#[from] tls::FileError),
    /// A key that seals cannot be used.
    #[error("fairlead.seal: {0}")]
    Seal(#[from] store::KeyError),
    /// The tables cannot be made ready, and trying again would not help.
    #[error("the database: {0}")]
    Migrate(#[from] store::MigrateError),
    /// Clouddriver's accounts cannot be read, and trying again would not help.
    #[error("Clouddriver's accounts: {0}")]
    Source(#[from] crate::source::Error),
}

/// A running Fairlead. Dropped without [`App::drain`], it stops at once.
pub struct App {
    proxy: proxy::Handle,
    admin: SocketAddr,
    channel: Option<(Arc<Channel>, SocketAddr)>,
    agents: Arc<dyn Agents>,
    dispatch: Arc<Dispatch>,
    engine: Arc<Engine>,
    readiness: Readiness,
    scan_stop: CancellationToken,
    stop: CancellationToken,
    admin_stop: CancellationToken,
    tasks: TaskTracker,
    drain_timeout: Duration,
}

/// The API's view of the mirror.
struct OpenIntents(Arc<Engine>);

impl Settler for OpenIntents {
    fn settle_open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(self.0.settle_open(name, SETTLE_BEFORE_READ))
    }
}

impl App {
    /// Binds, wires and spawns everything on the current runtime (the control runtime) and the data plane's own threads.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let (stop, admin_stop, tasks) = (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
        let mut metrics = Metrics::new();
        let proxy_metrics = metrics.register(proxy::Metrics::register);
        let mirror_metrics = metrics.register(mirror::Metrics::register);
        let api_metrics = metrics.register(front::Metrics::register);
        let intercept_metrics = metrics.register(crate::intercept::Metrics::register);
        let channel_metrics = metrics.register(channel::Metrics::register);
        let dispatch_metrics = metrics.register(dispatch::Metrics::register);
        let scan_metrics = metrics.register(scan::Metrics::register);

        let store = Store::open(&settings.database, settings.seal.as_ref())?;
        let (front_tls, watched) = settings.tls.clone().map(tls_front::Acceptor::open).transpose()?.unzip();
        spawn_watch(&tasks, watched, &stop);
        let mut parts = Parts::open(&settings, store.clone())?;
        spawn_watch(&tasks, parts.watched.take(), &stop);
        let engine = parts.engine(&settings, mirror_metrics, stop.child_token());
        let Parts { source, upstream_tls, .. } = parts;

        let readiness = Readiness::new();
        let observer = Observer::new();
        let mut facts = Facts::of(&settings);
        let opened = Opened::open(&settings, channel_metrics, &tasks, &stop).await?;
        facts.channel = opened.address().map(|address| address.to_string());
        let agents = opened.agents.clone();
        let dispatch = {
            let (bell, gone) = (Bell::default(), engine.clone());
            engine.ring_when_changed(bell.clone());
            let secrets = Resolver::new(settings.secrets.clone());
            let gone = move |name: &str| gone.row_gone(name);
            let (limits, stop) = (settings.dispatch.clone(), stop.child_token());
            Dispatch::new(store.clone(), agents.clone(), limits, secrets, &settings.replica, bell, dispatch_metrics, gone, stop)
        };
        for warning in &facts.warnings {
            warn!("{warning}");
        }
        if cfg!(feature = "failpoints") {
            warn!("this build has fail points compiled in: it is for tests");
        }
        let listener = TcpListener::bind(settings.admin_listen).await.map_err(|e| StartError::Admin(settings.admin_listen, e))?;
        let admin = listener.local_addr().map_err(|e| StartError::Admin(settings.admin_listen, e))?;
        let live = observer.clone().live(engine.clone());
        let state = AdminState::new(readiness.clone(), metrics.finish(), facts, live);
        tasks.spawn(admin::serve(listener, state, admin_stop.clone()));

        // What cannot become right by waiting ends the start; the rest is waited for while traffic passes.
        let contact = Contact {
            store: store.clone(),
            source,
            engine: engine.clone(),
            observer: observer.clone(),
            mirroring: settings.interceptor.enabled && settings.dynamic_accounts_enabled,
        };
        let (first, heard) = oneshot::channel();
        tasks.spawn(contact.keep_trying(first, stop.child_token()));
        match tokio::time::timeout(FIRST_CONTACT, heard).await {
            Ok(Ok(Err(e))) if !e.is_transient() => {
                stop.cancel();
                admin_stop.cancel();
                return Err(e.into_start_error());
            }
            Ok(Ok(Ok(()))) => {}
            first => {
                let why = match first {
                    Ok(Ok(Err(e))) => e.to_string(),
                    _ => "no answer yet".to_owned(),
                };
                warn!(reason = why, "serving without the database until it answers; account changes go by failurePolicy");
            }
        }
        tasks.spawn(observer.run(store.clone(), engine.clone(), stop.child_token()));

        let bell = dispatch.bell().clone();
        let (calls, called) = front::queue();
        let api = Api {
            store: store.clone(),
            settler: Arc::new(OpenIntents(engine.clone())),
            lookup: Arc::new(engine.source().clone()),
            desk: Some(Desk::new(engine.clone(), bell)),
            agents: agents.clone(),
            replica: settings.replica.id.as_str().into(),
            enabled: settings.dynamic_accounts_enabled,
        };
        tasks.spawn(front::serve(called, api.router(), api_metrics.clone(), stop.child_token()));
        let front = FrontLayer::new(calls, settings.clouddriver.context_path.clone(), api_metrics);
        let factory = {
            let (settings, proxy_metrics, engine) = (settings.clone(), proxy_metrics.clone(), engine.clone());
            move || {
                let upstream = proxy::upstream::Config::new(&settings.clouddriver, &settings.proxy, upstream_tls);
                let upstream = Upstream::new(upstream, proxy_metrics.thread());
                let layer = crate::intercept::InterceptLayer::new(&settings, mirror::Handle::new(engine), intercept_metrics);
                let service = front.layer(Respond::new(layer.layer(upstream.clone())));
                Stack { upstream, selector: Selector::new(settings.clouddriver.context_path.clone()), service }
            }
        };
        let proxy = serve::serve(&serve::Config::new(&settings, front_tls), &proxy_metrics, factory)?;
        let channel = opened.listen();
        tasks.spawn(dispatch.clone().run());
        let scan_stop = stop.child_token();
        if let Some(scan) = settings.scan.clone() {
            let scanner = Scanner::new(engine.clone(), scan, settings.replica.lease, scan_metrics, scan_stop.clone());
            tasks.spawn(scanner.run());
        }
        readiness.set_ready();
        info!(
            proxy = %proxy.local_addr(),
            admin = %admin,
            agents = channel.as_ref().map(|(_, address)| address.to_string()),
            clouddriver = format!("{}:{}", settings.clouddriver.host, settings.clouddriver.port),
            replica = settings.replica.id,
            "serving"
        );
        Ok(Self {
            proxy,
            admin,
            channel,
            agents,
            dispatch,
            engine,
            readiness,
            scan_stop,
            stop,
            admin_stop,
            tasks,
            drain_timeout: settings.proxy.drain_timeout,
        })
    }

    /// Where the proxy listens.
    pub fn proxy_addr(&self) -> SocketAddr {
        self.proxy.local_addr()
    }

    /// Where health, metrics and info are.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin
    }

    /// Where agents connect to; `None`: the channel is off.
    pub fn channel_addr(&self) -> Option<SocketAddr> {
        self.channel.as_ref().map(|(_, address)| *address)
    }

    /// Who is connected to this replica; nobody where the channel is off.
    pub fn agents(&self) -> &Arc<dyn Agents> {
        &self.agents
    }

    /// The loop between rows and agents.
    pub fn dispatch(&self) -> &Arc<Dispatch> {
        &self.dispatch
    }

    /// The mirror, for tests and the demo.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Comes to rest in order: not ready; requests finish and agents are told farewell (both bounded); open changes are settled
    /// (bounded); the epoch is closed.
    /// Says whether every request ended by itself.
    pub async fn drain(self) -> bool {
        self.readiness.drain();
        info!("draining");
        self.scan_stop.cancel();
        // Agents go to other replicas at once; requests take their time.
        let farewell = async {
            // First, so that nobody hears the farewell of agents for their death.
            self.dispatch.shutdown(FAREWELL).await;
            if let Some((channel, _)) = &self.channel {
                channel.drain(FAREWELL).await;
            }
        };
        let (drained, ()) = tokio::join!(self.proxy.drain(self.drain_timeout), farewell);
        if drained.aborted > 0 || drained.unfinished > 0 {
            warn!(cut = drained.aborted, unfinished = drained.unfinished, "the drain's time was over before the requests were");
        }
        self.engine.shutdown(SETTLE_AT_END).await;
        self.stop.cancel();
        self.admin_stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(Duration::from_secs(5), self.tasks.wait()).await.is_err() {
            warn!("background tasks did not end in time");
        }
        let _ = tokio::time::timeout(Duration::from_secs(5), self.engine.store().close()).await;
        info!("stopped");
        drained.aborted == 0
    }
}

/// The agents' port, bound and not serving yet.
struct Opened {
    agents: Arc<dyn Agents>,
    port: Option<(Arc<Channel>, TcpListener, SocketAddr)>,
}

impl Opened {
    async fn open(
        settings: &Settings,
        metrics: channel::Metrics,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Self, StartError> {
        let Some(config) = &settings.channel else {
            return Ok(Self { agents: Arc::new(channel::Nobody), port: None });
        };
        let (tls, watched) = config.tls.clone().map(tls_front::Acceptor::open).transpose()?.unzip();
        spawn_watch(tasks, watched, stop);
        if tls.is_none() {
            warn!("agents are served without TLS, and whoever reaches the port can be one (kubesvc.grpc.server.security)");
        }
        let cannot = |e| StartError::Channel(config.listen, e);
        let listener = channel::bind(config.listen).map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let channel = Channel::new(config, tls, &settings.replica.id, metrics).await;
        Ok(Self { agents: channel.agents(), port: Some((channel, listener, address)) })
    }

    fn address(&self) -> Option<SocketAddr> {
        self.port.as_ref().map(|(_, _, address)| *address)
    }

    fn listen(self) -> Option<(Arc<Channel>, SocketAddr)> {
        self.port.map(|(channel, listener, address)| {
            channel.listen(listener);
            (channel, address)
        })
    }
}

fn spawn_watch<F: tls::Files>(tasks: &TaskTracker, watched: Option<Watched<F>>, stop: &CancellationToken) {
    if let Some(watched) = watched {
        tasks.spawn(watched.run(stop.child_token()));
    }
}
