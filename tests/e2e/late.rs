//! A row that comes 40 s after its request, as was measured, with every time as it is shipped: nothing is scaled.

use std::time::{Duration, Instant};

use super::report::Report;
use super::storm::hold_row;
use super::world::{World, mirror, post, same_value, start};
use crate::support::databases::{Sql, eventually};
use crate::support::http::Connection;
use crate::support::process::{Fairlead, Setup, folder};
use crate::support::relay::Relay;

/// MariaDB gives a wait for a lock up after 50 s.
const LATE: Duration = Duration::from_secs(40);
/// The longest pause between two readings is a minute.
const SOON: Duration = Duration::from_secs(120);

/// Sends a POST whose row is held, and leaves once Clouddriver is at it.
async fn posted_and_left(fairlead: &Fairlead, name: &str) {
    let mut client = Connection::open(fairlead.setup.port).await.expect("Fairlead takes connections");
    client.send(&post(name, "1").bytes()).await.expect("Fairlead reads");
    tokio::time::sleep(Duration::from_millis(500)).await;
}

/// A Fairlead with tables of its own, so that it is no replica of the other one and hears nothing of its changes.
fn aside(world: &World, name: &str) -> (Setup, Sql) {
    let mut setup = world.setup(name).unscaled();
    setup.database = None;
    let file = folder(&setup.name).join("fairlead.db");
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", file.display()));
    }
    let (jdbc, user) = (world.cd.database.jdbc(), &world.user);
    let pool = format!("{{ jdbcUrl: \"{jdbc}\", user: {user}, password: {user} }}");
    let yaml = format!("fairlead.sqlite.path: {}\nsql: {{ enabled: true, connectionPools: {{ accounts: {pool} }} }}", file.display());
    (setup.with(&yaml), Sql::open(&format!("sqlite:{}", file.display())))
}

pub async fn run(report: &Report, world: &World) {
    report
        .case(
            &world.title("unknown: a row that comes 40 s late is mirrored with all times as shipped, over a kill, a cut and neither"),
            async {
                world.fresh().await;
                let mut killed = start(world.setup("late-killed").unscaled()).await;
                let relay = Relay::start("127.0.0.1", world.cd.port).await;
                let (mut setup, theirs) = aside(world, "late-cut");
                setup.clouddriver_port = relay.port;
                let living = start(setup).await;

                let mut held = Vec::new();
                for name in ["late-killed", "late-heard", "late-cut"] {
                    held.push(hold_row(&world.cd, name).await);
                }
                let sent = Instant::now();
                posted_and_left(&killed, "late-killed").await;
                killed.kill();
                // Its answer will never come: the outcome is unknown, in a process that lives.
                posted_and_left(&living, "late-cut").await;
                relay.cut();
                // This one's answer is waited for, though the client has left.
                posted_and_left(&living, "late-heard").await;
                killed.launch_again();
                killed.ready().await;
                tokio::time::sleep(LATE.saturating_sub(sent.elapsed())).await;
                assert!(world.cd.ids().await.is_empty(), "a row came early");
                // One after the other, the last in the table's order first: writers that wait for rows side by side may lock each other out
                // on MariaDB, and then Clouddriver gives one of them up.
                for (committed, row) in (1..).zip(held) {
                    row.release().await;
                    eventually("Clouddriver commits", SOON, async || (world.cd.ids().await.len() == committed).then_some(())).await;
                }
                let released = Instant::now();
                let mut took = Vec::new();
                for (sql, names) in [(world.admin(), &["late-killed"][..]), (&theirs, &["late-cut", "late-heard"])] {
                    let rows = eventually("the rows are mirrored", SOON, async || {
                        let rows = mirror(sql).await;
                        (rows.len() == names.len()).then_some(rows)
                    })
                    .await;
                    took.push(format!("{:.1} s", released.elapsed().as_secs_f64()));
                    let accounts = world.cd.accounts().await;
                    for (row, name) in rows.iter().zip(names) {
                        let stored = accounts.iter().find(|a| a.id == *name).expect("Clouddriver has it");
                        assert_eq!(row.name, *name);
                        assert!(same_value(&row.definition, &stored.body), "{name}: the mirror has another definition");
                        assert!(!row.after_gap && row.status == "INACTIVE", "{name}: it was journalled, so it is no row of a gap");
                    }
                }
                println!("        {}: mirrored {} after they came (killed, and the others)", world.place, took.join(" and "));
            },
        )
        .await;
}
