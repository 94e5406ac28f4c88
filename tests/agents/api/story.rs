//! From a user's call to the agent and back: the API, the loop and scripted agents together.

use std::sync::Arc;
use std::time::Duration;

use fairlead::config::Replica;
use fairlead::dispatch::{Dispatch, Metrics};
use fairlead::secrets::{Resolver, Settings};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::rig::{Rig, World, definition};
use crate::dispatch::rig::limits;
use crate::dispatch::scripted::{Handle, Reply, Scripted, cluster};
use crate::support::databases::eventually;

const SOON: Duration = Duration::from_secs(20);

struct Story {
    world: World,
    rig: Rig,
    agents: Arc<Scripted>,
    dispatch: Arc<Dispatch>,
}

impl Story {
    async fn new(world: World) -> Self {
        let agents = Scripted::new();
        let rig = world.replica_of("r1", Arc::new(Handle(agents.clone()))).await;
        let replica = Replica { id: "r1".into(), heartbeat: Duration::from_millis(100), lease: Duration::from_millis(800) };
        let secrets = Resolver::new(Settings { kubeconfig: Some("/nowhere".into()), timeout: Duration::from_secs(2) });
        let (handle, bell, stop) = (Arc::new(Handle(agents.clone())), rig.bell.clone(), CancellationToken::new());
        let dispatch = Dispatch::new(rig.store.clone(), handle, limits(), secrets, &replica, bell, Metrics::default(), |_| {}, stop);
        tokio::spawn(dispatch.clone().run());
        Self { world, rig, agents, dispatch }
    }

    async fn shows(&self, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let target = format!("/agents/kubernetes/accounts/{name}");
        let so = || async { Some(self.rig.json(&target).await.1).filter(|shown| is(shown)) };
        eventually(&format!("{}: {name} {what}", self.world.place.word()), SOON, so).await
    }

    async fn becomes(&self, name: &str, status: &str) -> Value {
        self.shows(name, status, |shown| shown["status"] == status).await
    }

    async fn change(&self, method: &str, target: &str, body: Value) {
        let (status, shown) = self.rig.change(method, target, &body).await;
        assert_eq!(status, 202, "{} {method} {target}: {shown}", self.world.place.word());
    }

    async fn done(self) {
        self.dispatch.shutdown(Duration::from_secs(2)).await;
        self.rig.end().await;
        self.world.done().await;
    }
}

/// From here on the table `seen` notes each status.
async fn note_statuses(world: &World) {
    let sql = &world.place.sql;
    match world.place.word() {
        "sqlite" => {
            sql.exec("create table seen (id integer primary key, name text, status text)").await;
            for (when, condition) in [("insert", ""), ("update", "when old.status <> new.status")] {
                let does = "insert into seen (name, status) values (new.name, new.status)";
                sql.exec(&format!("create trigger seen_{when} after {when} on kubesvc_accounts {condition} begin {does}; end")).await;
            }
        }
        "mariadb" => {
            sql.exec("create table seen (id bigint primary key auto_increment, name varchar(255), status varchar(32))").await;
            for (when, condition) in [("insert", ""), ("update", "where old.status <> new.status")] {
                let does = format!("insert into seen (name, status) select new.name, new.status from dual {condition}");
                sql.exec(&format!("create trigger seen_{when} after {when} on kubesvc_accounts for each row {does}")).await;
            }
        }
        _ => {
            sql.exec("create table seen (id bigserial primary key, name text, status text)").await;
            let does = "begin if tg_op = 'INSERT' or old.status <> new.status then insert into seen (name, status) values (new.name, new.status); \
                        end if; return new; end";
            sql.exec(&format!("create function note_status() returns trigger language plpgsql as $$ {does} $$")).await;
            sql.exec("create trigger seen_all after insert or update on kubesvc_accounts for each row execute function note_status()")
                .await;
        }
    }
}

async fn seen(world: &World, name: &str) -> Vec<String> {
    let rows = world.place.sql.rows(&format!("select status from seen where name = '{name}' order by id")).await;
    rows.into_iter().filter_map(|mut r| r[0].take()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_was_there_before_goes_through_the_seeds_states_and_clouddrivers_table_stays_as_it_was() {
    for world in World::all("apistory").await {
        world.put("account-01", "kubernetes", &definition("account-01")).await;
        let clouddrivers = world.clouddrivers().await;
        note_statuses(&world).await;
        let story = Story::new(world).await;
        story.agents.script("agent-1", |_, _| Reply::Reach(cluster("c1")));
        story.agents.connect("agent-1", "agent-1_namespace1", &[]);
        story.change("POST", "/armory/accounts", json!([{"name": "account-01"}])).await;
        story.change("PATCH", "/armory/accounts", json!([{"name": "account-01", "state": "ACTIVE"}])).await;
        let shown = story.becomes("account-01", "ACTIVE").await;
        assert_eq!((&shown["zoneId"], &shown["zoneFound"]), (&json!("agent-1_namespace1"), &json!(true)), "found by asking all zones");
        assert_eq!((&shown["agents"], &shown["errorMessage"]), (&json!([{"agentId": "agent-1", "caching": true}]), &Value::Null));
        assert_eq!((&shown["kubeVersion"], &shown["kubeHost"]), (&json!("v1.34.4"), &json!("https://c1.example:6443")));
        story.change("PATCH", "/armory/accounts", json!([{"name": "account-01", "state": "INACTIVE"}])).await;
        story.becomes("account-01", "INACTIVE").await;
        assert_eq!(
            seen(&story.world, "account-01").await,
            ["INACTIVE", "TO_MIGRATE", "ACTIVATING", "ACTIVE", "TO_DEACTIVATE", "DEACTIVATING", "INACTIVE"],
            "{}",
            story.world.place.word()
        );
        assert_eq!(story.world.clouddrivers().await, clouddrivers, "byte for byte");
        story.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_a_zone_is_offered_to_no_other_and_a_change_and_a_deletion_reach_its_agent() {
    let world = World::sqlite().await;
    world.put("account-02", "kubernetes", &definition("account-02")).await;
    let story = Story::new(world).await;
    for (agent, zone) in [("agent-1", "agent-1_namespace1"), ("agent-2", "agent-2_namespace1")] {
        story.agents.script(agent, |_, _| Reply::Reach(cluster("c1")));
        story.agents.connect(agent, zone, &[]);
    }
    let entry = json!({"name": "account-02", "zoneId": "agent-1_namespace1", "kubeconfigFile": "encrypted:noop!v:kubeconfig"});
    story.change("POST", "/armory/accounts", json!([entry])).await;
    let mut patch = entry.clone();
    patch["state"] = json!("ACTIVE");
    story.change("PATCH", "/armory/accounts", json!([patch])).await;
    let shown = story.becomes("account-02", "ACTIVE").await;
    assert_eq!((&shown["zoneId"], &shown["zoneFound"]), (&json!("agent-1_namespace1"), &json!(false)));
    assert!(story.agents.asked().iter().all(|a| a.starts_with("agent-1 ")), "{:?}", story.agents.asked());

    let before = story.agents.generation("agent-1", "account-02");
    story.change("PUT", "/armory/accounts/dynamic", json!({"name": "account-02", "namespaces": ["shop"]})).await;
    let agents = story.agents.clone();
    let newer = || async { agents.generation("agent-1", "account-02").filter(|g| Some(*g) != before) };
    eventually("the agent has the new definition", SOON, newer).await;
    story.becomes("account-02", "ACTIVE").await;

    story.change("DELETE", "/armory/accounts", json!(["account-02"])).await;
    story.shows("account-02", "is gone", |shown| *shown == json!({})).await;
    assert_eq!(story.agents.having("account-02"), Vec::<String>::new(), "its agent let go first");
    assert_eq!(story.rig.json("/armory/accounts/account-02").await.1.get("status"), None, "Clouddriver still has it");
    story.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_is_told_with_its_reason_and_a_patch_begins_anew() {
    let story = Story::new(World::sqlite().await).await;
    story.agents.script("agent-1", |_, _| Reply::Fail("connection refused".into()));
    story.agents.connect("agent-1", "z1", &[]);
    story.change("POST", "/armory/accounts/dynamic", json!({"name": "made", "zoneId": "z1", "kubeconfigContents": "apiVersion: v1"})).await;
    story.change("PATCH", "/armory/accounts", json!([{"name": "made", "state": "ACTIVE"}])).await;
    let shown = story.shows("made", "has failed four times", |s| s["status"] == "FAILED" && s["retryCount"] == 4).await;
    assert!(shown["errorMessage"].as_str().is_some_and(|m| m.contains("connection refused")), "{shown}");
    assert_eq!(shown["lastAssignmentMsg"], shown["errorMessage"]);
    story.agents.script("agent-1", |_, _| Reply::Reach(cluster("c1")));
    story.change("PATCH", "/armory/accounts", json!([{"name": "made", "state": "ACTIVE"}])).await;
    let shown = story.becomes("made", "ACTIVE").await;
    assert_eq!((&shown["retryCount"], &shown["errorMessage"]), (&json!(0), &Value::Null));
    story.done().await;
}
