//! The program's commands as an operator runs them, on a database of a test's own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use crate::support::databases::{OWN_TABLES, Server, Sql, TestDatabase, TextRow};

/// Longer than any command takes, on any machine.
pub const SOON: Duration = Duration::from_secs(60);
/// In every definition, and nowhere else.
pub const SECRET: &str = "s3cr3t-marker";

/// A database with Clouddriver's table, and a configuration for it.
pub struct Place {
    pub db: TestDatabase,
    pub folder: tempfile::TempDir,
    pub user: String,
}

/// What a command said.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// The JSON lines.
    pub fn lines(&self) -> Vec<Value> {
        self.out.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
    }

    /// The last line.
    pub fn sums(&self) -> Value {
        self.lines().pop().unwrap_or_else(|| panic!("no line; {}", self.err))
    }

    /// The lines about accounts, by name.
    pub fn by_name(&self) -> BTreeMap<String, Value> {
        let named = |l: Value| l["name"].as_str().map(str::to_owned).map(|name| (name, l));
        self.lines().into_iter().filter_map(named).collect()
    }
}

/// The program, without the variables of the tests.
pub fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairlead"));
    for (key, _) in std::env::vars().filter(|(k, _)| k.starts_with("FAIRLEAD_") || k.starts_with("KUBESVC_")) {
        command.env_remove(key);
    }
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

pub async fn say(mut command: Command) -> Said {
    let Output { status, stdout, stderr } = tokio::time::timeout(SOON, command.output()).await.expect("it ends").expect("the program runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let said = Said { code: status.code().unwrap_or(-1), out: text(stdout), err: text(stderr) };
    for stream in [&said.out, &said.err] {
        assert!(!stream.contains(SECRET), "a secret is told: {stream}");
    }
    said
}

pub fn yaml(jdbc: &str, user: &str, more: &str) -> String {
    format!(
        "services.clouddriver.baseUrl: http://127.0.0.1:1\n\
         sql.connectionPools.default: {{ default: true, jdbcUrl: \"{jdbc}\", user: {user}, password: {user} }}\n{more}\n"
    )
}

impl Place {
    /// With Fairlead's usual rights.
    pub async fn new(server: Server, purpose: &str) -> Self {
        let mut db = TestDatabase::create(server, purpose).await;
        db.make_accounts_table().await;
        let user = db.fairlead_user().await;
        Self { db, folder: tempfile::tempdir().expect("a folder"), user }
    }

    pub fn sql(&self) -> &Sql {
        &self.db.admin
    }

    /// A configuration file.
    pub fn config(&self, user: &str, more: &str) -> PathBuf {
        let path = self.folder.path().join(format!("{:x}.yml", fastrand::u64(..)));
        std::fs::write(&path, yaml(&self.db.jdbc(), user, more)).expect("a file");
        path
    }

    /// As this user, with these keys; `{}` among the words stands for nothing.
    pub async fn run_as(&self, user: &str, more: &str, words: &[&str]) -> Said {
        let path = self.config(user, more);
        let mut command = program(words);
        command.arg("--config").arg(path);
        say(command).await
    }

    pub async fn run(&self, more: &str, words: &[&str]) -> Said {
        self.run_as(&self.user, more, words).await
    }

    /// A user who may read everything that there is in this database, or comes to be, and write nothing.
    pub async fn reader(&mut self) -> String {
        let user = self.db.new_user("ro").await;
        match self.db.server {
            Server::MariaDb => self.sql().exec(&format!("grant select on {}.* to '{user}'@'%'", self.db.name)).await,
            Server::Postgres => {
                let grants = format!("grant usage on schema public to {user}; grant select on all tables in schema public to {user}");
                self.sql().exec(&grants).await
            }
        };
        user
    }

    /// Puts an account into Clouddriver's table, in place of what was there.
    pub async fn put(&self, name: &str, note: &str, created: i64) {
        let kubeconfig = format!("users: [{{user: {{token: {SECRET}}}}}] # {note}");
        let body = serde_json::json!({ "type": "kubernetes", "name": name, "note": note, "kubeconfigContents": kubeconfig });
        self.put_body(name, "kubernetes", &body.to_string(), created).await;
    }

    pub async fn put_body(&self, name: &str, kind: &str, body: &str, created: i64) {
        let (id, body) = (self.sql().quoted(name), self.sql().quoted(body));
        self.sql().exec(&format!("delete from accounts where id = {id}")).await;
        self.sql().exec(&format!("insert into accounts values ({id}, '{kind}', {body}, {created}, 5000, 'someone')")).await;
    }

    /// JSON to these databases, and no number to anybody.
    pub async fn poison(&self, name: &str) {
        let body = format!(r#"{{"type": "kubernetes", "name": "p", "kubeconfigContents": "{SECRET}", "x": 1e999}}"#);
        self.put_body(name, "kubernetes", &body, 1_000).await;
    }

    pub async fn drop_row(&self, name: &str) {
        self.sql().exec(&format!("delete from accounts where id = {}", self.sql().quoted(name))).await;
    }

    /// Changes the mirror's row by hand.
    pub async fn set(&self, name: &str, assignments: &str) {
        let sql = format!("update kubesvc_accounts set {assignments} where name = {}", self.sql().quoted(name));
        assert_eq!(self.sql().exec(&sql).await, 1, "{name} is in the mirror");
    }

    /// What a user took out by hand.
    pub async fn note(&self, name: &str, wanted: &str) {
        let name = self.sql().quoted(name);
        self.sql().exec(&format!("insert into fairlead_hand (name_key, wanted, at_ms) values ({name}, '{wanted}', 1)")).await;
    }

    /// All of them into the mirror.
    pub async fn take_all(&self) {
        let said = self.run("kubesvc.dynamicAccounts.namePatterns: ['.*']", &["scan", "--once", "--output", "json"]).await;
        assert!(said.code < 2, "{} {}", said.out, said.err);
    }

    /// Status and what changes with each change, by name.
    pub async fn mirror(&self) -> BTreeMap<String, TextRow> {
        let rows = self.sql().rows("select name, status, fl_rev, fl_inc, fl_generation from kubesvc_accounts").await;
        rows.into_iter().map(|row| (row[0].clone().expect("a name"), row)).collect()
    }

    /// Every table of this database with all that is in it.
    pub async fn everything(&self) -> BTreeMap<String, Vec<TextRow>> {
        let schema = if self.db.server == Server::MariaDb { "database()" } else { "'public'" };
        let tables = self.sql().rows(&format!("select table_name from information_schema.tables where table_schema = {schema}")).await;
        let mut all = BTreeMap::new();
        for table in tables.into_iter().filter_map(|row| row.into_iter().next().flatten()) {
            let mut rows = self.sql().rows(&format!("select * from {table}")).await;
            rows.sort();
            all.insert(table, rows);
        }
        all
    }

    pub async fn has_own_tables(&self) -> bool {
        let all = self.everything().await;
        OWN_TABLES.iter().any(|table| all.contains_key(*table))
    }

    pub async fn done(self) {
        self.db.drop_now().await;
    }
}
