//! What the cases share: Fairlead with agents and clusters around it, and the oracle: rows and their statuses, recorded by the
//! database itself, so that none that lasts a millisecond is missed.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::databases::Server;
use crate::support::http::{Answer, Request};
use crate::support::process::{Fairlead, Setup};
use crate::world::{World, expect, send, start};

/// As long as only a fault takes.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Short where the defaults are long, so that a case takes seconds.
pub const QUICK: &str = "kubesvc.dynamicAccounts: { retryFrequencySeconds: 1, maxRetries: 40, orphanGraceSeconds: 3 }";

/// A row of the table, read by SQL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub status: String,
    pub zone: String,
    pub error: String,
    pub failed: u32,
    pub host: String,
    pub version: String,
    pub fingerprint: String,
    /// What was last asked for.
    pub wanted: String,
    /// When it is looked at, operation, owner: for a failure's message.
    pub work: String,
}

/// A first start on an empty table.
pub struct Scene<'a> {
    pub world: &'a World,
    pub fairlead: Fairlead,
}

impl<'a> Scene<'a> {
    pub async fn new(world: &'a World, name: &str, more: &str) -> Self {
        Self::with(world, world.setup(name).with(more)).await
    }

    pub async fn with(world: &'a World, setup: Setup) -> Self {
        world.fresh().await;
        Self::on(world, setup).await
    }

    /// On what Clouddriver has already; Fairlead's own tables are not there yet.
    pub async fn on(world: &'a World, setup: Setup) -> Self {
        let fairlead = start(setup).await;
        record(world).await;
        Self { world, fairlead }
    }

    /// Stores an account through the proxy, and waits until it is mirrored.
    pub async fn store(&self, name: &str, kubeconfig: &str) {
        expect(self.fairlead.setup.port, &Request::new("POST", "/credentials").json(definition(name, kubeconfig)), 200).await;
        self.becomes(name, "INACTIVE").await;
    }

    /// `PUT /credentials` through the proxy.
    pub async fn change(&self, name: &str, kubeconfig: &str) {
        expect(self.fairlead.setup.port, &Request::new("PUT", "/credentials").json(definition(name, kubeconfig)), 200).await;
    }

    /// PATCH of one account; with a zone or without.
    pub async fn patch(&self, name: &str, state: &str, zone: Option<&str>) -> Answer {
        let mut entry = json!({"name": name, "state": state});
        if let Some(zone) = zone {
            entry["zoneId"] = zone.into();
        }
        let answer = send(self.fairlead.setup.port, &Request::new("PATCH", "/armory/accounts").json(json!([entry]).to_string())).await;
        assert_eq!((answer.status, answer.text().as_str()), (202, ""), "PATCH {name} {state}");
        answer
    }

    /// Stored, and wanted ACTIVE.
    pub async fn activate(&self, name: &str, kubeconfig: &str, zone: Option<&str>) {
        self.store(name, kubeconfig).await;
        self.patch(name, "ACTIVE", zone).await;
    }

    pub async fn row(&self, name: &str) -> Option<Row> {
        let hex = match self.world.server() {
            Server::MariaDb => "lower(hex(cert_fingerprint))",
            Server::Postgres => "encode(cert_fingerprint, 'hex')",
        };
        let columns = format!("status, zone_id, error_message, failed_count, kube_host, kube_version, {hex}, fl_wanted");
        let work = ["fl_due", "fl_operation", "fl_owner", "fl_since", "fl_rev"]
            .map(|c| format!("'{c}=', coalesce(cast({c} as char(40)), 'null'), ' '"));
        let sql = format!("select {columns}, concat({}) from kubesvc_accounts", work.join(", "));
        let mut rows = self.world.admin().rows(&format!("{sql} where name = '{name}'")).await;
        let mut row = rows.pop()?;
        let mut take = |i: usize| row[i].take().unwrap_or_default();
        Some(Row {
            status: take(0),
            zone: take(1),
            error: take(2),
            failed: take(3).parse().unwrap_or_default(),
            host: take(4),
            version: take(5),
            fingerprint: take(6),
            wanted: take(7),
            work: take(8),
        })
    }

    /// Waits until the account has this status.
    pub async fn becomes(&self, name: &str, status: &str) -> Row {
        self.until(name, &format!("is {status}"), |row| row.status == status).await
    }

    /// Waits until the row is as it should be, and shows it if it never is.
    pub async fn until(&self, name: &str, what: &str, holds: impl Fn(&Row) -> bool) -> Row {
        let start = tokio::time::Instant::now();
        loop {
            let row = self.row(name).await;
            if let Some(row) = row.as_ref().filter(|r| holds(r)) {
                return row.clone();
            }
            assert!(
                start.elapsed() < PATIENCE,
                "{name} never {what}: {row:?} at {}, was {:?}\n{}",
                std::time::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_millis()),
                self.trail(name).await,
                self.fairlead.log_tail()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the table has no such account.
    pub async fn goes(&self, name: &str) {
        let start = tokio::time::Instant::now();
        while let Some(row) = self.row(name).await {
            assert!(
                start.elapsed() < PATIENCE,
                "{name} never leaves the table: {row:?}, was {:?}\n{}",
                self.trail(name).await,
                self.fairlead.log_tail()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Every status that the account has had, in order; `gone` at the end of a row's life.
    pub async fn trail(&self, name: &str) -> Vec<String> {
        let rows = self.world.admin().rows(&format!("select status from e2e_trail where name = '{name}' order by id")).await;
        let mut trail: Vec<String> = rows.into_iter().filter_map(|mut r| r[0].take()).collect();
        trail.dedup();
        trail
    }

    /// What is recorded from here on is all that [`Scene::trail`] knows.
    pub async fn forget_trail(&self) {
        self.world.admin().exec("delete from e2e_trail").await;
    }

    /// The account as the API shows it.
    pub async fn shown(&self, name: &str) -> Value {
        expect(self.fairlead.setup.port, &Request::new("GET", &format!("/agents/kubernetes/accounts/{name}")), 200).await.json()
    }

    /// Waits until so many agents are connected, by the API.
    pub async fn agents(&self, n: usize) {
        let start = tokio::time::Instant::now();
        loop {
            let answer = send(self.fairlead.setup.port, &Request::new("GET", "/armory/agents")).await;
            if answer.json().as_array().is_some_and(|a| a.len() == n) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{n} agents are never connected: {}\n{}", answer.text(), self.fairlead.log_tail());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A definition as users write it.
pub fn definition(name: &str, kubeconfig: &str) -> String {
    json!({"type": "kubernetes", "name": name, "kubeconfigContents": kubeconfig, "checkPermissionsOnStartup": false}).to_string()
}

/// Triggers note each status that a row takes.
async fn record(world: &World) {
    let sql = world.admin();
    sql.exec("drop table if exists e2e_trail").await;
    match world.server() {
        Server::MariaDb => {
            sql.exec("create table e2e_trail (id bigint auto_increment primary key, name varchar(255), status varchar(40))").await;
            for (event, row, status) in [("insert", "new", "new.status"), ("update", "new", "new.status"), ("delete", "old", "'gone'")] {
                sql.exec(&format!(
                    "create trigger e2e_{event} after {event} on kubesvc_accounts for each row \
                     insert into e2e_trail (name, status) values ({row}.name, {status})"
                ))
                .await;
            }
        }
        Server::Postgres => {
            sql.exec("create table e2e_trail (id bigserial primary key, name varchar(255), status varchar(40))").await;
            sql.exec(
                "create or replace function e2e_note() returns trigger language plpgsql security definer as $$ begin \
                 if tg_op = 'DELETE' then insert into e2e_trail (name, status) values (old.name, 'gone'); \
                 else insert into e2e_trail (name, status) values (new.name, new.status); end if; return null; end $$",
            )
            .await;
            sql.exec(
                "create trigger e2e_note after insert or update or delete on kubesvc_accounts for each row execute function e2e_note()",
            )
            .await;
        }
    }
}
