//! Accounts that are there: activated, deactivated, changed, deleted.

use std::time::Duration;

use serde_json::{Value, json};

use super::rig::{CANARY, Rig, SEED_PATCH, SEED_POST, World};

async fn patch(rig: &Rig, name: &str, state: &str) -> u16 {
    rig.change("PATCH", "/armory/accounts", &json!([{"name": name, "state": state}])).await.0
}

/// The loop would have been woken.
async fn rung(rig: &Rig) {
    tokio::time::timeout(Duration::from_secs(5), rig.bell.rung()).await.expect("the bell was rung");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_seeds_patch_wants_both_accounts_managed() {
    for world in World::all("apipatch").await {
        let rig = world.replica("r1").await;
        world.put_all(&["account-01", "account-02"]).await;
        assert_eq!(rig.ask("POST", "/armory/accounts", Some(SEED_POST)).await.status, 202);
        rung(&rig).await;
        let generation = world.text("account-02", "fl_generation").await;
        for target in ["/armory/accounts", "/armory/accounts/dynamic", "/armory/accounts/"] {
            let answer = rig.ask("PATCH", target, Some(SEED_PATCH)).await;
            assert_eq!((answer.status, answer.body.len()), (202, 0), "{} {target}", world.place.word());
            rung(&rig).await;
            assert_eq!(world.rows().await, ["account-01 TO_MIGRATE -", "account-02 TO_MIGRATE agent-1_namespace1"]);
        }
        assert_eq!(world.text("account-02", "fl_generation").await, generation, "what it said was known");
        rig.end().await;
        world.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patch_is_refused_only_if_it_names_no_account_at_all() {
    let world = World::sqlite().await;
    let rig = world.replica("r1").await;
    world.put_all(&["a", "only-there"]).await;
    rig.change("POST", "/armory/accounts", &json!([{"name": "a"}])).await;
    let body = json!([{"name": "nobody", "state": "ACTIVE"}, {"name": "a", "state": "ACTIVE"}]);
    assert_eq!(rig.change("PATCH", "/armory/accounts", &body).await, (202, Value::Null));
    assert_eq!(world.rows().await, ["a TO_MIGRATE -"]);
    let (status, shown) = rig.change("PATCH", "/armory/accounts", &json!([{"name": "only-there", "state": "ACTIVE"}])).await;
    assert_eq!((status, &shown["exception"]), (400, &json!("InvalidRequestException")), "it has not been taken over");
    assert_eq!(rig.change("DELETE", "/armory/accounts", &json!(["nobody", "a"])).await, (202, Value::Null));
    assert_eq!(rig.change("DELETE", "/armory/accounts", &json!(["nobody"])).await.0, 400);
    assert_eq!(rig.ask("DELETE", "/armory/accounts/nobody", None).await.status, 400);
    assert_eq!(world.rows().await, Vec::<String>::new());
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_done_by_hand_is_remembered_until_a_users_next_wish() {
    for world in World::all("apihand").await {
        let rig = world.replica("r1").await;
        world.put_all(&["a"]).await;
        let post = json!([{"name": "a", "zoneId": "z2"}]);
        assert_eq!(rig.change("POST", "/armory/accounts", &json!([{"name": "a"}])).await.0, 202);
        assert_eq!(patch(&rig, "a", "INACTIVE").await, 202);
        assert_eq!((world.rows().await, world.by_hand().await), (vec!["a INACTIVE -".to_owned()], vec!["a INACTIVE".to_owned()]));
        assert_eq!(rig.change("POST", "/armory/accounts", &post).await, (202, json!([])), "a POST takes it again");
        assert_eq!((world.rows().await, world.by_hand().await), (vec!["a INACTIVE z2".to_owned()], vec![]));
        assert_eq!(rig.change("POST", "/armory/accounts", &post).await.0, 409, "and once is enough");

        assert_eq!(rig.ask("DELETE", "/armory/accounts/a", None).await.status, 202);
        assert_eq!((world.rows().await, world.by_hand().await), (vec![], vec!["a DELETED".to_owned()]));
        assert_eq!(rig.change("POST", "/armory/accounts", &post).await.0, 202);
        assert_eq!((world.rows().await, world.by_hand().await), (vec!["a INACTIVE z2".to_owned()], vec![]));

        assert_eq!(patch(&rig, "a", "INACTIVE").await, 202);
        assert_eq!(patch(&rig, "a", "ACTIVE").await, 202);
        assert_eq!((world.rows().await, world.by_hand().await), (vec!["a TO_MIGRATE z2".to_owned()], vec![]), "{}", world.place.word());
        rig.end().await;
        world.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patch_sets_the_count_back_and_deactivation_goes_by_way_of_the_agent() {
    let world = World::sqlite().await;
    let rig = world.replica("r1").await;
    world.put_all(&["a"]).await;
    rig.change("POST", "/armory/accounts", &json!([{"name": "a"}])).await;
    world.set("a", "status = 'FAILED', failed_count = 4, error_message = 'refused'").await;
    assert_eq!(patch(&rig, "a", "ACTIVE").await, 202);
    assert_eq!((world.rows().await[0].as_str(), world.text("a", "failed_count").await.as_str()), ("a TO_MIGRATE -", "0"));
    assert_eq!(world.text("a", "error_message").await, "");
    world.set("a", "status = 'ACTIVE', fl_sent = 1").await;
    assert_eq!(patch(&rig, "a", "INACTIVE").await, 202);
    assert_eq!((world.rows().await[0].as_str(), world.text("a", "fl_wanted").await.as_str()), ("a TO_DEACTIVATE -", "INACTIVE"));
    assert_eq!(rig.ask("DELETE", "/armory/accounts/a", None).await.status, 202);
    assert_eq!(world.rows().await, ["a DELETING -"], "an agent has it: it lets go first");
    assert_eq!(patch(&rig, "a", "ACTIVE").await, 202, "known, and passed over");
    assert_eq!((world.rows().await[0].as_str(), world.text("a", "error_message").await.as_str()), ("a DELETING -", "it is being deleted"));
    let (status, named) = rig.change("POST", "/armory/accounts", &json!([{"name": "a"}])).await;
    assert_eq!((status, &named[0]["message"]), (409, &json!("it is being deleted")));
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_lies_over_clouddrivers_definition_and_its_agents_hear_of_it() {
    for world in World::all("apiput").await {
        let rig = world.replica("r1").await;
        world.put_all(&["a"]).await;
        rig.change("POST", "/armory/accounts", &json!([{"name": "a"}])).await;
        world.set("a", "status = 'FAILED', fl_wanted = 'ACTIVE', failed_count = 4, error_message = 'refused'").await;
        let before = world.text("a", "fl_generation").await;
        let put = json!({"name": "a", "type": "kubernetes", "kubeconfigContents": "canary: another", "kinds": [], "namespaces": ["shop"], "zoneId": "z"});
        assert_eq!(rig.change("PUT", "/armory/accounts/dynamic", &put).await, (202, json!([])), "{}", world.place.word());
        assert_eq!((world.rows().await[0].as_str(), world.text("a", "failed_count").await.as_str()), ("a TO_MIGRATE z", "0"));
        let changed = world.text("a", "fl_generation").await;
        assert_ne!(changed, before);
        assert!(!world.text("a", "fl_overlay").await.contains("canary"), "sealed as the definition is");
        let (_, shown) = rig.json("/armory/accounts/a").await;
        assert_eq!((&shown["config"]["namespaces"], &shown["definition"]["namespaces"]), (&json!(["shop"]), &json!(["n"])));

        assert_eq!(rig.change("PUT", "/armory/accounts/dynamic", &put).await.0, 202);
        assert_eq!(world.text("a", "fl_generation").await, changed, "said twice, nothing is new");
        let back = json!({"name": "a", "namespaces": null, "zoneId": null});
        assert_eq!(rig.change("PUT", "/armory/accounts/dynamic", &back).await.0, 202);
        let (_, shown) = rig.json("/armory/accounts/a").await;
        assert_eq!((&shown["config"]["namespaces"], &shown["zoneId"]), (&json!(["n"]), &Value::Null), "Clouddriver's shows again");

        let (status, shown) = rig.change("PUT", "/armory/accounts/dynamic", &json!({"name": "nobody", "kinds": []})).await;
        assert_eq!((status, &shown["exception"]), (404, &json!("NotFoundException")));
        rig.end().await;
        world.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_of_what_was_made_here_changes_its_definition() {
    let world = World::sqlite().await;
    let rig = world.replica("r1").await;
    rig.change("POST", "/armory/accounts/dynamic", &json!({"name": "a", "kubeconfigContents": CANARY, "kinds": ["Pod"]})).await;
    let put = json!({"name": "a", "kubeconfigFile": "encryptedFile:k8s!n:a!k:b", "kinds": null, "metrics": true});
    assert_eq!(rig.change("PUT", "/armory/accounts/dynamic", &put).await.0, 202);
    let (_, shown) = rig.json("/armory/accounts/a").await;
    let expected = json!({"name": "a", "type": "kubernetes", "kubeconfigFile": "encryptedFile:k8s!n:a!k:b", "metrics": true});
    assert_eq!((&shown["definition"], &shown["config"]), (&expected, &expected));
    let (status, named) = rig.change("PUT", "/armory/accounts/dynamic", &json!({"name": "a", "kubeconfigFile": null})).await;
    assert_eq!((status, named[0]["message"].as_str().map(|m| m.contains("kubeconfigContents"))), (409, Some(true)), "{named}");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_of_an_agents_own_file_is_left_to_that_file() {
    let world = World::sqlite().await;
    let rig = world.replica("r1").await;
    world.put_all(&["own"]).await;
    world.place.sql.exec("insert into kubesvc_accounts (name, dynamic, status, fl_origin) values ('own', 0, 'ACTIVE', 'agent')").await;
    assert_eq!(rig.change("POST", "/armory/accounts", &json!([{"name": "own"}])).await.0, 409);
    assert_eq!(rig.change("POST", "/armory/accounts/dynamic", &json!([{"name": "own", "serviceAccount": true}])).await.0, 409);
    assert_eq!(rig.change("PUT", "/armory/accounts/dynamic", &json!({"name": "own", "kinds": []})).await.0, 409);
    assert_eq!(patch(&rig, "own", "INACTIVE").await, 202);
    let told = async || rig.json("/agents/kubernetes/accounts/own").await.1["errorMessage"].as_str().unwrap_or_default().to_owned();
    assert!(
        told().await.starts_with("INACTIVE was passed over: it is in an agent's own configuration: change it there"),
        "{}",
        told().await
    );
    assert_eq!(rig.ask("DELETE", "/armory/accounts/own", None).await.status, 202);
    assert!(told().await.starts_with("DELETED was passed over: "), "{}", told().await);
    assert_eq!((world.rows().await, world.by_hand().await), (vec!["own ACTIVE -".to_owned()], vec![]));
    // Why its cluster is not reached is told all the same, and no wish heaps up there.
    world.set("own", "status = 'FAILED', zone_id = 'z1', error_message = 'the cluster does not let the agent in: 401'").await;
    for state in ["INACTIVE", "ACTIVE", "INACTIVE"] {
        assert_eq!(patch(&rig, "own", state).await, 202);
    }
    let (fault, wish) = ("the cluster does not let the agent in: 401", "a user's wish: INACTIVE was passed over");
    assert!(told().await.starts_with(&format!("{fault}; {wish}: it is in an agent's own configuration (zone z1): ")), "{}", told().await);
    assert_eq!(told().await.matches("passed over").count(), 1, "{}", told().await);
    assert_eq!(rig.json("/armory/accounts/own").await.1["source"], "static-agent-config");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assignment_asks_the_loop_to_look_again() {
    let world = World::sqlite().await;
    let rig = world.replica("r1").await;
    world.put_all(&["a"]).await;
    rig.change("POST", "/armory/accounts", &json!([{"name": "a"}])).await;
    rung(&rig).await;
    world.set("a", "fl_due = null").await;
    assert_eq!(rig.change("POST", "/armory/agent/assignments", &json!(["a", "nobody"])).await, (200, Value::Null));
    rung(&rig).await;
    assert_ne!(world.text("a", "fl_due").await, "");
    assert_eq!(rig.change("POST", "/armory/agent/assignments", &json!(["nobody"])).await.0, 400);
    rig.end().await;
}
