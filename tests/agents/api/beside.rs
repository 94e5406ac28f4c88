//! Calls beside each other, on two replicas of one database: each is answered, and what is left is what one order of them would leave.

use serde_json::{Value, json};

use super::rig::World;

fn patch(name: &str, state: &str) -> Value {
    json!([{"name": name, "state": state}])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patch_beside_a_patch_and_a_delete_leaves_one_of_their_orders() {
    for world in World::all("apirace").await {
        let (one, two) = (world.replica("r1").await, world.replica("r2").await);
        for round in 0..12 {
            let name = format!("a-{round}");
            world.put_all(&[&name]).await;
            assert_eq!(one.change("POST", "/armory/accounts", &json!([{"name": name}])).await.0, 202);
            let (on, off, gone) = (patch(&name, "ACTIVE"), patch(&name, "INACTIVE"), json!([name]));
            let (a, b, c) = tokio::join!(
                one.change("PATCH", "/armory/accounts", &on),
                two.change("PATCH", "/armory/accounts", &off),
                two.change("DELETE", "/armory/accounts", &gone),
            );
            // One that comes after the deletion knows of no such account.
            assert!([202, 400].contains(&a.0) && [202, 400].contains(&b.0), "{} {a:?} {b:?}", world.place.word());
            assert_eq!(c.0, 202, "{c:?}");
        }
        assert_eq!(world.rows().await, Vec::<String>::new(), "never sent to an agent, each went at once");
        assert_eq!(world.by_hand().await.len(), 12);
        assert!(world.by_hand().await.iter().all(|h| h.ends_with(" DELETED")), "{:?}", world.by_hand().await);
        one.end().await;
        two.end().await;
        world.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_name_that_is_taken_or_made_on_two_replicas_at_once_enters_once() {
    for world in World::all("apitwice").await {
        let (one, two) = (world.replica("r1").await, world.replica("r2").await);
        for round in 0..8 {
            let name = format!("taken-{round}");
            world.put_all(&[&name]).await;
            let body = json!([{"name": name}]);
            let (a, b) = tokio::join!(one.change("POST", "/armory/accounts", &body), two.change("POST", "/armory/accounts", &body));
            let mut both = [a.0, b.0];
            both.sort_unstable();
            assert_eq!(both, [202, 409], "{} {name}: {a:?} {b:?}", world.place.word());
            let body = json!({"name": format!("made-{round}"), "serviceAccount": true});
            let target = "/armory/accounts/dynamic";
            let (a, b) = tokio::join!(one.change("POST", target, &body), two.change("POST", target, &body));
            let mut both = [a.0, b.0];
            both.sort_unstable();
            assert_eq!(both, [202, 409], "{} made-{round}: {a:?} {b:?}", world.place.word());
        }
        assert_eq!(world.rows().await.len(), 16);
        one.end().await;
        two.end().await;
        world.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wishes_of_many_at_once_end_in_one_state_with_every_property_that_was_laid_over() {
    for world in World::all("apimany").await {
        let (one, two) = (world.replica("r1").await, world.replica("r2").await);
        world.put_all(&["a"]).await;
        one.change("POST", "/armory/accounts", &json!([{"name": "a"}])).await;
        let puts: Vec<Value> = ["kinds", "omitKinds", "namespaces", "oAuthScopes"].iter().map(|f| json!({"name": "a", *f: [f]})).collect();
        let calls =
            puts.iter().enumerate().map(|(i, put)| if i % 2 == 0 { &one } else { &two }.change("PUT", "/armory/accounts/dynamic", put));
        for (status, shown) in futures_util::future::join_all(calls).await {
            assert_eq!(status, 202, "{} {shown}", world.place.word());
        }
        let (_, shown) = one.json("/armory/accounts/a").await;
        for field in ["kinds", "omitKinds", "namespaces", "oAuthScopes"] {
            assert_eq!(shown["config"][field], json!([field]), "{} {shown}", world.place.word());
        }
        one.end().await;
        two.end().await;
        world.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_batch_is_taken_as_a_whole_and_in_the_middle_of_it_others_are_answered() {
    let world = World::sqlite().await;
    let rig = world.replica("r1").await;
    let names: Vec<String> = (0..400).map(|i| format!("a-{i:04}")).collect();
    for some in names.chunks(100) {
        let rows: Vec<String> = some.iter().map(|n| format!("('{n}', 'kubernetes', '{{\"name\":\"{n}\"}}', 1, 1, 'x')")).collect();
        world.place.sql.exec(&format!("insert into accounts values {}", rows.join(", "))).await;
    }
    let body: Vec<Value> = names.iter().map(|n| json!({"name": n})).collect();
    let body = Value::Array(body);
    let (posted, listed) = tokio::join!(rig.change("POST", "/armory/accounts", &body), rig.json("/armory/accounts?limit=1"));
    assert_eq!((posted.0, listed.0), (202, 200));
    assert_eq!(rig.json("/armory/accounts?limit=1").await.1["total"], 400);
    let all: Vec<Value> = names.iter().map(|n| json!({"name": n, "state": "ACTIVE"})).collect();
    assert_eq!(rig.change("PATCH", "/armory/accounts", &Value::Array(all)).await.0, 202);
    assert_eq!(world.place.sql.number("select cast(count(*) as text) from kubesvc_accounts where status = 'TO_MIGRATE'").await, 400);
    rig.end().await;
}
