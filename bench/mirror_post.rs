//! What does the mirror cost, and how soon is it there? On real Clouddrivers, as `FAIRLEAD_E2E_CLOUDDRIVER` names them.
//!
//! For each Clouddriver on each database: POSTs of new accounts, alternating in one run between Clouddriver itself and Fairlead in
//! front of it (which goes first alternates too), so that whatever else the machine does falls on both alike. Then, for further
//! POSTs through Fairlead, the time from the answer's last byte until the row is seen in `kubesvc_accounts`.
//!
//! `FAIRLEAD_BENCH_PAIRS` (300) and `FAIRLEAD_BENCH_LAGS` (300) say how many. `make bench` runs it.
#![allow(clippy::print_stdout, missing_docs)]

use std::time::{Duration, Instant};

#[path = "../tests/support/mod.rs"]
mod support;

use support::clouddriver::{Clouddriver, Generation};
use support::databases::{SERVERS, Sql};
use support::http::{Connection, Request};
use support::process::{Fairlead, Setup};

/// Pairs that are run and thrown away: Clouddriver's JVM compiles what it runs often.
const WARM_UP: usize = 200;

/// A mirrored POST may take this much of a direct one, in the median.
const RATIO_GOAL: f64 = 1.05;

/// The mirror may be this late.
const LAG_GOAL: Duration = Duration::from_millis(50);

/// A row that is not there by then is a fault and no measurement.
const LAG_BOUND: Duration = Duration::from_secs(30);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let generations = Generation::from_environment();
    assert!(!generations.is_empty(), "FAIRLEAD_E2E_CLOUDDRIVER names no Clouddriver to measure against; docs/testing.md says how");
    let (pairs, lags) = (count("FAIRLEAD_BENCH_PAIRS"), count("FAIRLEAD_BENCH_LAGS"));
    for generation in &generations {
        for server in SERVERS {
            let mut clouddriver = Clouddriver::start(generation, server, "").await;
            let user = clouddriver.database.fairlead_user().await;
            let setup = Setup::new(&format!("bench-{}-{}", generation.name, server.word()), clouddriver.port)
                .database(&clouddriver.database.jdbc(), &user)
                .with("fairlead.logging.level: warn");
            let mut fairlead = Fairlead::start(setup).await;
            let setup = Setup::new(&format!("bench-{}-{}-off", generation.name, server.word()), clouddriver.port)
                .with("fairlead.logging.level: warn")
                .with("kubesvc.dynamicAccounts.interceptor.enabled: false");
            let mut hop = Fairlead::start(setup).await;
            let mut bench = Bench {
                direct: Client::open(clouddriver.port).await,
                passed: Client::open(hop.setup.port).await,
                proxied: Client::open(fairlead.setup.port).await,
                posted: 0,
            };
            println!("\n{}", clouddriver.title());
            bench.ratio(pairs).await;
            bench.lag(lags, &clouddriver.database.admin).await;
            let metrics = support::http::get(fairlead.setup.admin_port, "/metrics").await.map(|a| a.text()).unwrap_or_default();
            for line in metrics.lines().filter(|l| l.contains("journal_wait") && !l.starts_with('#')) {
                println!("  {line}");
            }
            assert!(fairlead.drain().await.success(), "an orderly end:\n{}", fairlead.log_tail());
            assert!(hop.drain().await.success(), "an orderly end:\n{}", hop.log_tail());
        }
    }
}

fn count(key: &str) -> usize {
    match std::env::var(key) {
        Ok(text) => text.parse().ok().filter(|n| *n > 0).unwrap_or_else(|| panic!("{key}: {text} is no number above 0")),
        Err(_) => 300,
    }
}

struct Bench {
    direct: Client,
    /// Through a Fairlead whose interceptor is off: what the hop alone costs.
    passed: Client,
    proxied: Client,
    posted: usize,
}

impl Bench {
    fn name(&mut self) -> String {
        self.posted += 1;
        format!("bench-{}", self.posted)
    }

    async fn ratio(&mut self, pairs: usize) {
        let mut direct = Vec::with_capacity(pairs);
        let mut passed = Vec::with_capacity(pairs);
        let mut proxied = Vec::with_capacity(pairs);
        for pair in 0..WARM_UP + pairs {
            // Each follows each of the others equally often.
            let order = [[0, 1, 2], [2, 1, 0], [1, 0, 2], [2, 0, 1], [1, 2, 0], [0, 2, 1]][pair % 6];
            for which in order {
                let name = self.name();
                let (client, into) = match which {
                    0 => (&mut self.direct, &mut direct),
                    1 => (&mut self.passed, &mut passed),
                    _ => (&mut self.proxied, &mut proxied),
                };
                let took = client.post(&name).await.as_secs_f64();
                if pair >= WARM_UP {
                    into.push(took);
                }
            }
        }
        let mut ratios: Vec<f64> = proxied.iter().zip(&direct).map(|(p, d)| p / d).collect();
        let (direct, passed, proxied) = (sorted(&mut direct), sorted(&mut passed), sorted(&mut proxied));
        let ratio = at(proxied, 0.5) / at(direct, 0.5);
        print("direct POST", direct);
        print("passed POST", passed);
        print("mirrored POST", proxied);
        println!("  ratio of medians, interceptor off: {:.3}", at(passed, 0.5) / at(direct, 0.5));
        let ratios = sorted(&mut ratios);
        println!(
            "  ratio of medians {ratio:.3} (goal at most {RATIO_GOAL}: {}); pair by pair: median {:.3}, quartiles {:.3} to {:.3}; {pairs} pairs",
            verdict(ratio <= RATIO_GOAL),
            at(ratios, 0.5),
            at(ratios, 0.25),
            at(ratios, 0.75),
        );
    }

    /// One POST at a time; the table is asked again at once, so a lag is at most one question too long.
    async fn lag(&mut self, lags: usize, table: &Sql) {
        let mut waited = Vec::with_capacity(lags);
        let mut question = Vec::new();
        for _ in 0..lags {
            let name = self.name();
            let sql = format!("select count(*) from kubesvc_accounts where name = '{name}'");
            self.proxied.post(&name).await;
            let answered = Instant::now();
            loop {
                let asked = Instant::now();
                let seen = table.number(&sql).await > 0;
                question.push(asked.elapsed().as_secs_f64());
                if seen {
                    break;
                }
                assert!(answered.elapsed() < LAG_BOUND, "{name} is not mirrored after {LAG_BOUND:?}");
            }
            waited.push(answered.elapsed().as_secs_f64());
        }
        let waited = sorted(&mut waited);
        print("lag of the mirror", waited);
        println!(
            "  p99 {:.2} ms (goal at most {} ms: {}); {lags} changes, a question to the table takes {:.2} ms in the median",
            at(waited, 0.99) * 1e3,
            LAG_GOAL.as_millis(),
            verdict(at(waited, 0.99) <= LAG_GOAL.as_secs_f64()),
            at(sorted(&mut question), 0.5) * 1e3,
        );
    }
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

fn print(what: &str, sorted: &[f64]) {
    println!(
        "  {what:<18} p50 {:>7.2} ms   p90 {:>7.2} ms   p99 {:>7.2} ms   max {:>7.2} ms",
        at(sorted, 0.5) * 1e3,
        at(sorted, 0.9) * 1e3,
        at(sorted, 0.99) * 1e3,
        at(sorted, 1.0) * 1e3,
    );
}

fn sorted(values: &mut [f64]) -> &[f64] {
    values.sort_by(f64::total_cmp);
    values
}

/// The value below which that share of the values lies (nearest rank).
fn at(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted[rank.min(sorted.len()) - 1]
}

/// A kept connection, opened again when the server has closed it.
struct Client {
    port: u16,
    connection: Connection,
}

impl Client {
    async fn open(port: u16) -> Self {
        Self { port, connection: Connection::open(port).await.expect("a listener") }
    }

    async fn post(&mut self, name: &str) -> Duration {
        let body = format!(r#"{{"type":"kubernetes","name":"{name}","kubeconfigContents":"apiVersion: v1\nkind: Config\n"}}"#);
        let request = Request::new("POST", "/credentials").header("X-SPINNAKER-USER", "bench").json(body);
        let start = Instant::now();
        let answer = self.connection.call(&request).await.expect("an answer");
        let took = start.elapsed();
        assert!(answer.is_success(), "POST of {name}: {} {}", answer.status, answer.text());
        if answer.closes {
            *self = Self::open(self.port).await;
        }
        took
    }
}
