//! The plain cases with a real Gate as the client (acceptance A13).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;

use super::report::Report;
use super::world::{World, definition, expect, same_value, send, start, takes_changes};
use crate::support::gate::Gate;
use crate::support::http::{self, Request};
use crate::support::process::Fairlead;
use crate::support::proxies::{Other, balancer};

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
    report
        .case(&world.title("gate: where idle and old connections are closed, no POST comes to Clouddriver twice"), async {
            world.fresh().await;
            closing(world, gate).await;
        })
        .await;
    if Other::HaProxy.program().is_none() {
        report.left_out("Gate under rolling restarts: HAProxy is not installed (scripts/install.sh proxies)");
        return;
    }
    report
        .case(&world.title("gate: under rolling restarts every POST is answered, and none comes to Clouddriver twice"), async {
            world.fresh().await;
            rolling(world, gate).await;
        })
        .await;
}

/// A Fairlead that closes each connection of Gate's just when Gate may be about to use it, and those to Clouddriver after a second.
async fn closing(world: &World, gate: &mut Gate) {
    const POSTS: usize = 60;
    let mut setup = world.setup("closing").with("fairlead.proxy: { clientIdleTimeout: 100ms, idleTimeout: 100ms, maxConnectionAge: 1s }");
    setup.port = gate.clouddriver_port;
    let fairlead = start(setup).await;
    gate.answering().await;
    for i in 0..POSTS {
        expect(gate.port, &Request::new("POST", "/credentials").json(definition(&format!("closing-{i}"), "1").to_string()), 200).await;
        tokio::time::sleep(Duration::from_millis(80 + 4 * (i as u64 % 10))).await;
    }
    each_came_once(world, POSTS).await;
    world.rest(&[&fairlead]).await;
    assert_eq!(world.mirror().await.len(), POSTS);
}

/// Each change that Clouddriver makes is an entry of its history.
async fn each_came_once(world: &World, accounts: usize) {
    let twice = "select count(*) from (select id from accounts_history group by id having count(*) <> 1) as twice";
    assert_eq!(world.admin().number(twice).await, 0, "of {accounts} accounts");
    assert_eq!(world.admin().number("select count(*) from accounts_history").await, i64::try_from(accounts).expect("few"));
}

/// Replicas that are restarted one after the other, behind a balancer that asks which is ready, while clients create accounts.
async fn rolling(world: &World, gate: &mut Gate) {
    const CLIENTS: usize = 4;
    const RESTARTS: usize = 10;
    let mut replicas = [start(world.setup("rolling-1")).await, start(world.setup("rolling-2")).await];
    let ports: Vec<_> = replicas.iter().map(|r| (r.setup.port, r.setup.admin_port)).collect();
    let _balancer = balancer(&format!("{}-balancer", replicas[0].setup.name), gate.clouddriver_port, &ports).await;
    gate.answering().await;
    let done = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (port, done) = (gate.port, done.clone());
            tokio::spawn(async move {
                let (mut created, mut wrong) = (Vec::new(), Vec::new());
                for i in 0.. {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    let name = format!("rolling-{client}-{i}");
                    match http::call(port, &Request::new("POST", "/credentials").json(definition(&name, "1").to_string())).await {
                        Ok(answer) if answer.status == 200 => created.push(name),
                        Ok(answer) => wrong.push(format!("{name}: {} {}", answer.status, answer.text())),
                        Err(error) => wrong.push(format!("{name}: {error}")),
                    }
                    tokio::time::sleep(Duration::from_millis(15)).await;
                }
                (created, wrong)
            })
        })
        .collect();
    for round in 0..RESTARTS {
        let replica = &mut replicas[round % 2];
        assert!(replica.drain().await.success(), "{}", replica.log_tail());
        replica.launch_again();
        replica.ready().await;
        takes_changes(replica).await;
    }
    done.store(true, Ordering::Relaxed);
    let (mut created, mut wrong) = (Vec::new(), Vec::new());
    for client in clients {
        let (more, failed) = client.await.expect("no panic");
        created.extend(more);
        wrong.extend(failed);
    }
    println!("        {} POSTs over {RESTARTS} restarts", created.len() + wrong.len());
    assert!(wrong.is_empty(), "of {} POSTs:\n{}", created.len() + wrong.len(), wrong.join("\n"));
    each_came_once(world, created.len()).await;
    let replicas: Vec<&Fairlead> = replicas.iter().collect();
    world.rest(&replicas).await;
    let mut mirrored: Vec<_> = world.mirror().await.into_iter().map(|row| row.name).collect();
    created.sort_unstable();
    mirrored.sort_unstable();
    assert_eq!(mirrored, created);
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
