//! A connection that is dead and not known to be, on a simulated network. Storms are in `simulation`.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fairlead::channel::{AgentId, Agents, Channel, Metrics};
use fairlead::wire::agent_service_client::AgentServiceClient;
use hyper_util::rt::TokioIo;
use prometheus_client::registry::Registry;
use tonic::transport::Endpoint;
use turmoil::{Builder, Sim};

use super::rig::config;
use crate::scripted_agent::{ScriptedAgent, register};

const PORT: u16 = 9091;
type Shared = Rc<RefCell<Option<Arc<dyn Agents>>>>;

/// A host that is Fairlead's port; who is connected can be seen from outside.
fn fairlead(sim: &mut Sim<'_>) -> Shared {
    let shared: Shared = Rc::default();
    let out = shared.clone();
    sim.host("fairlead", move || {
        let out = out.clone();
        async move {
            let metrics = Metrics::register(&mut Registry::default());
            let channel = Channel::new(&config(), None, "simulated", metrics).await;
            *out.borrow_mut() = Some(channel.agents());
            let listener = turmoil::net::TcpListener::bind((IpAddr::from(Ipv4Addr::UNSPECIFIED), PORT)).await?;
            loop {
                let (stream, peer) = listener.accept().await?;
                tokio::spawn(channel.clone().connection(stream, peer));
            }
        }
    });
    shared
}

fn agents(shared: &Shared) -> Arc<dyn Agents> {
    shared.borrow().clone().expect("the host has started")
}

/// A connection in the simulation; it is given up like an agent would.
async fn connect() -> Result<AgentServiceClient<tonic::transport::Channel>, tonic::transport::Error> {
    let endpoint = Endpoint::from_static("http://fairlead:9091")
        .connect_timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(10));
    let connector = tower::service_fn(|_| async {
        let address = SocketAddr::new(turmoil::lookup("fairlead"), PORT);
        Ok::<_, std::io::Error>(TokioIo::new(turmoil::net::TcpStream::connect(address).await?))
    });
    Ok(AgentServiceClient::new(endpoint.connect_with_connector(connector).await?))
}

#[test]
fn an_agent_that_comes_back_before_its_old_connection_is_known_dead_stays_there() {
    let mut sim = Builder::new().simulation_duration(Duration::from_secs(600)).tick_duration(Duration::from_millis(20)).build();
    let shared = fairlead(&mut sim);
    sim.client("agent", async move {
        let old = ScriptedAgent::with(connect().await?, register("a", "z", &["x"])).await;
        let there = agents(&shared);
        there.changed().await;
        // Nothing of the old connection arrives any more, not even its end.
        turmoil::hold("agent", "fairlead");
        std::mem::forget(old);
        tokio::time::sleep(Duration::from_secs(2)).await;
        turmoil::partition("agent", "fairlead");
        tokio::time::sleep(Duration::from_secs(1)).await;
        turmoil::repair("agent", "fairlead");
        turmoil::release("agent", "fairlead");
        let mut new = ScriptedAgent::with(connect().await?, register("a", "z", &["x"])).await;
        let epoch = new.registered.epoch;
        new.patience = Duration::from_secs(1_000);
        let watched = async {
            let until = tokio::time::Instant::now() + Duration::from_secs(120);
            while let Ok(changes) = tokio::time::timeout_at(until, there.changed()).await {
                assert!(changes.iter().all(|c| c.connected), "{changes:?}");
            }
        };
        // It answers pings while it waits.
        tokio::select! {
            () = watched => {}
            heard = new.hear() => panic!("{heard:?}"),
        }
        assert_eq!(there.get(&AgentId("a".into())).unwrap().session.epoch, epoch);
        Ok(())
    });
    sim.run().unwrap();
}
