//! The scanner against real databases: which accounts of Clouddriver's table it migrates, and what it leaves alone.
//!
//! Clouddriver is played by statements on its table. No agent is there, so what is migrated stays TO_MIGRATE; `tests/agents` and
//! `tests/e2e` go on from there.

mod collations;
mod edges;
mod encodings;
mod few;
mod model;
#[cfg(feature = "failpoints")]
mod process;
mod rig;
mod steady;

use std::time::Duration;

use fairlead::lifecycle::Wanted;
use fairlead::scan::{Error, Report};
use fairlead::store::scans::{self, Claim, Ended};

use super::support::databases::{SERVERS, Server, eventually};
use rig::{SOON, World, settings};

/// Twelve that the documents' patterns take, and three that they do not.
const MATCH: [&str; 12] = [
    "account1",
    "account1-a",
    "account10",
    "account11",
    "account12",
    "account1.b",
    "account2",
    "account20",
    "my-account2",
    "x-account2-y",
    "account21",
    "2-account2",
];
const OTHER: [&str; 3] = ["my-account1", "Account1z", "account3"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_pattern_takes_is_migrated_once_and_the_rest_is_left_alone() {
    for w in World::all("scan").await {
        for (i, name) in MATCH.iter().chain(&OTHER).enumerate() {
            w.put(name, "kubernetes", "v1", 1_000 + i64::try_from(i).unwrap()).await;
        }
        w.put("account1-aws", "aws", "v1", 1).await;
        let before = w.sql.rows("select id, type, concat(created_at, '') from accounts order by id").await;
        let r = w.replica(settings(&["^account1.*", "^.*account2.*"])).await;
        let report = r.scan().await;
        assert_eq!((report.rows, report.matched, report.taken, report.failed), (16, 12, 12, 0), "{}", w.word());
        let mut wanted: Vec<String> = MATCH.iter().map(|n| format!("{n} TO_MIGRATE v1 scanner")).collect();
        wanted.sort();
        assert_eq!(w.mirror().await, wanted, "{}", w.word());
        let rows = w.dump().await;
        assert_eq!(r.scan().await, Report { rows: 16, matched: 12, ..Report::default() }, "{}: nothing is done twice", w.word());
        assert_eq!(w.dump().await, rows, "{}", w.word());
        assert_eq!(w.sql.rows("select id, type, concat(created_at, '') from accounts order by id").await, before, "{}", w.word());
        w.done(&[&r]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_user_deactivated_or_deleted_by_hand_is_left_so_until_a_user_asks_for_it() {
    for w in World::all("scan_hand").await {
        for name in ["off", "out", "on"] {
            w.put(name, "kubernetes", "v1", 1_000).await;
        }
        let r = w.replica(settings(&[".*"])).await;
        assert_eq!(r.scan().await.taken, 3);
        r.wants("off", Wanted::Inactive).await;
        r.wants("out", Wanted::Deleted).await;
        for _ in 0..2 {
            let report = r.scan().await;
            assert_eq!((report.taken, report.activated, report.by_hand), (0, 0, 2), "{}", w.word());
            assert_eq!(w.mirror().await, ["off INACTIVE v1 scanner", "on TO_MIGRATE v1 scanner"], "{}", w.word());
        }
        // A user's POST takes both again; from then on a scan may activate them.
        for name in ["off", "out"] {
            r.takes(name).await;
        }
        let report = r.scan().await;
        assert_eq!((report.activated, report.by_hand), (2, 0), "{}", w.word());
        let all = ["off TO_MIGRATE v1 scanner", "on TO_MIGRATE v1 scanner", "out TO_MIGRATE v1 migrated"];
        assert_eq!(w.mirror().await, all, "{}", w.word());
        w.done(&[&r]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_out_under_another_spelling_of_its_name_stays_out_where_the_database_takes_both_for_one() {
    let w = World::on(Server::MariaDb, "scan_twin").await;
    w.put("Prod", "kubernetes", "v1", 1_000).await;
    let r = w.replica(settings(&[".*"])).await;
    assert_eq!(r.scan().await.taken, 1);
    r.wants("PROD", Wanted::Deleted).await;
    assert_eq!(w.mirror().await, [""; 0]);
    let report = r.scan().await;
    assert_eq!((report.taken, report.by_hand), (0, 1));
    assert_eq!(w.mirror().await, [""; 0]);
    // Clouddriver spells it as nobody did when it was taken out.
    w.drop_row("Prod").await;
    w.put("prod", "kubernetes", "v1", 1_000).await;
    let report = r.scan().await;
    assert_eq!((report.taken, report.by_hand), (0, 1));
    assert_eq!(w.mirror().await, [""; 0]);
    w.done(&[&r]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_there_inactive_is_activated_by_its_name_so_many_in_one_scan() {
    for w in World::all("scan_inactive").await {
        for n in 0..5 {
            w.put(&format!("a{n}"), "kubernetes", "v1", 1_000).await;
        }
        w.put("other", "kubernetes", "v1", 1_000).await;
        let mut settings = settings(&["a.*"]);
        settings.batch = 2;
        let r = w.replica(settings).await;
        for name in ["a0", "a1", "a2", "a3", "a4", "other"] {
            r.takes(name).await;
        }
        let counts = |report: Report| (report.activated, report.held_back);
        assert_eq!(counts(r.scan().await), (2, 3), "{}", w.word());
        assert_eq!(counts(r.scan().await), (2, 1), "{}", w.word());
        assert_eq!(counts(r.scan().await), (1, 0), "{}", w.word());
        let mut wanted: Vec<String> = (0..5).map(|n| format!("a{n} TO_MIGRATE v1 migrated")).collect();
        wanted.push("other INACTIVE v1 migrated".to_owned());
        assert_eq!(w.mirror().await, wanted, "{}", w.word());
        w.done(&[&r]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_are_migrated_in_one_scan_than_the_limit_says_and_the_rest_follows() {
    let w = World::sqlite().await;
    for n in 0..7 {
        w.put(&format!("a{n}"), "kubernetes", "v1", 1_000).await;
    }
    let mut settings = settings(&[".*"]);
    settings.max_migrations = Some(3);
    let r = w.replica(settings).await;
    for wanted in [(3, 4), (3, 1), (1, 0), (0, 0)] {
        let report = r.scan().await;
        assert_eq!((report.taken, report.held_back), wanted);
    }
    w.done(&[&r]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_that_was_changed_behind_our_back_is_refreshed_though_its_time_of_change_is_the_same() {
    for w in World::all("scan_changed").await {
        for name in ["match", "other", "again"] {
            w.put(name, "kubernetes", "v1", 1_000).await;
        }
        let r = w.replica(settings(&["match"])).await;
        r.takes("other").await;
        r.takes("again").await;
        r.scan().await;
        let generation = "select concat(fl_generation, '') from kubesvc_accounts where name = 'match'";
        let first = w.sql.rows(generation).await;
        w.put("match", "kubernetes", "v2", 1_000).await;
        w.put("other", "kubernetes", "v2", 1_000).await;
        // Deleted, and made again.
        w.put("again", "kubernetes", "v2", 2_000).await;
        let report = r.scan().await;
        assert_eq!((report.refreshed, report.taken), (3, 0), "{}", w.word());
        let all = ["again INACTIVE v2 migrated", "match TO_MIGRATE v2 scanner", "other INACTIVE v2 migrated"];
        assert_eq!(w.mirror().await, all, "{}", w.word());
        assert_ne!(w.sql.rows(generation).await, first, "{}: agents hear of it", w.word());
        assert_eq!(r.scan().await.refreshed, 0, "{}", w.word());
        w.done(&[&r]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clouddriver_does_not_have_any_more_is_drift_and_goes_only_where_scan_deletes_says_so() {
    for w in World::all("scan_drift").await {
        for name in ["stays", "gone", "aws"] {
            w.put(name, "kubernetes", "v1", 1_000).await;
        }
        let r = w.replica(settings(&[".*"])).await;
        assert_eq!(r.scan().await.taken, 3);
        w.drop_row("gone").await;
        // Another type is as good as none.
        w.put("aws", "aws", "v1", 1_000).await;
        for _ in 0..2 {
            let report = r.scan().await;
            assert_eq!((report.drift, report.removed), (2, 0), "{}", w.word());
        }
        assert_eq!(w.mirror().await.len(), 3, "{}", w.word());
        let mut deletes = settings(&[".*"]);
        deletes.deletes = true;
        let d = w.replica(deletes).await;
        let report = d.scan().await;
        assert_eq!((report.drift, report.removed), (0, 2), "{}", w.word());
        assert_eq!(w.mirror().await, ["stays TO_MIGRATE v1 scanner"], "{}", w.word());
        w.done(&[&r, &d]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_lost_more_than_max_deletes_per_pass_costs_no_row_however_often_it_is_scanned() {
    let w = World::sqlite().await;
    for n in 0..8 {
        w.put(&format!("a{n}"), "kubernetes", "v1", 1_000).await;
    }
    let mut deletes = settings(&[".*"]);
    deletes.deletes = true;
    let r = w.replica_with(deletes, 3, Duration::from_secs(60)).await;
    assert_eq!(r.scan().await.taken, 8);
    for n in 0..4 {
        w.drop_row(&format!("a{n}")).await;
    }
    for _ in 0..3 {
        let report = r.scan().await;
        assert_eq!((report.drift, report.deletes_held_back, report.removed), (4, 4, 0));
    }
    assert_eq!(w.mirror().await.len(), 8);
    w.put("a0", "kubernetes", "v1", 1_000).await;
    assert_eq!(r.scan().await.removed, 3);
    w.done(&[&r]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_that_cannot_be_read_fails_alone_and_is_in_no_row() {
    for w in World::all("scan_poison").await {
        w.put("a", "kubernetes", "v1", 1_000).await;
        w.put("z", "kubernetes", "v1", 1_000).await;
        // JSON to these databases, and no number to anybody.
        w.put_body("p1", "kubernetes", r#"{"type": "kubernetes", "name": "p1", "x": 1e999}"#, 1_000).await;
        // JSON to everybody, and no definition: Clouddriver passes such rows over.
        for (name, body) in [("p4", "null"), ("p5", "[1]"), ("p6", "7"), ("p7", "\"x\"")] {
            w.put_body(name, "kubernetes", body, 1_000).await;
        }
        let mut failed = 5;
        if w.word() == "sqlite" {
            w.put_body("p2", "kubernetes", "{", 1_000).await;
            w.put_body("p3", "kubernetes", &format!("\"{}\"", "x".repeat(17 << 20)), 1_000).await;
            w.put_body("unmatched", "kubernetes", "{", 1_000).await;
            failed = 7;
        }
        let r = w.replica(settings(&["a|z|p."])).await;
        for taken in [2, 0] {
            let report = r.scan().await;
            assert_eq!((report.taken, report.failed), (taken, failed), "{}", w.word());
        }
        assert_eq!(w.mirror().await, ["a TO_MIGRATE v1 scanner", "z TO_MIGRATE v1 scanner"], "{}", w.word());
        // Put right, it is taken.
        w.put("p1", "kubernetes", "v2", 1_000).await;
        assert_eq!(r.scan().await.taken, 1, "{}", w.word());
        w.done(&[&r]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_row_that_is_there_all_the_time_is_migrated_though_others_come_and_go_while_pages_are_read() {
    for w in World::all("scan_moving").await {
        for n in 0..60 {
            w.put(&format!("stays-{n:03}"), "kubernetes", "v1", 1_000).await;
        }
        let mut settings = settings(&[".*"]);
        (settings.page, settings.deletes) = (4, true);
        let r = w.replica_with(settings, 1_000, Duration::from_secs(60)).await;
        let stop = tokio_util::sync::CancellationToken::new();
        let writer = {
            let (w, stop) = (w.writer(), stop.clone());
            tokio::spawn(async move {
                let mut n = 0_i64;
                while !stop.is_cancelled() {
                    // Before, between and behind what stays, and always another life.
                    let name = format!("{}-{}", ["a", "stays-030", "z"][usize::try_from(n % 3).unwrap()], fastrand::u8(..10));
                    w.drop_row(&name).await;
                    if fastrand::bool() {
                        w.put(&name, "kubernetes", "moves", 10_000 + n).await;
                    }
                    n += 1;
                }
            })
        };
        let report = r.scan().await;
        assert!(report.rows >= 60 && report.taken >= 60, "{}: {report:?}", w.word());
        let stays = w.sql.number("select concat(count(*), '') from kubesvc_accounts where name like 'stays-___'").await;
        assert_eq!(stays, 60, "{}", w.word());
        r.scan().await;
        stop.cancel();
        writer.await.expect("no panic");
        // At rest, one scan makes the mirror what the table is.
        r.scan().await;
        let theirs = w.sql.rows("select id from accounts order by id").await;
        let ours = w.sql.rows("select name from kubesvc_accounts order by name").await;
        assert_eq!(ours, theirs, "{}", w.word());
        w.done(&[&r]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_that_scan_at_once_migrate_each_account_once() {
    for server in SERVERS {
        let w = World::on(server, "scan_two").await;
        for n in 0..120 {
            w.put(&format!("a{n}"), "kubernetes", "v1", 1_000).await;
        }
        // However slow the machine is, the first one asks for no sign that its turn is still its own.
        let long = Duration::from_secs(86_400);
        let one = w.replica_with(settings(&[".*"]), 50, long).await;
        let two = w.replica_with(settings(&[".*"]), 50, long).await;
        let first = tokio::spawn({
            let scanner = one.scanner.clone();
            async move { scanner.now().await.expect("scanned").expect("its turn") }
        });
        let begun = || async { (w.mirror_rows().await > 5).then_some(()) };
        eventually("the first one has begun", SOON, begun).await;
        assert_eq!(two.scanner.now().await.expect("asked"), None, "it is the other's turn");
        // Its turn is taken from it, and it does not know yet.
        w.sql.exec("delete from fairlead_meta where k = 'scan'").await;
        let second = two.scan().await;
        let first = first.await.expect("no panic");
        assert_eq!(first.taken + second.taken, 120, "{server:?}: {first:?} {second:?}");
        assert_eq!(w.mirror_rows().await, 120);
        assert_eq!((one.scan().await.taken, two.scan().await.taken), (0, 0));
        w.done(&[&one, &two]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_silent_for_too_long_loses_its_turn_and_another_scans() {
    for w in World::all("scan_silent").await {
        for n in 0..60 {
            w.put(&format!("a{n:02}"), "kubernetes", "v1", 1_000).await;
        }
        // Whatever it does, it is silent for longer than this.
        let one = w.replica_with(settings(&[".*"]), 50, Duration::ZERO).await;
        let two = w.replica(settings(&[".*"])).await;
        let first = tokio::spawn({
            let scanner = one.scanner.clone();
            async move { scanner.now().await }
        });
        let begun = || async { (w.mirror_rows().await > 2).then_some(()) };
        eventually("the first one has begun", SOON, begun).await;
        let scanned = || async { two.scanner.now().await.expect("asked") };
        let report = eventually("the other one scans", SOON, scanned).await;
        assert_eq!((report.rows, w.mirror_rows().await), (60, 60), "{}", w.word());
        match first.await.expect("no panic") {
            Err(Error::Overtaken) => {}
            // The other one was slow to come.
            Ok(Some(report)) => assert_eq!(report.rows, 60, "{}", w.word()),
            other => panic!("{}: {other:?}", w.word()),
        }
        w.done(&[&one, &two]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_is_one_replicas_until_it_ends_or_its_time_is_over_and_the_next_is_due_after_a_while() {
    for w in World::all("scan_turns").await {
        let r = w.replica(settings(&[".*"])).await;
        let db = r.store.main();
        let claim = |who: &'static str, lease, every| async move { scans::claim(db, who, lease, every).await.expect("asked") };
        let Claim::Mine(mut turn) = claim("a", 60_000, 0).await else { panic!("{}: the first one", w.word()) };
        assert_eq!(claim("b", 60_000, 0).await, Claim::Held, "{}", w.word());
        assert!(scans::keep(db, &mut turn, 0).await.expect("kept"), "{}", w.word());
        // Its time is over now.
        let overtaken = || async { matches!(claim("b", 60_000, 0).await, Claim::Mine(_)).then_some(()) };
        eventually("b overtakes a", SOON, overtaken).await;
        assert!(!scans::keep(db, &mut turn, 60_000).await.expect("asked"), "{}", w.word());
        scans::end(db, "a", Ended::Done).await.expect("ended");
        assert_eq!(claim("a", 60_000, 0).await, Claim::Held, "{}: a has nothing to end", w.word());
        scans::end(db, "b", Ended::BrokenOff).await.expect("ended");
        assert!(matches!(claim("b", 60_000, 600_000).await, Claim::Mine(_)), "{}: one that broke off is due again", w.word());
        scans::end(db, "b", Ended::Done).await.expect("ended");
        assert!(matches!(claim("a", 60_000, 600_000).await, Claim::NotDue(left) if left > 0 && left <= 600_000), "{}", w.word());
        assert!(matches!(claim("a", 60_000, 0).await, Claim::Mine(_)), "{}: the first of a process is always due", w.word());
        // A clock that went back by a year does not keep scans away for a year.
        w.sql.exec("update fairlead_meta set v = '99999999999999 b 99999999999999' where k = 'scan'").await;
        assert!(matches!(claim("a", 60_000, 600_000).await, Claim::Mine(_)), "{}", w.word());
        w.done(&[&r]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_fairleads_own_or_an_agents_is_not_touched_though_its_name_matches() {
    let w = World::sqlite().await;
    w.put("made-here", "kubernetes", "theirs", 1_000).await;
    let r = w.replica(settings(&[".*"])).await;
    r.makes("made-here").await;
    let rows = w.dump().await;
    let report = r.scan().await;
    assert_eq!((report.matched, report.taken, report.activated, report.refreshed, report.drift), (1, 0, 0, 0, 0));
    assert_eq!(w.dump().await, rows);
    w.done(&[&r]).await;
}
