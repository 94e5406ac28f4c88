//! The plain cases with a real Gate as the client (acceptance A13).

use tokio::sync::Mutex;

use super::report::Report;
use super::world::{World, definition, expect, same_value, send, start};
use crate::support::gate::Gate;
use crate::support::http::{self, Request};
use crate::support::process::Fairlead;

pub async fn run(report: &Report, world: &World, gate: &Mutex<Option<Gate>>) {
    // One Gate for all: its Clouddriver has one address, so whoever holds it listens there.
    let mut gate = gate.lock().await;
    let Some(gate) = gate.as_mut() else { return };
    report
        .case(&world.title("gate: created, updated, refused and deleted through Gate, as the seeds say"), async {
            world.fresh().await;
            let mut setup = world.setup("gate");
            setup.port = gate.clouddriver_port;
            let fairlead = start(setup).await;
            gate.answering().await;
            let post = |name: &str, mark: &str| Request::new("POST", "/credentials").json(definition(name, mark).to_string());
            let put = |name: &str, mark: &str| Request::new("PUT", "/credentials").json(definition(name, mark).to_string());
            let delete = |name: &str| Request::new("DELETE", &format!("/credentials/{name}"));

            expect(gate.port, &post("gated", "1"), 200).await;
            check(world, &fairlead, &["gated"]).await;
            expect(gate.port, &put("gated", "2"), 200).await;
            check(world, &fairlead, &["gated"]).await;
            // Not live yet, then live: refused both times, in two ways.
            let early = send(gate.port, &post("gated", "3")).await;
            assert!(early.status == 500 || early.status == 400, "{}: {}", early.status, early.text());
            world.live(&["gated".to_owned()]).await;
            expect(gate.port, &post("gated", "4"), 400).await;
            check(world, &fairlead, &["gated"]).await;
            expect(gate.port, &put("gated", "5"), 200).await;
            check(world, &fairlead, &["gated"]).await;
            // An upsert is no creation for us.
            expect(gate.port, &put("put-only", "1"), 200).await;
            check(world, &fairlead, &["gated"]).await;
            let mut wrong = definition("wrong", "1");
            wrong["type"] = "nosuch".into();
            expect(gate.port, &Request::new("POST", "/credentials").json(wrong.to_string()), 400).await;
            for name in ["a b", "a+b", "a~b", "a:b", "a@b", "a?b", "a#b", "\u{e9}"] {
                let path: String =
                    name.bytes().map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") }).collect();
                expect(gate.port, &post(name, "1"), 200).await;
                check(world, &fairlead, &["gated", name]).await;
                expect(gate.port, &delete(&path), 200).await;
                check(world, &fairlead, &["gated"]).await;
            }
            expect(gate.port, &delete("gated"), 200).await;
            expect(gate.port, &delete("gated"), 404).await;
            check(world, &fairlead, &[]).await;
            // What Gate reads comes through as well.
            let listed = http::get(gate.port, "/credentials/type/kubernetes").await.expect("an answer");
            assert!(listed.text().contains("put-only"), "{}: {}", listed.status, listed.text());
        })
        .await;
}

async fn check(world: &World, fairlead: &Fairlead, names: &[&str]) {
    world.rest(&[fairlead]).await;
    let (mirror, accounts) = (world.mirror().await, world.cd.accounts().await);
    let mut mirrored: Vec<_> = mirror.iter().map(|r| r.name.as_str()).collect();
    let mut names = names.to_vec();
    mirrored.sort_unstable();
    names.sort_unstable();
    assert_eq!(mirrored, names);
    for row in &mirror {
        let stored = accounts.iter().find(|a| a.id == row.name).unwrap_or_else(|| panic!("Clouddriver has no {}", row.name));
        assert!(same_value(&row.definition, &stored.body), "{}: the mirror has another definition", row.name);
    }
}
