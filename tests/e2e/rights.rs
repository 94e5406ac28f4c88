//! Clouddriver's tables are only ever read: by the grants of the user that every suite here runs with, and by the servers' own logs.

use std::collections::BTreeSet;
use std::time::Duration;

use super::report::Report;
use super::world::{World, delete, expect, expect_again, post, put, put_named, send, start, takes_changes};
use crate::support::databases::{OWN_TABLES, Server};
use crate::support::http::{self, Request};
use crate::support::process::Fairlead;

pub async fn run(report: &Report, world: &World) {
    report
        .case(&world.title("rights: the server's log shows that nothing but SELECT touches Clouddriver's tables"), async {
            classifier_has_teeth();
            world.fresh().await;
            let log = Log::start(world).await;
            busy(world).await;
            let statements = log.end(world).await;
            let reads = statements.iter().filter(|s| words(s).iter().any(|w| is_theirs(w))).count();
            assert!(statements.len() > 50 && reads > 5, "the log has {} statements, {reads} of Clouddriver's tables", statements.len());
            let wrong: BTreeSet<_> = statements.iter().filter_map(|s| violation(s)).collect();
            assert!(wrong.is_empty(), "{}", wrong.into_iter().collect::<Vec<_>>().join("\n"));
            println!("        {}: {} statements, {reads} of them read Clouddriver's table", world.place, statements.len());
        })
        .await;
    report
        .case(&world.title("rights: without SELECT on accounts, the start says which right is missing"), async {
            world.fresh().await;
            let revoke = match world.server() {
                Server::MariaDb => format!("revoke select on {}.accounts from '{}'@'%'", world.cd.database.name, world.user),
                Server::Postgres => format!("revoke select on accounts from {}", world.user),
            };
            world.admin().exec(&revoke).await;
            let fairlead = Fairlead::spawn(world.setup("no-right"));
            let said = tokio::time::timeout(Duration::from_secs(30), async {
                loop {
                    let log = fairlead.log_tail();
                    if log.contains("accounts") && log.to_ascii_uppercase().contains("SELECT") {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            })
            .await;
            // The right comes back whatever happened, for the suites after this one.
            let grant = match world.server() {
                Server::MariaDb => format!("grant select on {}.accounts to '{}'@'%'", world.cd.database.name, world.user),
                Server::Postgres => format!("grant select on accounts to {}", world.user),
            };
            world.admin().exec(&grant).await;
            assert!(said.is_ok(), "nothing names the table and the right:\n{}", fairlead.log_tail());
        })
        .await;
}

/// Every kind of statement there is: a first start, all methods, hints that say nothing, reads, a crash and what follows it.
async fn busy(world: &World) {
    let mut fairlead = start(world.setup("rights").lease(Duration::from_secs(2))).await;
    let port = fairlead.setup.port;
    for i in 0..8 {
        expect(port, &post(&format!("r{i}"), "1"), 200).await;
        expect(port, &put(&format!("r{i}"), "2"), 200).await;
        let _ = send(port, &put_named(&format!("r{i}"), "3")).await;
    }
    let odd = br#"<a type="kubernetes" name="from-xml"/>"#.to_vec();
    expect(port, &Request::new("POST", "/credentials").body("application/xml", odd), 200).await;
    expect(port, &delete("r1"), 200).await;
    let _ = http::get(port, "/armory/accounts").await;
    let _ = http::get(port, "/armory/accounts/r2").await;
    world.dropped("r1").await;
    expect_again(port, &post("r1", "again")).await;
    fairlead.kill();
    fairlead.launch_again();
    fairlead.ready().await;
    takes_changes(&fairlead).await;
    expect(port, &delete("r2"), 200).await;
    world.rest(&[&fairlead]).await;
    fairlead.drain().await;
}

/// The server's log of one user's statements.
struct Log {
    offset: i64,
}

impl Log {
    async fn start(world: &World) -> Self {
        let admin = world.admin();
        match world.server() {
            Server::MariaDb => {
                admin.exec("set global general_log = 0; truncate table mysql.general_log; set global log_output = 'TABLE'; set global general_log = 1").await;
                Self { offset: 0 }
            }
            Server::Postgres => {
                admin.exec(&format!("alter role {} set log_statement = 'all'", world.user)).await;
                Self { offset: admin.number("select size from pg_stat_file(pg_current_logfile('jsonlog'))").await }
            }
        }
    }

    async fn end(self, world: &World) -> Vec<String> {
        let admin = world.admin();
        match world.server() {
            Server::MariaDb => {
                admin.exec("set global general_log = 0; set global log_output = 'FILE'").await;
                let rows = admin
                    .rows(&format!(
                        "select argument from mysql.general_log where user_host like '{}[%' and command_type in ('Query', 'Prepare', 'Execute')",
                        world.user.replace('_', "\\_")
                    ))
                    .await;
                rows.into_iter().flatten().flatten().collect()
            }
            Server::Postgres => {
                admin.exec(&format!("alter role {} reset log_statement", world.user)).await;
                let rows = admin.rows(&format!("select pg_read_file(pg_current_logfile('jsonlog'), {}, 200000000)", self.offset)).await;
                let text = rows.into_iter().flatten().flatten().next().unwrap_or_default();
                text.lines()
                    .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
                    .filter(|entry| entry["user"] == world.user.as_str() && entry["error_severity"] == "LOG")
                    .filter_map(|entry| {
                        // "statement: …", or "execute NAME: …" of a prepared one.
                        let message = entry["message"].as_str()?;
                        let (kind, statement) = message.split_once(": ")?;
                        (kind == "statement" || kind.starts_with("execute ")).then(|| statement.to_owned())
                    })
                    .collect()
            }
        }
    }
}

fn is_theirs(word: &str) -> bool {
    word == "accounts" || word == "accounts_history"
}

/// A statement's words, without its literals and comments.
fn words(statement: &str) -> Vec<String> {
    let mut plain = String::new();
    let mut quoted = false;
    for c in statement.chars() {
        match c {
            '\'' => quoted = !quoted,
            _ if quoted => {}
            _ if c.is_alphanumeric() || c == '_' => plain.extend(c.to_lowercase()),
            _ => plain.push(' '),
        }
    }
    plain.split_whitespace().map(str::to_owned).collect()
}

/// Why a statement must not be there.
fn violation(statement: &str) -> Option<String> {
    let words = words(statement);
    if !words.iter().any(|w| is_theirs(w)) {
        return None;
    }
    let no = |why: &str| Some(format!("{why}: {statement}"));
    let has = |a: &str, b: &str| words.windows(2).any(|w| w[0] == a && w[1] == b);
    if has("for", "update") || has("for", "share") || has("share", "mode") || has("no", "key") || has("key", "share") {
        return no("locks a row of Clouddriver's");
    }
    let after = |marks: &[&str]| {
        words
            .iter()
            .position(|w| marks.contains(&w.as_str()))
            .and_then(|i| words[i + 1..].iter().find(|w| !["ignore", "only"].contains(&w.as_str())))
    };
    let target = match words[0].as_str() {
        "select" | "with" if !words.iter().any(|w| ["insert", "update", "delete", "outfile"].contains(&w.as_str())) => return None,
        "insert" | "replace" => after(&["into"]),
        "update" => after(&["update"]),
        "delete" => after(&["from"]),
        _ => return no("is no SELECT"),
    };
    // Writing one of our own tables out of what is read there is a read of theirs.
    if target.is_some_and(|t| OWN_TABLES.contains(&t.as_str())) { None } else { no("writes") }
}

fn classifier_has_teeth() {
    for bad in [
        "update accounts set type = 'x'",
        "UPDATE `accounts` SET type = ?",
        "insert into accounts (id) values (?)",
        "insert into db.accounts_history select 1",
        "delete from accounts where id = 'kubesvc_accounts'",
        "delete from accounts_history",
        "select 1 from accounts where id = ? for update",
        "select 1 from accounts lock in share mode",
        "lock tables accounts write",
        "alter table accounts add x int",
        "truncate accounts",
        "with x as (delete from accounts returning id) select * from x",
        "create index i on accounts (id)",
    ] {
        assert!(violation(bad).is_some(), "not seen as a violation: {bad}");
    }
    for good in [
        "select body from accounts where id = ?",
        "insert into fairlead_intents (id) select created_at from accounts where id = 'a'",
        "update kubesvc_accounts set status = 'accounts'",
        "select 1 from information_schema.tables where table_name = 'accounts'",
    ] {
        assert!(violation(good).is_none(), "seen as a violation: {good}");
    }
}
