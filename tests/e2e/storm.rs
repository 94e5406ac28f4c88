//! Crash storms: several clients on the same names, and everything that was seen to go wrong, at once.
//!
//! Each change carries a mark in its definition. Clouddriver's history tells which change began the life of each row, so the
//! oracle does not have to guess from what clients heard: a row begun by a POST that went through Fairlead is in the mirror; one
//! begun by a PUT is not, unless a POST or DELETE of its name had an outcome that was not known; and every mirrored row is equal
//! to Clouddriver's.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::report::Report;
use super::world::{MirrorRow, World, delete, mirror, post, put, put_named, same_value, start};
use crate::support::clouddriver::{Clouddriver, StoredAccount};
use crate::support::databases::Sql;
use crate::support::http::{Connection, Request};
use crate::support::process::{Fairlead, UNKNOWN_WINDOW};
use crate::support::relay::{Mode, Relay};
use crate::support::rest::rest;

/// How much of what.
#[derive(Clone, Debug)]
pub struct Plan {
    pub names: u32,
    pub clients: u32,
    /// Changes that are sent at least.
    pub changes: u32,
    /// Crashes (with other faults around them).
    pub rounds: u32,
    /// Fairlead reads Clouddriver by its API and keeps its tables in SQLite.
    pub by_api: bool,
    pub seed: u64,
}

impl Default for Plan {
    fn default() -> Self {
        let seed = std::env::var("FAIRLEAD_E2E_SEED").ok().and_then(|v| v.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
        Self { names: 12, clients: 6, changes: 150, rounds: 6, by_api: false, seed }
    }
}

pub async fn short(report: &Report, world: &World) {
    report
        .case(&world.title("storm: 150 changes over 6 crashes, with late rows, lost answers, cut connections and pauses"), async {
            world.fresh().await;
            let relay = Relay::start("127.0.0.1", world.cd.port).await;
            let mut setup = world.setup("storm").stormy();
            setup.clouddriver_port = relay.port;
            let fairlead = start(setup).await;
            storm_with(world, vec![fairlead], Some(&relay), Plan::default()).await;
        })
        .await;
}

pub async fn long(report: &Report, world: &World) {
    report
        .case(&world.title("storm: 1,200 changes over 54 crashes, with late rows, lost answers, cut connections and pauses"), async {
            world.fresh().await;
            let relay = Relay::start("127.0.0.1", world.cd.port).await;
            let mut setup = world.setup("storm-long").stormy();
            setup.clouddriver_port = relay.port;
            let fairlead = start(setup).await;
            let plan = Plan { names: 24, clients: 6, changes: 1200, rounds: 54, ..Plan::default() };
            storm_with(world, vec![fairlead], Some(&relay), plan).await;
        })
        .await;
    report
        .case(&world.title("storm: 1,000 changes over 20 crashes of two replicas"), async {
            world.fresh().await;
            let fairleads = vec![start(world.setup("storm-two-1").stormy()).await, start(world.setup("storm-two-2").stormy()).await];
            storm(world, fairleads, Plan { names: 8, clients: 6, changes: 1000, rounds: 20, ..Plan::default() }).await;
        })
        .await;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Post,
    Put,
    PutNamed,
    Delete,
}

const KINDS: [Kind; 4] = [Kind::Post, Kind::Put, Kind::PutNamed, Kind::Delete];

/// What the client knows of a change's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// 2xx.
    Done,
    /// An answer which proves that nothing was stored.
    Refused,
    /// No answer, or one that proves nothing.
    Unknown,
    /// It cannot have reached Clouddriver.
    NotSent,
}

#[derive(Clone, Debug)]
struct Change {
    kind: Kind,
    name: String,
    sent: Instant,
    ended: Instant,
    heard: Heard,
}

struct Shared {
    ports: Vec<u16>,
    names: u32,
    changes: u32,
    counted: AtomicU32,
    next: AtomicU32,
    /// Held while the faults go on: clients continue until both the changes and the rounds are through.
    faults_over: AtomicBool,
    log: Mutex<HashMap<u32, Change>>,
}

/// Without a relay before Clouddriver.
pub async fn storm(world: &World, fairleads: Vec<Fairlead>, plan: Plan) {
    storm_with(world, fairleads, None, plan).await;
}

async fn storm_with(world: &World, mut fairleads: Vec<Fairlead>, relay: Option<&Relay>, plan: Plan) {
    println!("        {}: seed {}", fairleads[0].setup.name, plan.seed);
    let shared = Arc::new(Shared {
        ports: fairleads.iter().map(|f| f.setup.port).collect(),
        names: plan.names,
        changes: plan.changes,
        counted: AtomicU32::new(0),
        next: AtomicU32::new(0),
        faults_over: AtomicBool::new(plan.rounds == 0),
        log: Mutex::default(),
    });
    let mut clients = tokio::task::JoinSet::new();
    for i in 0..plan.clients {
        clients.spawn(client(shared.clone(), plan.seed.wrapping_add(u64::from(i))));
    }
    let late = faults(world, &mut fairleads, relay, &plan, &shared).await;
    shared.faults_over.store(true, Ordering::SeqCst);
    while let Some(ended) = clients.join_next().await {
        ended.expect("a client ends well");
    }
    for row in late {
        row.await.expect("a held row is let go");
    }
    let sql = if plan.by_api { super::api_mode::sqlite(&fairleads[0]) } else { world.admin().clone() };
    rest(&sql, &fairleads.iter().collect::<Vec<_>>()).await;

    let log = shared.log.lock().expect("no client panicked").clone();
    let verdict = judge(&log, &world.cd.accounts().await, &history(world.admin()).await, &mirror(&sql).await, plan.by_api);
    let kinds: Vec<_> = KINDS.iter().map(|k| log.values().filter(|c| c.kind == *k && c.heard != Heard::NotSent).count()).collect();
    let sent: usize = kinds.iter().sum();
    println!(
        "        {}: {sent} changes (POST {}, PUT {}, PUT by name {}, DELETE {}), {} done, {} unknown; {} rows, {} mirrored, {} tolerated{}",
        fairleads[0].setup.name,
        kinds[0],
        kinds[1],
        kinds[2],
        kinds[3],
        log.values().filter(|c| c.heard == Heard::Done).count(),
        log.values().filter(|c| c.heard == Heard::Unknown).count(),
        verdict.rows,
        verdict.mirrored,
        verdict.tolerated,
        relay.map(|r| format!(", {} answers and {} commits lost", r.lost(), world.cd.before_database.lost())).unwrap_or_default()
    );
    assert!(sent >= plan.changes as usize, "only {sent} changes were sent");
    assert!(kinds.iter().all(|k| k * 5 >= sent), "a kind has less than a fifth: {kinds:?}");
    assert!(
        verdict.wrong.is_empty(),
        "seed {}:\n  {}\n{}",
        plan.seed,
        verdict.wrong.join("\n  "),
        fairleads.iter().map(Fairlead::log_tail).collect::<Vec<_>>().join("\n----\n")
    );
}

async fn client(shared: Arc<Shared>, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    while shared.counted.load(Ordering::SeqCst) < shared.changes || !shared.faults_over.load(Ordering::SeqCst) {
        let port = shared.ports[rng.usize(..shared.ports.len())];
        let Ok(mut connection) = Connection::open(port).await else {
            tokio::time::sleep(Duration::from_millis(15)).await;
            continue;
        };
        let id = shared.next.fetch_add(1, Ordering::SeqCst);
        // One after another, so that each kind has its quarter; names at random.
        let kind = KINDS[id as usize % 4];
        let name = format!("storm{}", rng.u32(..shared.names));
        let mark = format!("op-{id}");
        let request = match kind {
            Kind::Post => post(&name, &mark),
            Kind::Put => put(&name, &mark),
            Kind::PutNamed => put_named(&name, &mark),
            Kind::Delete => delete(&name),
        };
        let sent = Instant::now();
        let heard = speak(&mut connection, &request, &mut rng).await;
        let change = Change { kind, name, sent, ended: Instant::now(), heard };
        if heard != Heard::NotSent {
            shared.counted.fetch_add(1, Ordering::SeqCst);
        }
        shared.log.lock().expect("no client panicked").insert(id, change);
        if shared.counted.load(Ordering::SeqCst) >= shared.changes {
            // Only the faults are waited for: go on, but slowly.
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    }
}

async fn speak(connection: &mut Connection, request: &Request, rng: &mut fastrand::Rng) -> Heard {
    let bytes = request.bytes();
    match rng.u32(..100) {
        // Leaves after a moment, without waiting for the answer.
        0..8 => {
            let _ = connection.send(&bytes).await;
            tokio::time::sleep(Duration::from_millis(rng.u64(..12))).await;
            return Heard::Unknown;
        }
        // Promises more than it sends: Clouddriver acts on a document before the body has ended.
        8..12 if request.body.is_some() => {
            let mut longer = request.clone();
            let length = longer.body.as_ref().map_or(0, Vec::len) + 64;
            longer = longer.header("Content-Length", &length.to_string());
            let _ = connection.send(&longer.bytes()).await;
            tokio::time::sleep(Duration::from_millis(5 + rng.u64(..25))).await;
            return Heard::Unknown;
        }
        // Breaks off in the middle of the body.
        12..14 => {
            let _ = connection.send(&bytes[..bytes.len() * 9 / 10]).await;
            tokio::time::sleep(Duration::from_millis(rng.u64(..5))).await;
            return Heard::Unknown;
        }
        _ => {}
    }
    match connection.call(request).await {
        Ok(answer) if answer.is_success() => Heard::Done,
        // Fairlead's own: nothing was forwarded.
        Ok(answer) if answer.status == 503 => Heard::NotSent,
        Ok(answer) if [401, 403, 404, 405, 406, 411, 413, 415].contains(&answer.status) => Heard::Refused,
        Ok(answer) if answer.status == 400 && !answer.text().contains("SqlAccountDefinitionException") => Heard::Refused,
        Ok(_) | Err(_) => Heard::Unknown,
    }
}

/// Crashes, and around each another of the faults that were measured. Gives back the rows that are still held.
async fn faults(
    world: &World,
    fairleads: &mut [Fairlead],
    relay: Option<&Relay>,
    plan: &Plan,
    shared: &Arc<Shared>,
) -> Vec<tokio::task::JoinHandle<()>> {
    let mut rng = fastrand::Rng::with_seed(plan.seed ^ 0x5eed);
    let mut late = Vec::new();
    for round in 0..plan.rounds {
        // Under load: so many changes were sent since the last crash.
        let due = (round + 1) * plan.changes / (plan.rounds + 1);
        let waited = Instant::now();
        while shared.counted.load(Ordering::SeqCst) < due && waited.elapsed() < Duration::from_secs(120) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let which = rng.usize(..fairleads.len());
        match round % 6 {
            1 => late.push(late_row(world, fairleads[which].setup.port, round, shared).await),
            2 => {
                // Commits that Clouddriver never hears of, and then all its connections.
                world.cd.before_database.set(Mode::LoseCommits);
                tokio::time::sleep(Duration::from_millis(40 + rng.u64(..100))).await;
                world.cd.before_database.set(Mode::Pass);
                world.cd.cut_database_connections().await;
                tokio::time::sleep(Duration::from_millis(rng.u64(..40))).await;
            }
            3 => {
                if let Some(relay) = relay {
                    relay.set(Mode::LoseAnswers);
                    tokio::time::sleep(Duration::from_millis(150)).await;
                    relay.set(Mode::Pass);
                    relay.cut();
                }
            }
            4 => {
                // Longer than the lease, and longer than a journalled change may wait until it is forwarded (half the window).
                fairleads[which].pause().await;
                tokio::time::sleep(UNKNOWN_WINDOW / 2 + Duration::from_millis(600)).await;
                fairleads[which].resume();
                tokio::time::sleep(Duration::from_millis(rng.u64(..60))).await;
            }
            _ => {}
        }
        let fairlead = &mut fairleads[which];
        note_kill();
        fairlead.kill();
        fairlead.launch_again();
        if round % 6 == 5 {
            // Again, while it recovers.
            tokio::time::sleep(Duration::from_millis(rng.u64(..200))).await;
            note_kill();
            fairlead.kill();
            fairlead.launch_again();
        }
        fairlead.ready().await;
    }
    late
}

/// A POST whose row another transaction holds; the client leaves, Fairlead may die, and the row comes seconds later, with the time
/// of its beginning.
async fn late_row(world: &World, port: u16, round: u32, shared: &Arc<Shared>) -> tokio::task::JoinHandle<()> {
    let name = format!("late{round}");
    let held = hold_row(&world.cd, &name).await;
    let id = shared.next.fetch_add(1, Ordering::SeqCst);
    let sent = Instant::now();
    let mut heard = Heard::NotSent;
    if let Ok(mut connection) = Connection::open(port).await {
        let _ = connection.send(&post(&name, &format!("op-{id}")).bytes()).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        heard = Heard::Unknown;
    }
    let change = Change { kind: Kind::Post, name: name.clone(), sent, ended: Instant::now(), heard };
    shared.log.lock().expect("no client panicked").insert(id, change);
    tokio::spawn(async move {
        // Below the window for unknown outcomes, far above the lease.
        tokio::time::sleep(UNKNOWN_WINDOW - Duration::from_millis(3500)).await;
        held.release().await;
        // And then Clouddriver has to commit.
        tokio::time::sleep(Duration::from_millis(500)).await;
    })
}

/// A row that another transaction holds.
pub enum Held {
    MariaDb(sqlx::Transaction<'static, sqlx::MySql>),
    Postgres(sqlx::Transaction<'static, sqlx::Postgres>),
}

impl Held {
    /// Lets it go: whoever waited for the row goes on.
    pub async fn release(self) {
        let _ = match self {
            Self::MariaDb(t) => t.rollback().await,
            Self::Postgres(t) => t.rollback().await,
        };
    }
}

/// Holds a name in Clouddriver's table without creating it.
pub async fn hold_row(cd: &Clouddriver, name: &str) -> Held {
    let insert = format!(
        "insert into accounts (id, type, body, created_at, last_modified_at, last_modified_by) \
         values ('{name}', 'kubernetes', '{{}}', 1, 1, 'held')"
    );
    match &cd.database.admin {
        Sql::MariaDb(pool) => {
            let mut t = pool.begin().await.expect("a transaction");
            sqlx::raw_sql(sqlx::AssertSqlSafe(insert)).execute(&mut *t).await.expect("a row to hold");
            Held::MariaDb(t)
        }
        Sql::Postgres(pool) => {
            let mut t = pool.begin().await.expect("a transaction");
            sqlx::raw_sql(sqlx::AssertSqlSafe(insert)).execute(&mut *t).await.expect("a row to hold");
            Held::Postgres(t)
        }
        Sql::Sqlite(_) => unreachable!("Clouddriver has no SQLite"),
    }
}

/// An entry of `accounts_history`.
struct Entry {
    version: i64,
    /// None: a deletion.
    body: Option<String>,
    at: i64,
}

async fn history(sql: &Sql) -> HashMap<String, Vec<Entry>> {
    let mut all: HashMap<String, Vec<Entry>> = HashMap::new();
    for mut row in sql.rows("select id, version, body, last_modified_at from accounts_history order by id, version").await {
        let number = |v: Option<String>| v.and_then(|t| t.parse().ok()).unwrap_or_default();
        let entry = Entry { version: number(row[1].take()), body: row[2].take(), at: number(row[3].take()) };
        all.entry(row[0].take().unwrap_or_default()).or_default().push(entry);
    }
    all
}

#[derive(Default)]
struct Verdict {
    rows: usize,
    mirrored: usize,
    tolerated: usize,
    wrong: Vec<String>,
}

fn judge(
    log: &HashMap<u32, Change>,
    accounts: &[StoredAccount],
    history: &HashMap<String, Vec<Entry>>,
    mirror: &[MirrorRow],
    by_api: bool,
) -> Verdict {
    let mut verdict = Verdict { rows: accounts.len(), mirrored: mirror.len(), ..Verdict::default() };
    let mut left: HashMap<&str, &MirrorRow> = mirror.iter().map(|r| (r.name.as_str(), r)).collect();
    for account in accounts {
        let row = left.remove(account.id.as_str());
        if let Some(row) = row
            && !same_value(&row.definition, &account.body)
        {
            verdict.wrong.push(format!("{}: mirrored as {}, Clouddriver has {}", account.id, mark(&row.definition), mark(&account.body)));
        }
        let Some(began) = beginning(account, history) else {
            verdict.wrong.push(format!("{}: its history does not tell which change began it", account.id));
            continue;
        };
        let Some((id, change)) = change_of(&began, log) else {
            verdict.wrong.push(format!("{}: begun by {began}, which nobody sent", account.id));
            continue;
        };
        let story = || format!("begun by {:?} {began} ({:?}); {}", change.kind, change.heard, others(log, id, change));
        match (change.kind, row) {
            (Kind::Post, None) => verdict.wrong.push(format!("{}: not mirrored; {}", account.id, story())),
            (Kind::Put | Kind::PutNamed, Some(row)) => {
                // Without access to the table nobody can tell whether a PUT made the row or found it, so after a crash it enters marked.
                if may_have_entered(log, change) || (by_api && row.after_gap) {
                    verdict.tolerated += 1;
                } else {
                    verdict.wrong.push(format!("{}: mirrored (after a gap: {}) and must not be; {}", account.id, row.after_gap, story()));
                }
            }
            _ => {}
        }
    }
    for name in left.keys() {
        verdict.wrong.push(format!("{name}: mirrored, and Clouddriver does not have it"));
    }
    verdict
}

fn mark(definition: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(definition).unwrap_or_default();
    value["namespaces"][0].as_str().unwrap_or("?").to_owned()
}

/// The mark of the change that began the row's present life: the first history entry after the newest deletion has its time.
fn beginning(account: &StoredAccount, history: &HashMap<String, Vec<Entry>>) -> Option<String> {
    let entries = history.get(&account.id)?;
    let buried = entries.iter().filter(|e| e.body.is_none()).map(|e| e.version).max().unwrap_or_default();
    let fits = |e: &&Entry| e.body.is_some() && e.at == account.created_at;
    // Two deletions can race, and one of them bury a life that began before it wrote: then only the time tells.
    let entry = entries.iter().filter(fits).find(|e| e.version > buried).or_else(|| entries.iter().rfind(fits))?;
    entry.body.as_deref().map(mark)
}

fn change_of<'a>(mark: &str, log: &'a HashMap<u32, Change>) -> Option<(u32, &'a Change)> {
    let id = mark.strip_prefix("op-")?.parse().ok()?;
    log.get(&id).map(|c| (id, c))
}

/// When processes were killed, in all storms.
static KILLS: std::sync::Mutex<Vec<Instant>> = std::sync::Mutex::new(Vec::new());

fn note_kill() {
    KILLS.lock().expect("no storm panicked here").push(Instant::now());
}

/// Whether a process was killed so soon after this change was answered that the mirror may not have settled it: open at a kill.
fn unsettled_at_a_kill(change: &Change) -> bool {
    let soon = Duration::from_secs(2);
    KILLS.lock().expect("no storm panicked here").iter().any(|k| change.sent <= *k && *k <= change.ended + soon)
}

/// Whether a POST or DELETE of the same name was open at a kill, or had an unknown outcome, while this change made the row.
fn may_have_entered(log: &HashMap<u32, Change>, made: &Change) -> bool {
    let window = UNKNOWN_WINDOW + Duration::from_secs(4);
    log.values().any(|c| {
        c.name == made.name
            && matches!(c.kind, Kind::Post | Kind::Delete)
            && (c.heard == Heard::Unknown || unsettled_at_a_kill(c))
            && c.sent <= made.ended + Duration::from_secs(4)
            && made.sent <= c.ended + window
    })
}

fn others(log: &HashMap<u32, Change>, id: u32, made: &Change) -> String {
    let mut all: Vec<_> = log.iter().filter(|(i, c)| **i != id && c.name == made.name).collect();
    all.sort_by_key(|(_, c)| c.sent);
    let told: Vec<_> = all
        .iter()
        .rev()
        .take(8)
        .rev()
        .map(|(i, c)| {
            let away = |t: Instant| {
                if t >= made.sent { format!("+{}", (t - made.sent).as_millis()) } else { format!("-{}", (made.sent - t).as_millis()) }
            };
            format!("op-{i} {:?} {:?} {}..{} ms", c.kind, c.heard, away(c.sent), away(c.ended))
        })
        .collect();
    format!("others of the name: {}", told.join(", "))
}
