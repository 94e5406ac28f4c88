//! One Clouddriver with its database, the Fairleads before it, and the oracle: what Clouddriver stores, read by SQL.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::clouddriver::{Clouddriver, StoredAccount};
use crate::support::databases::{OWN_TABLES, Server, Sql, TextRow, eventually};
use crate::support::http::{self, Answer, Request};
use crate::support::process::{Fairlead, Setup};
use crate::support::rest::rest;

/// A Clouddriver and what stands around it.
pub struct World {
    pub cd: Clouddriver,
    /// What names it in titles.
    pub place: String,
    /// The user with SELECT on `accounts` and rights on Fairlead's own tables only.
    pub user: String,
}

/// A row of the mirror.
#[derive(Clone, Debug)]
pub struct MirrorRow {
    pub name: String,
    pub origin: String,
    pub status: String,
    pub dynamic: String,
    pub definition: String,
    pub after_gap: bool,
}

const MIRROR: &str = "select name, fl_origin, status, dynamic, definition, fl_after_gap from kubesvc_accounts order by name";
const MIRROR_SQLITE: &str = "select name, fl_origin, status, cast(dynamic as text), definition, cast(fl_after_gap as text) \
                             from kubesvc_accounts order by name";

/// Reads the mirror.
pub async fn mirror(sql: &Sql) -> Vec<MirrorRow> {
    let text = if matches!(sql, Sql::Sqlite(_)) { MIRROR_SQLITE } else { MIRROR };
    sql.rows(text).await.into_iter().map(mirror_row).collect()
}

fn mirror_row(mut row: TextRow) -> MirrorRow {
    let mut take = |i: usize| row[i].take().unwrap_or_default();
    MirrorRow { name: take(0), origin: take(1), status: take(2), dynamic: take(3), definition: take(4), after_gap: take(5) != "0" }
}

impl World {
    /// Takes a Clouddriver that answers.
    pub async fn new(mut cd: Clouddriver, place: String) -> Self {
        let user = cd.database.fairlead_user().await;
        Self { cd, place, user }
    }

    pub fn title(&self, suite: &str) -> String {
        format!("{}: {suite}", self.place)
    }

    pub fn admin(&self) -> &Sql {
        &self.cd.database.admin
    }

    pub fn server(&self) -> Server {
        self.cd.database.server
    }

    /// A Fairlead in front of this Clouddriver, with the restricted user, in the same schema.
    pub fn setup(&self, name: &str) -> Setup {
        let name = format!("{}-{name}", self.place.replace([' ', '/'], "-"));
        Setup::new(&name, self.cd.port).database(&self.cd.database.jdbc(), &self.user).calm()
    }

    /// Empties Clouddriver's tables and memory, and drops Fairlead's tables: a first start.
    pub async fn fresh(&self) {
        self.cd.forget_accounts().await;
        // Bounded: an account of an odd name may stay in Clouddriver's memory for good. What follows uses names of its own.
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) {
            let answer = http::get(self.cd.port, "/credentials").await;
            if answer.is_ok_and(|a| a.json().as_array().is_some_and(Vec::is_empty)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        for table in OWN_TABLES {
            self.admin().exec(&format!("drop table if exists {table}")).await;
        }
    }

    /// A first start with default settings.
    pub async fn fresh_fairlead(&self, name: &str) -> Fairlead {
        self.fresh().await;
        start(self.setup(name)).await
    }

    pub async fn mirror(&self) -> Vec<MirrorRow> {
        mirror(self.admin()).await
    }

    pub async fn mirrored(&self, name: &str) -> Option<MirrorRow> {
        self.mirror().await.into_iter().find(|r| r.name == name)
    }

    /// Waits until nothing is open: no intent, no gap, no replica that is gone and not yet accounted for.
    pub async fn rest(&self, fairleads: &[&Fairlead]) {
        rest(self.admin(), fairleads).await;
    }

    /// Waits until Clouddriver has these accounts in memory.
    pub async fn live(&self, names: &[String]) {
        let start = Instant::now();
        loop {
            let answer = http::get(self.cd.port, "/credentials").await.expect("Clouddriver answers");
            let live: Vec<String> = answer
                .json()
                .as_array()
                .map(|a| a.iter().filter_map(|v| v["name"].as_str().map(str::to_owned)).collect())
                .unwrap_or_default();
            let missing: Vec<_> = names.iter().filter(|n| !live.contains(n)).collect();
            if missing.is_empty() {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "Clouddriver does not load {missing:?}\n{}", self.cd.log_tail());
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    }

    /// Waits until Clouddriver has dropped an account from memory: until then a POST of that name is refused.
    pub async fn dropped(&self, name: &str) {
        eventually(&format!("Clouddriver drops {name}"), Duration::from_secs(60), || async {
            let answer = http::get(self.cd.port, &format!("/credentials/{name}")).await.ok()?;
            (answer.status == 404).then_some(())
        })
        .await;
    }
}

/// Starts a Fairlead and waits until it takes account changes: ready comes earlier, so that all else passes while its database is
/// away. What it is asked is refused by Clouddriver, too.
pub async fn start(setup: Setup) -> Fairlead {
    let fairlead = Fairlead::start(setup).await;
    takes_changes(&fairlead).await;
    fairlead
}

/// Waits until a change is not refused for want of a journal.
pub async fn takes_changes(fairlead: &Fairlead) {
    eventually("account changes are taken", Duration::from_secs(60), || async {
        let answer = http::call(fairlead.setup.port, &Request::new("POST", "/credentials")).await.ok()?;
        (answer.status != 503).then_some(())
    })
    .await;
}

/// What must be in the mirror: Clouddriver's rows, and which of them entered by a POST through Fairlead.
///
/// Requests are sent one after another; after each, Clouddriver's table is read and every row that is new in it is put down to
/// that request. So nothing depends on what the request seemed to say.
#[derive(Default)]
pub struct Ledger {
    /// By id: creation time, and whether the mirror must have it.
    rows: HashMap<String, (i64, bool)>,
    /// By id: which request made it, for messages.
    made_by: HashMap<String, String>,
}

impl Ledger {
    /// Notes what a request did: `enters` says whether a row that it created belongs in the mirror.
    pub async fn note(&mut self, world: &World, what: &str, enters: bool) -> Vec<String> {
        let mut made = Vec::new();
        let mut now = HashMap::new();
        for (id, created) in world.cd.ids().await {
            let entry = match self.rows.get(&id) {
                Some((before, mirrored)) if *before == created => (created, *mirrored),
                _ => {
                    made.push(id.clone());
                    self.made_by.insert(id.clone(), what.to_owned());
                    (created, enters)
                }
            };
            now.insert(id, entry);
        }
        self.rows = now;
        made
    }

    /// Every difference between what the mirror holds and what it must hold.
    pub fn differences(&self, accounts: &[StoredAccount], mirror: &[MirrorRow]) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut left: BTreeMap<&str, &MirrorRow> = mirror.iter().map(|r| (r.name.as_str(), r)).collect();
        for a in accounts {
            let due = a.type_ == "kubernetes" && self.rows.get(&a.id).is_some_and(|(created, enters)| *created == a.created_at && *enters);
            let by = self.made_by.get(&a.id).cloned().unwrap_or_default();
            match (due, left.remove(a.id.as_str())) {
                (true, None) => wrong.push(format!("{:?} is not in the mirror; made by: {by}", a.id)),
                (false, Some(row)) => wrong.push(format!("{:?} is in the mirror ({}) and must not be; made by: {by}", a.id, row.origin)),
                (true, Some(row)) if !same_value(&row.definition, &a.body) => {
                    wrong.push(format!("{:?}: the mirror's definition is another; made by: {by}", a.id));
                }
                _ => {}
            }
        }
        wrong.extend(left.keys().map(|name| format!("{name:?} is in the mirror and Clouddriver does not have it")));
        wrong
    }

    /// Waits for rest and asserts that there is no difference.
    pub async fn check(&self, world: &World, fairlead: &Fairlead, what: &str) {
        world.rest(&[fairlead]).await;
        let wrong = self.differences(&world.cd.accounts().await, &world.mirror().await);
        assert!(wrong.is_empty(), "{what}:\n  {}\n{}", wrong.join("\n  "), fairlead.log_tail());
    }
}

/// Whether two texts are the same JSON value. Clouddriver's generations write different text for one value.
pub fn same_value(a: &str, b: &str) -> bool {
    match (serde_json::from_str::<Value>(a), serde_json::from_str::<Value>(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

/// A kubeconfig that Clouddriver loads without calling a cluster.
pub const KUBECONFIG: &str = "apiVersion: v1\nkind: Config\n";

/// A definition; `mark` shows up in it, so that one can be told from another.
pub fn definition(name: &str, mark: &str) -> Value {
    json!({"type": "kubernetes", "name": name, "kubeconfigContents": KUBECONFIG, "namespaces": [mark], "checkPermissionsOnStartup": false})
}

/// `POST /credentials` as Gate writes it.
pub fn post(name: &str, mark: &str) -> Request {
    Request::new("POST", "/credentials").json(definition(name, mark).to_string())
}

/// `PUT /credentials`.
pub fn put(name: &str, mark: &str) -> Request {
    Request::new("PUT", "/credentials").json(definition(name, mark).to_string())
}

/// `PUT /credentials/{name}`; the name has to be one that a path can hold as it is.
pub fn put_named(name: &str, mark: &str) -> Request {
    Request::new("PUT", &format!("/credentials/{name}")).json(definition(name, mark).to_string())
}

/// `DELETE /credentials/{name}`; as above.
pub fn delete(name: &str) -> Request {
    Request::new("DELETE", &format!("/credentials/{name}"))
}

/// Sends a request and gets an answer, or the test fails.
pub async fn send(port: u16, request: &Request) -> Answer {
    match http::call(port, request).await {
        Ok(answer) => answer,
        Err(e) => panic!("{} {} was not answered: {e}", request.method, String::from_utf8_lossy(&request.target)),
    }
}

/// As [`send`], and the status has to be this one.
pub async fn expect(port: u16, request: &Request, status: u16) -> Answer {
    let answer = send(port, request).await;
    assert_eq!(
        answer.status,
        status,
        "{} {}: {}",
        request.method,
        String::from_utf8_lossy(&request.target),
        answer.text().chars().take(600).collect::<String>()
    );
    answer
}

/// As [`expect`] 200, of a POST of a name that was deleted and dropped: Clouddriver may load once more what it read before the deletion, and
/// refuses the POST until it has dropped that too.
pub async fn expect_again(port: u16, request: &Request) {
    eventually("the name is free again", Duration::from_secs(60), || async {
        let answer = send(port, request).await;
        let there = answer.status == 400 && answer.text().contains("already exists");
        assert!(there || answer.status == 200, "{} {}", answer.status, answer.text());
        (!there).then_some(())
    })
    .await;
}
