//! Names as databases compare and sort them: by case or not, by accents or not, with spaces at the end that count or do not.

use std::collections::BTreeSet;
use std::time::Duration;

use fairlead::scan::Report;
use fairlead::source::Source;
use tokio_util::sync::CancellationToken;

use super::rig::{World, settings};
use crate::support::databases::{SERVERS, Server};

/// What one database takes for one name and another for two, and what is sorted in more than one way. Each database keeps those that it
/// can tell apart.
const NAMES: &str = "prod|Prod|PROD|pród|prôd|prod |prod  | prod|ｐｒｏｄ|straße|strasse|STRASSE|e\u{301}b|éb|eb|ch|cz|c|ll|lz|a-b|ab|a_b|a b|A-B|\
                     10|9|1|😀|😁|ß|ss|İ|i|ı|I|z|Z|zz|_x|-x|\u{200b}x|x|x\u{ad}y|xy|a\tb|a\t|a|á|%|a\\b|a'b|a\"b|æ|ae|Å|aa";

/// What `accounts.id` may be like.
const COLUMNS: &[(Server, &str)] = &[
    (Server::MariaDb, "varchar(255) character set utf8mb4 collate utf8mb4_unicode_ci"),
    (Server::MariaDb, "varchar(255) character set utf8mb4 collate utf8mb4_bin"),
    (Server::MariaDb, "varchar(255) character set utf8mb4 collate utf8mb4_unicode_nopad_ci"),
    (Server::MariaDb, "varchar(255) character set utf8mb4 collate utf8mb4_danish_ci"),
    (Server::MariaDb, "varchar(255) character set utf8mb4 collate utf8mb4_uca1400_as_cs"),
    (Server::MariaDb, "varchar(255) character set utf8mb3 collate utf8mb3_general_ci"),
    (Server::MariaDb, "varchar(255) character set latin1 collate latin1_german2_ci"),
    (Server::MariaDb, "varchar(255) character set latin1 collate latin1_swedish_ci"),
    (Server::Postgres, "varchar(255)"),
    (Server::Postgres, "varchar(255) collate \"C\""),
    (Server::Postgres, "varchar(255) collate \"und-x-icu\""),
    (Server::Postgres, "varchar(255) collate ignores_case"),
];

async fn world(server: Server, column: &str) -> World {
    let w = World::on(server, "scan_names").await;
    let sql = match server {
        Server::MariaDb => format!("alter table accounts modify id {column} not null"),
        Server::Postgres => format!(
            "create collation ignores_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false); \
             alter table accounts alter column id type {column}"
        ),
    };
    w.sql.exec(&sql).await;
    w
}

fn body(name: &str, note: &str) -> String {
    serde_json::json!({"type": "kubernetes", "name": name, "note": note, "kubeconfigContents": "c"}).to_string()
}

/// Stores it, if the database takes it for a name that it does not have yet.
async fn try_put(w: &World, name: &str, created: i64) -> bool {
    let (id, body) = (w.sql.quoted(name), w.sql.quoted(&body(name, "v1")));
    w.sql.try_exec(&format!("insert into accounts values ({id}, 'kubernetes', {body}, {created}, 5000, 'someone')")).await.is_ok()
}

async fn ids(w: &World) -> BTreeSet<String> {
    w.sql.rows("select id from accounts").await.into_iter().map(|mut r| r[0].take().expect("an id")).collect()
}

/// All ids, each as often as pages without definitions show it; sorted.
async fn skimmed(w: &World, limit: u32) -> Vec<String> {
    let r = w.replica(settings(&[])).await;
    let source = Source::Sql(fairlead::source::Sql::new(r.store.main().clone()));
    let (mut ids, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = source.skim(after.as_deref(), limit).await.expect("readable");
        ids.extend(page.bare.into_iter().map(|row| row.id));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    r.store.close().await;
    ids.sort();
    ids
}

async fn mirrored(w: &World) -> BTreeSet<String> {
    w.mirror().await.into_iter().collect()
}

fn all(names: &BTreeSet<String>, rest: &str) -> BTreeSet<String> {
    names.iter().map(|name| format!("{name} {rest}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_database_takes_for_one_name_or_two_and_however_it_sorts_them_each_row_is_migrated_refreshed_and_removed_once() {
    for (server, column) in COLUMNS {
        each_row_once(world(*server, column).await, column).await;
    }
    each_row_once(World::encoded("LATIN1", "scan_names").await, "LATIN1").await;
    each_row_once(World::encoded("SQL_ASCII", "scan_names").await, "SQL_ASCII").await;
}

async fn each_row_once(w: World, column: &str) {
    for name in NAMES.split('|') {
        try_put(&w, name, 1_000).await;
    }
    let there = ids(&w).await;
    let n = there.len() as u64;
    assert!(n >= 25, "{column}: {there:?}");
    for limit in [1, 2, 7] {
        assert_eq!(skimmed(&w, limit).await, there.iter().cloned().collect::<Vec<_>>(), "{column}: {limit} at a time");
    }
    let mut settings = settings(&[r"[\s\S]*"]);
    settings.page = 2;
    let r = w.replica(settings.clone()).await;
    let report = r.scan().await;
    assert_eq!((report.rows, report.matched, report.taken, report.failed), (n, n, n, 0), "{column}");
    assert_eq!(mirrored(&w).await, all(&there, "TO_MIGRATE v1 scanner"), "{column}");
    assert_eq!(r.scan().await, Report { rows: n, matched: n, ..Report::default() }, "{column}: nothing is done twice");
    for name in &there {
        let (id, body) = (w.sql.quoted(name), w.sql.quoted(&body(name, "v2")));
        let touched = w.sql.exec(&format!("update accounts set body = {body} where id = {id}")).await;
        assert_eq!(touched, 1, "{column}: {name:?}");
    }
    assert_eq!(r.scan().await.refreshed, n, "{column}");
    assert_eq!(mirrored(&w).await, all(&there, "TO_MIGRATE v2 scanner"), "{column}");
    for name in there.iter().step_by(2) {
        w.drop_row(name).await;
    }
    let left = ids(&w).await;
    let gone = n - left.len() as u64;
    settings.deletes = true;
    let d = w.replica_with(settings, 1_000, Duration::from_secs(60)).await;
    let report = d.scan().await;
    assert_eq!((report.removed, report.drift), (gone, 0), "{column}");
    assert_eq!(mirrored(&w).await, all(&left, "TO_MIGRATE v2 scanner"), "{column}");
    w.done(&[&r, &d]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_was_made_again_under_another_spelling_is_the_same_where_the_database_says_so_and_follows_its_pattern() {
    for server in SERVERS {
        let w = World::on(server, "scan_respelled").await;
        w.put("Prod", "kubernetes", "v1", 1_000).await;
        let r = w.replica(settings(&["P.*"])).await;
        r.takes("Prod").await;
        w.drop_row("Prod").await;
        w.put("PROD", "kubernetes", "v2", 2_000).await;
        let report = r.scan().await;
        match server {
            Server::MariaDb => {
                assert_eq!(w.mirror().await, ["Prod TO_MIGRATE v2 migrated"]);
                assert_eq!(report.drift, 0, "it is there");
            }
            // Two names: one is gone, which is drift, and the other is new.
            Server::Postgres => {
                assert_eq!(w.mirror().await, ["PROD TO_MIGRATE v2 scanner", "Prod INACTIVE v1 migrated"]);
                assert_eq!(report.drift, 1);
            }
        }
        w.done(&[&r]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_all_the_time_keeps_its_life_while_others_come_go_change_and_are_spelled_anew_between_the_pages() {
    for server in SERVERS {
        let w = World::on(server, "scan_storm").await;
        for n in 0..40 {
            w.put(&format!("stays-{n:03}"), "kubernetes", "v1", 1_000).await;
        }
        let mut settings = settings(&[".*"]);
        (settings.page, settings.deletes) = (3, true);
        let r = w.replica_with(settings, 1_000, Duration::from_secs(60)).await;
        r.scan().await;
        let lives = "select name, concat(fl_generation, ''), concat(fl_created, '') from kubesvc_accounts where name like 'stays-___' order by name";
        let before = w.sql.rows(lives).await;
        assert_eq!(before.len(), 40);
        let seed = fastrand::u64(..);
        let stop = CancellationToken::new();
        let writer = {
            let (w, stop) = (w.writer(), stop.clone());
            tokio::spawn(async move {
                let (mut chance, mut n) = (fastrand::Rng::with_seed(seed), 0_i64);
                while !stop.is_cancelled() {
                    // Before, between and behind what stays; and on MariaDB one name by three spellings.
                    let name = ["a", "stays-010x", "Stays-020X", "STAYS-020x", "stays-030 x", "z", "Z"][chance.usize(..7)];
                    match chance.u8(..4) {
                        0 => w.drop_row(name).await,
                        1 => w.put(name, "kubernetes", &format!("again {n}"), 10_000 + n).await,
                        2 => w.put(name, "kubernetes", &format!("changed {n}"), 9_999).await,
                        _ => w.put(name, "aws", "-", 10_000 + n).await,
                    }
                    n += 1;
                }
            })
        };
        for _ in 0..6 {
            let report = r.scan().await;
            assert!(report.rows >= 40 && report.matched >= 40, "{server:?}, seed {seed}: {report:?}");
        }
        stop.cancel();
        writer.await.expect("no panic");
        r.scan().await;
        assert_eq!(w.sql.rows(lives).await, before, "{server:?}, seed {seed}: neither gone nor come again");
        // At rest one scan makes the mirror what the table is.
        let notes = |rows: Vec<Vec<Option<String>>>, column: usize| {
            let note = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON")["note"].to_string();
            let text = |t: &Option<String>| t.clone().unwrap_or_default();
            let fold = |name: String| if server == Server::MariaDb { name.to_lowercase() } else { name };
            rows.iter().map(|r| (fold(text(&r[0])), note(&text(&r[column])))).collect::<BTreeSet<_>>()
        };
        let theirs = notes(w.sql.rows("select id, body from accounts where type = 'kubernetes'").await, 1);
        let ours = notes(w.sql.rows("select name, definition from kubesvc_accounts").await, 1);
        assert_eq!(ours, theirs, "{server:?}, seed {seed}");
        w.done(&[&r]).await;
    }
}
