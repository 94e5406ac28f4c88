//! TLS on both sides, from files that are renewed while agents are connected.

use super::rig::{Whole, names};
use crate::support::agent::Agent;
use crate::support::certificates::{Ca, Folder};
use crate::support::process::{Setup, free_port};

const REGISTRATIONS: [&str; 1] = ["fairlead_channel_registrations_total"];

/// The agent's files below a folder, from these two CAs.
fn files(folder: &Folder, server: &Ca, agents: &Ca) -> String {
    let pair = agents.issue();
    let ca = folder.write("ca.crt", &server.certificate());
    let (certificate, key) = (folder.write("agent.crt", &pair.certificate), folder.write("agent.key", &pair.key));
    format!(
        "{{ serverName: localhost, cacertFile: {}, clientCertFile: {}, clientKeyFile: {} }}",
        ca.display(),
        certificate.display(),
        key.display()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_of_both_sides_are_renewed_on_disk_and_no_session_ends() {
    let (server, agents) = (Ca::named("of Fairlead"), Ca::named("of agents"));
    let (next_server, next_agents) = (Ca::named("of Fairlead, next"), Ca::named("of agents, next"));
    let (own, folder, other, third) = (Folder::new(), Folder::new(), Folder::new(), Folder::new());
    let renew = |server: &Ca, agents: &Ca| {
        let pair = server.issue();
        [own.write("tls.crt", &pair.certificate), own.write("tls.key", &pair.key), own.write("agents.crt", &agents.certificate())]
    };
    let [certificate, key, trust] = renew(&server, &agents);
    let setup = Setup::new(&format!("whole-renewed-{}", free_port()), free_port()).embedded().with(&format!(
        "kubesvc.grpc.server.security: {{ enabled: true, certificateChain: {}, privateKey: {}, trustCertCollection: {}, clientAuth: REQUIRE }}",
        certificate.display(),
        key.display(),
        trust.display()
    ));
    let whole = Whole::start(setup).await;
    let a = Agent::start_by_tls("a", "z1", whole.grpc_port(), &files(&folder, &server, &agents)).await;
    whole.connected(&[&a]).await;
    let first = names("first", 3);
    whole.create_active(&first, "z1").await;

    // One that has the new files only is let in as soon as Fairlead has seen its own. The session from before goes on, and works.
    renew(&next_server, &next_agents);
    let b = Agent::start_by_tls("b", "z2", whole.grpc_port(), &files(&other, &next_server, &next_agents)).await;
    whole.connected(&[&a, &b]).await;
    assert_eq!(whole.metric(&["fairlead_channel_sessions_ended_total"]).await, 0.0, "{}", whole.fairlead.log_tail());
    let second = names("second", 3);
    whole.create_active(&second, "z1").await;
    whole.held(&second, &["a"]).await;

    // The agent's own are renewed as well, which ends nothing; its next connection is made with them. Those from before would not do.
    files(&folder, &next_server, &next_agents);
    let before = whole.metric(&REGISTRATIONS).await;
    let asked = whole.ask("POST", "/armory/agent/a/disconnect", &serde_json::json!({})).await.expect("an answer");
    assert_eq!(asked.status, 200, "{}", asked.text());
    whole.counts(&REGISTRATIONS, before + 1.0).await;
    whole.connected(&[&a, &b]).await;
    whole.held(&[first, second].concat(), &["a"]).await;
    let refused = whole.metric(&["fairlead_channel_connections_refused_total", "handshake"]).await;
    let old = Agent::start_by_tls("old", "z3", whole.grpc_port(), &files(&third, &next_server, &agents)).await;
    whole.counts(&["fairlead_channel_connections_refused_total", "handshake"], refused + 1.0).await;
    whole.connected(&[&a, &b]).await;
    assert!(!old.log().is_empty());
}
