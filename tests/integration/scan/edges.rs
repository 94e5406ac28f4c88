//! Rows that no statement can name, notes that have outlived their account, and scanning by Clouddriver's API.

use std::time::Duration;

use fairlead::demo::{Options, StandIn};
use fairlead::lifecycle::Wanted;
use fairlead::scan::{Kind, Report};
use fairlead::source::{Api, ApiConfig, Source};
use fairlead::store::Store;
use serde_json::json;

use super::rig::{World, settings};
use crate::support::databases::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_is_no_text_fails_alone_and_what_comes_after_it_is_scanned() {
    let mariadb = World::on(Server::MariaDb, "scan_bytes").await;
    mariadb.sql.exec("alter table accounts modify id varbinary(255) not null").await;
    for w in [World::sqlite().await, mariadb] {
        for name in ["a", "b", "c", "y"] {
            w.put(name, "kubernetes", "v1", 1_000).await;
        }
        // First, one alone, several in a row, last.
        for hex in ["00ff", "62ff", "63fe", "63ff", "63ff61", "80", "ff"] {
            let id = if w.word() == "sqlite" { format!("cast(x'{hex}' as text)") } else { format!("x'{hex}'") };
            w.sql.exec(&format!("insert into accounts values ({id}, 'kubernetes', '{{}}', 1000, 5000, 'x')")).await;
        }
        for page in 1..=6 {
            let mut settings = settings(&["(?i).*"]);
            settings.page = page;
            let r = w.replica(settings).await;
            let taken = if page == 1 { 4 } else { 0 };
            let wanted = Report { rows: 11, matched: 4, taken, failed: 7, ..Report::default() };
            assert_eq!(r.scan().await, wanted, "{}: {page} at a time", w.word());
            // Or else nothing was read.
            let report = r.again().await;
            assert_eq!(report.failed, if report.kind == Kind::Changed { 7 } else { 0 }, "{}: {page} at a time", w.word());
            r.store.close().await;
        }
        assert_eq!(w.mirror_rows().await, 4, "{}", w.word());
        w.done(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_user_did_by_hand_counts_until_clouddriver_deletes_the_account_though_the_mirror_has_no_row_of_it() {
    for w in World::all("scan_notes").await {
        for name in ["again", "back", "stays", "off"] {
            w.put(name, "kubernetes", "v1", 1_000).await;
        }
        let r = w.replica(settings(&[".*"])).await;
        assert_eq!(r.scan().await.taken, 4);
        r.wants("again", Wanted::Deleted).await;
        r.wants("back", Wanted::Deleted).await;
        r.wants("stays", Wanted::Deleted).await;
        r.wants("off", Wanted::Inactive).await;
        // Deleted, and seen to be so by a scan.
        w.drop_row("again").await;
        // Deleted too, and here a row is left, which is drift.
        w.drop_row("off").await;
        r.scan().await;
        let notes = w.sql.rows("select name_key from fairlead_hand order by name_key").await.concat();
        assert_eq!(notes, ["back", "off", "stays"].map(|n| Some(n.to_owned())), "{}", w.word());
        for name in ["again", "off"] {
            w.put(name, "kubernetes", "v2", 2_000).await;
        }
        assert_eq!((r.scan().await.taken, r.scan().await.taken), (1, 0), "{}", w.word());
        assert_eq!(w.mirror().await, ["again TO_MIGRATE v2 scanner", "off INACTIVE v2 scanner"], "{}", w.word());
        w.done(&[&r]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_lost_everything_or_much_makes_nobody_forget_what_was_done_by_hand() {
    let w = World::sqlite().await;
    for n in 0..5 {
        w.put(&format!("a{n}"), "kubernetes", "v1", 1_000).await;
    }
    let r = w.replica_with(settings(&[".*"]), 3, Duration::from_secs(60)).await;
    assert_eq!(r.scan().await.taken, 5);
    for n in 0..5 {
        r.wants(&format!("a{n}"), Wanted::Deleted).await;
    }
    for n in 0..4 {
        w.drop_row(&format!("a{n}")).await;
    }
    let notes = || w.sql.rows("select name_key from fairlead_hand");
    r.scan().await;
    assert_eq!(notes().await.len(), 5, "more than maxDeletesPerPass");
    w.drop_row("a4").await;
    r.scan().await;
    assert_eq!(notes().await.len(), 5, "an empty table");
    for n in 2..5 {
        w.put(&format!("a{n}"), "kubernetes", "v1", 1_000).await;
    }
    r.scan().await;
    assert_eq!(notes().await.len(), 3);
    w.done(&[&r]).await;
}

/// As after a restore into an empty schema, or where the settings name another Clouddriver's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_without_any_kubernetes_account_costs_the_mirror_none_of_several_and_the_only_one_that_went_goes() {
    for w in World::all("scan_lost").await {
        for name in ["a", "b", "c"] {
            w.put(name, "kubernetes", "v1", 1_000).await;
        }
        let mut deletes = settings(&["[abc]"]);
        deletes.deletes = true;
        let r = w.replica(deletes).await;
        assert_eq!(r.scan().await.taken, 3);
        for name in ["a", "b", "c"] {
            w.drop_row(name).await;
        }
        for rows in [0, 1] {
            let report = r.scan().await;
            let wanted = Report { rows, drift: 3, deletes_held_back: 3, ..Report::default() };
            assert_eq!(report, wanted, "{}", w.word());
            assert_eq!(w.mirror_rows().await, 3, "{}", w.word());
            w.put("d", "aws", "v1", 1_000).await;
        }
        // Any Kubernetes account shows that these were taken out, also one that is no business of a scan's.
        w.put("other", "kubernetes", "v1", 1_000).await;
        let report = r.scan().await;
        assert_eq!((report.removed, report.drift, report.deletes_held_back), (3, 0, 0), "{}", w.word());
        w.put("a", "kubernetes", "v1", 1_000).await;
        assert_eq!(r.scan().await.taken, 1, "{}", w.word());
        w.drop_row("a").await;
        w.drop_row("other").await;
        assert_eq!(r.scan().await.removed, 1, "{}: it was the only one", w.word());
        w.done(&[&r]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_clouddrivers_api_each_scan_reads_everything_and_nothing_is_taken_for_gone_that_does_not_resolve() {
    let w = World::sqlite().await;
    let cd = StandIn::start(Options::default()).await.expect("started");
    let put = async |name: &str, note: &str| {
        let definition = json!({"type": "kubernetes", "name": name, "context": note, "kubeconfigContents": "c"});
        cd.upsert(&definition).await.expect("stored");
    };
    for name in ["account1", "account10", "my-account2", "other", "secret"] {
        put(name, "v1").await;
    }
    cd.set_unresolvable("secret", true);
    let mut settings = settings(&["account1.*", ".*account2.*", "secret"]);
    (settings.page, settings.deletes) = (2, true);
    let api = |_: &Store| {
        let address = cd.address();
        let config =
            ApiConfig { host: address.ip().to_string().into(), tls: None, port: address.port(), context_path: "".into(), user: None };
        Source::Api(Api::new(config))
    };
    let r = w.replica_of(settings, 50, Duration::from_secs(60), api).await;
    let report = r.again().await;
    assert_eq!((report.kind, report.matched, report.taken, report.failed), (Kind::Full, 3, 3, 0));
    let all = ["account1 TO_MIGRATE v1 scanner", "account10 TO_MIGRATE v1 scanner", "my-account2 TO_MIGRATE v1 scanner"];
    assert_eq!(w.mirror().await, all);
    let rows = w.dump().await;
    assert_eq!(r.again().await, Report { rows: 4, matched: 3, ..Report::default() }, "nothing is done twice");
    assert_eq!(w.dump().await, rows);
    // Its secret resolves; another's does no more, one is changed, one is deleted.
    cd.set_unresolvable("secret", false);
    cd.set_unresolvable("account1", true);
    put("account10", "v2").await;
    cd.remove("my-account2").await.expect("removed");
    let report = r.again().await;
    assert_eq!((report.kind, report.taken, report.refreshed, report.removed, report.drift), (Kind::Full, 1, 1, 1, 0));
    let all = ["account1 TO_MIGRATE v1 scanner", "account10 TO_MIGRATE v2 scanner", "secret TO_MIGRATE v1 scanner"];
    assert_eq!(w.mirror().await, all);
    w.done(&[&r]).await;
}
