//! HAProxy and nginx before the agents' port, which are reloaded: each reload ends the connections that go through the old process.

use super::rig::{Whole, names};
use crate::support::agent::Agent;
use crate::support::process::{Setup, free_port};
use crate::support::proxies::Other;

const REGISTRATIONS: [&str; 1] = ["fairlead_channel_registrations_total"];
const HANDED: [&str; 2] = ["fairlead_dispatch_outcomes_total", "\"add\""];

async fn reloaded(other: Other) {
    if other.program().is_none() {
        println!("{} is not installed: left out", other.name());
        return;
    }
    let name = format!("whole-{}-{}", other.name(), free_port());
    let whole = Whole::start(Setup::new(&name, free_port()).embedded()).await;
    let front = other.before_agents(&format!("{name}-front"), whole.grpc_port()).await;
    let (a, b) = (Agent::start("a", "z1", front.port, "").await, Agent::start("b", "z1", front.port, "").await);
    let c = Agent::start("c", "z2", front.port, "").await;
    let agents = [&a, &b, &c];
    whole.connected(&agents).await;
    let (mut shared, mut alone) = (names("shared", 5), names("alone", 5));
    whole.create_active(&shared, "z1").await;
    whole.create_active(&alone, "z2").await;
    whole.held(&shared, &["a", "b"]).await;
    whole.held(&alone, &["c"]).await;
    // Each to each agent of its zone. It is counted after the agent has it.
    let handed = 15.0;
    whole.counts(&HANDED, handed).await;
    for _ in 0..3 {
        let before = whole.metric(&REGISTRATIONS).await;
        front.reload();
        whole.counts(&REGISTRATIONS, before + 3.0).await;
        whole.connected(&agents).await;
        whole.held(&shared, &["a", "b"]).await;
        whole.held(&alone, &["c"]).await;
    }
    // Who comes back says what it has, and is not handed it again.
    assert_eq!(whole.metric(&HANDED).await, handed);
    assert_eq!(whole.metric(&["fairlead_dispatch_strays_total"]).await, 0.0);
    // While accounts are on their way.
    for round in 0..3 {
        let (x, y) = (names(&format!("x{round}-"), 5), names(&format!("y{round}-"), 5));
        whole.create(&x, "z1").await;
        whole.create(&y, "z2").await;
        let before = whole.metric(&REGISTRATIONS).await;
        assert!(whole.wish(&x, "ACTIVE").await);
        front.reload();
        assert!(whole.wish(&y, "ACTIVE").await);
        whole.counts(&REGISTRATIONS, before + 3.0).await;
        shared.extend(x);
        alone.extend(y);
    }
    whole.become_active(&shared).await;
    whole.become_active(&alone).await;
    whole.held(&shared, &["a", "b"]).await;
    whole.held(&alone, &["c"]).await;
    for status in ["ORPHANED", "FAILED"] {
        let word = format!("\"{status}\"");
        assert_eq!(whole.metric(&["fairlead_dispatch_transitions_total", &word]).await, 0.0, "{}", whole.fairlead.log_tail());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_haproxy_that_is_reloaded_agents_come_back_with_what_they_have() {
    reloaded(Other::HaProxy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_an_nginx_that_is_reloaded_agents_come_back_with_what_they_have() {
    reloaded(Other::Nginx).await;
}
