use super::{places, servers, store};

use crate::support::databases::{Server, TestDatabase, pool_config};
use fairlead::config::{Database, SourceConfig};
use fairlead::store::Store;

const TABLES: [&str; 9] = [
    "fairlead_epochs",
    "fairlead_hand",
    "fairlead_intents",
    "fairlead_lives",
    "fairlead_meta",
    "fairlead_migrations",
    "fairlead_names",
    "fairlead_tombstones",
    "kubesvc_accounts",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_starts_at_once_on_an_empty_schema_all_succeed_and_the_schema_is_made_once() {
    for round in 0..3 {
        for place in places(&format!("eight{round}")).await {
            let starts: Vec<_> = (0..8)
                .map(|_| {
                    let store = place.store();
                    tokio::spawn(async move {
                        let report = store.migrate().await;
                        store.close().await;
                        report
                    })
                })
                .collect();
            let mut created = 0;
            for start in starts {
                let report = start.await.expect("no panic").unwrap_or_else(|e| panic!("{}: {e}", place.word()));
                created += u32::from(report.created);
                assert_eq!((report.added, report.warnings), (vec![], vec![]), "{}", place.word());
            }
            assert_eq!(created, 1, "{}", place.word());
            assert_eq!(place.sql.number("select cast(count(*) as char) from fairlead_migrations").await, 7, "{}", place.word());
            place.done().await;
        }
    }
}

#[tokio::test]
async fn each_table_is_there_and_takes_and_gives_64_bit_numbers_and_any_name() {
    for place in places("tables").await {
        let store = place.store();
        store.migrate().await.expect("migrated");
        let db = store.main();
        for table in TABLES {
            let rows = db.fetch_dynamic(&format!("SELECT COUNT(*) FROM {table}"), &[]).await;
            assert!(rows.is_ok(), "{} {table}", place.word());
        }
        let name = format!("{}€🦀", "é".repeat(253));
        db.exec(
            "INSERT INTO fairlead_intents (id, name_key, method, epoch, created_ms, pre_state, pre_created, pre_modified) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            fairlead::args!["01J", &name, "PUT_NAMED", "01E", i64::MAX, "row", i64::MAX, None::<i64>],
        )
        .await
        .expect("intent");
        let rows = db
            .fetch(
                "SELECT id, name_key, created_ms, pre_created, pre_modified, epoch FROM fairlead_intents WHERE name_key = ?",
                fairlead::args![&name],
            )
            .await
            .expect("read");
        let row = rows.first().expect("one row");
        assert_eq!(row.text(0).unwrap().as_deref(), Some("01J"));
        assert_eq!(row.text(1).unwrap().as_deref(), Some(&*name));
        assert_eq!((row.int(2).unwrap(), row.int(3).unwrap(), row.int(4).unwrap()), (Some(i64::MAX), Some(i64::MAX), None));
        db.exec(
            "INSERT INTO fairlead_epochs (id, replica, opened_ms, ok_until_ms, alive_ms, state) VALUES (?, ?, {now}, {now}, {now}, ?)",
            fairlead::args!["01E", "r", "open"],
        )
        .await
        .expect("epoch");
        let rows = db.fetch("SELECT passes, beat, gap_from_ms FROM fairlead_epochs", &[]).await.expect("read");
        assert_eq!((rows[0].int(0).unwrap(), rows[0].int(1).unwrap(), rows[0].int(2).unwrap()), (Some(0), Some(0), None));
        db.exec("INSERT INTO fairlead_names (name_key, gen, touched_ms) VALUES (?, ?, ?)", fairlead::args![&name, i64::MIN, 1_i64])
            .await
            .expect("name");
        store.close().await;
        place.done().await;
    }
}

#[tokio::test]
async fn a_start_that_died_between_a_table_and_its_mark_is_carried_on() {
    for place in places("dirty").await {
        let store = place.store();
        store.migrate().await.expect("migrated");
        match place.word() {
            // The state that MariaDB is left in by a kill: the mark is written before the table is made.
            "mariadb" => {
                place.sql.exec("update fairlead_migrations set success = false where version = 3; drop table fairlead_epochs").await
            }
            _ => place.sql.exec("delete from fairlead_migrations where version = 3").await,
        };
        store.migrate().await.unwrap_or_else(|e| panic!("{}: {e}", place.word()));
        store.main().fetch("SELECT COUNT(*) FROM fairlead_epochs", &[]).await.expect("there again");
        store.close().await;
        place.done().await;
    }
}

#[tokio::test]
async fn a_schema_that_a_newer_replica_widened_is_worked_with() {
    for place in places("newer").await {
        let store = place.store();
        store.migrate().await.expect("migrated");
        place.sql.exec("alter table kubesvc_accounts add column fl_newer varchar(10)").await;
        place.sql.exec("alter table fairlead_names add column newer integer default 7").await;
        let checksum = if place.word() == "postgres" { "'\\x00'" } else { "''" };
        place
            .sql
            .exec(&format!("insert into fairlead_migrations (version, description, success, checksum, execution_time) values (99, 'newer', true, {checksum}, 1)"))
            .await;
        let report = store.migrate().await.unwrap_or_else(|e| panic!("{}: {e}", place.word()));
        assert!(!report.created && report.added.is_empty());
        store.close().await;
        place.done().await;
    }
}

#[tokio::test]
async fn a_lost_table_of_accounts_is_made_again() {
    for place in places("lost").await {
        let store = place.store();
        assert!(store.migrate().await.expect("migrated").created);
        place.sql.exec("drop table kubesvc_accounts").await;
        assert!(store.migrate().await.unwrap_or_else(|e| panic!("{}: {e}", place.word())).created);
        store.close().await;
        place.done().await;
    }
}

#[tokio::test]
async fn nothing_is_read_before_the_tables_are_ready_and_trying_later_helps() {
    for place in places("early").await {
        let store = place.store();
        let e = store.get("a").await.expect_err("too early");
        assert!(e.is_transient(), "{e}");
        store.migrate().await.expect("migrated");
        assert_eq!(store.get("a").await.expect("ready"), None);
        store.close().await;
        place.done().await;
    }
}

#[tokio::test]
async fn embedded_databases_in_memory_need_no_file() {
    let store = store(pool_config("sqlite::memory:"), None);
    store.migrate().await.expect("migrated");
    assert_eq!(store.page(1, 10).await.expect("read").total, 0);
}

#[tokio::test]
async fn names_compare_as_clouddrivers_do() {
    let database = TestDatabase::create(Server::MariaDb, "collation").await;
    database.make_accounts_table().await;
    database.admin.exec("alter table accounts modify id varchar(255) character set utf8mb4 collate utf8mb4_bin not null").await;
    let store = store(database.pool_config(), None);
    assert_eq!(store.migrate().await.expect("migrated").warnings, Vec::<String>::new());
    let collations = "select distinct collation_name from information_schema.columns where table_schema = database()
         and (column_name = 'name_key' or (table_name = 'kubesvc_accounts' and column_name = 'name'))";
    assert_eq!(database.admin.rows(collations).await, vec![vec![Some("utf8mb4_bin".to_owned())]]);
    // A table of another's making, with rows, is left as it is and told.
    database.admin.exec("delete from fairlead_meta; insert into kubesvc_accounts (name) values ('a')").await;
    database.admin.exec("alter table accounts modify id varchar(255) character set utf8mb4 collate utf8mb4_general_ci not null").await;
    let warnings = store.migrate().await.expect("migrated").warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("utf8mb4_bin") && warnings[0].contains("utf8mb4_general_ci"), "{warnings:?}");
    store.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn the_collation_of_accounts_in_another_database_counts_too() {
    let (ours, theirs) = (TestDatabase::create(Server::MariaDb, "ours").await, TestDatabase::create(Server::MariaDb, "theirs").await);
    theirs.make_accounts_table().await;
    theirs.admin.exec("alter table accounts modify id varchar(255) character set utf8mb4 collate utf8mb4_bin not null").await;
    let database =
        Database { main: ours.pool_config(), intents: ours.pool_config(), source: SourceConfig::OtherDatabase(theirs.pool_config()) };
    let store = Store::open(&database, None).expect("opened");
    store.migrate().await.expect("migrated");
    let rows = ours
        .admin
        .rows("select collation_name from information_schema.columns where table_schema = database() and column_name = 'name_key'")
        .await;
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|r| r[0].as_deref() == Some("utf8mb4_bin")), "{rows:?}");
    store.close().await;
    ours.drop_now().await;
    theirs.drop_now().await;
}

#[tokio::test]
async fn a_lock_that_another_start_holds_is_waited_for() {
    for place in servers("held").await {
        let (store, sql) = (place.store(), place.sql.clone());
        let holder = place.store();
        holder.migrate().await.expect("migrated");
        // A session that holds the lock by the same name, until it is closed.
        let other = match place.word() {
            "mariadb" => crate::support::databases::Sql::open(&place.server.as_ref().expect("a server").url()),
            _ => crate::support::databases::Sql::open(&place.server.as_ref().expect("a server").url()),
        };
        let hold = match place.word() {
            "mariadb" => "select get_lock(concat('fairlead.', sha1(database())), 1)",
            _ => "select pg_advisory_lock(hashtext('fairlead.migrate'), hashtext(current_schema()))",
        };
        other.rows(hold).await;
        let waiting = tokio::spawn(async move { store.migrate().await.map(|_| ()) });
        let waiters = match place.word() {
            "mariadb" => "select count(*) from information_schema.processlist where state = 'User lock' and db = database()",
            _ => {
                "select count(*) from pg_locks where locktype = 'advisory' and not granted and database = (select oid from pg_database where datname = current_database())"
            }
        };
        crate::support::databases::eventually("a start that waits", std::time::Duration::from_secs(20), || async {
            (sql.number(waiters).await > 0).then_some(())
        })
        .await;
        assert!(!waiting.is_finished(), "{}", place.word());
        other.close().await;
        waiting.await.expect("no panic").unwrap_or_else(|e| panic!("{}: {e}", place.word()));
        holder.close().await;
        place.done().await;
    }
}
