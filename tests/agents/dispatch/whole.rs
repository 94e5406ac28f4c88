//! Nothing is scripted here but the cluster: the loop, the channel, real agents in this process, a stand-in for an API server.

use std::sync::Arc;
use std::time::Duration;

use fairlead::account::Status;
use fairlead::config::Replica;
use fairlead::demo::{CLUSTER_VERSION, Cluster};
use fairlead::dispatch::{Bell, Dispatch, Limits, Metrics};
use fairlead::lifecycle::Event;
use fairlead::secrets::{Resolver, Settings};
use fairlead::store::Store;
use fairlead::store::states::{self, Extra, StateRow};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::places;
use super::rig::{SOON, insert, limits};
use crate::agent::rig::{Rig as RealAgent, pod, yaml};
use crate::channel::rig::Rig as Channel;
use crate::support::databases::eventually;

struct Whole {
    store: Store,
    channel: Channel,
    dispatch: Arc<Dispatch>,
}

impl Whole {
    async fn start(store: Store) -> Self {
        Self::with(store, limits().wait).await
    }

    async fn with(store: Store, wait: Duration) -> Self {
        let channel = Channel::start().await;
        let dispatch = Dispatch::new(
            store.clone(),
            channel.agents.clone(),
            Limits { grace: Duration::from_secs(1), wait, ..limits() },
            Resolver::new(Settings { kubeconfig: None, timeout: Duration::from_secs(2) }),
            &Replica { id: "r".into(), heartbeat: Duration::from_millis(200), lease: Duration::from_secs(2) },
            Bell::default(),
            Metrics::default(),
            |_| {},
            CancellationToken::new(),
        );
        tokio::spawn(dispatch.clone().run());
        Self { store, channel, dispatch }
    }

    async fn agent(&self, name: &str, zone: &str) -> RealAgent {
        self.agent_as(name, &format!("zoneId: {zone}")).await
    }

    async fn agent_as(&self, name: &str, more: &str) -> RealAgent {
        RealAgent::surrounded(&yaml(self.channel.address, more), pod(name)).await
    }

    async fn enter(&self, name: &str, zone: Option<&str>, definition: &Value) {
        insert(&self.store, name, zone, Status::ToMigrate, definition).await;
        self.dispatch.bell().ring();
    }

    async fn until(&self, what: &str, name: &str, is: impl Fn(&StateRow) -> bool) -> StateRow {
        let row = || async { states::load(&self.store, name).await.expect("read") };
        let start = std::time::Instant::now();
        loop {
            let now = row().await;
            match now {
                Some(now) if is(&now) => return now,
                now => assert!(start.elapsed() < SOON, "{what}: {now:?}"),
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    async fn wish(&self, name: &str, event: Event) {
        states::change(&self.store, name, |_| Some((Some(event), Extra::default()))).await.expect("written");
        self.dispatch.bell().ring();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_row_to_a_real_cluster_and_back_with_real_agents() {
    let place = places::sqlite().await;
    let w = Whole::start(place.ready().await).await;
    let cluster = Cluster::start("let-me-in").await.expect("started");
    let one = w.agent("pod-1", "z1").await;
    let good = json!({"name": "prod", "kubeconfigContents": cluster.kubeconfig("let-me-in")});
    w.enter("prod", None, &good).await;
    let row = w.until("ACTIVE", "prod", |r| r.state.status == Status::Active).await;
    assert_eq!((row.learned.version.as_str(), row.zone.as_deref(), row.zone_found), (CLUSTER_VERSION, Some("z1"), true));
    assert!(row.learned.identity.starts_with("uid:"), "{row:?}");
    // One more of the zone; it stands by, and takes over.
    let two = w.agent("pod-2", "z1").await;
    w.until("two have it", "prod", |r| r.connections == 2).await;
    one.agent.drain().await;
    w.until("one has it", "prod", |r| r.connections == 1).await;
    let holders = || async {
        let all = w.channel.agents.holders("prod");
        let watches = all.iter().any(|a| a.accounts["prod"].state == fairlead::channel::HeldState::Watching);
        (all.len() == 1 && &*all[0].session.agent.0 == "pod-2" && watches).then_some(())
    };
    eventually("the second one watches", SOON, holders).await;
    // A token that is not let in is told in full, and one that is comes back by a retry.
    let other = Cluster::start("let-me-in").await.expect("started");
    let bad = json!({"name": "bad", "kubeconfigContents": other.kubeconfig("unknown")});
    w.enter("bad", Some("z1"), &bad).await;
    let row = w.until("FAILED", "bad", |r| r.state.status == Status::Failed).await;
    let told = row.error_message.unwrap_or_default();
    assert!(told.contains("agent pod-2") && told.contains("401"), "{told}");
    other.let_in("unknown");
    w.wish("bad", Event::Activate).await;
    w.until("ACTIVE", "bad", |r| r.state.status == Status::Active).await;
    // All gone and back.
    two.agent.drain().await;
    w.until("ORPHANED", "prod", |r| r.state.status == Status::Orphaned).await;
    let three = w.agent("pod-3", "z1").await;
    w.until("back", "prod", |r| r.state.status == Status::Active).await;
    w.wish("bad", Event::Deactivate).await;
    w.until("INACTIVE", "bad", |r| r.state.status == Status::Inactive).await;
    w.wish("prod", Event::Delete).await;
    eventually("the row goes", SOON, || async { states::load(&w.store, "prod").await.expect("read").is_none().then_some(()) }).await;
    let empty = || async { (w.channel.agents.holders("prod").is_empty() && w.channel.agents.holders("bad").is_empty()).then_some(()) };
    eventually("nobody has either", SOON, empty).await;
    three.agent.drain().await;
    w.dispatch.shutdown(Duration::from_secs(2)).await;
    w.store.close().await;
    place.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_api_server_of_many_that_hangs_keeps_no_other_account_waiting() {
    let place = places::sqlite().await;
    // As long as nobody waits for: only what does not depend on the one that hangs gets there.
    let w = Whole::with(place.ready().await, Duration::from_secs(600)).await;
    let cluster = Cluster::start("let-me-in").await.expect("started");
    // Connections to it are made, and nobody ever answers.
    let hanging = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let there = cluster.kubeconfig("let-me-in");
    let silent = there.replace(&cluster.address().to_string(), &hanging.local_addr().expect("bound").to_string());
    assert_ne!(there, silent);
    w.enter("x12", Some("z1"), &json!({"name": "x12", "kubeconfigContents": silent})).await;
    for i in (0..24).filter(|i| *i != 12) {
        let name = format!("x{i:02}");
        w.enter(&name, Some("z1"), &json!({"name": name, "kubeconfigContents": there})).await;
    }
    let agent = w.agent_as("pod-1", "zoneId: z1\nkubernetes.connectTimeoutMs: 300000").await;
    for i in (0..24).filter(|i| *i != 12) {
        w.until("ACTIVE", &format!("x{i:02}"), |r| r.state.status == Status::Active).await;
    }
    let row = w.until("there", "x12", |_| true).await;
    assert_eq!((row.state.status, row.failed_count), (Status::Activating, 0), "{row:?}");
    // What hung breaks, and only then it has failed.
    drop(hanging);
    let row = w.until("FAILED", "x12", |r| r.failed_count > 0).await;
    assert!(row.error_message.is_some_and(|m| m.contains("agent pod-1")));
    agent.agent.drain().await;
    w.dispatch.shutdown(Duration::from_secs(2)).await;
    w.store.close().await;
    place.done().await;
}
