//! The scanner with a real Clouddriver, a real agent and a real API server: no POST to Fairlead and no PATCH makes these accounts ACTIVE.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Clusters;
use super::scene::{PATIENCE, QUICK, Scene, definition};
use super::story::lets_go;
use crate::report::Report;
use crate::support::agent::Agent;
use crate::support::databases::{Server, Sql, eventually};
use crate::support::http::Request;
use crate::world::{World, expect};

/// As the documents print it.
const YAML: &str = "kubesvc:
  dynamicAccounts:
    enabled: true
    scan: true
    scanBatchSize: 5
    scanFrequencySeconds: 60
    namePatterns: ['^account1.*','^.*account2.*']
";

const MATCH: [&str; 12] = [
    "account1",
    "account1-a",
    "account10",
    "account11",
    "account12",
    "account13",
    "account2",
    "account20",
    "account2-b",
    "my-account2",
    "x-account2-y",
    "2-account2",
];
const OTHER: [&str; 3] = ["my-account1", "account3", "another"];

/// Straight to Clouddriver.
async fn store(world: &World, name: &str, kubeconfig: &str) {
    expect(world.cd.port, &Request::new("POST", "/credentials").json(definition(name, kubeconfig)), 200).await;
}

pub async fn run(report: &Report, world: &World, clusters: &Clusters) {
    let title = "agents: twelve accounts that Clouddriver had before Fairlead ran become ACTIVE by the documents' patterns, three are untouched; \
                 so does what came past Fairlead while it was down, and what a user took out stays out";
    report
        .case(&world.title(title), async {
            let cluster = &clusters.get().await[0];
            let kubeconfig = cluster.kubeconfig(&cluster.admin);
            world.fresh().await;
            for name in MATCH.iter().chain(&OTHER) {
                store(world, name, &kubeconfig).await;
            }
            let before = world.cd.accounts().await;
            let mut scene = Scene::on(world, world.setup("agents-scanned").with(&format!("{QUICK}\n{YAML}"))).await;
            let agent = Agent::start("one-a", "zone-one", scene.fairlead.setup.grpc_port, "").await;
            for name in MATCH {
                let row = scene.becomes(name, "ACTIVE").await;
                assert_eq!((row.host.as_str(), row.zone.as_str(), row.failed), (cluster.host().as_str(), "zone-one", 0), "{name}");
                let trail = scene.trail(name).await;
                assert_eq!(trail[trail.len().saturating_sub(2)..], ["ACTIVATING", "ACTIVE"], "{name}: {trail:?}");
                assert!(trail.iter().all(|s| ["TO_MIGRATE", "ACTIVATING", "ACTIVE"].contains(&s.as_str())), "{name}: {trail:?}");
            }
            for name in OTHER {
                assert_eq!(scene.row(name).await, None, "{name}");
            }
            assert_eq!(world.cd.accounts().await, before, "Clouddriver's own table is nobody's business");
            assert_eq!(scene.shown("account1").await["origin"], "scanner");

            // Through the proxy: mirrored, and left to the next scan. By hand: left alone.
            scene.store("account1-posted", &kubeconfig).await;
            scene.store("posted", &kubeconfig).await;
            scene.patch("account20", "INACTIVE", None).await;
            scene.becomes("account20", "INACTIVE").await;
            expect(scene.fairlead.setup.port, &Request::new("DELETE", "/armory/accounts/account10"), 202).await;
            scene.goes("account10").await;
            scene.fairlead.kill();
            store(world, "past-account2", &kubeconfig).await;
            scene.fairlead.launch_again();
            scene.fairlead.ready().await;
            for name in ["account1-posted", "past-account2"] {
                scene.becomes(name, "ACTIVE").await;
                let has = || async { agent.has(name).await.then_some(()) };
                eventually(&format!("the agent has {name}"), PATIENCE, has).await;
            }
            assert_eq!(scene.row("posted").await.map(|r| r.status).as_deref(), Some("INACTIVE"));
            assert_eq!(scene.row("account20").await.map(|r| r.status).as_deref(), Some("INACTIVE"));
            assert_eq!(scene.row("account10").await, None);
        })
        .await;
}

/// Most of the scanner's accounts that may be ACTIVATING at once, where there are many.
const BATCH: usize = 20;
/// As long as only a fault takes for hundreds of accounts.
const LONG: Duration = Duration::from_secs(300);

/// Writes rows by SQL as Clouddriver has written one: the same row by other names. `age`: when they were made, in seconds before now.
async fn copy(sql: &Sql, from: &str, names: &[String], age: u64) {
    let row = sql.rows(&format!("select body, last_modified_by from accounts where id = '{from}'")).await;
    let text = |i: usize| row[0][i].clone().unwrap_or_default();
    let (body, by) = (text(0), text(1));
    let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_millis();
    let made = now - u128::from(age) * 1_000;
    for names in names.chunks(50) {
        let values: Vec<String> = names
            .iter()
            .map(|name| {
                let body = body.replace(&format!("\"{from}\""), &format!("\"{name}\""));
                format!("('{name}', 'kubernetes', {}, {made}, {made}, {})", sql.quoted(&body), sql.quoted(&by))
            })
            .collect();
        sql.exec(&format!(
            "insert into accounts (id, type, body, created_at, last_modified_at, last_modified_by) values {}",
            values.join(", ")
        ))
        .await;
    }
}

/// Changes a row's definition behind everybody's back, and leaves its times as they are.
async fn note(sql: &Sql, name: &str, note: &str) {
    let rows = sql.rows(&format!("select body from accounts where id = '{name}'")).await;
    let Some(body) = rows.first().and_then(|r| r[0].clone()) else { return };
    let mut body: Value = serde_json::from_str(&body).expect("JSON");
    body["environment"] = note.into();
    sql.exec(&format!("update accounts set body = {} where id = '{name}'", sql.quoted(&body.to_string()))).await;
}

/// Names and definitions, as values.
fn values(rows: Vec<Vec<Option<String>>>) -> BTreeMap<String, Value> {
    let value = |text: &Option<String>| serde_json::from_str(text.as_deref().unwrap_or_default()).expect("JSON");
    rows.into_iter().map(|r| (r[0].clone().unwrap_or_default(), value(&r[1]))).collect()
}

/// Hundreds of accounts that Clouddriver's table had before, and what is done to that table while they are found.
pub async fn many(report: &Report, world: &World, clusters: &Clusters) {
    let many = if world.server() == Server::MariaDb && !world.cd.generation.is_old() { 500 } else { 60 };
    let title = format!(
        "agents: {many} accounts that Clouddriver had before are ACTIVE by the scanner, though it is killed meanwhile and rows come, go and \
         change between its pages; never more at once than scanBatchSize"
    );
    report
        .case(&world.title(&title), async {
            let cluster = &clusters.get().await[0];
            world.fresh().await;
            store(world, "prod-model", &cluster.kubeconfig(&cluster.admin)).await;
            let sql = world.admin();
            let names: Vec<String> = (0..many).map(|n| format!("prod-{n:03}")).collect();
            // Long before: what Clouddriver stored just before is taken for what passed while nobody remembered.
            copy(sql, "prod-model", &names, 3_600).await;
            let keys = format!(
                "kubesvc.dynamicAccounts: {{ retryFrequencySeconds: 1, maxRetries: 40, scanBatchSize: {BATCH}, scanFrequencySeconds: 1, \
                 fullScanFrequencySeconds: 5, scanPageSize: 7, scanDeletes: true, maxDeletesPerPass: 10000, namePatterns: ['prod-.*'] }}"
            );
            let mut scene = Scene::on(world, world.setup("agents-many").lease(Duration::from_secs(2)).with(&keys)).await;
            let agent = Agent::start("many-a", "zone-one", scene.fairlead.setup.grpc_port, "").await;

            // Beside what stays: rows that come, go, change, and are another type for a while.
            let stop = CancellationToken::new();
            let writer = {
                let (sql, stop, seed) = (sql.clone(), stop.clone(), fastrand::u64(..));
                println!("        seed {seed}");
                tokio::spawn(async move {
                    let (mut chance, mut n) = (fastrand::Rng::with_seed(seed), 0_u32);
                    while !stop.is_cancelled() {
                        let name = format!("prod-{:03}-{}", chance.usize(..many), chance.char('a'..='c'));
                        match chance.u8(..4) {
                            0 => drop(sql.exec(&format!("delete from accounts where id = '{name}'")).await),
                            1 => note(&sql, &name, &n.to_string()).await,
                            2 => drop(sql.exec(&format!("update accounts set type = 'aws' where id = '{name}'")).await),
                            _ => {
                                sql.exec(&format!("delete from accounts where id = '{name}'")).await;
                                copy(&sql, "prod-model", &[name], 0).await;
                            }
                        }
                        n += 1;
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                })
            };
            let count = |condition: &'static str| async move {
                sql.number(&format!("select count(*) from kubesvc_accounts where {condition}")).await
            };
            let least = i64::try_from(many / 4).expect("few");
            for share in 1..=2 {
                let begun = || async { (count("status = 'ACTIVE' and length(name) = 8").await >= share * least).then_some(()) };
                eventually("some are ACTIVE", LONG, begun).await;
                scene.fairlead.kill();
                if share == 2 {
                    // Nobody of ours sees this.
                    copy(sql, "prod-model", &["prod-while-down".to_owned()], 0).await;
                    note(sql, "prod-001", "while down").await;
                    sql.exec("delete from accounts where id = 'prod-000'").await;
                }
                scene.fairlead.launch_again();
                scene.fairlead.ready().await;
            }
            stop.cancel();
            writer.await.expect("no panic");
            let wanted: BTreeSet<String> = world
                .cd
                .accounts()
                .await
                .into_iter()
                .filter(|a| a.type_ == "kubernetes" && a.id.starts_with("prod-"))
                .map(|a| a.id)
                .collect();
            let start = Instant::now();
            loop {
                let active = sql.rows("select name from kubesvc_accounts where status = 'ACTIVE'").await;
                let active: BTreeSet<String> = active.into_iter().filter_map(|mut r| r[0].take()).collect();
                let rows = count("1 = 1").await;
                if active == wanted && rows == i64::try_from(wanted.len()).expect("few") {
                    break;
                }
                let missing: Vec<_> = wanted.symmetric_difference(&active).take(10).collect();
                assert!(start.elapsed() < LONG, "{rows} rows; not as in Clouddriver: {missing:?}\n{}", scene.fairlead.log_tail());
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            let theirs = || async { values(sql.rows("select id, body from accounts where type = 'kubernetes'").await) };
            let ours = || async { values(sql.rows("select name, definition from kubesvc_accounts").await) };
            let same = || async { (ours().await == theirs().await).then_some(()) };
            eventually("each definition is Clouddriver's", PATIENCE, same).await;
            let has = || async {
                let has = agent.accounts().await.to_string();
                wanted.iter().all(|name| has.contains(&format!("\"{name}\""))).then_some(())
            };
            eventually("the agent has them all", PATIENCE, has).await;
            lets_go(&agent, "prod-000").await;

            // What was there all the time has entered once and has never left; and never were too many on their way.
            let (mut way, mut most) = (BTreeSet::new(), 0);
            let mut lives: BTreeMap<String, u32> = BTreeMap::new();
            for row in sql.rows("select name, status from e2e_trail order by id").await {
                let [Some(name), Some(status)] = &row[..] else { panic!("{row:?}") };
                // What enters by looking after a gap is not the scanner's.
                if status == "ACTIVATING" && name.len() == "prod-000".len() {
                    way.insert(name.clone())
                } else {
                    way.remove(name)
                };
                most = most.max(way.len());
                *lives.entry(name.clone()).or_default() += u32::from(status == "gone");
            }
            assert!(most <= BATCH, "{most} were ACTIVATING at once");
            for name in names.iter().skip(1) {
                assert_eq!(lives.get(name), Some(&0), "{name} left the mirror");
            }
            scene.fairlead.drain().await;
        })
        .await;
}
