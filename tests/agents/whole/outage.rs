//! Fairlead's database stands still, or dies and comes back, in the middle of activations. The server is the test's own.

use std::collections::BTreeMap;
use std::time::Duration;

use fairlead::store::Db;
use serde_json::Value;

use super::rig::{PATIENCE, Whole, names};
use crate::support::agent::Agent;
use crate::support::databases::{Server, eventually, pool_config};
use crate::support::process::{Setup, free_port};
use crate::support::server::{self, OwnServer};

const ACCOUNTS: usize = 16;
const ROUNDS: usize = 8;

async fn comes_back(server: Server) {
    let name = format!("whole-outage-{}-{}", server.word(), free_port());
    let mut own = OwnServer::start(server, &name, None).await;
    fairlead::demo::create_accounts_table(&Db::open(&pool_config(&own.url()))).await.expect("Clouddriver's table");
    let whole = Whole::start(Setup::new(&name, free_port()).database(&own.jdbc_at(own.port), server::NAME)).await;
    let (a, b) = (Agent::start("a", "z1", whole.grpc_port(), "").await, Agent::start("b", "z1", whole.grpc_port(), "").await);
    whole.connected(&[&a, &b]).await;
    let all = names("account", ACCOUNTS);
    whole.create(&all, "z1").await;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    // A wish that was not answered by 202 may have been noted or not.
    let mut wanted: BTreeMap<String, Vec<&str>> = all.iter().map(|name| (name.clone(), vec!["INACTIVE"])).collect();
    for round in 0..ROUNDS {
        let mut some = all.clone();
        chance.shuffle(&mut some);
        let outage = Duration::from_millis(chance.u64(0..150));
        let (asked, ()) = tokio::join!(
            async {
                let mut asked = Vec::new();
                for names in some[..ACCOUNTS * 3 / 4].chunks(3) {
                    let state = *chance.choice(&["ACTIVE", "ACTIVE", "INACTIVE"]).expect("one of three");
                    asked.push((names.to_vec(), state, whole.wish(names, state).await));
                }
                asked
            },
            async {
                tokio::time::sleep(outage).await;
                if round % 4 == 0 {
                    own.pause().await;
                    tokio::time::sleep(Duration::from_millis(1_500)).await;
                    own.resume();
                } else {
                    own.kill();
                    own.restart().await;
                }
            }
        );
        for (names, state, noted) in asked {
            for name in names {
                let states = wanted.get_mut(&name).expect("there");
                if noted {
                    states.clear();
                }
                states.push(state);
            }
        }
    }
    let is = |account: Option<&Value>, states: &Vec<&str>| account.and_then(|a| a["status"].as_str()).is_some_and(|s| states.contains(&s));
    whole.until(&format!("at rest as wanted: {wanted:?}"), |found| wanted.iter().all(|(name, states)| is(found.get(name), states))).await;
    // Now each wish is known to be noted.
    assert!(whole.wish(&all, "ACTIVE").await);
    whole.become_active(&all).await;
    whole.held(&all, &["a", "b"]).await;
    assert!(whole.wish(&all, "INACTIVE").await);
    whole.until("all are INACTIVE", |found| all.iter().all(|name| is(found.get(name), &vec!["INACTIVE"]))).await;
    for agent in [&a, &b] {
        for name in &all {
            eventually(&format!("{} lets go of {name}", agent.id), PATIENCE, || async { (!agent.has(name).await).then_some(()) }).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mariadb_that_stands_still_or_dies_amid_activations_loses_no_wish() {
    comes_back(Server::MariaDb).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_that_stands_still_or_dies_amid_activations_loses_no_wish() {
    comes_back(Server::Postgres).await;
}
