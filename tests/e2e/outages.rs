//! Fairlead's database away or slow, Clouddriver's not: `failurePolicy`, and what is found afterwards.

use std::path::Path;
use std::time::Duration;

use super::report::Report;
use super::world::{World, delete, expect, expect_again, post, put, same_value, send, start};
use crate::support::databases::eventually;
use crate::support::http;
use crate::support::process::{Fairlead, Setup, folder};
use crate::support::relay::{Mode, Relay};

async fn before_database(world: &World) -> Relay {
    let (host, port) = world.server().address();
    Relay::start(&host, port).await
}

fn setup(world: &World, name: &str, relay: &Relay) -> Setup {
    world.setup(name).database(&world.cd.database.jdbc_at("127.0.0.1", relay.port), &world.user).lease(Duration::from_secs(2))
}

/// After a gap: names, and that each is what Clouddriver has.
async fn converges(world: &World, fairlead: &Fairlead, names: &[&str]) {
    world.rest(&[fairlead]).await;
    let (mirror, accounts) = (world.mirror().await, world.cd.accounts().await);
    let mirrored: Vec<_> = mirror.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(mirrored, names, "\n{}", fairlead.log_tail());
    for row in &mirror {
        let stored = accounts.iter().find(|a| a.id == row.name).unwrap_or_else(|| panic!("Clouddriver has no {}", row.name));
        assert!(same_value(&row.definition, &stored.body), "{}: the mirror has another definition\n{}", row.name, fairlead.log_tail());
        assert_eq!(row.status, "INACTIVE", "{}", row.name);
    }
}

pub async fn run(report: &Report, world: &World) {
    for (word, mode) in [("away", Mode::Refuse), ("hanging", Mode::Stall)] {
        report
            .case(
                &world.title(&format!(
                    "outages: under Ignore every change passes while the database is {word}, and the mirror comes to agree"
                )),
                async {
                    world.fresh().await;
                    let relay = before_database(world).await;
                    let fairlead = start(setup(world, &format!("ignore-{word}"), &relay)).await;
                    let port = fairlead.setup.port;
                    for name in ["a-stays", "b-updated", "c-deleted", "d-again"] {
                        expect(port, &post(name, "1"), 200).await;
                    }
                    world.rest(&[&fairlead]).await;
                    relay.set(mode);
                    expect(port, &post("e-new", "1"), 200).await;
                    expect(port, &put("b-updated", "2"), 200).await;
                    expect(port, &delete("c-deleted"), 200).await;
                    expect(port, &delete("d-again"), 200).await;
                    world.dropped("d-again").await;
                    expect_again(port, &post("d-again", "2")).await;
                    expect(port, &post("f-brief", "1"), 200).await;
                    expect(port, &delete("f-brief"), 200).await;
                    assert_eq!(http::get(port, "/credentials/type/kubernetes").await.expect("an answer").status, 200);
                    // Long enough for the lease to run out: nobody could say that all is well.
                    tokio::time::sleep(Duration::from_secs(3)).await;
                    relay.set(Mode::Pass);
                    converges(world, &fairlead, &["a-stays", "b-updated", "d-again", "e-new"]).await;
                    // And afterwards all is as before.
                    expect(port, &delete("e-new"), 200).await;
                    expect(port, &post("g-after", "1"), 200).await;
                    converges(world, &fairlead, &["a-stays", "b-updated", "d-again", "g-after"]).await;
                },
            )
            .await;
    }
    report
        .case(&world.title("outages: what passed while the database was away is known after a crash in that time, too"), async {
            let fairlead = crashed_while_away(world, "ignore-crash", |_| {}).await;
            let missed = world.mirrored("c-missed").await.expect("it is there");
            assert!(!missed.after_gap, "c-missed was noted on disk, and is marked as found after a gap\n{}", fairlead.log_tail());
        })
        .await;
    report
        .case(&world.title("outages: and found, where its notes are lost with its disk"), async {
            let lose = |folder: &Path| std::fs::remove_dir_all(folder.join("fairlead")).expect("the notes");
            let _fairlead = crashed_while_away(world, "ignore-disk", lose).await;
            assert!(world.mirrored("c-missed").await.expect("it is there").after_gap, "c-missed is not marked as found after a gap");
        })
        .await;
    report
        .case(&world.title("outages: a slow database holds no change up for long, and nothing is lost"), async {
            world.fresh().await;
            let relay = before_database(world).await;
            let fairlead = start(setup(world, "slow", &relay)).await;
            let port = fairlead.setup.port;
            expect(port, &post("a-fast", "1"), 200).await;
            relay.set(Mode::Slow(Duration::from_millis(400)));
            for name in ["b-slow", "c-slow", "d-slow"] {
                expect(port, &post(name, "1"), 200).await;
            }
            expect(port, &delete("c-slow"), 200).await;
            relay.set(Mode::Pass);
            converges(world, &fairlead, &["a-fast", "b-slow", "d-slow"]).await;
        })
        .await;
    report
        .case(
            &world.title("outages: under Fail a change is refused with 503 and never reaches Clouddriver; everything else passes"),
            async {
                world.fresh().await;
                let relay = before_database(world).await;
                let fairlead = start(setup(world, "fail", &relay).with("kubesvc.dynamicAccounts.interceptor.failurePolicy: Fail")).await;
                let port = fairlead.setup.port;
                expect(port, &post("a-first", "1"), 200).await;
                world.rest(&[&fairlead]).await;
                relay.set(Mode::Refuse);
                for request in [post("b-refused", "1"), put("a-first", "2"), delete("a-first")] {
                    let answer = send(port, &request).await;
                    assert_eq!(answer.status, 503, "{}", answer.text());
                    assert!(answer.json()["message"].as_str().is_some_and(|m| !m.is_empty()), "no message: {}", answer.text());
                    // Gate repeats a POST by itself when it reads 0 here.
                    assert!(answer.header("retry-after").is_some_and(|v| v.parse::<u32>().is_ok_and(|s| s > 0)), "{:?}", answer.headers);
                }
                assert_eq!(http::get(port, "/credentials/type/kubernetes").await.expect("an answer").status, 200);
                let ids: Vec<_> = world.cd.ids().await.into_iter().map(|(id, _)| id).collect();
                assert_eq!(ids, ["a-first"]);
                relay.set(Mode::Pass);
                eventually("a change is taken again", Duration::from_secs(30), || async {
                    (send(port, &put("a-first", "3")).await.status == 200).then_some(())
                })
                .await;
                converges(world, &fairlead, &["a-first"]).await;
            },
        )
        .await;
    report
        .case(&world.title("outages: before the first epoch, changes wait for the database (503) and everything else passes"), async {
            world.fresh().await;
            let relay = before_database(world).await;
            relay.set(Mode::Refuse);
            let mut fairlead = Fairlead::spawn(setup(world, "no-epoch", &relay));
            let port = fairlead.setup.port;
            eventually("it serves without its database", Duration::from_secs(30), || async {
                http::get(port, "/credentials/type/kubernetes").await.ok().filter(|a| a.status == 200)
            })
            .await;
            let answer = send(port, &post("early", "1")).await;
            assert_eq!(answer.status, 503, "{}", answer.text());
            assert!(answer.header("retry-after").is_some_and(|v| v != "0"), "{:?}", answer.headers);
            assert!(world.cd.ids().await.is_empty());
            relay.set(Mode::Pass);
            fairlead.ready().await;
            eventually("a change is taken", Duration::from_secs(30), || async {
                (send(port, &post("early", "1")).await.status == 200).then_some(())
            })
            .await;
            converges(world, &fairlead, &["early"]).await;
        })
        .await;
}

/// Changes pass while the database is away, and the process is killed then. `meanwhile`: with its folder, before it starts again.
async fn crashed_while_away(world: &World, name: &str, meanwhile: impl FnOnce(&Path)) -> Fairlead {
    world.fresh().await;
    let relay = before_database(world).await;
    let mut fairlead = start(setup(world, name, &relay)).await;
    let port = fairlead.setup.port;
    expect(port, &post("a-before", "1"), 200).await;
    expect(port, &post("b-deleted", "1"), 200).await;
    world.rest(&[&fairlead]).await;
    relay.set(Mode::Refuse);
    expect(port, &post("c-missed", "1"), 200).await;
    expect(port, &put("a-before", "2"), 200).await;
    expect(port, &delete("b-deleted"), 200).await;
    fairlead.kill();
    meanwhile(&folder(&fairlead.setup.name));
    relay.set(Mode::Pass);
    fairlead.launch_again();
    fairlead.ready().await;
    converges(world, &fairlead, &["a-before", "c-missed"]).await;
    fairlead
}
