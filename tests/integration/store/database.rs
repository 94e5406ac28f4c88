use std::time::Duration;

use fairlead::args;
use fairlead::store::db::{Db, Error, PoolConfig};

use super::{Place, places, servers};
use crate::support::databases::{eventually, pool_config};

async fn table(place: &Place) {
    place.sql.exec("create table t (k integer primary key, v integer)").await;
    place.sql.exec("insert into t (k, v) values (1, 0), (2, 0)").await;
}

/// One connection, and statements of at most two seconds.
fn narrow(place: &Place) -> Db {
    Db::open(&PoolConfig { max_connections: 1, statement_timeout: Duration::from_secs(2), ..place.config() })
}

const UPDATE: &str = "UPDATE t SET v = v + 1 WHERE k = ?";

#[tokio::test]
async fn each_connection_reads_committed_rows_and_has_its_bounds_on_the_server() {
    for place in servers("session").await {
        let db = narrow(&place);
        let sql = match place.word() {
            "mariadb" => {
                "SELECT CONCAT(@@tx_isolation, ' ', @@innodb_lock_wait_timeout, ' ', @@lock_wait_timeout, ' ', @@max_statement_time, ' ', @@sql_mode LIKE '%STRICT_TRANS_TABLES%')"
            }
            _ => {
                "SELECT current_setting('transaction_isolation') || ' ' || current_setting('lock_timeout') || ' ' || current_setting('statement_timeout')"
            }
        };
        let rows = db.fetch(sql, &[]).await.expect("read");
        let expected = if place.word() == "mariadb" { "READ-COMMITTED 1 1 2.000000 1" } else { "read committed 1600ms 2s" };
        assert_eq!(rows[0].text(0).expect("text").as_deref(), Some(expected));
        db.close().await;
        place.done().await;
    }
}

#[tokio::test]
async fn a_wait_for_a_lock_ends_and_may_be_tried_again() {
    for place in places("lockwait").await {
        table(&place).await;
        let (holder, other) = (narrow(&place), narrow(&place));
        let mut held = holder.begin().await.expect("begun");
        held.exec(UPDATE, args![1_i64]).await.expect("locked");
        let e = other.exec(UPDATE, args![1_i64]).await.expect_err("held");
        assert!(e.is_contention() && e.is_transient(), "{}: {e}", place.word());
        held.commit().await.expect("committed");
        assert_eq!(other.exec(UPDATE, args![1_i64]).await.expect("free"), 1);
        holder.close().await;
        other.close().await;
        place.done().await;
    }
}

#[tokio::test]
async fn the_one_who_loses_a_deadlock_may_try_again() {
    for place in servers("deadlock").await {
        table(&place).await;
        let db = Db::open(&place.config());
        let (mut a, mut b) = (db.begin().await.expect("begun"), db.begin().await.expect("begun"));
        a.exec(UPDATE, args![1_i64]).await.expect("locked");
        b.exec(UPDATE, args![2_i64]).await.expect("locked");
        let (x, y) = tokio::join!(async { a.exec(UPDATE, args![2_i64]).await }, async {
            let result = b.exec(UPDATE, args![1_i64]).await;
            if result.is_err() {
                b.rollback().await;
            }
            result
        });
        let loser = x.err().or(y.err()).expect("one loses");
        assert!(loser.is_contention(), "{}: {loser}", place.word());
        drop(a);
        db.close().await;
        place.done().await;
    }
}

#[tokio::test]
async fn a_server_that_is_read_only_is_told_apart() {
    for place in places("readonly").await {
        table(&place).await;
        let db = match place.word() {
            "sqlite" => {
                let path = place.folder.as_ref().expect("a folder").path().join("fairlead.db");
                Db::open(&PoolConfig { max_connections: 1, ..pool_config(&format!("sqlite:{}?mode=ro", path.display())) })
            }
            word => {
                let db = narrow(&place);
                let sql = if word == "mariadb" { "SET SESSION TRANSACTION READ ONLY" } else { "SET default_transaction_read_only = on" };
                db.exec(sql, &[]).await.expect("set");
                db
            }
        };
        let e = db.exec(UPDATE, args![1_i64]).await.expect_err("read-only");
        assert!(matches!(e, Error::ReadOnly { .. }) && e.is_transient(), "{}: {e}", place.word());
        db.close().await;
        place.done().await;
    }
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_stopped_and_the_connection_goes_on() {
    for place in servers("slow").await {
        let db = narrow(&place);
        let sql = if place.word() == "mariadb" { "SELECT SLEEP(30)" } else { "SELECT pg_sleep(30)::text" };
        let e = db.fetch(sql, &[]).await.err().expect("stopped");
        assert!(matches!(e, Error::Timeout { .. }) && e.is_transient(), "{}: {e}", place.word());
        db.fetch("SELECT 1", &[]).await.unwrap_or_else(|e| panic!("{}: {e}", place.word()));
        db.close().await;
        place.done().await;
    }
}

async fn connection_id(db: &Db, word: &str) -> i64 {
    let sql = if word == "mariadb" { "SELECT CAST(CONNECTION_ID() AS SIGNED)" } else { "SELECT pg_backend_pid()::bigint" };
    db.fetch(sql, &[]).await.expect("read")[0].int(0).expect("a number").expect("one")
}

async fn kill(place: &Place, id: i64) {
    match place.word() {
        "mariadb" => place.sql.exec(&format!("kill {id}")).await,
        _ => place.sql.exec(&format!("select pg_terminate_backend({id})")).await,
    };
    let there = match place.word() {
        "mariadb" => format!("select count(*) from information_schema.processlist where id = {id}"),
        _ => format!("select count(*) from pg_stat_activity where pid = {id}"),
    };
    eventually("the connection to go", Duration::from_secs(20), || async { (place.sql.number(&there).await == 0).then_some(()) }).await;
}

#[tokio::test]
async fn an_idle_connection_that_the_server_closed_is_replaced_unseen() {
    for place in servers("idle").await {
        table(&place).await;
        let db = narrow(&place);
        for _ in 0..3 {
            let id = connection_id(&db, place.word()).await;
            kill(&place, id).await;
            assert_eq!(db.exec(UPDATE, args![1_i64]).await.unwrap_or_else(|e| panic!("{}: {e}", place.word())), 1);
        }
        db.close().await;
        place.done().await;
    }
}

#[tokio::test]
async fn a_connection_that_dies_in_a_transaction_is_told_as_unreachable_and_nothing_is_done() {
    for place in servers("killed").await {
        table(&place).await;
        let db = narrow(&place);
        let id = connection_id(&db, place.word()).await;
        let mut tx = db.begin().await.expect("begun");
        tx.exec(UPDATE, args![1_i64]).await.expect("done in the transaction");
        kill(&place, id).await;
        let e = tx.exec(UPDATE, args![2_i64]).await.expect_err("gone");
        assert!(matches!(e, Error::Unreachable { .. }) && e.is_transient() && !e.is_contention(), "{}: {e}", place.word());
        drop(tx);
        assert_eq!(place.sql.number("select sum(v) from t").await, 0);
        assert_eq!(db.exec(UPDATE, args![1_i64]).await.unwrap_or_else(|e| panic!("{}: {e}", place.word())), 1);
        db.close().await;
        place.done().await;
    }
}

#[tokio::test]
async fn a_pool_with_no_free_connection_says_so_in_time() {
    for place in places("pool").await {
        table(&place).await;
        let db = Db::open(&PoolConfig { max_connections: 1, acquire_timeout: Duration::from_secs(2), ..place.config() });
        let held = db.begin().await.expect("begun");
        let e = db.fetch("SELECT 1", &[]).await.err().expect("none free");
        assert!(matches!(e, Error::PoolExhausted { .. }) && e.is_transient(), "{}: {e}", place.word());
        held.rollback().await;
        assert_eq!(db.fetch("SELECT 1", &[]).await.expect("free again").len(), 1);
        db.close().await;
        place.done().await;
    }
}

#[tokio::test]
async fn what_trying_again_cannot_mend_is_not_transient() {
    for place in places("final").await {
        table(&place).await;
        place.sql.exec("create table short (s varchar(3))").await;
        let db = narrow(&place);
        let mut wrong = vec!["INSERT INTO t (k, v) VALUES (1, 1)", "SELECT nothing FROM nowhere", "NO SQL AT ALL"];
        if place.word() != "sqlite" {
            wrong.push("INSERT INTO short (s) VALUES ('four')");
        }
        for sql in wrong {
            let e = db.exec_dynamic(sql, &[]).await.expect_err(sql);
            assert!(!e.is_transient(), "{} {sql}: {e}", place.word());
        }
        db.close().await;
        place.done().await;
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    for url in ["mysql://root@127.0.0.1:1/x", "postgres://postgres@127.0.0.1:1/x"] {
        let db = Db::open(&PoolConfig { acquire_timeout: Duration::from_millis(300), ..pool_config(url) });
        let e = db.fetch("SELECT 1", &[]).await.err().expect("not there");
        assert!(e.is_transient() && !e.is_contention(), "{e}");
    }
}
