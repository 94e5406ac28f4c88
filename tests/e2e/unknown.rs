//! Outcomes that nobody heard, one by one: each was measured on a real Clouddriver. The storms have them all at once.

use std::time::Duration;

use super::report::Report;
use super::storm::hold_row;
use super::world::{World, definition, delete, expect, post, put, same_value, send, start};
use crate::support::databases::eventually;
use crate::support::http::{Connection, Request};
use crate::support::process::Fairlead;
use crate::support::relay::{Mode, Relay};

async fn stored(world: &World, name: &str) -> Option<String> {
    world.cd.accounts().await.into_iter().find(|a| a.id == name).map(|a| a.body)
}

/// The mirror has this name as Clouddriver has it, or neither has it.
async fn agrees(world: &World, fairlead: &Fairlead, name: &str, there: bool) {
    world.rest(&[fairlead]).await;
    match (stored(world, name).await, world.mirrored(name).await) {
        (Some(body), Some(row)) => {
            assert!(there, "{name} is still there");
            assert!(same_value(&row.definition, &body), "{name}: another definition\n{}", fairlead.log_tail());
        }
        (None, None) => assert!(!there, "{name} is nowhere"),
        (stored, mirrored) => {
            panic!("{name}: stored {}, mirrored {}\n{}", stored.is_some(), mirrored.is_some(), fairlead.log_tail())
        }
    }
}

/// Sends a request while the answers to Clouddriver's commits are lost; answers the status that the client heard.
async fn with_lost_commit(world: &World, port: u16, request: &Request) -> u16 {
    let before = world.cd.before_database.lost();
    world.cd.before_database.set(Mode::LoseCommits);
    let answer = send(port, request).await;
    world.cd.before_database.set(Mode::Pass);
    assert!(answer.status >= 400, "no commit was lost: {}", answer.status);
    assert!(world.cd.before_database.lost() > before, "no commit was lost");
    answer.status
}

pub async fn run(report: &Report, world: &World) {
    report
        .case(&world.title("unknown: an error after a commit (400 or 500) is not taken for a refusal"), async {
            let fairlead = world.fresh_fairlead("lost-commit").await;
            let port = fairlead.setup.port;
            let heard = with_lost_commit(world, port, &post("unheard-of", "1")).await;
            assert!(stored(world, "unheard-of").await.is_some(), "Clouddriver's transaction was not committed");
            println!("        {}: a POST that was committed is answered {heard}", world.place);
            agrees(world, &fairlead, "unheard-of", true).await;
            with_lost_commit(world, port, &put("unheard-of", "2")).await;
            assert!(stored(world, "unheard-of").await.is_some_and(|b| b.contains("\"2\"")), "the PUT was not committed");
            agrees(world, &fairlead, "unheard-of", true).await;
            with_lost_commit(world, port, &delete("unheard-of")).await;
            agrees(world, &fairlead, "unheard-of", false).await;
            // Clouddriver's pool is well again.
            eventually("Clouddriver takes changes again", Duration::from_secs(30), || async {
                (send(port, &post("afterwards", "1")).await.status == 200).then_some(())
            })
            .await;
            agrees(world, &fairlead, "afterwards", true).await;
        })
        .await;
    report
        .case(&world.title("unknown: a row that comes seconds after its client has left enters the mirror, also over a crash"), async {
            world.fresh().await;
            let mut fairlead = start(world.setup("late").stormy()).await;
            let port = fairlead.setup.port;
            for crash in [false, true] {
                let name = format!("late-{crash}");
                let held = hold_row(&world.cd, &name).await;
                let mut client = Connection::open(port).await.expect("Fairlead takes connections");
                client.send(&post(&name, "1").bytes()).await.expect("Fairlead reads");
                tokio::time::sleep(Duration::from_millis(500)).await;
                drop(client);
                if crash {
                    fairlead.kill();
                    fairlead.launch_again();
                    fairlead.ready().await;
                }
                tokio::time::sleep(Duration::from_millis(2500)).await;
                assert!(world.mirrored(&name).await.is_none(), "{name} is mirrored before it is there");
                held.release().await;
                eventually("Clouddriver commits", Duration::from_secs(10), || async { stored(world, &name).await }).await;
                agrees(world, &fairlead, &name, true).await;
                assert!(!world.mirrored(&name).await.expect("it is there").after_gap, "{name} was journalled, so it is no row of a gap");
            }
        })
        .await;
    report
        .case(&world.title("unknown: an answer that is lost on its way from Clouddriver is a 502, and the change is mirrored"), async {
            world.fresh().await;
            let relay = Relay::start("127.0.0.1", world.cd.port).await;
            let mut setup = world.setup("lost-answer");
            setup.clouddriver_port = relay.port;
            let fairlead = start(setup).await;
            let port = fairlead.setup.port;
            for request in [post("unheard", "1"), put("unheard", "2"), delete("unheard")] {
                relay.set(Mode::LoseAnswers);
                expect(port, &request, 502).await;
                relay.set(Mode::Pass);
                agrees(world, &fairlead, "unheard", request.method != "DELETE").await;
            }
        })
        .await;
    report
        .case(&world.title("unknown: a client that leaves does not take its change with it"), async {
            let fairlead = world.fresh_fairlead("leaves").await;
            let port = fairlead.setup.port;
            // At once, and in the middle of a body whose document is complete already (Clouddriver acts on it).
            let mut client = Connection::open(port).await.expect("Fairlead takes connections");
            client.send(&post("left", "1").bytes()).await.expect("Fairlead reads");
            drop(client);
            let padded = Request::new("POST", "/credentials")
                .header("Content-Length", &(definition("half", "1").to_string().len() + 4000).to_string())
                .json(definition("half", "1").to_string());
            let mut client = Connection::open(port).await.expect("Fairlead takes connections");
            client.send(&padded.bytes()).await.expect("Fairlead reads");
            tokio::time::sleep(Duration::from_millis(300)).await;
            drop(client);
            tokio::time::sleep(Duration::from_millis(300)).await;
            for name in ["left", "half"] {
                let there = stored(world, name).await.is_some();
                agrees(world, &fairlead, name, there).await;
            }
        })
        .await;
}
