//! Scans between full ones: they read what has changed, miss nothing that a user waits for, and what they cannot see a full one finds.

use std::time::{Duration, SystemTime};

use fairlead::scan::{Kind, Report};

use super::rig::{Replica, SOON, World, settings};
use crate::support::databases::{SERVERS, Server, eventually};

/// Milliseconds ago, as Clouddriver writes times.
fn ago(d: Duration) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i64::try_from((now - d).as_millis()).expect("in range")
}

/// Far before what is read again.
fn long_ago() -> i64 {
    ago(Duration::from_secs(86_400))
}

fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

/// One that the database says nothing about is a look at the table; both are no full scan.
fn is_small(report: &Report) -> bool {
    report.kind != Kind::Full
}

/// Scans until one comes to this: PostgreSQL counts changes some seconds late, and MariaDB is not believed for a minute.
async fn until(what: &str, r: &Replica, is: impl Fn(&Report) -> bool) -> Report {
    let is = &is;
    let scan = || async {
        let report = r.again().await;
        assert!(is_small(&report), "{report:?}");
        if is(&report) {
            return Some(report);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
        None
    };
    eventually(what, 3 * SOON, scan).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_has_changed_no_row_is_read_and_where_one_has_it_and_what_changed_just_before() {
    // Side by side, because MariaDB takes its minute.
    for scanned in SERVERS.map(|server| tokio::spawn(what_has_changed(server))) {
        scanned.await.expect("no panic");
    }
}

async fn what_has_changed(server: Server) {
    let w = World::on(server, "steady").await;
    for n in 0..20 {
        w.put_at(&format!("a{n:02}"), "v1", long_ago()).await;
    }
    w.put_at("lately", "v1", ago(minutes(2))).await;
    let r = w.replica(settings(&[".*"])).await;
    assert_eq!(r.scan().await, Report { rows: 21, matched: 21, taken: 21, ..Report::default() }, "{server:?}");
    let rows = w.dump().await;
    let report = until("the database says that nothing has changed", &r, |report| report.kind == Kind::Skipped).await;
    assert_eq!(report, Report { kind: Kind::Skipped, ..Report::default() }, "{server:?}");
    assert_eq!(w.dump().await, rows, "{server:?}");
    // A commit that comes late carries a time that has passed already.
    w.put_at("a07", "v2", ago(minutes(1))).await;
    let report = until("the change is found", &r, |report| report.refreshed > 0).await;
    assert_eq!((report.kind, report.rows, report.refreshed), (Kind::Changed, 2, 1), "{server:?}");
    w.put_at("new", "v1", ago(minutes(0))).await;
    let report = until("the new one is found", &r, |report| report.taken > 0).await;
    assert_eq!((report.rows, report.taken), (3, 1), "{server:?}");
    w.done(&[&r]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_database_does_not_say_whether_anything_has_changed_the_table_is_looked_through_for_it() {
    let postgres = World::on(Server::Postgres, "steady_blind").await;
    let blind = "do $$ begin execute format('alter database %I set track_counts = off', current_database()); end $$";
    postgres.sql.exec(blind).await;
    let mariadb = World::on(Server::MariaDb, "steady_blind").await;
    // Its time of the last change is unknown from now on, as after a restart.
    mariadb.sql.exec("alter table accounts engine = Aria").await;
    for w in [World::sqlite().await, postgres, mariadb] {
        for n in 0..20 {
            w.put_at(&format!("a{n:02}"), "v1", long_ago()).await;
        }
        let r = w.replica(settings(&[".*"])).await;
        assert_eq!(r.scan().await.taken, 20, "{}", w.word());
        w.put_at("a07", "v2", ago(minutes(1))).await;
        for refreshed in [1, 0] {
            let report = r.again().await;
            assert_eq!((report.kind, report.refreshed), (Kind::Changed, refreshed), "{}", w.word());
        }
        assert_eq!(r.again().await, Report { kind: Kind::Changed, rows: 1, matched: 1, ..Report::default() }, "{}", w.word());
        w.done(&[&r]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_time_tells_is_found_by_the_full_scan_that_comes_by_itself() {
    for w in World::all("steady_hidden").await {
        for name in ["same-time", "clock-back", "gone", "lost-here", "newer"] {
            w.put_at(name, "v1", long_ago()).await;
        }
        let r = w.replica(settings(&[".*"])).await;
        let mut always = settings(&[".*"]);
        always.full = Duration::ZERO;
        let full = w.replica(always).await;
        assert_eq!(r.scan().await.taken, 5);
        full.again().await;
        w.put_at("newer", "v2", ago(minutes(0))).await;
        until("what has a time is found", &r, |report| report.refreshed == 1).await;
        w.put_at("same-time", "v2", long_ago()).await;
        w.put_at("clock-back", "v2", 7).await;
        w.put_at("restored", "v1", long_ago()).await;
        w.drop_row("gone").await;
        w.sql.exec("delete from kubesvc_accounts where name = 'lost-here'").await;
        let report = r.again().await;
        assert_eq!((report.refreshed, report.taken, report.drift), (0, 0, 0), "{}", w.word());
        let report = full.again().await;
        assert_eq!((report.kind, report.refreshed, report.taken, report.drift), (Kind::Full, 2, 2, 1), "{}", w.word());
        w.done(&[&r, &full]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_came_in_inactive_is_activated_by_its_name_though_the_table_is_as_it_was() {
    for w in World::all("steady_posted").await {
        for name in ["off", "on", "other"] {
            w.put_at(name, "v1", long_ago()).await;
        }
        let r = w.replica(settings(&["off|on"])).await;
        assert_eq!(r.scan().await.taken, 2);
        r.wants("off", fairlead::lifecycle::Wanted::Inactive).await;
        // Users ask for both: one that was taken out by hand, and one that no pattern takes.
        assert_eq!(r.again().await.activated, 0, "{}: by hand", w.word());
        r.takes("off").await;
        r.takes("other").await;
        let report = r.again().await;
        assert_eq!((is_small(&report), report.activated, report.taken), (true, 1, 0), "{}: {report:?}", w.word());
        let all = ["off TO_MIGRATE v1 scanner", "on TO_MIGRATE v1 scanner", "other INACTIVE v1 migrated"];
        assert_eq!(w.mirror().await, all, "{}", w.word());
        w.done(&[&r]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_limit_holds_back_or_is_still_leaving_is_looked_at_by_the_next_scan() {
    for w in World::all("steady_rest").await {
        for n in 0..7 {
            w.put_at(&format!("a{n}"), "v1", long_ago()).await;
        }
        // So that the others are not read again for their time.
        w.put_at("newest", "v1", ago(minutes(0))).await;
        let mut settings = settings(&["a.*"]);
        settings.max_migrations = Some(3);
        let r = w.replica(settings).await;
        for wanted in [(3, 4), (3, 1), (1, 0), (0, 0)] {
            let report = r.again().await;
            assert_eq!((report.taken, report.held_back), wanted, "{}: {report:?}", w.word());
            assert_eq!(is_small(&report), wanted != (3, 4), "{}: {report:?}", w.word());
        }
        w.sql.exec("update kubesvc_accounts set status = 'DELETING' where name = 'a3'").await;
        r.scan().await;
        assert_eq!(r.again().await.taken, 0, "{}: it is there", w.word());
        w.sql.exec("delete from kubesvc_accounts where name = 'a3'").await;
        let report = r.again().await;
        assert_eq!((is_small(&report), report.taken), (true, 1), "{}: {report:?}", w.word());
        assert_eq!(r.again().await.taken, 0, "{}", w.word());
        w.done(&[&r]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_more_is_left_than_is_remembered_or_another_remembers_it_the_next_scan_reads_everything() {
    let w = World::sqlite().await;
    let rows = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 1020) insert into accounts \
                select 'a' || i, 'kubernetes', '{\"name\": \"a' || i || '\"}', 1000, 1000, 'x' from n";
    w.sql.exec(rows).await;
    w.put_at("newest", "v1", ago(minutes(0))).await;
    let limited = |max| {
        let mut settings = settings(&["a.*"]);
        settings.max_migrations = max;
        settings
    };
    let (one, two) = (w.replica(limited(Some(10))).await, w.replica(limited(None)).await);
    for wanted in [(Kind::Full, 10, 1_010), (Kind::Full, 10, 1_000), (Kind::Changed, 10, 990)] {
        let report = one.again().await;
        assert_eq!((report.kind, report.taken, report.held_back), wanted);
    }
    w.sql.exec("delete from accounts where id like 'a%'").await;
    assert_eq!(two.again().await.kind, Kind::Full, "its first one");
    assert_eq!(two.again().await.kind, Kind::Changed);
    w.put_at("a-1", "v1", ago(minutes(0))).await;
    w.put_at("a-2", "v1", ago(minutes(0))).await;
    let small = w.replica(limited(Some(1))).await;
    assert_eq!(small.again().await.held_back, 1);
    assert_eq!(two.again().await.kind, Kind::Full, "only the other one knows what is left");
    assert_eq!(two.again().await.kind, Kind::Changed);
    w.done(&[&one, &two, &small]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_that_broke_off_is_followed_by_one_that_reads_everything() {
    let w = World::sqlite().await;
    w.put_at("a", "v1", long_ago()).await;
    let r = w.replica(settings(&[".*"])).await;
    r.scan().await;
    assert_eq!(r.again().await.kind, Kind::Changed);
    w.sql.exec("alter table accounts rename to elsewhere").await;
    r.scanner.again().await.expect_err("no table");
    w.sql.exec("alter table elsewhere rename to accounts").await;
    assert_eq!(r.again().await.kind, Kind::Full);
    w.done(&[&r]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_table_is_looked_through_piece_by_piece_to_its_end() {
    let w = World::sqlite().await;
    let rows = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 25000) insert into accounts \
                select printf('n%05d', i), 'aws', '{}', 1000, 1000, 'x' from n";
    w.sql.exec(rows).await;
    w.put_at("newest", "v1", ago(minutes(0))).await;
    let r = w.replica(settings(&["new.*"])).await;
    assert_eq!(r.scan().await.rows, 25_001);
    assert_eq!(r.again().await.rows, 1);
    // Before the first row, at the places where it is parted and beside them, behind the last row; and more of them than one page.
    w.sql.exec("update accounts set last_modified_at = 9999999999999 where id between 'n09990' and 'n10700'").await;
    for (i, name) in ["new-0", "n-new", "n20000-new", "z-new"].into_iter().enumerate() {
        w.put_at(name, "v1", ago(minutes(0))).await;
        let report = r.again().await;
        assert_eq!((report.kind, report.rows), (Kind::Changed, 711 + 2 + i as u64), "{name}");
    }
    w.done(&[&r]).await;
}
