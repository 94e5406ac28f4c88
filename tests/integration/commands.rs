//! `fairlead scan --dry-run`, `fairlead scan --once` and `fairlead drift`, through the program.

mod drift;
mod rig;
mod shell;

use std::collections::BTreeMap;

use serde_json::Value;

use super::support::databases::{SERVERS, Server, TextRow};
use rig::{Place, Said};

const DRY_RUN: [&str; 4] = ["scan", "--dry-run", "--output", "json"];
const ONCE: [&str; 4] = ["scan", "--once", "--output", "json"];

fn actions(line: &Value) -> Vec<&str> {
    line["actions"].as_array().expect("actions").iter().map(|a| a.as_str().expect("a word")).collect()
}

/// The sums, without what only one of the two says.
fn sums(said: &Said) -> Value {
    let mut sums = said.sums();
    for only in ["type", "mirror", "scanning"] {
        sums.as_object_mut().expect("an object").remove(only);
    }
    sums
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_fairlead_ever_ran_a_dry_run_says_what_patterns_take_and_makes_no_table() {
    for server in SERVERS {
        let mut p = Place::new(server, "plan_first").await;
        for name in ["account1", "account10", "my-account1", "other"] {
            p.put(name, "v1", 1_000).await;
        }
        p.put_body("account1-aws", "aws", "{}", 1_000).await;
        let reader = p.reader().await;
        for (scan, on) in [("", true), ("scan: false, ", false)] {
            let keys = format!("kubesvc.dynamicAccounts: {{ {scan}namePatterns: ['^account1.*'] }}");
            let before = p.everything().await;
            let said = p.run_as(&reader, &keys, &DRY_RUN).await;
            assert_eq!(said.code, 0, "{server:?}: {}", said.err);
            let lines = said.by_name();
            assert_eq!(lines.keys().collect::<Vec<_>>(), ["account1", "account10"], "{server:?}: {}", said.out);
            assert_eq!((actions(&lines["account10"]), &lines["account10"]["mirror"]), (vec!["enter"], &Value::Null));
            assert_eq!(lines["account10"]["pattern"], "^account1.*");
            let sums = said.sums();
            assert_eq!((&sums["rows"], &sums["matched"], &sums["entered"]), (&5.into(), &2.into(), &2.into()), "{sums}");
            assert_eq!((&sums["mirror"], &sums["scanning"]), (&"absent".into(), &on.into()), "{server:?}");
            assert_eq!(p.everything().await, before, "{server:?}");
        }
        assert!(!p.has_own_tables().await);
        // For people, and all accounts.
        let said = p.run("kubesvc.dynamicAccounts.namePatterns: ['^account1.*']", &["scan", "--dry-run", "--all"]).await;
        assert!(said.out.contains("first start") && said.out.contains("no pattern takes it"), "{}", said.out);
        p.done().await;
    }
}

/// What an account is, of the kinds that the rules tell apart. From 4 on it is in the mirror already, and then changed on one side or the other.
const KINDS: u8 = 11;

async fn make(p: &Place, name: &str, kind: u8) {
    if kind > 3 {
        let status = ["INACTIVE", "INACTIVE", "TO_MIGRATE", "ACTIVE", "FAILED", "DELETING"][fastrand::usize(..6)];
        let wanted = match status {
            "DELETING" => "DELETED",
            "INACTIVE" => "INACTIVE",
            _ => "ACTIVE",
        };
        let sent = u8::from(!matches!(status, "INACTIVE" | "TO_MIGRATE"));
        p.set(name, &format!("status = '{status}', fl_wanted = '{wanted}', fl_sent = {sent}")).await;
    }
    match kind {
        0 | 1 => p.put(name, "v1", 1_000).await,
        2 => p.put_body(name, "aws", "{}", 1_000).await,
        3 | 7 => p.poison(name).await,
        4 => {}
        5 => p.put(name, "v2", 1_000).await,
        6 => p.put(name, "v1", 2_000).await,
        8 => p.drop_row(name).await,
        9 => p.set(name, "fl_inc = null, fl_origin = 'migrated'").await,
        _ => p.set(name, "fl_inc = null, fl_origin = 'created'").await,
    }
    if fastrand::u8(..4) == 0 {
        p.note(name, if fastrand::bool() { "INACTIVE" } else { "DELETED" }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dry_run_says_is_what_a_scan_does_and_the_dry_run_writes_nothing() {
    for (round, server) in [Server::MariaDb, Server::Postgres, Server::MariaDb, Server::Postgres].into_iter().enumerate() {
        let seed = fastrand::u64(..);
        fastrand::seed(seed);
        let mut p = Place::new(server, "plan_same").await;
        let accounts: Vec<(String, u8)> =
            (0..60).map(|n| (format!("{}{n:03}", ["a", "b"][fastrand::usize(..2)]), fastrand::u8(..KINDS))).collect();
        for (name, _) in accounts.iter().filter(|(_, kind)| *kind > 3) {
            p.put(name, "v1", 1_000).await;
        }
        p.take_all().await;
        for (name, kind) in &accounts {
            make(&p, name, *kind).await;
        }
        let reader = p.reader().await;
        let limits =
            ["", "maxMigrationsPerScan: 4, ", "scanBatchSize: 2, ", "scanDeletes: true, ", "scanDeletes: true, maxDeletesPerPass: 1, "];
        let limit = limits[if round < 2 { round * 3 } else { fastrand::usize(..limits.len()) }];
        let keys = format!("kubesvc.dynamicAccounts: {{ {limit}scanPageSize: 7, namePatterns: ['a.*', '.*9'] }}");
        let context = format!("{server:?}, seed {seed}, {keys}");

        let (all, before) = (p.everything().await, p.mirror().await);
        let words: Vec<&str> = DRY_RUN.into_iter().chain(["--all"]).collect();
        let planned = p.run_as(&reader, &keys, &words).await;
        assert!(planned.code < 2, "{context}: {}", planned.err);
        assert_eq!(p.everything().await, all, "{context}: something was written");

        let done = p.run(&keys, &ONCE).await;
        assert_eq!((done.code, sums(&done)), (planned.code, sums(&planned)), "{context}\n{}{}", planned.out, done.err);
        let (after, lines) = (p.mirror().await, planned.by_name());
        check_each(&context, &lines, &before, &after);
        // And then nothing is left of what could be done at once.
        if limit.is_empty() {
            let then = p.run_as(&reader, &keys, &DRY_RUN).await.sums();
            assert_eq!((&then["entered"], &then["activated"], &then["refreshed"]), (&0.into(), &0.into(), &0.into()), "{context}");
        }
        p.done().await;
    }
}

fn check_each(context: &str, lines: &BTreeMap<String, Value>, before: &BTreeMap<String, TextRow>, after: &BTreeMap<String, TextRow>) {
    let status = |row: Option<&TextRow>| row.and_then(|r| r[1].clone());
    for name in lines.keys().chain(before.keys()).chain(after.keys()) {
        let (was, is) = (before.get(name), after.get(name));
        let nothing = Value::Null;
        let line = lines.get(name).unwrap_or(&nothing);
        let said = if line.is_null() { Vec::new() } else { actions(line) };
        let context = format!("{context}\n{name}: {line}\n{was:?}\n{is:?}");
        assert_eq!(said.contains(&"enter"), was.is_none() && is.is_some(), "{context}");
        let activated = status(was).as_deref() == Some("INACTIVE") && status(is).as_deref() == Some("TO_MIGRATE");
        assert_eq!(said.contains(&"activate"), activated, "{context}");
        let removed = was.is_some() && (is.is_none() || status(is) != status(was) && status(is).as_deref() == Some("DELETING"));
        assert_eq!(said.contains(&"remove"), removed, "{context}");
        if said.is_empty() {
            assert_eq!(is, was, "{context}");
        }
        if said.contains(&"refresh") {
            assert_ne!(is, was, "{context}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_gives_the_reason_of_each_account() {
    let mut p = Place::new(Server::MariaDb, "plan_why").await;
    for name in ["a-hand", "a-inactive", "a-active", "a-own", "a-gone", "a-late", "stays"] {
        p.put(name, "v1", 1_000).await;
    }
    p.take_all().await;
    let idle = "status = 'INACTIVE', fl_wanted = 'INACTIVE'";
    for name in ["a-hand", "a-inactive", "a-late"] {
        p.set(name, idle).await;
    }
    p.note("a-hand", "INACTIVE").await;
    p.set("a-active", "status = 'ACTIVE'").await;
    p.set("a-own", "fl_origin = 'created', fl_inc = null").await;
    p.drop_row("a-gone").await;
    p.put("stays", "v2", 1_000).await;
    p.poison("a-bad").await;
    for name in ["a-new", "a-news"] {
        p.put(name, "v1", 1_000).await;
    }
    let reader = p.reader().await;
    let keys = "kubesvc.dynamicAccounts: { namePatterns: ['a-.*'], scanBatchSize: 1, maxMigrationsPerScan: 2 }";
    let said = p.run_as(&reader, keys, &DRY_RUN).await;
    assert_eq!(said.code, 1, "a poison row: {}", said.err);
    let told: Vec<String> =
        said.by_name().iter().map(|(name, l)| format!("{name} {} {}", actions(l).join("+"), l["reason"].as_str().unwrap_or("?"))).collect();
    let wanted = [
        "a-active  inHand",
        "a-bad  unreadable",
        "a-gone  absent",
        "a-hand  byHand",
        "a-inactive activate matched",
        "a-late  heldBack",
        "a-new enter matched",
        "a-news  heldBack",
        "a-own  notClouddrivers",
        "stays refresh notMatched",
    ];
    assert_eq!(told, wanted);
    let why = |name: &str| said.by_name()[name]["why"].as_str().unwrap_or_default().to_owned();
    assert!(why("a-late").contains("scanBatchSize"), "{}", why("a-late"));
    assert!(why("a-news").contains("maxMigrationsPerScan"), "{}", why("a-news"));
    let sums = said.sums();
    assert_eq!(
        (&sums["heldBack"], &sums["byHand"], &sums["failed"], &sums["absent"]),
        (&2.into(), &1.into(), &1.into(), &1.into()),
        "{sums}"
    );
    p.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_by_hand_makes_the_tables_says_what_it_did_and_lets_another_replica_have_its_turn() {
    for server in SERVERS {
        let p = Place::new(server, "once").await;
        p.put("account1", "v1", 1_000).await;
        // Off for the replicas, and told to all the same.
        let keys = "kubesvc.dynamicAccounts: { scan: false, namePatterns: ['^account1.*'] }\nfairlead.replica.lease: 60s";
        let said = p.run(keys, &ONCE).await;
        let sums = said.sums();
        assert_eq!((said.code, &sums["entered"], &sums["type"]), (0, &1.into(), &"report".into()), "{server:?}: {}", said.err);
        assert_eq!(p.mirror().await["account1"][1].as_deref(), Some("TO_MIGRATE"));
        let epochs = p.sql().number("select count(*) from fairlead_epochs").await;
        assert_eq!(epochs, 0, "{server:?}: a command is no replica");

        p.poison("account1-bad").await;
        assert_eq!(p.run(keys, &ONCE).await.code, 1, "{server:?}: one failed");

        // Another replica has the turn.
        let now = match server {
            Server::MariaDb => p.sql().number("select cast(unix_timestamp() * 1000 as signed)").await,
            Server::Postgres => p.sql().number("select (extract(epoch from now()) * 1000)::bigint").await,
        };
        p.sql().exec(&format!("update fairlead_meta set v = '{} other 0' where k = 'scan'", now + 50_000)).await;
        let words: Vec<&str> = ONCE.into_iter().chain(["--wait", "0"]).collect();
        let held = p.run(keys, &words).await;
        assert_eq!((held.code, held.out.as_str()), (75, ""), "{server:?}");
        assert!(held.err.contains("another replica scans"), "{}", held.err);
        let words: Vec<&str> = ONCE.into_iter().chain(["--wait", "50"]).collect();
        let (waited, ()) = tokio::join!(p.run(keys, &words), async {
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            p.sql().exec("update fairlead_meta set v = '0 - 0' where k = 'scan'").await;
        });
        assert_eq!(waited.code, 1, "{server:?}: {}", waited.err);
        p.done().await;
    }
}
