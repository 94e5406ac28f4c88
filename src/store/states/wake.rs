//! Making rows due without changing them: what dispatch does when something else than a row has changed.

use super::{Due, StateRow};
use crate::account::{Origin, Status};
use crate::args;
use crate::lifecycle::{self, State, Wanted};
use crate::store::db::Arg;
use crate::store::tombstones::CHUNK;
use crate::store::{Result, Store};

/// Sets the due time of rows that are as they were read, and nothing else: the revision stays. A row that has become due meanwhile
/// stays due.
///
/// # Errors
/// The database's.
pub async fn postpone(store: &Store, rows: &[(&StateRow, Due)]) -> Result<()> {
    let mut rows: Vec<_> = rows.to_vec();
    rows.sort_by(|a, b| a.0.name.cmp(&b.0.name));
    let mut tx = store.main().begin().await?;
    for (row, due) in rows {
        let same = args![row.name.as_str(), row.rev, row.due.unwrap_or(-1)];
        match due {
            Due::Keep => {}
            Due::Now => {
                let sql = "update kubesvc_accounts set fl_due = {now} where name = ? and fl_rev = ? and coalesce(fl_due, -1) = ?";
                tx.exec(sql, same).await?;
            }
            Due::Never => {
                let sql = "update kubesvc_accounts set fl_due = NULL where name = ? and fl_rev = ? and coalesce(fl_due, -1) = ?";
                tx.exec(sql, same).await?;
            }
            Due::In(after) => {
                let sql = "update kubesvc_accounts set fl_due = {now} + ? where name = ? and fl_rev = ? and coalesce(fl_due, -1) = ?";
                let ms = i64::try_from(after.as_millis()).unwrap_or(i64::MAX / 4);
                let values: Vec<Arg> = [Arg::from(ms)].into_iter().chain(same.iter().cloned()).collect();
                tx.exec(sql, &values).await?;
            }
        }
    }
    tx.commit().await
}

/// Whether a row that nobody has to look at is looked at when a replica starts, whoever left it so: in a transient state, or with a wish to
/// follow.
pub fn wakes_at_start(status: Status, wanted: Wanted) -> bool {
    let state = State { status, wanted, sent: true, dynamic: true };
    lifecycle::is_transient(status) || status == Status::DeleteFailed || lifecycle::follow(&state).is_some()
}

/// At the start of a replica: makes due what [`wakes_at_start`].
///
/// # Errors
/// The database's.
pub async fn wake_transient(store: &Store) -> Result<u64> {
    let column = store.ready()?.read("status");
    let all = [Wanted::Active, Wanted::Inactive, Wanted::Deleted];
    let mut parts = vec![within(&column, Status::ALL.into_iter().filter(|s| all.iter().all(|w| wakes_at_start(*s, *w))))];
    for wanted in all {
        let some = Status::ALL.into_iter().filter(|s| wakes_at_start(*s, wanted));
        parts.push(format!("(fl_wanted = '{}' and {})", wanted.as_str(), within(&column, some)));
    }
    let sql = format!("update kubesvc_accounts set fl_due = {{now}} where fl_due is null and ({})", parts.join(" or "));
    store.main().exec_dynamic(&sql, &[]).await
}

/// A condition: the column is one of these.
fn within(column: &str, statuses: impl IntoIterator<Item = Status>) -> String {
    let words: Vec<String> = statuses.into_iter().map(|s| format!("'{}'", s.as_str())).collect();
    format!("{column} in ({})", words.join(", "))
}

/// Rows that a life that is over was working on. Costs in proportion to what is under way, by the index on `fl_due`.
///
/// # Errors
/// The database's.
pub async fn wake_orphaned_work(store: &Store, alive: &[String]) -> Result<u64> {
    let marks = vec!["?"; alive.len().max(1)].join(", ");
    let values: Vec<Arg> = if alive.is_empty() { vec![Arg::from("")] } else { alive.iter().map(Arg::from).collect() };
    let sql = format!(
        "update kubesvc_accounts set fl_due = {{now}} where fl_due > {{now}} and fl_operation is not null and fl_owner not in ({marks})"
    );
    store.main().exec_dynamic(&sql, &values).await
}

/// Rows that wait for an agent and may have one now: those of these zones, and (`any`) those without a zone, or with one that was only found.
///
/// # Errors
/// The database's.
pub async fn wake_waiting(store: &Store, zones: &[&str], any: bool) -> Result<u64> {
    let status = store.ready()?.read("status");
    let mut woken = 0;
    let waits = format!("fl_due is null and {status} = 'TO_MIGRATE'");
    if any {
        let sql = format!(
            "update kubesvc_accounts set fl_due = {{now}} where (zone_id is null or zone_id = '' or fl_zone_found = 1) and {waits}"
        );
        woken += store.main().exec_dynamic(&sql, &[]).await?;
    }
    for some in zones.chunks(CHUNK) {
        let marks = vec!["?"; some.len()].join(", ");
        let values: Vec<Arg> = some.iter().map(|z| Arg::from(*z)).collect();
        let sql = format!("update kubesvc_accounts set fl_due = {{now}} where zone_id in ({marks}) and {waits}");
        woken += store.main().exec_dynamic(&sql, &values).await?;
    }
    Ok(woken)
}

/// States of a zone's accounts that its agents should have, or should let go of: looked at when one of them registers.
pub const OF_AGENTS: [Status; 5] = [Status::Active, Status::Orphaned, Status::Deleting, Status::DeleteFailed, Status::ToDeactivate];

/// States that are looked at once after a start, when the agents have had their grace period to come back.
pub const AT_REST: [Status; 3] = [Status::Active, Status::Orphaned, Status::Failed];

/// Names of these zones' accounts that are [`OF_AGENTS`].
///
/// # Errors
/// The database's.
pub async fn names_of_zones(store: &Store, zones: &[&str]) -> Result<Vec<String>> {
    let shape = store.ready()?;
    let mut names = Vec::new();
    for some in zones.chunks(CHUNK) {
        let marks = vec!["?"; some.len()].join(", ");
        let sql = format!(
            "select {} from kubesvc_accounts where zone_id in ({marks}) and {}",
            shape.read("name"),
            within(&shape.read("status"), OF_AGENTS)
        );
        let values: Vec<Arg> = some.iter().map(|z| Arg::from(*z)).collect();
        for row in store.main().fetch_dynamic(&sql, &values).await? {
            names.push(row.text(0).map_err(|e| store.main().row_error(e))?.unwrap_or_default());
        }
    }
    Ok(names)
}

/// Names of accounts that are [`AT_REST`] after a name, in the database's order: for the one look at everything after a start.
///
/// # Errors
/// The database's.
pub async fn names_at_rest(store: &Store, after: &str, limit: u32) -> Result<Vec<String>> {
    let shape = store.ready()?;
    let sql = format!(
        "select {} from kubesvc_accounts where name > ? and {} order by name limit ?",
        shape.read("name"),
        within(&shape.read("status"), AT_REST)
    );
    let rows = store.main().fetch_dynamic(&sql, args![after, i64::from(limit)]).await?;
    rows.iter().map(|r| r.text(0).map(Option::unwrap_or_default).map_err(|e| store.main().row_error(e))).collect()
}

/// Accounts of the scanner's that are ACTIVATING, and those that are on their way there: not those that wait for an agent. Costs in
/// proportion to what is under way, by the index on `fl_due`.
///
/// # Errors
/// The database's.
pub async fn count_scanned(store: &Store) -> Result<(u64, u64)> {
    let status = store.ready()?.read("status");
    let number = if store.main().dialect() == crate::store::db::Dialect::Postgres { "::bigint" } else { "" };
    let of = |word: &str| format!("coalesce(sum(case when {status} = '{word}' then 1 else 0 end), 0)");
    let sum = |word: &str| match store.main().dialect() {
        crate::store::db::Dialect::MySql => format!("cast({} as signed)", of(word)),
        _ => format!("({}){number}", of(word)),
    };
    let (activating, waiting) = (sum("ACTIVATING"), sum("TO_MIGRATE"));
    let sql = format!("select {activating}, {waiting} from kubesvc_accounts where fl_due is not null and fl_origin = 'scanner'");
    let rows = store.main().fetch_dynamic(&sql, &[]).await?;
    let number = |i| rows.first().map_or(Ok(None), |r| r.int(i)).map_err(|e| store.main().row_error(e));
    let count = |n: Option<i64>| u64::try_from(n.unwrap_or(0)).unwrap_or(0);
    Ok((count(number(0)?), count(number(1)?)))
}

/// How many rows there are of each status and origin, and since when the longest waiting TO_MIGRATE waits, in milliseconds until now.
///
/// # Errors
/// The database's.
pub async fn count(store: &Store) -> Result<(Vec<(String, Origin, i64)>, i64)> {
    let shape = store.ready()?;
    let of = ["status", "fl_origin", "dynamic"].map(|c| shape.read(c)).join(", ");
    let one = if store.main().dialect() == crate::store::db::Dialect::Postgres { "count(*)::bigint" } else { "count(*)" };
    let rows = store.main().fetch_dynamic(&format!("select {of}, {one} from kubesvc_accounts group by {of}"), &[]).await?;
    let mut counts = Vec::new();
    for row in &rows {
        let text = |i| row.text(i).map_err(|e| store.main().row_error(e));
        let int = |i| row.int(i).map_err(|e| store.main().row_error(e));
        let dynamic = int(2)?.is_none_or(|d| d != 0);
        counts.push((text(0)?.unwrap_or_default(), Origin::stored(text(1)?.as_deref(), dynamic), int(3)?.unwrap_or(0)));
    }
    let status = shape.read("status");
    let sql = format!("select {{now}} - min(fl_since) from kubesvc_accounts where {status} = 'TO_MIGRATE'");
    let waits = store.main().fetch_dynamic(&sql, &[]).await?;
    let waits = waits.first().map_or(Ok(None), |r| r.int(0)).map_err(|e| store.main().row_error(e))?.unwrap_or(0);
    Ok((counts, waits.max(0)))
}
