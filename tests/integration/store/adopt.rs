use base64::Engine as _;
use fairlead::account::Origin;
use fairlead::args;
use serde_json::json;

use super::{Place, servers};

/// The table as the original plugin's newest versions have it, with columns that nobody told us of.
fn newest(place: &Place) -> String {
    let (bytes, json, flag, extra) = match place.word() {
        "mariadb" => {
            ("binary(16)", "json", "bit(1)", "their_enum enum('A','B') not null, their_bits bit(3) not null, their_day date not null")
        }
        _ => (
            "bytea",
            "jsonb",
            "boolean",
            "their_enum their_mood not null, their_bits bit(3) not null, their_day date not null, their_id uuid not null",
        ),
    };
    let before = if place.word() == "postgres" { "create type their_mood as enum ('A', 'B'); " } else { "" };
    format!(
        "{before}create table kubesvc_accounts (name varchar(255) not null primary key, zone_id varchar(100), dynamic {flag}, status varchar(50), \
         definition {json}, error_message varchar(40), failed_count int not null, kube_host varchar(255), kube_version varchar(50), \
         cert_fingerprint {bytes}, props {json}, last_updated bigint not null, connections int, {extra}, their_text text, their_number decimal(5,2) not null default 1)"
    )
}

/// The table as it was before zones, flags and states: the contract's first columns.
fn oldest(place: &Place) -> String {
    let (bytes, json) = if place.word() == "mariadb" { ("varbinary(16)", "longtext") } else { ("bytea", "json") };
    format!(
        "create table kubesvc_accounts (name varchar(255) not null primary key, last_updated bigint, kube_version varchar(20), kube_host varchar(255), \
         cert_fingerprint {bytes}, max_watch_age_seconds bigint, props {json})"
    )
}

fn kubeconfig() -> String {
    base64::engine::general_purpose::STANDARD.encode("apiVersion: v1\nkind: Config\n# canary\n")
}

async fn fill_newest(place: &Place) {
    let (bytes, on, off) = if place.word() == "mariadb" {
        ("x'00112233445566778899aabbccddeeff'", "b'1'", "b'0'")
    } else {
        ("'\\x00112233445566778899aabbccddeeff'", "true", "false")
    };
    let rest = if place.word() == "mariadb" {
        "'B', b'1', '2020-01-01'"
    } else {
        "'B', B'001', '2020-01-01', '00000000-0000-0000-0000-000000000001'"
    };
    let names = if place.word() == "mariadb" { "their_enum, their_bits, their_day" } else { "their_enum, their_bits, their_day, their_id" };
    let definition = json!({"name": "x", "kubeconfigContents": kubeconfig(), "namespaces": ["ns"]}).to_string();
    for (name, dynamic, status) in [
        ("active", on, "'ACTIVE'"),
        ("waiting", on, "'INACTIVE'"),
        ("to-migrate", on, "'TO_MIGRATE'"),
        ("static", off, "'ACTIVE'"),
        ("unknown-flag", "null", "'FAILED'"),
        ("nothing-known", "null", "null"),
    ] {
        place
            .sql
            .exec(&format!(
                "insert into kubesvc_accounts (name, zone_id, dynamic, status, definition, failed_count, kube_host, kube_version, cert_fingerprint, props, \
                 last_updated, connections, {names}) values ('{name}', 'zone', {dynamic}, {status}, '{definition}', 2, 'https://k', '1.29', {bytes}, \
                 '{{\"permissions\":{{\"READ\":[\"r1\"]}}}}', 5000000000, 3, {rest})"
            ))
            .await;
    }
}

#[tokio::test]
async fn the_newest_table_of_the_original_is_read_and_written_with_all_its_types() {
    for place in servers("newest").await {
        place.sql.exec(&newest(&place)).await;
        fill_newest(&place).await;
        let before = place.sql.rows("select name, definition, their_enum, their_day from kubesvc_accounts order by name").await;
        let store = place.sealing(&[("k1", 1)]);
        let report = store.migrate().await.unwrap_or_else(|e| panic!("{}: {e}", place.word()));
        assert!(!report.created);
        assert_eq!(report.added.first().map(String::as_str), Some("max_watch_age_seconds"));
        assert_eq!(report.added.len(), 18, "{:?}", report.added);
        let rows = store.page(1, 100).await.unwrap_or_else(|e| panic!("{}: {e}", place.word())).rows;
        let facts: Vec<_> = rows.iter().map(|r| (r.name.as_str(), r.origin, r.sent, r.status.as_deref(), r.dynamic)).collect();
        assert_eq!(
            facts,
            [
                ("active", Origin::Migrated, true, Some("ACTIVE"), Some(true)),
                ("nothing-known", Origin::Agent, true, Some("ACTIVE"), Some(false)),
                ("static", Origin::Agent, true, Some("ACTIVE"), Some(false)),
                ("to-migrate", Origin::Migrated, false, Some("TO_MIGRATE"), Some(true)),
                ("unknown-flag", Origin::Migrated, true, Some("FAILED"), Some(true)),
                ("waiting", Origin::Migrated, false, Some("INACTIVE"), Some(true)),
            ],
            "{}",
            place.word()
        );
        let row = &rows[0];
        assert_eq!((row.failed_count, row.connections, row.last_updated, row.incarnation), (2, 3, Some(5_000_000_000), None));
        assert_eq!(row.cert_fingerprint.as_deref(), Some("00112233445566778899aabbccddeeff"));
        let opened = store.open_definition("active", row.definition.as_deref().unwrap_or_default()).expect("as the original left it");
        assert_eq!(opened["kubeconfigContents"], kubeconfig());
        // Adoption itself rewrote nothing that the original wrote.
        assert_eq!(place.sql.rows("select name, definition, their_enum, their_day from kubesvc_accounts order by name").await, before);

        // Rows of ours fit in, with the columns that must have a value; nulls too.
        let shape = store.ready().expect("ready");
        let sealed = store.seal_definition("new", &json!({"kubeconfigContents": "canary"})).expect("sealed");
        let columns = [
            "name",
            "dynamic",
            "status",
            "definition",
            "props",
            "fl_origin",
            "fl_inc",
            "fl_key_id",
            "failed_count",
            "last_updated",
            "cert_fingerprint",
        ];
        let values = args![
            "new",
            true,
            "INACTIVE",
            sealed.text,
            None::<&str>,
            "interceptor",
            9_i64,
            sealed.key_id,
            None::<i64>,
            7_i64,
            "00ff00ff00ff00ff00ff00ff00ff00ff"
        ];
        store.main().exec_dynamic(&shape.insert(&columns), values).await.unwrap_or_else(|e| panic!("{}: {e}", place.word()));
        let new = store.get("new").await.expect("read").expect("there");
        assert_eq!((new.dynamic, new.failed_count, new.last_updated, new.origin), (Some(true), 0, Some(7), Origin::Interceptor));
        assert_eq!(new.cert_fingerprint.as_deref(), Some("00ff00ff00ff00ff00ff00ff00ff00ff"));
        assert_eq!(store.open_definition("new", &new.definition.expect("one")).expect("opens")["kubeconfigContents"], "canary");
        let long = "x".repeat(100);
        let update = format!("UPDATE kubesvc_accounts SET {} WHERE name = ?", shape.assign(&["dynamic", "error_message", "definition"]));
        let n = store.main().exec_dynamic(&update, args![false, shape.fit("error_message", &long), "{}", "new"]).await;
        assert_eq!(n.unwrap_or_else(|e| panic!("{}: {e}", place.word())), 1);
        let e = store
            .main()
            .exec_dynamic(&update, args![false, &long, "{}", "new"])
            .await
            .expect_err("longer than the column, and never cut in silence");
        assert!(!e.is_transient(), "{e}");
        store.close().await;
        place.done().await;
    }
}

#[tokio::test]
async fn the_oldest_table_of_the_original_gets_what_it_lacks() {
    for place in servers("oldest").await {
        place.sql.exec(&oldest(&place)).await;
        place.sql.exec("insert into kubesvc_accounts (name, last_updated, props) values ('old', 1, '{\"permissions\":{}}')").await;
        let store = place.store();
        let report = store.migrate().await.unwrap_or_else(|e| panic!("{}: {e}", place.word()));
        assert_eq!(report.added.len(), 24, "{:?}", report.added);
        let old = store.get("old").await.expect("read").expect("there");
        assert_eq!(
            (old.origin, old.sent, old.status.as_deref(), old.dynamic, old.failed_count),
            (Origin::Agent, true, Some("ACTIVE"), Some(false), 0)
        );
        assert_eq!(old.definition, None);
        // Again: nothing to add, nothing changed.
        let again = store.migrate().await.expect("again");
        assert!(again.added.is_empty() && again.warnings.is_empty(), "{again:?}");
        assert_eq!(store.get("old").await.expect("read").expect("there"), old);
        store.close().await;
        place.done().await;
    }
}

#[tokio::test]
async fn a_start_that_failed_after_any_column_is_carried_on() {
    for place in servers("between").await {
        let store = place.store();
        let mut had = 7;
        // What a start leaves that adds `had` of the columns and dies.
        while had < 31 {
            place.sql.exec(&oldest(&place)).await;
            place.sql.exec("insert into kubesvc_accounts (name) values ('old')").await;
            store.migrate().await.expect("migrated");
            let columns = "select column_name from information_schema.columns where table_name = 'kubesvc_accounts' and table_schema in (current_schema_name) order by ordinal_position";
            let columns = columns.replace("current_schema_name", if place.word() == "mariadb" { "database()" } else { "current_schema()" });
            let all = place.sql.rows(&columns).await;
            assert_eq!(all.len(), 31);
            for column in &all[had..] {
                place.sql.exec(&format!("alter table kubesvc_accounts drop column {}", column[0].as_deref().expect("a name"))).await;
            }
            let report = store.migrate().await.unwrap_or_else(|e| panic!("{} after {had}: {e}", place.word()));
            assert_eq!(report.added.len(), 31 - had);
            let old = store.get("old").await.expect("read").expect("there");
            assert_eq!((old.origin, old.status.as_deref()), (Origin::Agent, Some("ACTIVE")), "{} after {had}", place.word());
            place.sql.exec("drop table kubesvc_accounts").await;
            had += 6;
        }
        store.close().await;
        place.done().await;
    }
}

#[tokio::test]
async fn a_table_that_cannot_be_worked_with_is_told_with_the_column() {
    for place in servers("unfit").await {
        let odd = if place.word() == "mariadb" { "geometry" } else { "point" };
        place.sql.exec(&format!("create table kubesvc_accounts (name varchar(255) primary key, odd {odd} not null)")).await;
        let store = place.store();
        let e = store.migrate().await.expect_err("cannot be filled");
        assert!(e.to_string().contains("column odd") && e.to_string().contains(odd) && !e.is_transient(), "{e}");
        place.sql.exec("drop table kubesvc_accounts; create table kubesvc_accounts (id integer)").await;
        let e = store.migrate().await.expect_err("no name");
        assert!(e.to_string().contains("no column name"), "{e}");
        place.sql.exec("drop table kubesvc_accounts; create table kubesvc_accounts (name varchar(255))").await;
        let report = store.migrate().await.expect("with a warning");
        assert!(report.warnings.len() == 1 && report.warnings[0].contains("unique"), "{report:?}");
        store.close().await;
        place.done().await;
    }
}
