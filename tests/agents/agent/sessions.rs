//! Sessions: registration, liveness, reconnection, the end.

use fairlead::demo::Cluster;
use fairlead::wire::account_outcome::Result as Done;
use fairlead::wire::operate_request::Message as Ask;
use fairlead::wire::operate_response::Message as Say;
use fairlead::wire::operation::Kind;
use fairlead::wire::{
    AccountState, AddAccounts, Chunk, FailureReason, Farewell, FarewellReason, OperateRequest, OperateResponse, Operation, Ping, Refusal,
    Role, SetRoles,
};
use prost::Message as _;
use tonic::Status;

use super::api_server::{ApiServer, Authority, healthy};
use super::rig::{Rig, account, yaml};
use super::scripted::{Scripted, registered};

#[tokio::test]
async fn an_agent_connects_says_who_it_is_and_leaves_in_order() {
    let mut fairlead = Scripted::start().await;
    let rig = Rig::start(&yaml(fairlead.address, "")).await;
    assert_eq!(rig.get("/health").await.0, 503, "not before it is registered");
    let (mut session, register) = fairlead.registered(1).await;
    assert_eq!((register.agent_id.as_str(), register.zone_id.as_str()), ("agent-1-5b6d8c7f9-x2x4z", "agent-1_spinnaker"));
    assert_eq!((register.accounts.len(), register.version.as_str()), (0, env!("CARGO_PKG_VERSION")));
    assert_eq!(session.headers.get("authorization"), None);
    let (_reports, epoch) = fairlead.reports().await;
    assert_eq!(epoch, 1);
    rig.until("/health", |status, _| status == 200).await;
    rig.agent.drain().await;
    assert!(matches!(session.next().await, Some(Ask::Leaving(_))));
    assert_eq!(session.next().await, None);
}

#[tokio::test]
async fn a_configured_zone_and_a_token_are_told() {
    let mut fairlead = Scripted::start().await;
    let _rig = Rig::start(&yaml(fairlead.address, "zoneId: eu-1\nclouddriver.auth.token: abc.def")).await;
    let (session, register) = fairlead.registered(1).await;
    assert_eq!(register.zone_id, "eu-1");
    assert_eq!(session.headers.get("authorization").unwrap(), "Bearer abc.def");
}

#[tokio::test]
async fn pings_are_answered_and_who_is_silent_for_too_long_is_dead() {
    let mut fairlead = Scripted::start().await;
    let rig = Rig::start(&yaml(fairlead.address, "")).await;
    let mut session = fairlead.session().await;
    session.register().await;
    // Silence for two seconds is death; nobody says a word after this ping.
    let quick = fairlead::wire::Registered { ping_interval_ms: 50, dead_after_ms: 2_000, ..registered(1) };
    session.say(Say::Registered(quick)).await;
    session.say(Say::Ping(Ping { number: 42 })).await;
    loop {
        match session.next().await {
            Some(Ask::Pong(pong)) => break assert_eq!(pong.number, 42),
            Some(Ask::Ping(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    let (_again, register) = fairlead.registered(2).await;
    assert_eq!(register.agent_id, "agent-1-5b6d8c7f9-x2x4z");
    rig.until("/health", |status, body| status == 200 && body["epoch"] == 2).await;
    rig.measures("kubesvc_disconnection_total 1").await;
}

#[tokio::test]
async fn an_agent_comes_back_when_fairlead_does_and_keeps_what_it_has() {
    let mut fairlead = Scripted::start().await;
    let address = fairlead.address;
    let rig = Rig::start(&yaml(address, "")).await;
    let cluster = Cluster::start("t").await.unwrap();
    let (mut session, first) = fairlead.registered(1).await;
    session.add("op-1", vec![account("prod", 7, &cluster.kubeconfig("t"))]).await;
    fairlead.kill();
    drop(session);
    rig.trouble(&["nobody listens", &address.to_string()]).await;
    let mut fairlead = Scripted::at(address, None).await;
    let (_session, second) = fairlead.registered(2).await;
    assert_eq!(first.instance_id, second.instance_id);
    let held: Vec<_> = second.accounts.iter().map(|a| (a.name.as_str(), a.generation, a.state(), a.facts.is_some())).collect();
    assert_eq!(held, [("prod", 7, AccountState::Standby, true)]);
}

#[tokio::test]
async fn an_operation_that_comes_again_has_the_same_outcome_and_is_done_once() {
    let mut fairlead = Scripted::start().await;
    let _rig = Rig::start(&yaml(fairlead.address, "")).await;
    let authority = Authority::new("ca");
    let server = ApiServer::start(&authority.server(&["127.0.0.1"]), None).await;
    let (mut session, _) = fairlead.registered(1).await;
    let new = || vec![account("prod", 7, &server.kubeconfig(&authority.pem(), "t"))];
    let first = session.add("op-1", new()).await;
    let asked = server.requests();
    assert_eq!(session.add("op-1", new()).await, first);
    // The link broke; the outcome is of the session in which it is said.
    session.break_with(Status::unavailable("gone")).await;
    let (mut session, _) = fairlead.registered(2).await;
    let again = session.add("op-1", new()).await;
    assert_eq!((again.epoch, &again.accounts), (2, &first.accounts));
    // Deleted since then, and still the same outcome: it is not added again.
    assert!(matches!(session.delete("op-2", "prod", 7).await.accounts[0].result, Some(Done::Done(_))));
    assert_eq!(session.add("op-1", new()).await.accounts, first.accounts);
    assert_eq!(server.requests(), asked);
}

#[tokio::test]
async fn a_stream_of_reports_that_is_reset_is_opened_again_in_the_same_session() {
    let mut fairlead = Scripted::start().await;
    let _rig = Rig::start(&yaml(fairlead.address, "")).await;
    let cluster = Cluster::start("t").await.unwrap();
    let (mut session, _) = fairlead.registered(1).await;
    session.add("op-1", vec![account("prod", 7, &cluster.kubeconfig("t"))]).await;
    let (reports, _) = fairlead.reports().await;
    reports.grant(1 << 20).await;
    reports.outbound.send(Err(Status::aborted("reset"))).await.unwrap();
    let (mut reports, epoch) = fairlead.reports().await;
    assert_eq!(epoch, 1);
    reports.grant(1 << 20).await;
    // What may have been lost with it is said again.
    assert_eq!(reports.account(|a| a.name == "prod").await.state(), AccountState::Standby);
    assert!(fairlead.is_quiet(), "the session is still the first one");
}

#[tokio::test]
async fn nothing_is_reported_beyond_the_credits_and_then_the_newest_only() {
    let mut fairlead = Scripted::start().await;
    let cluster = Cluster::start("t").await.unwrap();
    let _rig = Rig::start(&yaml(fairlead.address, "")).await;
    let mut session = fairlead.session().await;
    session.register().await;
    session.say(Say::Registered(fairlead::wire::Registered { ping_interval_ms: 150, ..registered(1) })).await;
    session.add("op-1", vec![account("prod", 7, &cluster.kubeconfig("t"))]).await;
    let (mut reports, _) = fairlead.reports().await;
    // What was said before anything was granted, or put together then, would come first, and be of the older generation.
    for (generation, watch) in [(7, true), (7, false), (8, true)] {
        session.add(&format!("add-{generation}"), vec![account("prod", generation, &cluster.kubeconfig("t"))]).await;
        let roles = vec![Role { name: "prod".into(), watch }];
        session.operation(&format!("{generation}-{watch}"), Kind::SetRoles(SetRoles { roles })).await;
        assert!(matches!(session.outcome().await.accounts[0].result, Some(Done::Done(_))));
        // By the agent's own clock, longer than it gathers what is new.
        for _ in 0..2 {
            while !matches!(session.next().await.expect("the session goes on"), Ask::Ping(_)) {}
        }
    }
    reports.grant(1 << 20).await;
    let newest = reports.account(|a| a.name == "prod").await;
    assert_eq!((newest.generation, newest.state()), (8, AccountState::Watching));
}

#[tokio::test]
async fn a_revoked_token_is_reported_and_so_is_its_return() {
    let mut fairlead = Scripted::start().await;
    let quick = "kubernetes: { checkFrequencySeconds: 1, retries: { maxRetries: 1, backOffMs: 10 } }";
    let _rig = Rig::start(&yaml(fairlead.address, quick)).await;
    let cluster = Cluster::start("old").await.unwrap();
    let (mut session, _) = fairlead.registered(1).await;
    session.add("op-1", vec![account("prod", 7, &cluster.kubeconfig("old"))]).await;
    let (mut reports, _) = fairlead.reports().await;
    reports.grant(1 << 20).await;
    cluster.let_in("new");
    let failed = reports.account(|a| a.name == "prod").await;
    let failure = failed.failure.clone().unwrap();
    assert_eq!((failed.state(), failed.generation, failure.reason()), (AccountState::Failed, 7, FailureReason::Unauthenticated));
    assert!(failed.facts.is_some(), "what was known of the cluster is still known");
    cluster.let_in("old");
    assert_eq!(reports.account(|a| a.name == "prod" && a.failure.is_none()).await.state(), AccountState::Standby);
    cluster.let_in("new");
    reports.account(|a| a.state() == AccountState::Failed).await;
    // Fairlead tries again with the same definition: the cluster is asked, not the memory.
    let failed = session.add("op-2", vec![account("prod", 7, &cluster.kubeconfig("old"))]).await;
    assert!(matches!(&failed.accounts[0].result, Some(Done::Failure(f)) if f.reason() == FailureReason::Unauthenticated));
    cluster.let_in("old");
    let done = session.add("op-3", vec![account("prod", 7, &cluster.kubeconfig("old"))]).await;
    assert!(matches!(done.accounts[0].result, Some(Done::Done(_))), "{done:?}");
}

#[tokio::test]
async fn large_messages_travel_in_parts_both_ways() {
    let mut fairlead = Scripted::start().await;
    let _rig = Rig::start(&yaml(fairlead.address, "")).await;
    let authority = Authority::new("ca");
    let server = ApiServer::start(&authority.server(&["127.0.0.1"]), None).await;
    server.answers(|asked| {
        let names: Vec<String> = (0..500).map(|i| format!("KindOfALongNameNumber{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if asked.path == "/apis" { (200, super::api_server::discovery("apps", "v1", &names)) } else { healthy(asked) }
    });
    let mut session = fairlead.session().await;
    session.register().await;
    session.say(Say::Registered(fairlead::wire::Registered { max_message_bytes: 4_096, ..registered(1) })).await;
    let add = AddAccounts { accounts: vec![account("prod", 7, &server.kubeconfig(&authority.pem(), "t"))] };
    let operation = Operation { id: "op-1".into(), deadline_ms: 30_000, kind: Some(Kind::AddAccounts(add)) };
    let whole = OperateResponse { message: Some(Say::Operation(operation)) }.encode_to_vec();
    let parts: Vec<&[u8]> = whole.chunks(300).collect();
    for (i, part) in parts.iter().enumerate() {
        let chunk = Chunk {
            message_id: 9,
            index: i as u32,
            last: i + 1 == parts.len(),
            total_bytes: if i == 0 { whole.len() as u64 } else { 0 },
            data: part.to_vec(),
        };
        session.say(Say::Chunk(chunk)).await;
        session.say(Say::Ping(Ping { number: i as u64 })).await;
    }
    let mut whole = Vec::new();
    let outcome = loop {
        match session.next().await.expect("the session goes on") {
            Ask::Chunk(chunk) => {
                assert!(chunk.encoded_len() <= 4_096);
                whole.extend_from_slice(&chunk.data);
                if chunk.last {
                    break OperateRequest::decode(&*whole).unwrap();
                }
            }
            Ask::Pong(_) | Ask::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    };
    let Some(Ask::Outcome(outcome)) = outcome.message else { panic!("{outcome:?}") };
    let Some(Done::Done(done)) = &outcome.accounts[0].result else { panic!("{outcome:?}") };
    assert_eq!(done.facts.as_ref().unwrap().kinds.len(), 502);
}

#[tokio::test]
async fn what_is_not_known_is_refused_or_passed_over_and_the_session_goes_on() {
    let mut fairlead = Scripted::start().await;
    let _rig = Rig::start(&yaml(fairlead.address, "")).await;
    let (mut session, _) = fairlead.registered(1).await;
    // Of a newer Fairlead: an operation of another kind, a message of another kind.
    session.say(Say::Operation(Operation { id: "op-1".into(), deadline_ms: 0, kind: None })).await;
    let outcome = session.outcome().await;
    assert_eq!((outcome.operation_id.as_str(), outcome.failure.unwrap().reason()), ("op-1", FailureReason::Unsupported));
    let gone = session.delete("op-2", "never-there", 3).await;
    assert!(matches!(gone.accounts[0].result, Some(Done::Done(_))), "what is not there has been let go of");
}

#[tokio::test]
async fn a_farewell_ends_the_session_and_says_why() {
    let mut fairlead = Scripted::start().await;
    let rig = Rig::start(&yaml(fairlead.address, "")).await;
    let (session, _) = fairlead.registered(1).await;
    let farewell = Farewell { reason: FarewellReason::Shutdown as i32, message: "going down".into(), retry_after_ms: 1_500 };
    session.say(Say::Farewell(farewell)).await;
    rig.trouble(&["SHUTDOWN", "going down"]).await;
    fairlead.registered(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcomes_under_way_are_said_before_the_end() {
    let mut fairlead = Scripted::start().await;
    let rig = Rig::start(&yaml(fairlead.address, "")).await;
    let authority = Authority::new("ca");
    let server = ApiServer::start(&authority.server(&["127.0.0.1"]), None).await;
    let (open, gate) = std::sync::mpsc::sync_channel::<()>(1);
    let gate = std::sync::Mutex::new(gate);
    server.answers(move |asked| {
        // Answers once it may.
        if asked.path == "/version" {
            let _ = gate.lock().unwrap().recv_timeout(std::time::Duration::from_secs(5));
        }
        healthy(asked)
    });
    let (mut session, _) = fairlead.registered(1).await;
    let add = AddAccounts { accounts: vec![account("prod", 7, &server.kubeconfig(&authority.pem(), "t"))] };
    session.operation("op-1", Kind::AddAccounts(add)).await;
    rig.until("/accounts", |_, body| body[0]["State"]["Name"] == "ConfigLoaded").await;
    let draining = tokio::spawn(rig.agent.drain());
    loop {
        match session.next().await {
            Some(Ask::Leaving(_)) => break,
            Some(Ask::Ping(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    session.operation("op-2", Kind::AddAccounts(AddAccounts::default())).await;
    let refused = session.outcome().await;
    assert_eq!((refused.operation_id.as_str(), refused.failure.is_some()), ("op-2", true));
    open.send(()).unwrap();
    let outcome = session.outcome().await;
    assert_eq!(outcome.operation_id, "op-1");
    assert!(matches!(outcome.accounts[0].result, Some(Done::Done(_))), "{outcome:?}");
    assert_eq!(session.next().await, None);
    drop(session);
    draining.await.unwrap();
}

#[tokio::test]
async fn static_accounts_are_registered_and_what_fairlead_does_not_take_is_shown() {
    let mut fairlead = Scripted::start().await;
    let cluster = Cluster::start("hunter2").await.unwrap();
    let kubeconfig = cluster.kubeconfig("hunter2").replace('\n', "\n        ");
    let accounts = format!(
        "kubernetes:\n  accounts:\n  - name: own\n    permissions: [{{ READ: [' dev '] }}, {{ WRITE: [ops] }}]\n    kubeconfigContents: |\n        \
         {kubeconfig}\n"
    );
    let rig = Rig::start(&yaml(fairlead.address, &accounts)).await;
    let mut session = fairlead.session().await;
    let register = session.register().await;
    let own = &register.accounts[0];
    assert_eq!((own.name.as_str(), own.r#static, own.generation), ("own", true, 0));
    let properties: serde_json::Value = serde_json::from_str(&own.properties_json).unwrap();
    assert_eq!(properties["permissions"], serde_json::json!({ "READ": ["dev"], "WRITE": ["ops"] }));
    assert!(!own.properties_json.contains("hunter2") && !own.properties_json.contains("kubeconfig"), "{}", own.properties_json);
    let refusals = vec![Refusal { account: "own".into(), reason: "another cluster has the name".into() }];
    session.say(Say::Registered(fairlead::wire::Registered { refusals, ..registered(1) })).await;
    let (mut reports, _) = fairlead.reports().await;
    reports.grant(1 << 20).await;
    if own.state() != AccountState::Standby {
        let reached = reports.account(|a| a.name == "own" && a.state() == AccountState::Standby).await;
        assert_eq!(reached.facts.unwrap().version, fairlead::demo::CLUSTER_VERSION);
    }
    let shown = rig.until("/accounts?Config.Name=own", |_, body| body[0]["State"]["Name"] == "Healthy").await;
    assert_eq!(shown[0]["State"]["Refused"], "another cluster has the name");
    for (query, count) in [
        ("Config.Dynamic=false", 1),
        ("Config.Dynamic=true", 0),
        ("State.Name=Healthy", 1),
        ("State.Name=DiscoveryError", 0),
        ("Config.Name=other", 0),
        ("limit=0", 0),
        ("offset=1", 0),
        ("offtset=1", 0),
    ] {
        assert_eq!(rig.get(&format!("/accounts?{query}")).await.1.as_array().unwrap().len(), count, "{query}");
    }
    assert_eq!(rig.get("/accounts?limit=x").await.0, 400);
    assert_eq!(rig.get("/accounts/own/version").await.1["version"], fairlead::demo::CLUSTER_VERSION);
    assert_eq!(rig.get("/accounts/other/version").await.0, 404);
    assert_eq!(rig.get("/version").await.1["version"], env!("CARGO_PKG_VERSION"));
    let metrics = rig.metrics().await;
    for line in ["kubesvc_connection_count 1", "kubesvc_kubernetes_requests{code=\"2xx\"}", "fairlead_agent_accounts{state=\"standby\"} 1"]
    {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    for text in [shown.to_string(), metrics] {
        assert!(!text.contains("hunter2"));
    }
}
