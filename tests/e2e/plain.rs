//! What the seeds say of the interceptor, call by call.

use serde_json::Value;

use super::report::Report;
use super::world::{World, definition, delete, expect, post, put, put_named, same_value, send, start};
use crate::support::databases::eventually;
use crate::support::http::{self, Connection, Request};
use crate::support::process::Fairlead;

async fn assert_mirrored(world: &World, fairlead: &Fairlead, name: &str, status: &str) {
    world.rest(&[fairlead]).await;
    let stored = world.cd.accounts().await.into_iter().find(|a| a.id == name).unwrap_or_else(|| panic!("Clouddriver has no {name}"));
    let row = world.mirrored(name).await.unwrap_or_else(|| panic!("{name} is not in the mirror"));
    assert!(same_value(&row.definition, &stored.body), "{name}: the mirror has another definition");
    assert_eq!((row.status.as_str(), row.origin.as_str()), (status, "interceptor"), "{name}");
    assert!(["1", "t", "true"].contains(&row.dynamic.as_str()), "{name}: dynamic is {}", row.dynamic);
    assert!(!row.after_gap, "{name} is marked as found after a gap");
}

async fn assert_absent(world: &World, fairlead: &Fairlead, name: &str) {
    world.rest(&[fairlead]).await;
    assert!(world.mirrored(name).await.is_none(), "{name} is in the mirror");
}

pub async fn run(report: &Report, world: &World) {
    report
        .case(&world.title("plain: an account is created, updated by both PUTs before and after it is live, and deleted"), async {
            let fairlead = world.fresh_fairlead("plain").await;
            let port = fairlead.setup.port;
            expect(port, &post("one", "1"), 200).await;
            assert_mirrored(world, &fairlead, "one", "INACTIVE").await;
            expect(port, &put("one", "2"), 200).await;
            assert_mirrored(world, &fairlead, "one", "INACTIVE").await;
            world.live(&["one".to_owned()]).await;
            expect(port, &put("one", "3"), 200).await;
            assert_mirrored(world, &fairlead, "one", "INACTIVE").await;
            expect(port, &put_named("one", "4"), 200).await;
            assert_mirrored(world, &fairlead, "one", "INACTIVE").await;
            let row = world.mirrored("one").await.expect("one is there");
            assert_eq!(serde_json::from_str::<Value>(&row.definition).expect("JSON")["namespaces"][0], "4");
            expect(port, &delete("one"), 200).await;
            assert_absent(world, &fairlead, "one").await;
            // Created again, it is a new account.
            expect(port, &delete("one"), 404).await;
            assert_absent(world, &fairlead, "one").await;
        })
        .await;
    report
        .case(&world.title("plain: the same by HTTP/2"), async {
            world.fresh().await;
            let fairlead = start(world.setup("http2").with("services.clouddriver.http2.enabled: true")).await;
            let port = fairlead.setup.port;
            expect(port, &post("two", "1"), 200).await;
            assert_mirrored(world, &fairlead, "two", "INACTIVE").await;
            world.live(&["two".to_owned()]).await;
            expect(port, &put("two", "2"), 200).await;
            expect(port, &put_named("two", "3"), 200).await;
            assert_mirrored(world, &fairlead, "two", "INACTIVE").await;
            for (method, path, status) in [("GET", "/credentials/two", 200), ("HEAD", "/credentials", 200), ("GET", "/nothing", 404)] {
                let answer = send(port, &Request::new(method, path)).await;
                assert_eq!(answer.status, status, "{method} {path}");
                // HTTP/2 has no large letters in names, and Clouddriver's HTTP/1.1 has. What is said of the connection is our own.
                let own = |name: &str| name.eq_ignore_ascii_case("connection");
                assert!(answer.headers.iter().all(|(name, _)| own(name) || !name.contains(char::is_uppercase)), "{:?}", answer.headers);
            }
            expect(port, &delete("two"), 200).await;
            expect(port, &delete("two"), 404).await;
            assert_absent(world, &fairlead, "two").await;
        })
        .await;
    report
        .case(&world.title("plain: what Clouddriver refuses leaves no trace and keeps what was there"), async {
            let fairlead = world.fresh_fairlead("refused").await;
            let port = fairlead.setup.port;
            expect(port, &post("dup", "1"), 200).await;
            // 500 while it is only stored, 400 once it is live.
            let again = send(port, &post("dup", "2")).await;
            assert!(again.status == 500 || again.status == 400, "{}: {}", again.status, again.text());
            assert_mirrored(world, &fairlead, "dup", "INACTIVE").await;
            let early = send(port, &put_named("dup", "3")).await;
            assert!(early.status == 400 || early.status == 200, "{}", early.text());
            world.live(&["dup".to_owned()]).await;
            expect(port, &post("dup", "4"), 400).await;
            expect(port, &put_named("nothere", "1"), 400).await;
            expect(port, &delete("nothere"), 404).await;
            let mut body = definition("dup", "5");
            body["name"] = "other".into();
            expect(port, &Request::new("PUT", "/credentials/dup").json(body.to_string()), 400).await;
            for broken in ["{", "", "[]", "17", r#"{"type":"kubernetes"}"#, r#"{"type":"kubernetes","name":"x","namespaces":7}"#] {
                let answer = send(port, &Request::new("POST", "/credentials").json(broken)).await;
                assert!(answer.status >= 400, "{broken}: {}", answer.status);
            }
            for kind in ["aws", "azure", "ecs", "google", "dockerRegistry", "nosuch", "Kubernetes"] {
                let mut body = definition("wrongtype", "1");
                body["type"] = kind.into();
                for method in ["POST", "PUT"] {
                    let answer = send(port, &Request::new(method, "/credentials").json(body.to_string())).await;
                    assert!(answer.status >= 400, "{method} of type {kind}: {}", answer.status);
                }
            }
            assert_mirrored(world, &fairlead, "dup", "INACTIVE").await;
            assert_eq!(world.mirror().await.len(), 1);
        })
        .await;
    report
        .case(&world.title("plain: a PUT alone brings nothing into the mirror, and the scanner's business stays the scanner's"), async {
            let fairlead = world.fresh_fairlead("put-alone").await;
            let port = fairlead.setup.port;
            expect(port, &put("upserted", "1"), 200).await;
            expect(port, &put("upserted", "2"), 200).await;
            world.live(&["upserted".to_owned()]).await;
            expect(port, &put_named("upserted", "3"), 200).await;
            // Straight to Clouddriver: not our business either.
            expect(world.cd.port, &post("behind", "1"), 200).await;
            expect(port, &put("behind", "2"), 200).await;
            assert_absent(world, &fairlead, "upserted").await;
            assert_absent(world, &fairlead, "behind").await;
        })
        .await;
    report
        .case(&world.title("plain: a row of another type is none, and one whose type changes is gone"), async {
            let fairlead = world.fresh_fairlead("types").await;
            let port = fairlead.setup.port;
            expect(port, &post("turns", "1"), 200).await;
            assert_mirrored(world, &fairlead, "turns", "INACTIVE").await;
            world.admin().exec("update accounts set type = 'aws' where id = 'turns'").await;
            expect(port, &delete("turns"), 200).await;
            assert_absent(world, &fairlead, "turns").await;
        })
        .await;
    report
        .case(&world.title("plain: no batches: an array of accounts is Clouddriver's to refuse, a DELETE without a name too"), async {
            let fairlead = world.fresh_fairlead("batch").await;
            expect(fairlead.setup.port, &post("stays", "1"), 200).await;
            let batch = Value::Array(vec![definition("batch-1", "1"), definition("batch-2", "1")]).to_string();
            for (method, target, body) in [
                ("POST", "/credentials", batch.as_str()),
                ("PUT", "/credentials", batch.as_str()),
                ("DELETE", "/credentials", ""),
                ("DELETE", "/credentials", r#"["stays"]"#),
                ("DELETE", "/credentials/", ""),
            ] {
                let request = Request::new(method, target).json(body);
                let (ours, theirs) = (send(fairlead.setup.port, &request).await, send(world.cd.port, &request).await);
                assert!(theirs.status >= 400, "{method} {target}: Clouddriver says {}", theirs.status);
                assert_eq!(ours.status, theirs.status, "{method} {target}");
                assert_eq!(without_time(&ours.text()), without_time(&theirs.text()), "{method} {target}");
            }
            assert_mirrored(world, &fairlead, "stays", "INACTIVE").await;
            assert_eq!(world.mirror().await.len(), 1);
        })
        .await;
    report
        .case(&world.title("plain: with interceptor.activate a mirrored POST goes on without a PATCH"), async {
            world.fresh().await;
            let fairlead = start(world.setup("activate").with("kubesvc.dynamicAccounts.interceptor.activate: true")).await;
            expect(fairlead.setup.port, &post("goes", "1"), 200).await;
            assert_mirrored(world, &fairlead, "goes", "TO_MIGRATE").await;
            expect(fairlead.setup.port, &put("only-put", "1"), 200).await;
            assert_absent(world, &fairlead, "only-put").await;
        })
        .await;
    report
        .case(&world.title("plain: switched off, nothing is mirrored and everything passes"), async {
            world.fresh().await;
            let fairlead = start(world.setup("off").with("kubesvc.dynamicAccounts.interceptor.enabled: false")).await;
            expect(fairlead.setup.port, &post("passes", "1"), 200).await;
            expect(fairlead.setup.port, &put("passes", "2"), 200).await;
            assert!(world.mirror().await.is_empty());
        })
        .await;
    report
        .case(&world.title("plain: an account that was just created is never unknown to the read side, on the same connection"), async {
            let fairlead = world.fresh_fairlead("read-side").await;
            let mut connection = Connection::open(fairlead.setup.port).await.expect("Fairlead takes connections");
            for i in 0..60 {
                let name = format!("seen{i}");
                let answer = connection.call(&post(&name, "1")).await.expect("an answer");
                assert_eq!(answer.status, 200, "{}", answer.text());
                let seen = connection.call(&Request::new("GET", &format!("/agents/kubernetes/accounts/{name}"))).await.expect("an answer");
                assert_eq!((seen.status, seen.json()["name"].as_str()), (200, Some(name.as_str())), "{}", seen.text());
            }
        })
        .await;
    report
        .case(&world.title("plain: secrets are in no log, metric, info or view; sealed at rest, and opened by the same key"), async {
            secrets(world).await;
        })
        .await;
    report
        .case(&world.title("plain: a drain on SIGTERM ends every change that was answered, and closes the epoch"), async {
            let mut fairlead = world.fresh_fairlead("drain").await;
            let port = fairlead.setup.port;
            for i in 0..20 {
                expect(port, &post(&format!("drained{i}"), "1"), 200).await;
            }
            let status = fairlead.drain().await;
            assert!(status.success(), "{status}\n{}", fairlead.log_tail());
            assert_eq!(world.mirror().await.len(), 20, "{}", fairlead.log_tail());
            assert_eq!(world.admin().number("select count(*) from fairlead_epochs where state = 'open'").await, 0);
            assert_eq!(world.admin().number("select count(*) from fairlead_intents").await, 0);
        })
        .await;
}

/// An error's time and a server's date are never the same twice.
fn without_time(text: &str) -> String {
    let mut value: Value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
    if let Some(object) = value.as_object_mut() {
        object.remove("timestamp");
    }
    value.to_string()
}

async fn secrets(world: &World) {
    const CANARY: &str = "canary-4f1c9e7ab2";
    world.fresh().await;
    let keys = "fairlead.seal.keys:\n- id: k1\n  key: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\nfairlead.logging.level: debug";
    let fairlead = start(world.setup("secrets").with(keys)).await;
    let port = fairlead.setup.port;
    let mut body = definition("sealed", "1");
    body["kubeconfigContents"] = format!("apiVersion: v1\nkind: Config\nusers:\n- user: {{token: {CANARY}}}\n").into();
    let json = body.to_string();
    expect(port, &Request::new("POST", "/credentials").json(json.clone()), 200).await;
    expect(port, &Request::new("PUT", "/credentials").json(json.clone()), 200).await;
    // Clouddriver's own error for a duplicate can hold the body; that must not be logged either.
    let again = send(port, &Request::new("POST", "/credentials").json(json.clone())).await;
    assert!(again.status >= 400, "{}", again.status);
    let _ = send(port, &Request::new("POST", "/credentials").json(json.replace('}', ""))).await;
    let _ = send(port, &Request::new("PUT", "/credentials/other").json(json)).await;
    world.rest(&[&fairlead]).await;
    let row = world.mirrored("sealed").await.expect("sealed is in the mirror");
    assert!(row.definition.contains("fairlead-sealed:v1:k1:"), "nothing is sealed");
    assert!(!row.definition.contains(CANARY), "a kubeconfig lies open in the table");
    for view in ["/armory/accounts", "/armory/accounts/sealed", "/agents/kubernetes/accounts/sealed"] {
        let answer = http::get(port, view).await.expect("an answer");
        assert_eq!(answer.status, 200, "{view}");
        assert!(answer.text().contains("sealed"), "{view} does not show the account");
        assert!(!answer.text().contains(CANARY), "{view} shows a secret");
        assert!(!answer.text().contains("fairlead-sealed"), "{view} shows a sealed value");
    }
    for table in ["fairlead_intents", "fairlead_names", "fairlead_epochs", "fairlead_meta", "kubesvc_accounts"] {
        let rows = world.admin().rows(&format!("select * from {table}")).await;
        assert!(!rows.iter().flatten().flatten().any(|v| v.contains(CANARY)), "{table} holds a secret in clear");
    }
    let told = fairlead.told().await;
    assert!(told.len() > 100, "the process has told something");
    assert!(!told.contains(CANARY), "a secret is in the log, the metrics or /info");
    let _ = eventually("the log names the account that was refused or settled", std::time::Duration::from_secs(5), || async {
        fairlead.told().await.contains("fairlead_mirror").then_some(())
    })
    .await;
}
