//! A store, scripted agents, and the loop between them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fairlead::account::{Origin, Status};
use fairlead::config::Replica;
use fairlead::dispatch::{Bell, Dispatch, Limits, Metrics};
use fairlead::lifecycle::{Event, Wanted};
use fairlead::secrets::{Resolver, Settings};
use fairlead::store::Store;
use fairlead::store::states::{self, Changed, Extra, NewState, StateRow};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::places::{self, Place};
use super::scripted::{Handle, Scripted};
use crate::support::databases::eventually;

pub const SOON: Duration = Duration::from_secs(20);

pub struct Rig {
    pub place: Place,
    pub store: Store,
    pub agents: Arc<Scripted>,
    pub dispatch: Arc<Dispatch>,
    pub gone: Arc<Mutex<Vec<String>>>,
    pub limits: Limits,
    lease: Duration,
}

pub fn limits() -> Limits {
    Limits {
        max_retries: 3,
        retry: Duration::from_millis(100),
        grace: Duration::from_millis(600),
        cleanup: Duration::from_millis(800),
        wait: Duration::from_secs(10),
        fan_out: 16,
        scan_batch: 572,
    }
}

fn start(store: &Store, agents: &Arc<Scripted>, limits: &Limits, lease: Duration, gone: &Arc<Mutex<Vec<String>>>) -> Arc<Dispatch> {
    let noted = gone.clone();
    let dispatch = Dispatch::new(
        store.clone(),
        Arc::new(Handle(agents.clone())),
        limits.clone(),
        Resolver::new(Settings { kubeconfig: Some("/nowhere".into()), timeout: Duration::from_secs(2) }),
        &Replica { id: "r".into(), heartbeat: Duration::from_millis(100), lease },
        Bell::default(),
        Metrics::default(),
        move |name| noted.lock().expect("no panic").push(name.to_owned()),
        CancellationToken::new(),
    );
    tokio::spawn(dispatch.clone().run());
    dispatch
}

/// Writes the row of a new account.
pub async fn insert(store: &Store, name: &str, zone: Option<&str>, status: Status, definition: &Value) {
    let definition = store.seal_definition(name, definition).expect("sealed");
    let mut tx = store.main().begin().await.expect("begun");
    let new = NewState {
        name,
        origin: Origin::Created,
        status,
        wanted: Wanted::of(None, status),
        zone: zone.map(str::to_owned),
        definition: Some(definition),
        overlay: None,
        props: None,
        learned: None,
    };
    assert!(states::insert(store, &mut tx, &new).await.expect("inserted"));
    tx.commit().await.expect("committed");
}

impl Rig {
    pub async fn new() -> Self {
        Self::on(places::sqlite().await, limits()).await
    }

    pub async fn with(limits: Limits) -> Self {
        Self::on(places::sqlite().await, limits).await
    }

    pub async fn on(place: Place, limits: Limits) -> Self {
        let store = place.ready().await;
        let (agents, gone) = (Scripted::new(), Arc::default());
        let lease = Duration::from_millis(800);
        let dispatch = start(&store, &agents, &limits, lease, &gone);
        if place.word() == "sqlite" {
            place.sql.exec("create table seen (name text, status text)").await;
            for (when, condition) in [("update", "when old.status <> new.status"), ("insert", "")] {
                place
                    .sql
                    .exec(&format!(
                        "create trigger seen_{when} after {when} on kubesvc_accounts {condition} begin insert into seen values (new.name, new.status); end"
                    ))
                    .await;
            }
        }
        Self { place, store, agents, dispatch, gone, limits, lease }
    }

    /// The process dies: its loop and all its tasks stop where they are, and its life is not ended. Another one starts.
    pub fn crash(&mut self) {
        self.dispatch.abandon();
        self.dispatch = start(&self.store, &self.agents, &self.limits, self.lease, &self.gone);
    }

    pub async fn enter(&self, name: &str, zone: Option<&str>, status: Status) {
        self.enter_as(name, zone, status, &json!({"name": name, "kubeconfigContents": "encrypted:noop!v:kubeconfig"})).await;
    }

    pub async fn enter_as(&self, name: &str, zone: Option<&str>, status: Status, definition: &Value) {
        insert(&self.store, name, zone, status, definition).await;
        self.dispatch.bell().ring();
    }

    /// A user's wish, or a definition that has changed.
    pub async fn wish(&self, name: &str, event: Event) -> Changed {
        let changed = event == Event::Changed;
        let done = states::change(&self.store, name, |_| Some((Some(event), Extra { changed, ..Extra::default() }))).await;
        self.dispatch.bell().ring();
        done.unwrap_or_else(|e| panic!("{}: {e}", self.place.word()))
    }

    pub async fn row(&self, name: &str) -> Option<StateRow> {
        states::load(&self.store, name).await.expect("read")
    }

    /// The row, once it is so.
    pub async fn until(&self, what: &str, name: &str, is: impl Fn(&StateRow) -> bool) -> StateRow {
        let so = eventually(what, SOON, || async { self.row(name).await.filter(|r| is(r)) });
        match tokio::time::timeout(SOON * 2, so).await {
            Ok(row) => row,
            Err(_) => panic!("{what}"),
        }
    }

    pub async fn becomes(&self, name: &str, status: Status) -> StateRow {
        let what = format!("{}: {name} {status}", self.place.word());
        self.until(&what, name, |r| r.state.status == status).await
    }

    pub async fn goes(&self, name: &str) {
        eventually("the row goes", SOON, || async { self.row(name).await.is_none().then_some(()) }).await;
    }

    pub async fn asked(&self, what: &str, times: usize) {
        eventually(&format!("{what} {times} times"), SOON, || async { (self.agents.count(what) >= times).then_some(()) }).await;
    }

    pub async fn having(&self, name: &str, who: &[&str]) {
        let is = || async { (self.agents.having(name) == who).then_some(()) };
        eventually(&format!("{name} at {who:?}"), SOON, is).await;
    }

    /// What waits for rows to go has heard of these, in this order, and of no other. That comes after the row has gone.
    pub async fn heard(&self, names: &[&str]) {
        let is = || async { (*self.gone.lock().expect("no panic") == names).then_some(()) };
        eventually(&format!("{}: what waited for {names:?} goes on", self.place.word()), SOON, is).await;
    }

    /// The statuses that a row has had, in order.
    pub async fn seen(&self, name: &str) -> Vec<String> {
        let rows = self.place.sql.rows(&format!("select status from seen where name = '{name}' order by rowid")).await;
        rows.into_iter().filter_map(|mut r| r[0].take()).collect()
    }

    /// Nothing is due, and stays so while the loop has had the time for some looks.
    pub async fn rest(&self) {
        let mut quiet = 0;
        let calm = || {
            let due = self
                .place
                .sql
                .number("select cast(count(*) as char) from kubesvc_accounts where fl_due is not null and fl_due < 9000000000000");
            async { due.await == 0 }
        };
        for _ in 0..400 {
            quiet = if calm().await { quiet + 1 } else { 0 };
            if quiet > 12 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{}: rows stay due", self.place.word());
    }

    pub async fn done(self) {
        assert_eq!(self.agents.reused(), [], "an operation is one order to one agent");
        self.dispatch.shutdown(Duration::from_secs(2)).await;
        self.store.close().await;
        self.place.done().await;
    }
}
