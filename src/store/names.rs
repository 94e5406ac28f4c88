//! [`super::journal`] for many names at once: `fairlead_names`, and which names have open intents.
//!
//! Names come back as they are stored. Where the database takes another spelling for the same, what was asked for is not among them: whoever
//! asks for that name alone is answered by the database's own comparison.

use std::collections::{HashMap, HashSet};

use super::db::{Arg, Db, Dialect, Result, Row, Tx, listed};
use super::journal::{NameNotes, fresh_generation};
use super::tombstones::CHUNK;
use crate::args;

fn values(names: &[&str]) -> Vec<Arg> {
    names.iter().map(|n| Arg::from(*n)).collect()
}

fn text(db: &Db, row: &Row, i: usize) -> Result<String> {
    row.text(i).map(Option::unwrap_or_default).map_err(|e| db.row_error(e))
}

/// The generations of these names; rows that are missing are made.
///
/// # Errors
/// The database's.
pub async fn generations(db: &Db, names: &[&str]) -> Result<HashMap<String, i64>> {
    let mut found = read(db, names).await?;
    let mut missing: Vec<&str> = names.iter().copied().filter(|n| !found.contains_key(*n)).collect();
    if missing.is_empty() {
        return Ok(found);
    }
    missing.sort_unstable();
    let end = match db.dialect() {
        Dialect::MySql => "on duplicate key update gen = fairlead_names.gen",
        Dialect::Postgres | Dialect::Sqlite => "on conflict (name_key) do nothing",
    };
    let generation = fresh_generation();
    for some in missing.chunks(CHUNK) {
        let rows = listed("(?, ?, {now})", some.len());
        let values: Vec<Arg> = some.iter().flat_map(|n| [Arg::from(*n), Arg::from(generation)]).collect();
        db.exec_dynamic(&format!("insert into fairlead_names (name_key, gen, touched_ms) values {rows} {end}"), &values).await?;
    }
    found.extend(read(db, &missing).await?);
    Ok(found)
}

async fn read(db: &Db, names: &[&str]) -> Result<HashMap<String, i64>> {
    let mut found = HashMap::with_capacity(names.len());
    for some in names.chunks(CHUNK) {
        let sql = format!("select name_key, gen from fairlead_names where name_key in ({})", listed("?", some.len()));
        for row in db.fetch_dynamic(&sql, &values(some)).await? {
            found.insert(text(db, &row, 0)?, row.int(1).map_err(|e| db.row_error(e))?.unwrap_or_default());
        }
    }
    Ok(found)
}

/// The incarnation that was brought in last of each of these names.
///
/// # Errors
/// The database's.
pub async fn claimed(db: &Db, names: &[&str]) -> Result<HashMap<String, i64>> {
    let mut found = HashMap::new();
    for some in names.chunks(CHUNK) {
        let sql = format!(
            "select name_key, claimed_inc from fairlead_names where claimed_inc is not null and name_key in ({})",
            listed("?", some.len())
        );
        for row in db.fetch_dynamic(&sql, &values(some)).await? {
            found.insert(text(db, &row, 0)?, row.int(1).map_err(|e| db.row_error(e))?.unwrap_or_default());
        }
    }
    Ok(found)
}

/// Those of these names that have open intents, as the intents spell them.
///
/// # Errors
/// The database's.
pub async fn open(db: &Db, names: &[&str]) -> Result<HashSet<String>> {
    let mut found = HashSet::new();
    for some in names.chunks(CHUNK) {
        for row in db.fetch_dynamic(&open_of(some.len()), &values(some)).await? {
            found.insert(text(db, &row, 0)?);
        }
    }
    Ok(found)
}

/// As [`open`], at this moment of the transaction.
///
/// # Errors
/// The database's.
pub async fn open_now(db: &Db, tx: &mut Tx<'_>, names: &[&str]) -> Result<HashSet<String>> {
    let mut found = HashSet::new();
    for some in names.chunks(CHUNK) {
        for row in tx.fetch_dynamic(&open_of(some.len()), &values(some)).await? {
            found.insert(text(db, &row, 0)?);
        }
    }
    Ok(found)
}

fn open_of(names: usize) -> String {
    format!("select distinct name_key from fairlead_intents where name_key in ({})", listed("?", names))
}

/// Takes those of these names that nobody settled since their generations were read, for this transaction; and says what time it is then.
/// To be followed by [`note`] for each that is kept.
///
/// # Errors
/// The database's.
pub async fn take(db: &Db, tx: &mut Tx<'_>, generations: &HashMap<&str, i64>) -> Result<HashMap<String, (NameNotes, i64)>> {
    let mut names: Vec<&str> = generations.keys().copied().collect();
    names.sort_unstable();
    if names.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = format!(
        "select name_key, gen, claimed_inc, seen_inc, seen_ms, {{now}} from fairlead_names where name_key in ({}) order by name_key {{update}}",
        listed("?", names.len())
    );
    let mut taken = HashMap::with_capacity(names.len());
    for row in tx.fetch_dynamic(&sql, &values(&names)).await? {
        let int = |i| row.int(i).map_err(|e| db.row_error(e));
        let name = text(db, &row, 0)?;
        if generations.get(name.as_str()).copied() == int(1)? {
            let notes = NameNotes { claimed: int(2)?, seen: int(3)?, seen_at: int(4)? };
            taken.insert(name, (notes, int(5)?.unwrap_or_default()));
        }
    }
    Ok(taken)
}

/// Gives these names, which this transaction has taken, a new generation and these notes.
///
/// # Errors
/// The database's.
pub async fn note(db: &Db, tx: &mut Tx<'_>, notes: &[(&str, NameNotes)]) -> Result<()> {
    let end = match db.dialect() {
        Dialect::MySql => {
            "on duplicate key update gen = values(gen), touched_ms = values(touched_ms), claimed_inc = values(claimed_inc), \
             seen_inc = values(seen_inc), seen_ms = values(seen_ms)"
        }
        Dialect::Postgres | Dialect::Sqlite => {
            "on conflict (name_key) do update set gen = excluded.gen, touched_ms = excluded.touched_ms, \
             claimed_inc = excluded.claimed_inc, seen_inc = excluded.seen_inc, seen_ms = excluded.seen_ms"
        }
    };
    let generation = fresh_generation();
    for some in notes.chunks(CHUNK) {
        let rows = listed("(?, ?, {now}, ?, ?, ?)", some.len());
        let values: Vec<Arg> = some.iter().flat_map(|(name, n)| args![*name, generation, n.claimed, n.seen, n.seen_at].to_vec()).collect();
        let columns = "name_key, gen, touched_ms, claimed_inc, seen_inc, seen_ms";
        tx.exec_dynamic(&format!("insert into fairlead_names ({columns}) values {rows} {end}"), &values).await?;
    }
    Ok(())
}
