//! Accounts that enter: taken over from Clouddriver, or made here.

use serde_json::{Value, json};

use super::rig::{CANARY, SEED_POST, World};
use crate::support::http::Request as Raw;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_seeds_post_takes_both_accounts_over_and_sent_again_names_both_and_changes_nothing() {
    for world in World::all("apipost").await {
        let rig = world.replica("r1").await;
        world.put_all(&["account-01", "account-02", "account-03"]).await;
        let clouddrivers = world.clouddrivers().await;
        // As curl sends it.
        let post = Raw::new("POST", "/armory/accounts").header("Host", "clouddriver:7002").body("application/json", SEED_POST);
        let answer = rig.send(&post).await;
        assert_eq!((answer.status, answer.text()), (202, "[]".to_owned()), "{}", world.place.word());
        let rows = ["account-01 INACTIVE -", "account-02 INACTIVE agent-1_namespace1"];
        assert_eq!(world.rows().await, rows);
        let (_, shown) = rig.json("/armory/accounts/account-02").await;
        assert_eq!(shown["config"]["kubeconfigFile"], "encryptedFile:k8s!n:kubeconfig!k:config!ns:spinnaker");
        assert_eq!((&shown["config"].get("kubeconfigContents"), &shown["definition"]["kubeconfigContents"]), (&None, &json!("****")));
        assert_eq!(
            (&shown["origin"], &shown["source"], &shown["zoneId"]),
            (&json!("migrated"), &json!("clouddriver"), &json!("agent-1_namespace1"))
        );
        let revs = (world.text("account-01", "fl_rev").await, world.text("account-02", "fl_rev").await);

        let answer = rig.send(&post).await;
        let Value::Array(named) = answer.json() else { panic!("{}", answer.text()) };
        let sent: Value = serde_json::from_str(SEED_POST).expect("JSON");
        assert_eq!((answer.status, named.len()), (409, 2));
        for (i, entry) in named.into_iter().enumerate() {
            let Value::Object(mut entry) = entry else { panic!("{entry}") };
            assert!(entry.remove("message").is_some_and(|m| m.is_string()));
            assert_eq!(Value::Object(entry), sent[i]);
        }
        assert_eq!((world.text("account-01", "fl_rev").await, world.text("account-02", "fl_rev").await), revs, "nothing changed");

        let (status, named) = rig.change("POST", "/armory/accounts", &json!([{"name": "account-01"}, {"name": "account-03"}])).await;
        assert_eq!((status, named.as_array().map(Vec::len), &named[0]["name"]), (409, Some(1), &json!("account-01")));
        assert_eq!(world.rows().await, [rows[0], rows[1], "account-03 INACTIVE -"]);
        assert_eq!(world.clouddrivers().await, clouddrivers, "Clouddriver's table is not ours");
        rig.end().await;
        world.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clouddriver_does_not_have_as_a_kubernetes_account_is_not_taken_and_the_rest_is() {
    let world = World::sqlite().await;
    let rig = world.replica("r1").await;
    world.put_all(&["a"]).await;
    world.put("amazon", "aws", &json!({"name": "amazon"})).await;
    let body = json!([{"name": "nobody", "zoneId": "z", "kubeconfigContents": CANARY}, {"name": "a"}, {"name": "amazon"}]);
    let (status, named) = rig.change("POST", "/armory/accounts", &body).await;
    assert_eq!((status, named.as_array().map(Vec::len)), (409, Some(2)));
    assert_eq!((&named[0]["name"], &named[0]["zoneId"], &named[1]["name"]), (&json!("nobody"), &json!("z"), &json!("amazon")));
    assert!(named[0]["message"].as_str().expect("text").contains("Clouddriver"), "{named}");
    assert_eq!(named[0]["kubeconfigContents"], "****");
    assert_eq!(world.rows().await, ["a INACTIVE -"]);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_made_here_is_inactive_and_its_kubeconfig_is_sealed_and_never_shown() {
    for world in World::all("apicreate").await {
        let rig = world.replica("r1").await;
        let one = json!({"name": "acct-c", "zoneId": "edge-agents_team-b", "kubeconfigContents": "encryptedFile:k8s!n:acct-c-kubeconfig!k:value!ns:cd"});
        assert_eq!(rig.change("POST", "/armory/accounts/dynamic", &one).await, (202, json!([])));
        let two = json!([{"name": "acct-d", "kubeconfigContents": CANARY, "namespaces": ["shop"], "permissions": [{"READ": ["r"]}]},
            {"name": "acct-e", "serviceAccount": true}]);
        assert_eq!(rig.change("POST", "/armory/accounts/dynamic", &two).await, (202, json!([])));
        assert_eq!(
            world.rows().await,
            ["acct-c INACTIVE edge-agents_team-b", "acct-d INACTIVE -", "acct-e INACTIVE -"],
            "{}",
            world.place.word()
        );
        assert!(!world.text("acct-d", "definition").await.contains(CANARY));
        let (_, shown) = rig.json("/agents/kubernetes/accounts/acct-d").await;
        assert_eq!((&shown["origin"], &shown["definition"]["kubeconfigContents"]), (&json!("created"), &json!("****")));
        assert_eq!((&shown["definition"]["type"], &shown["permissions"]), (&json!("kubernetes"), &json!({"READ": ["r"]})));

        let (status, named) =
            rig.change("POST", "/armory/accounts/dynamic", &json!([two[0], {"name": "acct-f", "serviceAccount": true}])).await;
        assert_eq!((status, named.as_array().map(Vec::len)), (409, Some(1)));
        assert_eq!((&named[0]["name"], &named[0]["kubeconfigContents"]), (&json!("acct-d"), &json!("****")));
        assert_eq!(world.rows().await.len(), 4);
        rig.end().await;
        world.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_with_a_fault_changes_nothing_and_names_the_place() {
    let world = World::sqlite().await;
    let rig = world.replica("r1").await;
    world.put_all(&["a", "b"]).await;
    for (method, target, body, place) in [
        ("POST", "/armory/accounts", r#"[{"name":"a"},{"name":"b","zoneId":7}]"#, "/1/zoneId: must be a string"),
        ("POST", "/armory/accounts", "[]", "the body: names no account"),
        ("POST", "/armory/accounts", "", "the body: is empty"),
        ("PATCH", "/armory/accounts", r#"[{"name":"a","state":"ACTIVE"},{"name":"b"}]"#, "/1/state: is missing: ACTIVE or INACTIVE"),
        ("PATCH", "/armory/accounts/dynamic", r#"[{"name":"a","state":"FAILED"}]"#, "/0/state: must be ACTIVE or INACTIVE"),
        ("DELETE", "/armory/accounts", r#"["a",1]"#, "/1: must be a string: an account's name"),
        ("DELETE", "/armory/accounts", "", "the body: is empty"),
        ("POST", "/armory/accounts/dynamic", "[]", "the body: names no account"),
        ("POST", "/armory/accounts/dynamic", "{}", "the body: must be an account or an array of accounts"),
        ("POST", "/armory/accounts/dynamic", "", "the body: is empty"),
        ("PUT", "/armory/accounts/dynamic", r#"[{"name":"a"}]"#, "the body: must be one object: this operation takes no list"),
        ("PUT", "/armory/accounts/dynamic", "", "the body: is empty"),
        ("POST", "/armory/agent/assignments", "{}", "the body: must be an array of names"),
    ] {
        let answer = rig.ask(method, target, Some(body)).await;
        let shown = answer.json();
        assert_eq!((answer.status, &shown["message"]), (400, &json!(place)), "{method} {target} {body}");
        assert_eq!(
            (&shown["status"], &shown["error"], &shown["exception"]),
            (&json!(400), &json!("Bad Request"), &json!("InvalidRequestException"))
        );
    }
    assert_eq!(world.rows().await, Vec::<String>::new());
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_switched_off_is_501_for_every_change_and_nothing_is_read() {
    let world = World::sqlite().await;
    let rig = world.switched_off().await;
    for (method, target) in [
        ("POST", "/armory/accounts"),
        ("PATCH", "/armory/accounts"),
        ("DELETE", "/armory/accounts"),
        ("DELETE", "/armory/accounts/a"),
        ("POST", "/armory/accounts/dynamic"),
        ("PUT", "/armory/accounts/dynamic"),
        ("PATCH", "/armory/accounts/dynamic"),
    ] {
        assert_eq!(rig.ask(method, target, Some("neither JSON nor anything")).await.status, 501, "{method} {target}");
    }
    rig.end().await;
}
