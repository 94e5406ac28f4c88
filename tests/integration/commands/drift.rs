//! `fairlead drift`: each kind of difference, and what is none.

use serde_json::Value;

use super::rig::{Place, SECRET};
use crate::support::databases::{SERVERS, Server};

const DRIFT: [&str; 3] = ["drift", "--output", "json"];
const KEYS: &str = "kubesvc.dynamicAccounts.namePatterns: ['a-.*']";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_difference_is_told_with_its_place_and_no_value() {
    for server in SERVERS {
        let mut p = Place::new(server, "drift_kinds").await;
        let there =
            ["a-same", "a-gone", "a-aws", "a-life", "a-def", "a-own", "a-lost", "a-adopted", "a-leaves", "b-hand", "a-hand", "a-away"];
        for name in there {
            p.put(name, "v1", 1_000).await;
        }
        p.take_all().await;
        p.put("b-other", "v1", 1_000).await;
        let reader = p.reader().await;
        let equal = p.run_as(&reader, KEYS, &DRIFT).await;
        assert_eq!((equal.code, &equal.sums()["verdict"]), (0, &"equal".into()), "{server:?}: {}{}", equal.out, equal.err);

        p.drop_row("a-gone").await;
        p.put_body("a-aws", "aws", "{}", 1_000).await;
        p.put("a-life", "v1", 2_000).await;
        p.put("a-def", "v2", 1_000).await;
        p.set("a-own", "fl_origin = 'created', fl_inc = null").await;
        // Its row was lost, not taken out.
        p.sql().exec("delete from kubesvc_accounts where name in ('a-lost', 'a-hand', 'b-hand')").await;
        p.note("a-hand", "DELETED").await;
        p.note("b-hand", "DELETED").await;
        p.set("a-adopted", "fl_origin = 'migrated', fl_inc = null").await;
        p.set("a-leaves", "status = 'DELETING'").await;
        p.drop_row("a-leaves").await;
        p.put("a-new", "v1", 1_000).await;
        p.poison("a-poison").await;
        p.poison("b-poison").await;
        let (all, said) = (p.everything().await, p.run_as(&reader, KEYS, &DRIFT).await);
        assert_eq!(p.everything().await, all, "{server:?}: it only reads");
        let told: Vec<String> = said.by_name().iter().map(|(name, l)| format!("{name} {}", l["kind"].as_str().unwrap_or("?"))).collect();
        let wanted = [
            "a-adopted notLinked",
            "a-aws gone",
            "a-def otherDefinition",
            "a-gone gone",
            "a-life otherLife",
            "a-lost missing",
            "a-new missing",
            "a-own conflict",
            "a-poison poison",
        ];
        assert_eq!(told, wanted, "{server:?}: {}", said.err);
        assert_eq!(said.code, 1);
        let def = &said.by_name()["a-def"];
        let places: Vec<&str> = def["pointers"].as_array().expect("places").iter().filter_map(Value::as_str).collect();
        assert_eq!(places, ["/kubeconfigContents", "/note"]);
        let sums = said.sums();
        assert_eq!((&sums["gone"], &sums["missing"], &sums["underWay"]), (&2.into(), &2.into(), &1.into()), "{sums}");
        for words in [&["drift"][..], &["scan", "--dry-run", "--all"]] {
            let table = p.run(KEYS, words).await;
            assert!(table.out.contains("a-def") && !table.out.contains(SECRET), "{}", table.out);
        }
        // Nobody scans: nothing has to be in the mirror for its name. What was there and is lost has to.
        let off = p.run("kubesvc.dynamicAccounts: { scan: false, namePatterns: ['a-.*'] }", &DRIFT).await;
        assert!(!off.by_name().contains_key("a-new") && off.by_name().contains_key("a-lost"), "{}", off.out);
        p.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_open_change_explains_is_no_drift_and_one_without_a_name_leaves_it_open() {
    for server in SERVERS {
        let p = Place::new(server, "drift_open").await;
        for name in ["a-def", "a-gone"] {
            p.put(name, "v1", 1_000).await;
        }
        p.take_all().await;
        p.put("a-def", "v2", 1_000).await;
        p.drop_row("a-gone").await;
        let open = |id: &str, name: &str| {
            format!(
                "insert into fairlead_intents (id, name_key, method, epoch, created_ms, pre_state) values ('{id}', {name}, 'PUT', 'e', 1, 'unknown')"
            )
        };
        p.sql().exec(&open("1", "'a-def'")).await;
        p.sql().exec(&open("2", "'a-gone'")).await;
        let said = p.run(KEYS, &DRIFT).await;
        assert_eq!((said.code, &said.sums()["underWay"]), (0, &2.into()), "{server:?}: {}{}", said.out, said.err);
        p.sql().exec("update fairlead_intents set name_key = null").await;
        let said = p.run(KEYS, &DRIFT).await;
        assert_eq!((said.code, &said.sums()["unknown"]), (2, &2.into()), "{server:?}: {}{}", said.out, said.err);
        p.sql().exec("delete from fairlead_intents").await;
        assert_eq!(p.run(KEYS, &DRIFT).await.code, 1, "{server:?}");
        p.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_while_it_is_compared_is_not_told_as_drift() {
    let p = Place::new(Server::MariaDb, "drift_moving").await;
    for n in 0..40 {
        p.put(&format!("a-{n:02}"), "v1", 1_000).await;
    }
    p.take_all().await;
    // A writer that changes both sides together, as a change through Fairlead does.
    let sql = p.sql().clone();
    let stop = tokio_util::sync::CancellationToken::new();
    let writer = tokio::spawn({
        let stop = stop.clone();
        async move {
            while !stop.is_cancelled() {
                let name = format!("a-{:02}", fastrand::u8(..40));
                let id = ulid::Ulid::generate();
                let note = fastrand::u32(..);
                let intent = format!(
                    "insert into fairlead_intents (id, name_key, method, epoch, created_ms, pre_state) values ('{id}', '{name}', 'PUT', 'e', 1, 'unknown')"
                );
                sql.exec(&intent).await;
                sql.exec(&format!("update accounts set body = json_set(body, '$.note', '{note}') where id = '{name}'")).await;
                let settle = format!(
                    "start transaction; update kubesvc_accounts set definition = json_set(definition, '$.note', '{note}') where name = '{name}'; \
                     delete from fairlead_intents where id = '{id}'; commit"
                );
                sql.exec(&settle).await;
            }
        }
    });
    for _ in 0..20 {
        let said = p.run(KEYS, &DRIFT).await;
        assert_eq!(said.sums()["otherDefinition"], 0, "{}", said.out);
        assert_ne!(said.code, 1, "{}", said.out);
    }
    stop.cancel();
    writer.await.expect("no panic");
    let said = p.run(KEYS, &DRIFT).await;
    assert_eq!(said.code, 0, "{}", said.out);
    p.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_fairlead_has_never_run_there_is_nothing_to_compare() {
    for server in SERVERS {
        let mut p = Place::new(server, "drift_never").await;
        let said = p.run(KEYS, &DRIFT).await;
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{server:?}");
        assert!(said.err.contains("kubesvc_accounts") && said.err.contains("sql.connectionPools.default"), "{}", said.err);
        // And where this user may not read it.
        p.take_all().await;
        let stranger = p.db.new_user("none").await;
        let grant = match server {
            Server::MariaDb => format!("grant select on {}.accounts to '{stranger}'@'%'", p.db.name),
            Server::Postgres => format!("grant usage on schema public to {stranger}; grant select on accounts to {stranger}"),
        };
        p.sql().exec(&grant).await;
        let said = p.run_as(&stranger, KEYS, &DRIFT).await;
        assert_eq!(said.code, 2, "{server:?}");
        assert!(said.err.contains("may not read it"), "{server:?}: {}", said.err);
        p.done().await;
    }
}
