//! Who is connected, as the API shows it.

use fairlead::args;
use fairlead::channel::HeldState;
use serde_json::json;

use super::crowd::held;
use super::rig::{CANARY, Rig, World};

async fn row(rig: &Rig, name: &str, definition: &serde_json::Value) {
    let shape = rig.store.ready().expect("ready");
    let sql = shape.insert(&["name", "dynamic", "status", "definition", "fl_origin", "fl_overlay"]);
    let overlay = json!({"kubeconfigContents": CANARY}).to_string();
    let values = args![name, true, "ACTIVE", definition.to_string(), "scanner", overlay];
    rig.store.main().exec_dynamic(&sql, values).await.expect("inserted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_are_listed_in_the_contracts_shape_with_their_zone() {
    let world = World::sqlite().await;
    let rig = world.replica("replica-1").await;
    assert_eq!(rig.json("/armory/agents").await, (200, json!([])));
    rig.crowd.comes("pod-b", 1_769_860_800_123, vec![("z", held(HeldState::Standby, None)), ("a", held(HeldState::Watching, None))]);
    rig.crowd.comes("pod-a", 0, vec![]);
    let b = json!({"agentId": "pod-b", "clouddriverId": "replica-1", "type": "kubernetes", "accounts": ["a", "z"], "caching": true,
        "zoneId": "zone-1", "lastConnection": "2026-01-31T12:00:00.123Z"});
    let a = json!({"agentId": "pod-a", "clouddriverId": "replica-1", "type": "kubernetes", "accounts": [], "caching": false,
        "zoneId": "zone-1", "lastConnection": "1970-01-01T00:00:00.000Z"});
    assert_eq!(rig.json("/armory/agents").await, (200, json!([a, b])));
    assert_eq!(rig.json("/armory/agents/pod-b").await, (200, b));
    let (status, shown) = rig.json("/armory/agents/pod-c").await;
    assert_eq!((status, &shown["exception"]), (404, &json!("NotFoundException")));
    assert_eq!(rig.ask("GET", "/armory/agents/%C3%28", None).await.status, 400);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_is_disconnected_by_its_name_with_any_body_of_the_contract_or_none() {
    let world = World::sqlite().await;
    let rig = world.replica("replica-1").await;
    for body in [None, Some("{}"), Some(r#"{"clusterDriven":false,"origin":"me","timestamp":1769860800123}"#)] {
        rig.crowd.comes("pod-a", 0, vec![]);
        let answer = rig.ask("POST", "/armory/agent/pod-a/disconnect", body).await;
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{body:?}");
        assert_eq!(rig.json("/armory/agents").await.1, json!([]));
    }
    rig.crowd.comes("pod-a", 0, vec![]);
    for (target, body, status) in [
        ("/armory/agent/pod-b/disconnect", None, 404),
        ("/armory/agent/pod-a/disconnect", Some(r#"{"timestamp":"canary-of-a-secret"}"#), 400),
        ("/armory/agent/pod-a/disconnect", Some("canary-of-a-secret"), 400),
    ] {
        assert_eq!(rig.ask("POST", target, body).await.status, status, "{target}");
    }
    assert_eq!(rig.crowd.disconnected.lock().expect("not poisoned").len(), 3);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_shows_the_agents_that_have_it_and_where_it_came_from() {
    let world = World::sqlite().await;
    let rig = world.replica("replica-1").await;
    row(&rig, "a", &json!({"name": "a", "kubeconfigFile": "/there", "kubeconfigContents": CANARY})).await;
    rig.crowd.comes("pod-a", 0, vec![("a", held(HeldState::Watching, None))]);
    rig.crowd.comes("pod-b", 0, vec![("a", held(HeldState::Standby, None)), ("b", held(HeldState::Watching, None))]);
    for target in ["/armory/accounts/a", "/agents/kubernetes/accounts/a"] {
        let (status, shown) = rig.json(target).await;
        let agents = json!([{"agentId": "pod-a", "caching": true}, {"agentId": "pod-b", "caching": false}]);
        assert_eq!((status, &shown["agents"], &shown["connections"], &shown["origin"]), (200, &agents, &json!(2), &json!("scanner")));
        assert_eq!(shown["config"], json!({"name": "a", "kubeconfigContents": "****"}), "what is laid over it is its one kubeconfig");
    }
    rig.crowd.all_go();
    assert_eq!(rig.json("/armory/accounts/a").await.1["agents"], json!([]));
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_accounts_namespaces_are_those_that_its_agents_see() {
    let world = World::sqlite().await;
    let rig = world.replica("replica-1").await;
    row(&rig, "a", &json!({"name": "a", "namespaces": ["defined", 7]})).await;
    let target = "/agents/kubernetes/accounts/a/namespaces";
    assert_eq!(rig.json(target).await, (200, json!(["defined"])), "nobody is connected");
    rig.crowd.comes("pod-a", 0, vec![("a", held(HeldState::Standby, Some(&["old"])))]);
    assert_eq!(rig.json(target).await, (200, json!(["old"])));
    rig.crowd.comes("pod-b", 0, vec![("a", held(HeldState::Watching, Some(&["ns1", "ns2"])))]);
    assert_eq!(rig.json(target).await, (200, json!(["ns1", "ns2"])), "who watches knows best");
    rig.crowd.all_go();
    rig.crowd.comes("pod-c", 0, vec![("a", held(HeldState::Watching, None))]);
    assert_eq!(rig.json(target).await, (200, json!(["defined"])), "they may not be listed");
    assert_eq!(rig.json("/agents/kubernetes/accounts/nobody/namespaces").await, (200, json!([])));
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_dynamic_accounts_off_agents_are_still_shown() {
    let world = World::sqlite().await;
    let rig = world.switched_off().await;
    rig.crowd.comes("pod-a", 0, vec![]);
    assert_eq!(rig.json("/armory/agents").await.0, 200);
    assert_eq!(rig.ask("POST", "/armory/agent/pod-a/disconnect", None).await.status, 200);
    assert_eq!(rig.json("/agents/kubernetes/accounts/a/namespaces").await.0, 501);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_whose_name_is_that_of_an_operation_is_shown_and_deleted_by_it() {
    let world = World::sqlite().await;
    let rig = world.replica("replica-1").await;
    let account = json!({"name": "dynamic", "kubeconfigContents": CANARY});
    assert_eq!(rig.change("POST", "/armory/accounts/dynamic", &account).await, (202, json!([])));
    for target in ["/armory/accounts/dynamic", "/armory/accounts/dynamic/", "/agents/kubernetes/accounts/dynamic"] {
        let (status, shown) = rig.json(target).await;
        assert_eq!((status, &shown["name"], &shown["status"]), (200, &json!("dynamic"), &json!("INACTIVE")), "{target}");
    }
    assert_eq!(rig.ask("DELETE", "/armory/accounts/dynamic", None).await.status, 202);
    assert_eq!(rig.json("/armory/accounts/dynamic").await.0, 404);
    rig.end().await;
}
