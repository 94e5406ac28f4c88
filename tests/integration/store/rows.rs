use fairlead::args;
use fairlead::store::{OpenError, Store, UnstorableError};
use serde_json::{Value, json};

use super::{Place, places, servers};

async fn ready(place: &Place, keys: &[(&str, u8)]) -> Store {
    let store = if keys.is_empty() { place.store() } else { place.sealing(keys) };
    store.migrate().await.expect("migrated");
    store
}

async fn insert(store: &Store, name: &str, definition: &Value) {
    let sealed = store.seal_definition(name, definition).expect("sealed");
    let sql = store.ready().expect("ready").insert(&["name", "definition", "fl_key_id", "fl_origin", "status", "dynamic"]);
    let values = args![name, sealed.text, sealed.key_id, "interceptor", "INACTIVE", true];
    store.main().exec_dynamic(&sql, values).await.unwrap_or_else(|e| panic!("{name}: {e}"));
}

fn definition(name: &str) -> Value {
    json!({"type": "kubernetes", "name": name, "kubeconfigContents": "canary-kubeconfig", "dockerRegistries": [{"password": "canary-password"}]})
}

#[tokio::test]
async fn a_sealed_row_holds_no_secret_anywhere_in_the_table() {
    for place in places("sealed").await {
        let store = ready(&place, &[("k1", 1)]).await;
        insert(&store, "prod", &definition("prod")).await;
        let all = place.sql.rows("select name, definition, fl_key_id from kubesvc_accounts").await;
        assert!(!format!("{all:?}").contains("canary"), "{}", place.word());
        let row = store.get("prod").await.expect("read").expect("there");
        assert_eq!(row.key_id.as_deref(), Some("k1"));
        assert_eq!(store.open_definition(&row.name, row.definition.as_deref().expect("one")).expect("opens"), definition("prod"));
        assert!(!format!("{row:?}").contains("fairlead-sealed"));
        store.close().await;
        place.done().await;
    }
}

#[tokio::test]
async fn a_definition_moved_to_another_row_by_sql_does_not_open() {
    for place in places("moved").await {
        let store = ready(&place, &[("k1", 1)]).await;
        insert(&store, "theirs", &definition("theirs")).await;
        insert(&store, "mine", &definition("mine")).await;
        let taken = place.sql.rows("select definition from kubesvc_accounts where name = 'theirs'").await[0][0].clone().expect("one");
        place.sql.exec(&format!("update kubesvc_accounts set definition = {} where name = 'mine'", place.sql.quoted(&taken))).await;
        let row = store.get("mine").await.expect("read").expect("there");
        let opened = store.open_definition("mine", row.definition.as_deref().expect("one"));
        assert!(matches!(opened, Err(OpenError::Tampered(_))), "{}", place.word());
        store.close().await;
        place.done().await;
    }
}

#[tokio::test]
async fn rotation_seals_every_row_anew_and_leaves_what_it_cannot_open() {
    for place in places("rotation").await {
        let old = ready(&place, &[("old", 1)]).await;
        for i in 0..130 {
            insert(&old, &format!("a{i:03}"), &definition("x")).await;
        }
        let plain = ready(&place, &[]).await;
        insert(&plain, "b-plain", &definition("b-plain")).await;
        place.sql.exec("insert into kubesvc_accounts (name, definition) values ('0-not-json', 'apiVersion: v1')").await;
        place.sql.exec("insert into kubesvc_accounts (name) values ('1-empty')").await;
        let lost = ready(&place, &[("lost", 9)]).await;
        insert(&lost, "2-lost", &definition("x")).await;

        let new = ready(&place, &[("new", 2), ("old", 1)]).await;
        let first = new.reseal(100).await.expect("resealed");
        assert_eq!((first.count, first.finished), (100, false), "{}", place.word());
        let rest = new.reseal(1000).await.expect("resealed");
        assert_eq!((rest.count, rest.finished), (31, true), "{}", place.word());
        let mut failed: Vec<_> = rest.failed.iter().map(|(n, _)| n.as_str()).collect();
        failed.sort_unstable();
        assert_eq!(failed, ["0-not-json", "2-lost"], "{}", place.word());
        assert!(!format!("{:?}", rest.failed).contains("apiVersion"));
        assert_eq!(new.reseal(1000).await.expect("again").count, 0);

        // The old key may go now.
        let only_new = ready(&place, &[("new", 2)]).await;
        for name in ["a000", "a129", "b-plain"] {
            let row = only_new.get(name).await.expect("read").expect("there");
            assert_eq!((row.key_id.as_deref(), row.rev), (Some("new"), 1), "{}", place.word());
            only_new.open_definition(name, row.definition.as_deref().expect("one")).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        for store in [old, plain, lost, new, only_new] {
            store.close().await;
        }
        place.done().await;
    }
}

#[tokio::test]
async fn without_a_key_nothing_is_sealed_anew() {
    for place in places("nokey").await {
        let store = ready(&place, &[]).await;
        insert(&store, "plain", &definition("plain")).await;
        let done = store.reseal(10).await.expect("nothing to do");
        assert_eq!((done.count, done.finished), (0, true));
        store.close().await;
        place.done().await;
    }
}

#[tokio::test]
async fn a_definition_above_what_the_server_takes_is_an_error_of_that_account_and_the_connection_lives() {
    for place in servers("large").await {
        let store = ready(&place, &[]).await;
        let limit = store.ready().expect("ready").definition_limit();
        let large = json!({"notes": "x".repeat(limit)});
        let e = store.seal_definition("large", &large).expect_err("too large");
        assert!(matches!(e, UnstorableError::TooLarge { bytes, limit: l } if bytes > limit && l == limit), "{e}");
        assert!(!e.to_string().contains("xxx"));
        // And what the check lets pass, the server takes.
        let most = json!({"notes": "x".repeat(limit.min(17 * 1024 * 1024) - 64)});
        let store =
            super::store(fairlead::store::db::PoolConfig { statement_timeout: std::time::Duration::from_secs(30), ..place.config() }, None);
        store.migrate().await.expect("migrated");
        insert(&store, "most", &most).await;
        let row = store.get("most").await.expect("read").expect("there");
        assert_eq!(row.definition.map(|d| d.len()), Some(most.to_string().len()), "{}", place.word());
        store.close().await;
        place.done().await;
    }
}

#[tokio::test]
async fn names_that_are_sql_or_odd_text_are_only_names() {
    for place in places("oddnames").await {
        let store = ready(&place, &[("k1", 1)]).await;
        let long = "é".repeat(255);
        let names = ["'; DROP TABLE kubesvc_accounts; --", "a\r\nb", "100%", "_", "\\", "\"", "🦀", "{now}", "?", "$1", "", long.as_str()];
        for name in names {
            insert(&store, name, &definition(name)).await;
        }
        for name in names {
            let row = store.get(name).await.expect("read").unwrap_or_else(|| panic!("{} {name:?}", place.word()));
            assert_eq!(row.name, name, "{}", place.word());
            assert_eq!(store.open_definition(&row.name, row.definition.as_deref().expect("one")).expect("opens")["name"], name);
        }
        for nobody in ["%", "a\0b", &"n".repeat(70_000)] {
            assert_eq!(store.get(nobody).await.expect("read"), None, "{}", place.word());
        }
        assert_eq!(store.page(1, 1000).await.expect("read").total, 12);
        store.close().await;
        place.done().await;
    }
}
