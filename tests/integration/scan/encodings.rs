//! Tables of other encodings than UTF-8: what a database cannot give as text, and names that it cannot hold.

use fairlead::scan::{Kind, Report};
use fairlead::source::{Reading, Source, Sql};

use super::rig::{Replica, World, settings};
use crate::support::databases::Server;

/// What is no text, or has no text beside it: ids, a definition and a type.
const BYTES: [(&str, &str, &str); 8] = [
    ("b\\xff", "kubernetes", ""),
    ("c\\xfe", "kubernetes", ""),
    ("c\\xff", "aws", ""),
    ("c\\xffa", "kubernetes", ""),
    ("definition", "kubernetes", "\\xff"),
    ("type", "k\\xff", ""),
    ("\\x80", "kubernetes", ""),
    ("\\xff", "kubernetes", ""),
];

fn source(r: &Replica) -> Source {
    Source::Sql(Sql::new(r.store.main().clone()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_database_cannot_give_as_text_fails_alone_and_what_comes_after_it_is_scanned() {
    let w = World::encoded("SQL_ASCII", "scan_ascii").await;
    for name in ["a", "b", "c", "prôd", "y"] {
        w.put(name, "kubernetes", "v1", 1_000).await;
    }
    for (id, kind, note) in BYTES {
        let body = format!("{{\"name\": \"x\", \"note\": \"{note}\"}}");
        w.sql.exec(&format!("insert into accounts values (E'{id}', E'{kind}', E'{body}', 1000, 5000, 'x')")).await;
    }
    for page in 1..=6 {
        // With all definitions, and without.
        for (pattern, matched) in [("[\\s\\S]*", 5), ("y|definition", 1)] {
            let mut settings = settings(&[pattern]);
            settings.page = page;
            let r = w.replica(settings).await;
            let taken = if page == 1 && matched == 5 { 5 } else { 0 };
            let failed = if matched == 5 { 8 } else { 1 };
            let wanted = Report { rows: 13, matched, taken, failed, ..Report::default() };
            assert_eq!(r.scan().await, wanted, "{pattern}, {page} at a time");
            // Or else nothing was read.
            let report = r.again().await;
            assert_eq!(report.failed, if report.kind == Kind::Changed { failed } else { 0 }, "{pattern}, {page} at a time");
            r.store.close().await;
        }
    }
    assert_eq!(w.mirror_rows().await, 5);
    w.done(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_the_encoding_cannot_hold_is_certainly_not_there_and_a_row_that_is_refused_may_be() {
    let mariadb = World::on(Server::MariaDb, "scan_latin").await;
    mariadb.sql.exec("alter table accounts modify id varchar(255) character set latin1 collate latin1_bin not null").await;
    for w in [World::encoded("LATIN1", "scan_latin").await, mariadb] {
        w.put("é", "kubernetes", "v1", 1_000).await;
        let r = w.replica(settings(&[])).await;
        for name in ["日本", "e\u{301}", "e"] {
            let reading = source(&r).read(name).await;
            assert!(matches!(reading, Ok(Reading::Absent)), "{}, {name}: {reading:?}", w.word());
        }
        for (name, reading) in ["é", "日本"].iter().zip(source(&r).read_all(&["é", "日本"]).await.expect("asked")) {
            // Whoever gets nothing asks alone.
            assert!(reading.is_none(), "{}, {name}: {reading:?}", w.word());
        }
        assert!(matches!(source(&r).read("é").await, Ok(Reading::Present(row)) if row.id == "é"), "{}", w.word());
        w.done(&[&r]).await;
    }

    // A byte that means nothing in this encoding.
    let w = World::encoded("WIN1252", "scan_windows").await;
    w.sql.exec("insert into accounts values ('odd', 'kubernetes', E'{\"name\": \"\\x81\"}', 1000, 5000, 'x')").await;
    w.put("é", "kubernetes", "v1", 1_000).await;
    let r = w.replica(settings(&[".*"])).await;
    assert!(matches!(source(&r).read("odd").await, Ok(Reading::Unknown(_))));
    assert_eq!(r.scan().await, Report { rows: 2, matched: 1, taken: 1, failed: 1, ..Report::default() });
    assert_eq!(w.mirror().await, ["é TO_MIGRATE v1 scanner"]);
    w.done(&[&r]).await;
}
