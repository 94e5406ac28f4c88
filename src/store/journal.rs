//! Open intents and what outlives a mirrored row: `fairlead_intents` and `fairlead_names`.
//!
//! An intent's outcome is never stored: it lives in its owner's memory, and an intent whose owner is dead counts as one of
//! unknown outcome. So the request's way has one statement, written before the change leaves.

use super::db::{Arg, Db, Dialect, Error, Result, Row, Tx};
use crate::args;

/// An intent as it is journalled.
#[derive(Clone, Debug)]
pub struct NewIntent {
    /// ULID.
    pub id: String,
    /// The name as hinted, or none.
    pub name: Option<String>,
    /// The journal's word for the call.
    pub method: &'static str,
    /// The owner's epoch.
    pub epoch: String,
}

/// Where an intent's pre-image comes from.
#[derive(Clone, Debug)]
pub enum PreImageFrom {
    /// A subquery on `accounts` in the same statement, so that it is one moment.
    SameDatabase,
    /// It was read before, elsewhere: state, `created_at`, `last_modified_at`.
    Given(&'static str, Option<i64>, Option<i64>),
}

/// An open intent as it is read.
#[derive(Clone, Debug)]
pub struct IntentRow {
    /// ULID.
    pub id: String,
    /// The name as hinted, or none.
    pub name: Option<String>,
    /// The journal's word for the call.
    pub method: String,
    /// The owner's epoch.
    pub epoch: String,
    /// When it was journalled, by the database's clock.
    pub created: i64,
    /// `none`, `row`, `unknown`, or `late`: a row that may have been read after the change.
    pub pre_state: String,
    /// Pre-image's creation time.
    pub pre_created: Option<i64>,
    /// Pre-image's time of last change.
    pub pre_modified: Option<i64>,
    /// When the owner's epoch last gave a sign of life; none where the epoch is gone or no longer open.
    pub owner_alive: Option<i64>,
}

/// A name's state when its settling begins.
#[derive(Clone, Debug)]
pub struct NameSnapshot {
    /// The generation to compare with later.
    pub generation: i64,
    /// The database's time.
    pub now: i64,
    /// Open intents of the name, as this database compares names.
    pub intents: Vec<IntentRow>,
}

const INTENT_COLUMNS: &str = "i.id, i.name_key, i.method, i.epoch, i.created_ms, i.pre_state, i.pre_created, i.pre_modified, \
     (select e.alive_ms from fairlead_epochs e where e.id = i.epoch and e.state = 'open')";

fn intent(db: &Db, r: &Row) -> Result<IntentRow> {
    let text = |i| r.text(i).map_err(|e| db.row_error(e));
    let int = |i| r.int(i).map_err(|e| db.row_error(e));
    Ok(IntentRow {
        id: text(0)?.unwrap_or_default(),
        name: text(1)?,
        method: text(2)?.unwrap_or_default(),
        epoch: text(3)?.unwrap_or_default(),
        created: int(4)?.unwrap_or_default(),
        pre_state: text(5)?.unwrap_or_default(),
        pre_created: int(6)?,
        pre_modified: int(7)?,
        owner_alive: int(8)?,
    })
}

fn ignore_duplicate(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::MySql => " on duplicate key update id = fairlead_intents.id",
        Dialect::Postgres | Dialect::Sqlite => " on conflict (id) do nothing",
    }
}

/// The database's clock, epoch milliseconds.
///
/// # Errors
/// The database's.
pub async fn now(db: &Db) -> Result<i64> {
    let rows = db.fetch("select {now}", args![]).await?;
    first_int(db, &rows).map(Option::unwrap_or_default)
}

pub(super) fn first_int(db: &Db, rows: &[Row]) -> Result<Option<i64>> {
    rows.first().map_or(Ok(None), |r| r.int(0).map_err(|e| db.row_error(e)))
}

/// Writes one intent with its pre-image, in one autocommitted statement. Written again, it changes nothing.
///
/// # Errors
/// The database's. After an unclear one, write it again.
pub async fn insert_intent(db: &Db, intent: &NewIntent, from: &PreImageFrom) -> Result<()> {
    let common = |state: Arg, created: Arg, modified: Arg| {
        vec![
            Arg::from(&intent.id),
            Arg::from(intent.name.clone()),
            Arg::from(intent.method),
            Arg::from(&intent.epoch),
            state,
            created,
            modified,
        ]
    };
    let written = match (from, &intent.name) {
        (PreImageFrom::SameDatabase, Some(name)) => {
            let a: &[Arg] = &[Arg::from(&intent.id), Arg::from(name), Arg::from(intent.method), Arg::from(&intent.epoch), Arg::from(name)];
            // PostgreSQL needs to be told the types of values that stand in a select list.
            let sql = match db.dialect() {
                Dialect::MySql => {
                    "insert into fairlead_intents (id, name_key, method, epoch, created_ms, pre_state, pre_created, pre_modified) \
                     select ?, ?, ?, ?, {now}, case when a.id is null then 'none' else 'row' end, a.created_at, a.last_modified_at \
                     from (select 1 as one) d left join accounts a on a.id = ? on duplicate key update id = fairlead_intents.id"
                }
                Dialect::Postgres => {
                    "insert into fairlead_intents (id, name_key, method, epoch, created_ms, pre_state, pre_created, pre_modified) \
                     select ?::varchar, ?::varchar, ?::varchar, ?::varchar, {now}, case when a.id is null then 'none' else 'row' end, \
                     a.created_at::bigint, a.last_modified_at::bigint \
                     from (select 1 as one) d left join accounts a on a.id = ? on conflict (id) do nothing"
                }
                Dialect::Sqlite => {
                    "insert into fairlead_intents (id, name_key, method, epoch, created_ms, pre_state, pre_created, pre_modified) \
                     select ?, ?, ?, ?, {now}, case when a.id is null then 'none' else 'row' end, a.created_at, a.last_modified_at \
                     from (select 1 as one) d left join accounts a on a.id = ? where true on conflict (id) do nothing"
                }
            };
            match db.exec(sql, a).await {
                // Clouddriver has not made its table yet, or we may not read it: the change is journalled all the same.
                Err(Error::Statement { .. }) => insert_plain(db, &common("unknown".into(), None::<i64>.into(), None::<i64>.into())).await,
                other => other,
            }
        }
        (PreImageFrom::SameDatabase, None) => insert_plain(db, &common("unknown".into(), None::<i64>.into(), None::<i64>.into())).await,
        (PreImageFrom::Given(state, created, modified), _) => {
            insert_plain(db, &common((*state).into(), (*created).into(), (*modified).into())).await
        }
    };
    written.map(drop)
}

/// Writes an intent whose change left `age_ms` ago, and of whose pre-image nothing is known. Written already, it changes nothing.
///
/// # Errors
/// The database's. After an unclear one, write it again.
pub async fn insert_noted(db: &Db, intent: &NewIntent, age_ms: i64) -> Result<()> {
    let sql = format!(
        "insert into fairlead_intents (id, name_key, method, epoch, created_ms, pre_state) values (?, ?, ?, ?, {{now}} - ?, 'unknown'){}",
        ignore_duplicate(db.dialect())
    );
    let values = args![&intent.id, intent.name.clone(), intent.method, &intent.epoch, age_ms];
    db.exec_dynamic(&sql, values).await.map(drop)
}

async fn insert_plain(db: &Db, values: &[Arg]) -> Result<u64> {
    let sql = match ignore_duplicate(db.dialect()) {
        s if s.contains("duplicate key") => {
            "insert into fairlead_intents (id, name_key, method, epoch, created_ms, pre_state, pre_created, pre_modified) \
             values (?, ?, ?, ?, {now}, ?, ?, ?) on duplicate key update id = fairlead_intents.id"
        }
        _ => {
            "insert into fairlead_intents (id, name_key, method, epoch, created_ms, pre_state, pre_created, pre_modified) \
             values (?, ?, ?, ?, {now}, ?, ?, ?) on conflict (id) do nothing"
        }
    };
    db.exec(sql, values).await
}

/// Notes of an intent that was written after its change was forwarded that its pre-image may have been read after the change.
///
/// # Errors
/// The database's.
pub async fn mark_late(db: &Db, id: &str) -> Result<()> {
    db.exec("update fairlead_intents set pre_state = 'late' where id = ? and pre_state = 'row'", args![id]).await.map(drop)
}

/// Ends an intent outside any settling: its change was refused.
///
/// # Errors
/// The database's.
pub async fn delete_intent(db: &Db, id: &str) -> Result<()> {
    db.exec("delete from fairlead_intents where id = ?", args![id]).await.map(drop)
}

/// Reads (and makes, where it is missing) the name's row, and with it the open intents of the name.
///
/// # Errors
/// The database's.
pub async fn snapshot(db: &Db, name: &str) -> Result<NameSnapshot> {
    let sql = "select gen, {now} from fairlead_names where name_key = ?";
    let mut rows = db.fetch(sql, args![name]).await?;
    if rows.is_empty() {
        let insert = match db.dialect() {
            Dialect::MySql => {
                "insert into fairlead_names (name_key, gen, touched_ms) values (?, ?, {now}) on duplicate key update gen = fairlead_names.gen"
            }
            Dialect::Postgres | Dialect::Sqlite => {
                "insert into fairlead_names (name_key, gen, touched_ms) values (?, ?, {now}) on conflict (name_key) do nothing"
            }
        };
        db.exec(insert, args![name, fresh_generation()]).await?;
        rows = db.fetch(sql, args![name]).await?;
    }
    let generation = first_int(db, &rows)?.unwrap_or_default();
    let now = rows.first().map_or(Ok(None), |r| r.int(1)).map_err(|e| db.row_error(e))?.unwrap_or_default();
    Ok(NameSnapshot { generation, now, intents: intents_of(db, name).await? })
}

/// Open intents of a name, without making the name's row.
///
/// # Errors
/// The database's.
pub async fn intents_of(db: &Db, name: &str) -> Result<Vec<IntentRow>> {
    let sql = format!("select {INTENT_COLUMNS} from fairlead_intents i where i.name_key = ? order by i.id");
    db.fetch_dynamic(&sql, args![name]).await?.iter().map(|r| intent(db, r)).collect()
}

/// Open intents that no living owner looks after, and (with `own`) those of that epoch, at most `limit`.
///
/// # Errors
/// The database's.
pub async fn unowned_intents(db: &Db, own: &str, lease_ms: i64, limit: i64) -> Result<Vec<IntentRow>> {
    let sql = format!(
        "select {INTENT_COLUMNS} from fairlead_intents i where i.epoch = ? or not exists \
         (select 1 from fairlead_epochs o where o.id = i.epoch and o.state = 'open' and o.alive_ms > {{now}} - ?) order by i.id limit ?"
    );
    db.fetch_dynamic(&sql, args![own, lease_ms, limit]).await?.iter().map(|r| intent(db, r)).collect()
}

/// Open intents that name no account.
///
/// # Errors
/// The database's.
pub async fn nameless_intents(db: &Db) -> Result<Vec<IntentRow>> {
    let sql = format!("select {INTENT_COLUMNS} from fairlead_intents i where i.name_key is null order by i.id limit 10000");
    db.fetch_dynamic(&sql, args![]).await?.iter().map(|r| intent(db, r)).collect()
}

/// How many intents are open.
///
/// # Errors
/// The database's.
pub async fn count_intents(db: &Db) -> Result<i64> {
    let sql = match db.dialect() {
        Dialect::Postgres => "select count(*)::bigint from fairlead_intents",
        _ => "select count(*) from fairlead_intents",
    };
    Ok(first_int(db, &db.fetch(sql, args![]).await?)?.unwrap_or_default())
}

/// A generation that was never used before.
pub fn fresh_generation() -> i64 {
    fastrand::i64(1..i64::MAX)
}

/// What outlives the mirrored row of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameNotes {
    /// The incarnation that was brought in last.
    pub claimed: Option<i64>,
    /// The incarnation that was seen last.
    pub seen: Option<i64>,
    /// When it was first seen, by the database's clock; 0 where a journalled PUT is known to have made it.
    pub seen_at: Option<i64>,
}

/// Takes the name for this transaction, if nobody settled it since the snapshot, and says what time it is then. `None`: somebody did.
///
/// # Errors
/// The database's.
pub async fn take_name(db: &Db, tx: &mut Tx<'_>, name: &str, generation: i64) -> Result<Option<(NameNotes, i64)>> {
    let taken = tx
        .exec(
            "update fairlead_names set gen = ?, touched_ms = {now} where name_key = ? and gen = ?",
            args![fresh_generation(), name, generation],
        )
        .await?;
    if taken == 0 {
        return Ok(None);
    }
    let rows = tx.fetch("select claimed_inc, seen_inc, seen_ms, {now} from fairlead_names where name_key = ?", args![name]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let get = |i| row.int(i).map_err(|e| db.row_error(e));
    Ok(Some((NameNotes { claimed: get(0)?, seen: get(1)?, seen_at: get(2)? }, get(3)?.unwrap_or_default())))
}

/// The intents of a name that are open at this moment of the transaction: id and method.
///
/// # Errors
/// The database's.
pub async fn open_now(db: &Db, tx: &mut Tx<'_>, name: &str) -> Result<Vec<(String, String)>> {
    let rows = tx.fetch("select id, method from fairlead_intents where name_key = ?", args![name]).await?;
    let text = |r: &Row, i| r.text(i).map_err(|e| db.row_error(e)).map(Option::unwrap_or_default);
    rows.iter().map(|r| Ok((text(r, 0)?, text(r, 1)?))).collect()
}

/// Notes what this reading saw, and what it brought in.
///
/// # Errors
/// The database's.
pub async fn note_name(tx: &mut Tx<'_>, name: &str, notes: &NameNotes) -> Result<()> {
    tx.exec(
        "update fairlead_names set claimed_inc = ?, seen_inc = ?, seen_ms = ? where name_key = ?",
        args![notes.claimed, notes.seen, notes.seen_at, name],
    )
    .await
    .map(drop)
}

/// Ends intents inside a settling, by primary key.
///
/// # Errors
/// The database's.
pub async fn end_intents(tx: &mut Tx<'_>, ids: &[String]) -> Result<()> {
    for id in ids {
        tx.exec("delete from fairlead_intents where id = ?", args![id]).await?;
    }
    Ok(())
}

/// Forgets names that nothing refers to and that were not settled for `age_ms`.
///
/// # Errors
/// The database's.
pub async fn purge_names(db: &Db, age_ms: i64) -> Result<u64> {
    db.exec(
        "delete from fairlead_names where touched_ms < {now} - ? \
         and not exists (select 1 from fairlead_intents i where i.name_key = fairlead_names.name_key) \
         and not exists (select 1 from kubesvc_accounts m where m.name = fairlead_names.name_key)",
        args![age_ms],
    )
    .await
}
