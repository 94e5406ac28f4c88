//! What does the scanner cost? With a million rows in a table of Clouddriver's shape, on MariaDB and on PostgreSQL.
//!
//! Fairlead is a process as it is shipped; it stands still (`SIGSTOP`) while something else is measured. Whatever is held against something
//! else is measured in turn with it in one run, so that whatever else the machine does falls on both alike. `docs/performance.md` says how to
//! read what is printed; `make bench-scan` runs it.

#[path = "../price/figures.rs"]
mod figures;
#[allow(dead_code, reason = "the crowd bench's, which has more use for it")]
#[path = "../agents/http.rs"]
mod http;
mod link;
mod plain;
mod plan;
#[allow(dead_code, reason = "the price bench's, which has more use for it")]
#[path = "../price/proc.rs"]
mod proc;
mod steady;
mod table;
mod target;
mod writer;

use std::time::Instant;

use figures::{quantile, text};
use link::{Database, SERVERS};
use plan::{Part, Plan};
use proc::Machine;
use table::Table;
use target::Target;

/// `scanPageSize`, as it is shipped.
const PAGE: i64 = 500;
/// A full scan may take this much of the time in which a plain client reads the same rows.
const READ_GOAL: f64 = 1.3;
/// A scan may hold so much more than an idle process does, in MB.
const MEMORY_GOAL: f64 = 30.0;
/// What a writer on the same table may be slowed down to while a scan is under way.
const WRITER_GOAL: f64 = 1.05;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let plan = Plan::from_environment();
    let (began, machine) = (Instant::now(), Machine::now());
    for server in SERVERS {
        let Some(database) = Database::make(server).await else { continue };
        println!(
            "\n{}: {} rows, each with a kubeconfig of {} bytes; the pattern takes one in {}",
            server.word(),
            plan.rows,
            plan.body,
            table::EACH
        );
        let mut table = Table::make(&database, plan.body).await;
        if plan.does(Part::Steady) {
            steady::run(&plan, &mut table).await;
        }
        table.fill(plan.rows).await;
        if plan.does(Part::Memory) {
            memory(&plan, &database);
        }
        if plan.does(Part::Read) {
            read(&plan, &table).await;
        }
        if plan.does(Part::Writer) {
            writers(&plan, &table).await;
        }
        database.drop_now().await;
    }
    let elapsed = began.elapsed().as_secs_f64();
    let cores = std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64);
    println!(
        "\nIn {elapsed:.0} s all processes of this machine together took {:.0} % of its CPUs.",
        machine.busy_since() / elapsed / cores * 100.0
    );
}

fn figure(name: &str, value: f64, unit: &str) {
    println!("  {name:<70} {:>8} {unit}", text(value));
}

fn goal(name: &str, value: f64, unit: &str, bound: f64) {
    let verdict = if value <= bound { "met" } else { "MISSED" };
    println!("  {name:<70} {:>8} {unit} (goal at most {}: {verdict})", text(value), text(bound));
}

/// Full scans and plain reading in turn.
async fn read(plan: &Plan, table: &Table<'_>) {
    let fairlead = Target::start(plan, table.database, "read", "scanFrequencySeconds: 1, fullScanFrequencySeconds: 1");
    // The first takes over what matches, and the mirror's own pass after a start reads beside it.
    fairlead.scanned(2.0);
    fairlead.stop();
    let mut client = plain::Client::open(table.database).await;
    let (mut plainly, mut scanning, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=plan.rounds {
        let began = Instant::now();
        assert_eq!(client.read_all(PAGE).await, table.rows, "all of them");
        let read = began.elapsed().as_secs_f64();
        let before = fairlead.goes_on();
        let scanned = fairlead.whole_scan(before, table.rows);
        fairlead.stop();
        // The first round warms both up.
        if round > 0 {
            plainly.push(read);
            scanning.push(scanned.seconds);
            ratios.push(scanned.seconds / read);
        }
    }
    let (read, scanned) = (quantile(&mut plainly, 0.5), quantile(&mut scanning, 0.5));
    figure("a plain client reads, median", table.rows as f64 / read / 1e3, "thousand rows/s");
    figure("a full scan reads, median", table.rows as f64 / scanned / 1e3, "thousand rows/s");
    goal("a full scan's time against the plain client's, medians", scanned / read, "x", READ_GOAL);
    let (least, most) = (quantile(&mut ratios, 0.0), quantile(&mut ratios, 1.0));
    println!("  round by round {} to {} x, {} rounds", text(least), text(most), plan.rounds);
}

/// What the process holds at the most while it scans, beside one of the same settings that does not scan.
fn memory(plan: &Plan, database: &Database) {
    let rests = {
        let idle = Target::start(plan, database, "idle", "scan: false");
        idle.passed();
        idle.memory().0
    };
    let scans = Target::start(plan, database, "memory", "scanFrequencySeconds: 1, fullScanFrequencySeconds: 1");
    scans.scanned(3.0);
    let (now, most) = scans.memory();
    figure("an idle process holds", rests / 1e6, "MB");
    figure("one that has scanned three times holds then", now / 1e6, "MB");
    goal("the most it ever held, above idle", (most - rests) / 1e6, "MB", MEMORY_GOAL);
}

/// A writer by itself, while a plain client reads, and while Fairlead scans, in turn.
async fn writers(plan: &Plan, table: &Table<'_>) {
    let mut writer = writer::Writer::open(table.database, table.rows).await;
    let fairlead = Target::start(plan, table.database, "writer", "scanFrequencySeconds: 1, fullScanFrequencySeconds: 1");
    fairlead.scanned(2.0);
    fairlead.stop();
    let mut kinds: [Vec<f64>; 3] = Default::default();
    for round in 0..=plan.rounds * 3 {
        for kind in [[0, 1, 2], [1, 2, 0], [2, 0, 1]][round % 3] {
            let reader = (kind == 1).then(|| plain::Client::read_on(table.database, PAGE));
            let scanning = (kind == 2).then(|| fairlead.goes_on_scanning());
            let took = writer.writes(plan.writes).await;
            if let Some(before) = scanning {
                assert!(fairlead.rows() > before, "no scan was under way");
                fairlead.stop();
            }
            if let Some(reader) = reader {
                reader.stop().await;
            }
            if round > 0 {
                kinds[kind].push(took);
            }
        }
    }
    let [alone, beside, scanned] = kinds.map(|mut times| quantile(&mut times, 0.5));
    figure("a writer alone, one change, median of rounds", alone / plan.writes as f64 * 1e6, "us");
    figure("the same while a plain client reads page after page", beside / alone, "x");
    goal("the same while Fairlead scans", scanned / alone, "x", WRITER_GOAL);
}
