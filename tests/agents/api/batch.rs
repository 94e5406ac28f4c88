//! Many entries in one request: each stands for itself, though they are written together.

use std::collections::BTreeSet;
use std::time::Duration;

use fairlead::dispatch::desk::{Error, Outcome};
use fairlead::dispatch::{Ask, Zone};
use fairlead::lifecycle::Wanted;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::rig::{Rig, World};
use crate::support::databases::Sql;
use crate::support::relay::{Mode, Relay};

/// More than one transaction's.
const MANY: usize = 600;

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("account-{n:04}")).collect()
}

/// Clouddriver has them.
async fn put_many(world: &World, names: &[String]) {
    let rows = |name: &String| format!("('{name}', 'kubernetes', '{{\"type\":\"kubernetes\",\"name\":\"{name}\"}}', 1, 1, 'someone')");
    for some in names.chunks(200) {
        let rows: Vec<String> = some.iter().map(rows).collect();
        world.place.sql.exec(&format!("insert into accounts values {}", rows.join(", "))).await;
    }
}

fn taken(names: &[String]) -> Value {
    names.iter().map(|name| json!({"name": name})).collect()
}

fn wished(names: &[String], state: &str) -> Value {
    names.iter().map(|name| json!({"name": name, "state": state})).collect()
}

fn made(names: &[String]) -> Value {
    names.iter().map(|name| json!({"name": name, "kubeconfigFile": "encryptedFile:k8s!n:a!k:b"})).collect()
}

/// `status wanted by-hand` of each row, and how many rows have it.
async fn standing(world: &World) -> Vec<String> {
    let sql = "select concat(a.status, ' ', a.fl_wanted, ' ', coalesce(h.wanted, '-')), cast(count(*) as char(10)) from kubesvc_accounts a \
               left join fairlead_hand h on h.name_key = a.name group by a.status, a.fl_wanted, h.wanted order by 1";
    let sql = if matches!(world.place.sql, Sql::Sqlite(_)) {
        sql.replace(
            "concat(a.status, ' ', a.fl_wanted, ' ', coalesce(h.wanted, '-'))",
            "a.status || ' ' || a.fl_wanted || ' ' || coalesce(h.wanted, '-')",
        )
    } else {
        sql.to_owned()
    };
    let rows = world.place.sql.rows(&sql).await;
    rows.into_iter().map(|r| r.into_iter().map(|c| c.unwrap_or_default().trim_end().to_owned()).collect::<Vec<_>>().join(": ")).collect()
}

/// From now on the database refuses to write this status to this account.
async fn poison(world: &World, name: &str, status: &str) {
    let refuse = if matches!(world.place.sql, Sql::Sqlite(_)) {
        let of = |what: &str| {
            format!(
                "create trigger poison_{what}_{status} before {what} on kubesvc_accounts when new.name = '{name}' and new.status = '{status}' \
                 begin select raise(abort, 'refused'); end"
            )
        };
        format!("{}; {}", of("insert"), of("update"))
    } else {
        format!("alter table kubesvc_accounts add constraint poison_{status} check (name <> '{name}' or status <> '{status}')")
    };
    world.place.sql.exec(&refuse).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_accounts_go_through_their_life_each_by_one_request() {
    for world in World::all("apibatch").await {
        let rig = world.replica("r1").await;
        let (theirs, ours) = (names(MANY), names(2 * MANY).split_off(MANY));
        put_many(&world, &theirs).await;
        assert_eq!(rig.change("POST", "/armory/accounts", &taken(&theirs)).await, (202, json!([])), "{}", world.place.word());
        assert_eq!(rig.change("POST", "/armory/accounts/dynamic", &made(&ours)).await, (202, json!([])));
        assert_eq!(standing(&world).await, ["INACTIVE INACTIVE -: 1200"]);
        for (target, names) in [("/armory/accounts", &taken(&theirs)), ("/armory/accounts/dynamic", &made(&ours))] {
            let (status, named) = rig.change("POST", target, names).await;
            assert_eq!((status, named.as_array().map(Vec::len)), (409, Some(MANY)), "{target}: all are there");
        }
        let all = names(2 * MANY);
        assert_eq!(rig.change("PATCH", "/armory/accounts", &wished(&all, "ACTIVE")).await.0, 202);
        assert_eq!(standing(&world).await, ["TO_MIGRATE ACTIVE -: 1200"]);
        let zoned: Value = all
            .iter()
            .map(|n| json!({"name": n, "state": "ACTIVE", "zoneId": "z", "kubeconfigFile": "encryptedFile:k8s!n:c!k:d"}))
            .collect();
        assert_eq!(rig.change("PATCH", "/armory/accounts", &zoned).await.0, 202);
        for name in ["account-0007", "account-0907"] {
            let (_, shown) = rig.json(&format!("/armory/accounts/{name}")).await;
            assert_eq!(
                (&shown["zoneId"], &shown["config"]["kubeconfigFile"]),
                (&json!("z"), &json!("encryptedFile:k8s!n:c!k:d")),
                "{name}"
            );
        }
        assert_eq!(rig.change("PATCH", "/armory/accounts", &wished(&all, "INACTIVE")).await.0, 202);
        assert_eq!(standing(&world).await, ["INACTIVE INACTIVE INACTIVE: 1200"]);
        assert_eq!(rig.change("POST", "/armory/accounts", &taken(&all)).await, (202, json!([])), "a POST takes what was deactivated again");
        assert_eq!(standing(&world).await, ["INACTIVE INACTIVE -: 1200"]);
        assert_eq!(rig.change("DELETE", "/armory/accounts", &json!(all)).await.0, 202);
        assert_eq!((world.rows().await.len(), world.by_hand().await.len()), (0, 1200), "{}", world.place.word());
        rig.end().await;
        world.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_the_database_refuses_or_that_cannot_be_done_takes_no_other_with_it() {
    for world in World::all("apipoison").await {
        let rig = world.replica("r1").await;
        let mut all = names(MANY);
        put_many(&world, &all).await;
        poison(&world, "account-0123", "INACTIVE").await;
        let (status, named) = rig.change("POST", "/armory/accounts", &taken(&all)).await;
        assert_eq!((status, named.as_array().map(Vec::len), &named[0]["name"]), (409, Some(1), &json!("account-0123")), "{named}");
        assert!(named[0]["message"].as_str().is_some_and(|m| m.contains("refuses")), "{named}");
        assert_eq!(standing(&world).await, ["INACTIVE INACTIVE -: 599"], "{}", world.place.word());
        poison(&world, "account-0456", "TO_MIGRATE").await;
        // Ones that are passed over: not known, on its way out, an overlay that nobody can open.
        all[7] = "nobody".to_owned();
        world.set("account-0008", "status = 'DELETING', fl_wanted = 'DELETED', fl_sent = 1").await;
        world.set("account-0009", "fl_overlay = '{\"kubeconfigContents\":\"fairlead-sealed:v1:gone:AAAA\"}'").await;
        let mut body = wished(&all, "ACTIVE");
        body[9]["kubeconfigFile"] = json!("encryptedFile:k8s!n:a!k:b");
        let (status, shown) = rig.change("PATCH", "/armory/accounts", &body).await;
        assert_eq!(status, 500, "{shown}");
        assert_eq!(
            shown["message"],
            "of 600 entries 597 are noted, 2 name no account of Fairlead's; Fairlead's own database refuses (the log says why) /456"
        );
        assert_eq!(
            standing(&world).await,
            ["DELETING DELETED -: 1", "INACTIVE INACTIVE -: 3", "TO_MIGRATE ACTIVE -: 595"],
            "{}",
            world.place.word()
        );
        assert_eq!(world.text("account-0008", "error_message").await, "it is being deleted");
        assert!(world.text("account-0009", "error_message").await.contains("cannot be opened"));
        rig.end().await;
        world.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_spellings_of_one_account_are_done_in_their_order_where_the_database_takes_them_for_one() {
    for world in World::all("apispelled").await {
        let rig = world.replica("r1").await;
        world.put_all(&["prod", "test"]).await;
        let one = world.place.word() == "mariadb";
        let (status, named) = rig.change("POST", "/armory/accounts", &json!([{"name": "PROD"}, {"name": "prod"}, {"name": "test"}])).await;
        assert_eq!((status, named.as_array().map(Vec::len)), (409, Some(1)), "{}: {named}", world.place.word());
        assert_eq!(world.rows().await, ["prod INACTIVE -", "test INACTIVE -"]);
        for (first, second, last) in [("ACTIVE", "INACTIVE", "prod INACTIVE -"), ("INACTIVE", "ACTIVE", "prod TO_MIGRATE -")] {
            let body = json!([{"name": "prod", "state": first}, {"name": "test", "state": "ACTIVE"}, {"name": "PROD", "state": second}]);
            assert_eq!(rig.change("PATCH", "/armory/accounts", &body).await.0, 202);
            let expected = if one || first == "ACTIVE" && second == "ACTIVE" {
                last.to_owned()
            } else {
                format!("prod {} -", if first == "ACTIVE" { "TO_MIGRATE" } else { "INACTIVE" })
            };
            assert_eq!(world.rows().await[0], expected, "{}", world.place.word());
        }
        assert_eq!(rig.change("DELETE", "/armory/accounts", &json!(["TEST", "Prod", "nobody"])).await.0, if one { 202 } else { 400 });
        assert_eq!(world.rows().await.len(), if one { 0 } else { 2 });
        rig.end().await;
        world.done().await;
    }
}

/// Both end, and what each account is and what is noted of it are one request's.
async fn both(world: &World, one: &Rig, other: &Rig, method: &str, target: &str, bodies: [&Value; 2]) -> [(u16, Value); 2] {
    let both = async { tokio::join!(one.change(method, target, bodies[0]), other.change(method, target, bodies[1])) };
    let (first, second) = tokio::time::timeout(Duration::from_secs(120), both).await.expect("both end");
    for (status, shown) in [&first, &second] {
        // What one has deleted, the other does not find.
        assert!(
            matches!(*status, 202 | 409) || method == "DELETE" && *status == 400,
            "{} {method} {target}: {status} {shown}",
            world.place.word()
        );
    }
    [first, second]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_requests_for_the_same_accounts_in_opposite_orders_both_end_and_agree_with_some_order() {
    for world in World::all("apicross").await {
        let (one, other) = (world.replica("r1").await, world.replica("r2").await);
        let all = names(300);
        let backwards: Vec<String> = all.iter().rev().cloned().collect();
        put_many(&world, &all).await;
        let answers = both(&world, &one, &other, "POST", "/armory/accounts", [&taken(&all), &taken(&backwards)]).await;
        let refused: Vec<&str> = answers.iter().filter_map(|a| a.1.as_array()).flatten().filter_map(|e| e["name"].as_str()).collect();
        assert_eq!((refused.len(), refused.iter().collect::<BTreeSet<_>>().len()), (300, 300), "{}: each once", world.place.word());
        assert_eq!(standing(&world).await, ["INACTIVE INACTIVE -: 300"]);
        for _ in 0..5 {
            let bodies = [&wished(&all, "ACTIVE"), &wished(&backwards, "INACTIVE")];
            both(&world, &one, &other, "PATCH", "/armory/accounts", bodies).await;
            for standing in standing(&world).await {
                let fine = ["TO_MIGRATE ACTIVE -: ", "INACTIVE INACTIVE INACTIVE: "].iter().any(|s| standing.starts_with(s));
                assert!(fine, "{}: {standing}", world.place.word());
            }
        }
        both(&world, &one, &other, "DELETE", "/armory/accounts", [&json!(all), &json!(backwards)]).await;
        assert_eq!((world.rows().await.len(), world.by_hand().await.len()), (0, 300));
        let answers = both(&world, &one, &other, "POST", "/armory/accounts/dynamic", [&made(&all), &made(&backwards)]).await;
        assert_eq!(answers.iter().filter_map(|a| a.1.as_array()).map(Vec::len).sum::<usize>(), 300, "{}: each once", world.place.word());
        assert_eq!(standing(&world).await, ["INACTIVE INACTIVE -: 300"]);
        one.end().await;
        other.end().await;
        world.done().await;
    }
}

/// Somebody's transaction that does not end.
enum Holder {
    MariaDb(sqlx::Transaction<'static, sqlx::MySql>),
    Postgres(sqlx::Transaction<'static, sqlx::Postgres>),
}

impl Holder {
    async fn of(sql: &Sql, statement: &'static str) -> Self {
        match sql {
            Sql::MariaDb(pool) => {
                let mut tx = pool.begin().await.expect("begun");
                sqlx::query(statement).execute(&mut *tx).await.expect("done");
                Self::MariaDb(tx)
            }
            Sql::Postgres(pool) => {
                let mut tx = pool.begin().await.expect("begun");
                sqlx::query(statement).execute(&mut *tx).await.expect("done");
                Self::Postgres(tx)
            }
            Sql::Sqlite(_) => panic!("there one writer holds all"),
        }
    }

    async fn release(self) {
        match self {
            Self::MariaDb(tx) => tx.rollback().await.expect("undone"),
            Self::Postgres(tx) => tx.rollback().await.expect("undone"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_somebody_holds_is_told_of_and_the_others_are_done() {
    for world in World::all("apiheld").await {
        let Some(_) = world.place.address() else { continue };
        let rig = world.replica("r1").await;
        let all = names(300);
        assert_eq!(rig.change("POST", "/armory/accounts/dynamic", &made(&all)).await.0, 202);
        let holder = Holder::of(&world.place.sql, "update kubesvc_accounts set connections = 1 where name = 'account-0100'").await;
        let (status, shown) = rig.change("PATCH", "/armory/accounts", &wished(&all, "ACTIVE")).await;
        let text = shown["message"].as_str().unwrap_or_default();
        assert_eq!(status, 503, "{shown}");
        assert!(text.starts_with("of 300 entries 299 are noted; whether they are noted cannot be told of /100; "), "{text}");
        assert_eq!(standing(&world).await, ["INACTIVE INACTIVE -: 1", "TO_MIGRATE ACTIVE -: 299"], "{}", world.place.word());
        holder.release().await;
        rig.end().await;
        world.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_read_again_and_each_entry_is_done_once() {
    for world in World::all("apilost").await {
        let Some((host, port)) = world.place.address() else { continue };
        let relay = Relay::start(&host, port).await;
        let rig = world.replica_through(relay.port, "r1").await;
        let all = names(300);
        put_many(&world, &all).await;
        for (method, target, body, after) in [
            ("POST", "/armory/accounts", taken(&all), "INACTIVE INACTIVE -: 300"),
            ("PATCH", "/armory/accounts", wished(&all, "ACTIVE"), "TO_MIGRATE ACTIVE -: 300"),
            ("PATCH", "/armory/accounts", wished(&all, "INACTIVE"), "INACTIVE INACTIVE INACTIVE: 300"),
            ("DELETE", "/armory/accounts", json!(all), ""),
            ("POST", "/armory/accounts/dynamic", made(&all), "INACTIVE INACTIVE -: 300"),
        ] {
            let before = relay.lost();
            relay.lose_next("COMMIT", Mode::Pass);
            let (status, shown) = rig.change(method, target, &body).await;
            assert_eq!(status, 202, "{} {method} {target}: {shown}", world.place.word());
            assert_eq!(relay.lost(), before + 1, "{} {method} {target}", world.place.word());
            assert_eq!(standing(&world).await.join(", "), after, "{} {method} {target}", world.place.word());
        }
        // Away for good: nothing is told as done.
        relay.set(Mode::Refuse);
        let (status, shown) = rig.change("PATCH", "/armory/accounts", &wished(&all, "ACTIVE")).await;
        let text = shown["message"].as_str().unwrap_or_default();
        assert_eq!(status, 503, "{shown}");
        assert!(text.starts_with("of 300 entries 0 are noted; ") || text == "the account cannot be changed now; try again later", "{text}");
        relay.set(Mode::Pass);
        rig.end().await;
        world.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_begun_when_the_time_is_over_is_told_as_that_and_nothing_of_it_is_done() {
    let world = World::sqlite().await;
    let rig = world.replica("r1").await;
    let all = names(MANY);
    assert_eq!(rig.change("POST", "/armory/accounts/dynamic", &made(&all)).await.0, 202);
    let asks: Vec<Ask> = all.iter().map(|name| Ask { name: name.clone(), zone: Zone::Keep, properties: Map::new() }).collect();
    let wishes: Vec<(&Ask, Wanted)> = asks.iter().map(|ask| (ask, Wanted::Active)).collect();
    let told = rig.desk.want(&wishes, Instant::now()).await;
    assert!(told.len() == MANY && told.iter().all(|t| t.as_ref().is_err_and(|e| matches!(**e, Error::NotBegun))), "{told:?}");
    assert_eq!(standing(&world).await, ["INACTIVE INACTIVE -: 600"]);
    let told = rig.desk.want(&wishes, Instant::now() + Duration::from_secs(60)).await;
    assert!(told.iter().all(|t| matches!(t, Ok(Outcome::Done))), "{told:?}");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_with_too_much_is_told_what_would_be_right() {
    let world = World::sqlite().await;
    let rig = world.replica("r1").await;
    let (status, shown) = rig.change("PATCH", "/armory/accounts", &wished(&names(10_001), "ACTIVE")).await;
    assert_eq!(
        (status, &shown["message"]),
        (400, &json!("the body: has 10001 entries, and one request takes 10000 at most: send them in several requests"))
    );
    let large = json!([{"name": "a", "kubeconfigContents": "x".repeat(5 << 20), "state": "ACTIVE"}]);
    let answer = rig.ask("PATCH", "/armory/accounts", Some(&large.to_string())).await;
    let shown = answer.json();
    assert_eq!(answer.status, 413);
    assert!(
        shown["message"].as_str().is_some_and(|m| m.contains("4194304 bytes") && m.ends_with("send its entries in several requests")),
        "{shown}"
    );
    rig.end().await;
}
