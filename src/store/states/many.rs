//! Many rows in one transaction, by few statements.
//!
//! Rows are locked in the database's own order of names before the first is written, so that two of these transactions never wait for one
//! another in a circle. Whoever changes one row locks that row before anything else that goes with it (its tombstone, what was done by
//! hand), so that those are locked by whoever has the row.

use std::collections::{HashMap, HashSet};

use super::write::{columns, set};
use super::{Applied, Extra, Hand, NewState, StateRow, read, select};
use crate::args;
use crate::lifecycle::{Step, Wanted};
use crate::store::db::{Arg, Error, Tx, listed};
use crate::store::journal::{first_int, fresh_generation};
use crate::store::mirrored::SealedText;
use crate::store::tombstones::CHUNK;
use crate::store::{Result, Store, hand, tombstones};

/// Names in one locking statement: far below the number of values that any database takes.
const MOST: usize = 5_000;
/// Bytes of values in one statement: far below what any server takes in one packet by default.
const BYTES: usize = 1024 * 1024;
/// Rows of one statement that have values of their own: enough to save most round trips, few enough that finding a row's value among
/// theirs, for each column, costs less than they did.
const VARIED: usize = 32;

/// The rows of these names, as this database compares names, kept from others until the transaction ends. At most some thousand names.
///
/// # Errors
/// The database's; the transaction is of no more use then.
pub async fn lock(store: &Store, tx: &mut Tx<'_>, names: &[&str]) -> Result<Vec<StateRow>> {
    let values: Vec<Arg> = names.iter().filter(|n| !n.contains('\0')).map(|n| Arg::from(*n)).collect();
    if values.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!("{} where name in ({}) order by name {{update}}", select(store)?, listed("?", values.len()));
    tx.fetch_dynamic(&sql, &values).await?.iter().filter_map(|row| read(store, row).transpose()).collect()
}

/// Clouddriver's layers of these rows, sealed, at this moment of the transaction.
///
/// # Errors
/// As [`lock`].
pub async fn definitions(store: &Store, tx: &mut Tx<'_>, names: &[&str]) -> Result<HashMap<String, SealedText>> {
    let shape = store.ready()?;
    let mut found = HashMap::with_capacity(names.len());
    for some in names.chunks(CHUNK) {
        let values: Vec<Arg> = some.iter().map(|n| Arg::from(*n)).collect();
        let (name, definition) = (shape.read("name"), shape.read("definition"));
        let sql = format!("select {name}, {definition} from kubesvc_accounts where name in ({})", listed("?", some.len()));
        for row in tx.fetch_dynamic(&sql, &values).await? {
            let text = |i| row.text(i).map(Option::unwrap_or_default).map_err(|e| store.main().row_error(e));
            found.insert(text(0)?, SealedText(text(1)?));
        }
    }
    Ok(found)
}

/// Writes steps of rows that this transaction has locked, each at most once. [`Step::Ignore`] and [`Step::Refuse`] write nothing.
///
/// # Errors
/// As [`lock`]: one that cannot be written fails them all.
pub async fn write(store: &Store, tx: &mut Tx<'_>, writes: &[(&StateRow, Step, &Extra)]) -> Result<()> {
    // One for all: it belongs to a name.
    let generation = fresh_generation();
    let mut alike: HashMap<(Vec<String>, Vec<Arg>), Vec<&str>> = HashMap::new();
    let (mut leaving, mut stones, mut forgotten) = (Vec::new(), Vec::new(), Vec::new());
    let mut noted: [(Wanted, Vec<&str>); 3] = [Wanted::Active, Wanted::Inactive, Wanted::Deleted].map(|wanted| (wanted, Vec::new()));
    for (row, step, extra) in writes {
        let name = row.name.as_str();
        let tombstone = match *step {
            Step::Ignore | Step::Refuse(_) => continue,
            Step::Go { tombstone, .. } | Step::Leave { tombstone } => tombstone,
        };
        match set(store, row, *step, extra, generation)? {
            Some(set) => alike.entry((set.parts, set.values)).or_default().push(name),
            None => leaving.push(name),
        }
        if tombstone {
            stones.push((name, row.generation));
        }
        match extra.hand {
            Some(Hand::Note(wanted)) => noted.iter_mut().filter(|(w, _)| *w == wanted).for_each(|(_, names)| names.push(name)),
            Some(Hand::Forget) => forgotten.push(name),
            None => {}
        }
    }
    let mut varied: HashMap<Vec<String>, Vec<(&str, Vec<Arg>)>> = HashMap::new();
    for ((parts, values), names) in alike {
        if names.len() >= VARIED {
            touch(store, tx, &format!("update kubesvc_accounts set {}", parts.join(", ")), &values, &names).await?;
        } else {
            varied.entry(parts).or_default().extend(names.into_iter().map(|name| (name, values.clone())));
        }
    }
    for (parts, rows) in &varied {
        vary(store, tx, parts, rows).await?;
    }
    touch(store, tx, "delete from kubesvc_accounts", &[], &leaving).await?;
    tombstones::write_all(store, tx, &stones).await?;
    for (wanted, names) in &noted {
        hand::note_all(store, tx, names, *wanted).await?;
    }
    hand::forget_all(tx, &forgotten).await
}

/// Does the same to all of these rows, which are locked and so are there.
async fn touch(store: &Store, tx: &mut Tx<'_>, sql: &str, values: &[Arg], names: &[&str]) -> Result<()> {
    for some in names.chunks(CHUNK) {
        let condition = if some.len() == 1 { "name = ?".to_owned() } else { format!("name in ({})", listed("?", some.len())) };
        let all: Vec<Arg> = values.iter().cloned().chain(some.iter().map(|n| Arg::from(*n))).collect();
        let touched = tx.exec_dynamic(&format!("{sql} where {condition}"), &all).await?;
        if touched != some.len() as u64 {
            return Err(odd(store, "a row that was locked is not there"));
        }
    }
    Ok(())
}

/// Writes the same columns of these rows, each with its own values.
async fn vary(store: &Store, tx: &mut Tx<'_>, parts: &[String], mut rows: &[(&str, Vec<Arg>)]) -> Result<()> {
    while !rows.is_empty() {
        let mut bytes = 0;
        let fits = |(_, values): &&(&str, Vec<Arg>)| {
            bytes += values.iter().map(size).sum::<usize>();
            bytes <= BYTES
        };
        let (some, more) = rows.split_at(rows.iter().take(VARIED).take_while(fits).count().max(1));
        let names: Vec<&str> = some.iter().map(|(name, _)| *name).collect();
        let (sql, values) = varied(parts, some);
        touch(store, tx, &sql, &values, &names).await?;
        rows = more;
    }
    Ok(())
}

/// The statement for some rows, and its values. Each part has one value at most.
fn varied(parts: &[String], rows: &[(&str, Vec<Arg>)]) -> (String, Vec<Arg>) {
    let (mut nth, mut values) = (0, Vec::new());
    let mut own = |part: &String| -> String {
        if !part.contains('?') {
            return part.clone();
        }
        let of = |row: &(&str, Vec<Arg>)| row.1[nth].clone();
        let first = of(&rows[0]);
        let sql = if rows.iter().all(|row| of(row) == first) {
            values.push(first);
            part.clone()
        } else {
            values.extend(rows.iter().flat_map(|row| [Arg::from(row.0), of(row)]));
            part.replacen('?', &format!("(case name {}end)", "when ? then ? ".repeat(rows.len())), 1)
        };
        nth += 1;
        sql
    };
    let parts: Vec<String> = parts.iter().map(&mut own).collect();
    (format!("update kubesvc_accounts set {}", parts.join(", ")), values)
}

fn size(value: &Arg) -> usize {
    if let Arg::Text(Some(text)) = value { text.len() } else { 8 }
}

fn odd(store: &Store, what: &'static str) -> Error {
    store.main().row_error(sqlx::Error::Protocol(what.into()))
}

/// Several rows in one transaction. Each wins or loses for itself.
///
/// # Errors
/// As [`super::apply`], for all of them together.
pub async fn apply_all(store: &Store, writes: &[(&StateRow, Step, Extra)]) -> Result<Vec<Applied>> {
    let shape = store.ready()?;
    let changing = |step: &Step| !matches!(step, Step::Ignore | Step::Refuse(_));
    let names: Vec<&str> = writes.iter().filter(|(_, step, _)| changing(step)).map(|(row, ..)| row.name.as_str()).collect();
    let mut all = vec![Applied::Won; writes.len()];
    if names.is_empty() {
        return Ok(all);
    }
    let mut tx = store.main().begin().await?;
    let mut revisions: HashMap<String, i64> = HashMap::with_capacity(names.len());
    for some in names.chunks(MOST) {
        let list = format!("{}, {}", shape.read("name"), shape.read("fl_rev"));
        let sql = format!("select {list} from kubesvc_accounts where name in ({}) order by name {{update}}", listed("?", some.len()));
        let values: Vec<Arg> = some.iter().map(|n| Arg::from(*n)).collect();
        for row in tx.fetch_dynamic(&sql, &values).await? {
            let name = row.text(0).map_err(|e| store.main().row_error(e))?.unwrap_or_default();
            revisions.insert(name, row.int(1).map_err(|e| store.main().row_error(e))?.unwrap_or(0));
        }
    }
    let (mut winners, mut seen) = (Vec::new(), HashSet::new());
    for (i, (row, step, extra)) in writes.iter().enumerate() {
        if !changing(step) {
            continue;
        }
        if revisions.get(&row.name) == Some(&row.rev) && seen.insert(row.name.as_str()) {
            winners.push((*row, *step, extra));
        } else {
            all[i] = Applied::Lost;
        }
    }
    write(store, &mut tx, &winners).await?;
    tx.commit().await?;
    Ok(all)
}

/// Puts rows in with these generations. A name that is there already fails them all.
///
/// # Errors
/// As [`lock`].
pub async fn insert(store: &Store, tx: &mut Tx<'_>, rows: &[(&NewState<'_>, i64)]) -> Result<()> {
    let now = first_int(store.main(), &tx.fetch("select {now}", args![]).await?)?;
    let rows = rows.iter().map(|(new, generation)| columns(store, new, *generation, now).map(Vec::from)).collect::<Result<_>>()?;
    enter(store, tx, rows).await
}

/// Puts rows in, all with the same columns.
pub(in crate::store) async fn enter(store: &Store, tx: &mut Tx<'_>, rows: Vec<Vec<(&'static str, Arg)>>) -> Result<()> {
    let Some(first) = rows.first() else { return Ok(()) };
    let shape = store.ready()?;
    let columns: Vec<&str> = first.iter().map(|(column, _)| *column).collect();
    let (mut values, mut bytes, mut count) = (Vec::new(), 0, 0);
    for row in rows {
        let size: usize = row.iter().map(|(_, value)| size(value)).sum();
        if count > 0 && (bytes + size > BYTES || count == CHUNK) {
            tx.exec_dynamic(&shape.insert_many(&columns, count), &std::mem::take(&mut values)).await?;
            (bytes, count) = (0, 0);
        }
        values.extend(row.into_iter().map(|(_, value)| value));
        (bytes, count) = (bytes + size, count + 1);
    }
    tx.exec_dynamic(&shape.insert_many(&columns, count), &values).await.map(drop)
}
