//! Without access to Clouddriver's database: SQLite for Fairlead's tables, Clouddriver's own API as the source.

use super::report::Report;
use super::storm::{Plan, storm};
use super::world::{World, delete, expect, expect_again, mirror, post, put, put_named, same_value, send, start};
use crate::support::databases::Sql;
use crate::support::process::{Fairlead, Setup};
use crate::support::rest::rest;

fn setup(world: &World, name: &str) -> Setup {
    let mut setup = world.setup(name);
    setup.database = None;
    let file = crate::support::process::folder(&setup.name).join("fairlead.db");
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", file.display()));
    }
    setup.with(&format!("fairlead.source: api\nfairlead.sqlite.path: {}", file.display()))
}

/// The SQLite file of a Fairlead that runs.
pub fn sqlite(fairlead: &Fairlead) -> Sql {
    Sql::open(&format!("sqlite:{}", fairlead.folder.join("fairlead.db").display()))
}

async fn check(world: &World, sql: &Sql, fairlead: &Fairlead, names: &[&str]) {
    rest(sql, &[fairlead]).await;
    let (mirror, accounts) = (mirror(sql).await, world.cd.accounts().await);
    assert_eq!(mirror.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), names, "\n{}", fairlead.log_tail());
    for row in &mirror {
        let stored = accounts.iter().find(|a| a.id == row.name).unwrap_or_else(|| panic!("Clouddriver has no {}", row.name));
        assert!(same_value(&row.definition, &stored.body), "{}: the mirror has another definition", row.name);
        assert_eq!(row.status, "INACTIVE", "{}", row.name);
    }
}

pub async fn run(report: &Report, world: &World) {
    report
        .case(&world.title("api mode: created, updated, refused and deleted, with SQLite and no access to Clouddriver's database"), async {
            world.fresh().await;
            let fairlead = start(setup(world, "api")).await;
            let (port, sql) = (fairlead.setup.port, sqlite(&fairlead));
            expect(port, &post("one", "1"), 200).await;
            check(world, &sql, &fairlead, &["one"]).await;
            expect(port, &put("one", "2"), 200).await;
            check(world, &sql, &fairlead, &["one"]).await;
            assert!(send(port, &post("one", "3")).await.status >= 400);
            check(world, &sql, &fairlead, &["one"]).await;
            world.live(&["one".to_owned()]).await;
            expect(port, &put_named("one", "4"), 200).await;
            expect(port, &put("upserted", "1"), 200).await;
            check(world, &sql, &fairlead, &["one"]).await;
            // Deleted and made again: another account of the same name.
            expect(port, &delete("one"), 200).await;
            check(world, &sql, &fairlead, &[]).await;
            world.dropped("one").await;
            expect_again(port, &post("one", "5")).await;
            expect(port, &post("two", "1"), 200).await;
            check(world, &sql, &fairlead, &["one", "two"]).await;
            // A deletion behind our back is drift, and takes no row by itself.
            expect(world.cd.port, &delete("two"), 200).await;
            expect(port, &put("one", "6"), 200).await;
            rest(&sql, &[&fairlead]).await;
            assert_eq!(mirror(&sql).await.len(), 2);
        })
        .await;
    report
        .case(&world.title("api mode: a name that is told by nothing but the row is found by a sweep"), async {
            world.fresh().await;
            let fairlead = start(setup(world, "api-sweep")).await;
            let (port, sql) = (fairlead.setup.port, sqlite(&fairlead));
            let xml = br#"<a type="kubernetes" name="from-xml" context="1"/>"#.to_vec();
            expect(port, &crate::support::http::Request::new("POST", "/credentials").body("application/xml", xml), 200).await;
            check(world, &sql, &fairlead, &["from-xml"]).await;
        })
        .await;
    report
        .case(&world.title("api mode: a short storm with crashes"), async {
            world.fresh().await;
            let fairleads = vec![start(setup(world, "api-storm").stormy()).await];
            storm(world, fairleads, Plan { names: 8, clients: 3, changes: 60, rounds: 3, by_api: true, ..Plan::default() }).await;
        })
        .await;
}
