//! Bodies and paths that nobody should send: each is answered, none is a 5xx, and the process stays small.

use serde_json::{Value, json};

use super::rig::{Rig, World};
use crate::support::http::{Connection, Request as Raw};

const CHANGES: [(&str, &str); 7] = [
    ("POST", "/armory/accounts"),
    ("PATCH", "/armory/accounts"),
    ("DELETE", "/armory/accounts"),
    ("POST", "/armory/accounts/dynamic"),
    ("PUT", "/armory/accounts/dynamic"),
    ("POST", "/armory/agent/assignments"),
    ("POST", "/armory/agent/pod-a/disconnect"),
];

/// A 4xx in the shape of errors, that repeats nothing.
async fn refused(rig: &Rig, request: Raw, what: &str) {
    let answer = rig.send(&request).await;
    let shown = answer.json();
    assert!((400..500).contains(&answer.status), "{what}: {} {shown}", answer.status);
    assert_eq!(shown["status"], answer.status, "{what}: {shown}");
    assert!(shown["message"].is_string() && shown["exception"].is_string(), "{what}: {shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_every_wrong_kind_are_refused() {
    let world = World::sqlite().await;
    let rig = world.replica("r1").await;
    rig.crowd.comes("pod-a", 0, vec![]);
    world.put_all(&["a"]).await;
    let wrong: Vec<Value> = vec![
        json!(null),
        json!(true),
        json!(1.5e300),
        json!("canary"),
        json!([null]),
        json!([[]]),
        json!([{"name": {}}]),
        json!({"no field of any": 1}),
    ];
    let mut bodies: Vec<Vec<u8>> = wrong.iter().map(|w| w.to_string().into_bytes()).collect();
    for fields in [
        json!({"state": ["canary"]}),
        json!({"zoneId": {"x": "canary"}}),
        json!({"kubeconfigFile": false, "state": "ACTIVE"}),
        json!({"kubeconfigContents": "encryptedFile:canary", "state": "ACTIVE"}),
        json!({"kubeconfigFile": "encrypted:noop!v:x\r\n", "state": "ACTIVE"}),
        json!({"serviceAccount": "true", "state": "ACTIVE"}),
    ] {
        let mut entry = json!({"name": "a"});
        entry.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        bodies.push(json!([entry]).to_string().into_bytes());
    }
    for text in [
        "canary",
        "{\"name\": \"canary\"",
        "[{\"name\":\"a\",\"name\":\"a\"}]",
        "[{\"name\":\"a\\u0000\"}]",
        "[{\"name\":\"\\ud800\"}]",
        "\u{1}",
        "[1,]",
        "// canary\n[]",
        "[NaN]",
        "name=canary&state=ACTIVE",
        "<accounts><canary/></accounts>",
    ] {
        bodies.push(text.as_bytes().to_vec());
    }
    bodies.push(b"[{\"name\":\"\xff\xfe\"}]".to_vec());
    bodies.push("[".repeat(1_000_000).into_bytes());
    bodies.push("{\"a\":".repeat(500_000).into_bytes());
    bodies.push(format!("[{}[]]", "[],".repeat(1_000_000)).into_bytes());
    bodies.push(json!([{"name": "n".repeat(3_000_000)}]).to_string().into_bytes());
    for (method, target) in CHANGES {
        for body in &bodies {
            let start = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            refused(&rig, Raw::new(method, target).json(body.clone()), &format!("{method} {target} {start}")).await;
        }
    }
    assert_eq!(world.rows().await, Vec::<String>::new());
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_ten_megabytes_or_in_another_form_is_not_read() {
    let world = World::sqlite().await;
    let rig = world.replica("r1").await;
    let large = json!([{"name": "a", "kubeconfigContents": "x".repeat(10 << 20)}]).to_string();
    for (method, target) in CHANGES {
        let mut connection = Connection::open(rig.port).await.expect("connected");
        let answer = connection.call(&Raw::new(method, target).json(large.clone())).await.expect("answered");
        assert_eq!((answer.status, answer.closes), (413, true), "{method} {target}");
        for media in ["text/plain", "application/x-www-form-urlencoded", "application/cbor", "application/json; charset=utf-16"] {
            let answer = rig.send(&Raw::new(method, target).body(media, "[]")).await;
            assert_eq!(answer.status, 415, "{method} {target} {media}");
        }
        let coded = Raw::new(method, target).header("Content-Encoding", "gzip").json(b"\x1f\x8b".to_vec());
        assert_eq!(rig.send(&coded).await.status, 415);
    }
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_any_kind_are_only_names() {
    for world in World::all("apinames").await {
        let rig = world.replica("r1").await;
        let long = "n".repeat(255);
        let names = [
            "'; drop table kubesvc_accounts; --",
            "\" or 1=1 --",
            "a\r\nX-Injected: canary-no",
            "é🦀€",
            "a/b",
            "..",
            "%2e%2e",
            "{name}",
            "${jndi:ldap://x}",
            "dynamic",
            "a\tb",
            long.as_str(),
        ];
        for name in names {
            world.put(name, "kubernetes", &json!({"type": "kubernetes", "name": name})).await;
            assert_eq!(rig.change("POST", "/armory/accounts", &json!([{"name": name}])).await.0, 202, "{} {name:?}", world.place.word());
            assert_eq!(rig.change("PATCH", "/armory/accounts", &json!([{"name": name, "state": "ACTIVE"}])).await.0, 202, "{name:?}");
            let put = rig.change("PUT", "/armory/accounts/dynamic", &json!({"name": name, "kinds": ["Pod"]})).await.0;
            assert_eq!(put, 202, "{name:?}");
            assert_eq!(world.text(name, "status").await, "TO_MIGRATE", "{name:?}");
        }
        let all: Vec<Value> = names.iter().map(|n| json!(n)).collect();
        assert_eq!(rig.change("DELETE", "/armory/accounts", &json!(all)).await.0, 202);
        assert_eq!(world.rows().await, Vec::<String>::new(), "{}", world.place.word());
        rig.end().await;
        world.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encoded_parts_of_a_path_are_names_or_nobodys() {
    let world = World::sqlite().await;
    let rig = world.replica("r1").await;
    world.put_all(&["a b", "a"]).await;
    rig.change("POST", "/armory/accounts", &json!([{"name": "a b"}, {"name": "a"}])).await;
    for (method, target, status) in [
        ("DELETE", "/armory/accounts/%C3%28", 400),
        ("DELETE", "/armory/accounts/%00", 400),
        ("DELETE", "/armory/accounts/%0d%0aX:%20y", 404),
        ("DELETE", "/armory/accounts/..%2Fa", 404),
        ("DELETE", "/armory/accounts/a%2Fb", 400),
        ("DELETE", "/armory/accounts/a;x=y", 404),
        ("DELETE", "/armory//accounts/a", 501),
        ("DELETE", "/armory/accounts/nobody", 400),
        ("DELETE", "/armory/accounts/%61", 202),
        ("DELETE", "/armory/accounts/a%20b", 202),
        ("GET", "/armory/agents/%2e%2e%2f", 404),
        ("POST", "/armory/agent/%2e%2e/disconnect", 404),
    ] {
        let answer = rig.ask(method, target, None).await;
        // A spelling that means two things is nobody's; one that means a name is a name that is not there.
        let same = answer.status == status || (status == 404 && answer.status == 400);
        assert!(same, "{method} {target}: {}", answer.text());
    }
    assert_eq!(world.rows().await, Vec::<String>::new());
    rig.end().await;
}
