//! Where few accounts are a scan's business: what it reads of the others, and what enters the mirror while it goes on.

use std::time::Duration;

use fairlead::scan::Report;

use super::rig::{SOON, World, settings};
use crate::support::databases::{SERVERS, Server, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_accounts_that_no_pattern_takes_and_that_are_not_in_the_mirror_a_full_scan_reads_no_definition() {
    let w = World::on(Server::Postgres, "scan_few").await;
    for n in 0..30 {
        w.put(&format!("other-{n:02}"), "kubernetes", "v1", 1_000).await;
    }
    for name in ["match-1", "match-2", "out", "posted"] {
        w.put(name, "kubernetes", "v1", 1_000).await;
    }
    let r = w.replica(settings(&["match-.*"])).await;
    for name in ["out", "posted"] {
        r.takes(name).await;
    }
    r.wants("out", fairlead::lifecycle::Wanted::Deleted).await;
    // Whoever reads a definition of the others fails, and whoever reads that of the one that is out is none the worse for it.
    w.sql
        .exec(
            "alter table accounts rename to clouddrivers; \
             create view accounts as select id, type, case when id like 'other-%' then (1 / (length(id) - 8))::text else body::text end as body, \
             created_at, last_modified_at, last_modified_by from clouddrivers",
        )
        .await;
    w.sql.try_exec("select body from accounts").await.expect_err("as it was meant");
    let report = r.scan().await;
    assert_eq!(report, Report { rows: 34, matched: 2, taken: 2, ..Report::default() });
    w.sql.exec("update clouddrivers set body = replace(body::text, 'v1', 'v2')::json").await;
    w.sql.exec("delete from clouddrivers where id = 'match-2'").await;
    let report = r.scan().await;
    assert_eq!(report, Report { rows: 33, matched: 1, refreshed: 2, drift: 1, ..Report::default() });
    let all = ["match-1 TO_MIGRATE v2 scanner", "match-2 TO_MIGRATE v1 scanner", "posted INACTIVE v2 migrated"];
    assert_eq!(w.mirror().await, all);
    w.done(&[&r]).await;
}

/// The mirror's names are read when a scan begins. What enters afterwards is not among them, and must be lost to nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_enters_the_mirror_while_a_scan_goes_on_is_no_drift_and_if_it_changed_or_went_since_the_same_scan_says_so() {
    for server in SERVERS {
        let w = World::on(server, "scan_entering").await.patient();
        for name in ["a", "changed", "gone", "same"] {
            w.put(name, "kubernetes", "v1", 1_000).await;
        }
        for n in 0..12 {
            w.put(&format!("z{n:02}"), "kubernetes", "v1", 1_000).await;
        }
        let mut settings = settings(&["a"]);
        (settings.page, settings.deletes) = (1, true);
        let scans = w.replica_with(settings.clone(), 50, Duration::from_secs(60)).await;
        let users = w.replica(settings).await;
        // Somebody else is about to write the first account's row, so that the scan waits for it.
        let mut holds = users.store.main().begin().await.expect("a transaction");
        holds.exec("insert into kubesvc_accounts (name) values ('a')", &[]).await.expect("written");
        let scan = tokio::spawn({
            let scanner = scans.scanner.clone();
            async move { scanner.now().await.expect("scanned").expect("its turn") }
        });
        let waits = match server {
            // InnoDB's own table of transactions is not read anew for who asks again soon; a statement that is seen running for a while tells.
            Server::MariaDb => {
                "select count(*) from information_schema.processlist \
                 where db = database() and info like '%kubesvc_accounts%' and time_ms > 100 and id <> connection_id()"
            }
            Server::Postgres => "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        };
        let waiting = || async { (w.sql.number(waits).await > 0).then_some(()) };
        eventually("the scan waits", SOON, waiting).await;
        for name in ["changed", "gone", "same"] {
            users.takes(name).await;
        }
        w.put("changed", "kubernetes", "v2", 1_000).await;
        w.drop_row("gone").await;
        holds.rollback().await;
        let report = scan.await.expect("no panic");
        let wanted = Report { rows: 15, matched: 1, taken: 1, refreshed: 1, removed: 1, ..Report::default() };
        assert_eq!(report, wanted, "{server:?}");
        let all = ["a TO_MIGRATE v1 scanner", "changed INACTIVE v2 migrated", "same INACTIVE v1 migrated"];
        assert_eq!(w.mirror().await, all, "{server:?}");
        w.done(&[&scans, &users]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_rows_the_mirror_has_each_that_clouddriver_does_not_have_is_found() {
    let w = World::sqlite().await;
    let rows = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 1100) insert into accounts \
                select printf('a%04d', i), 'kubernetes', '{\"name\": \"a\"}', 1000, 1000, 'x' from n";
    w.sql.exec(rows).await;
    let mut settings = settings(&["a.*"]);
    settings.deletes = true;
    let r = w.replica(settings).await;
    assert_eq!(r.scan().await.taken, 1_100);
    // On each of the pages in which the mirror is read.
    w.sql.exec("delete from accounts where id in ('a0001', 'a0499', 'a0500', 'a0501', 'a0777', 'a1001', 'a1100')").await;
    let report = r.scan().await;
    assert_eq!(report, Report { rows: 1_093, matched: 1_093, removed: 7, ..Report::default() });
    assert_eq!(w.mirror_rows().await, 1_093);
    w.done(&[&r]).await;
}

/// They are too large to come with others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_definition_among_many_that_are_no_business_of_a_scans_is_read_alone_and_neither_it_nor_its_neighbours_are_lost() {
    for w in World::all("scan_large").await {
        for n in 0..30 {
            w.put(&format!("other-{n:02}"), "kubernetes", "v1", 1_000).await;
        }
        let large = "x".repeat(200_000);
        for name in ["match-1", "match-3", "other-match-5"] {
            w.put(name, "kubernetes", "v1", 1_000).await;
        }
        for name in ["match-2", "match-4"] {
            w.put(name, "kubernetes", &large, 1_000).await;
        }
        let r = w.replica(settings(&["(other-)?match-.*"])).await;
        assert_eq!(r.scan().await, Report { rows: 35, matched: 5, taken: 5, ..Report::default() }, "{}", w.word());
        w.put("match-4", "kubernetes", &large.replace('x', "y"), 1_000).await;
        let changed = Report { rows: 35, matched: 5, refreshed: 1, ..Report::default() };
        assert_eq!(r.scan().await, changed, "{}", w.word());
        w.done(&[&r]).await;
    }
}
