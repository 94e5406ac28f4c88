//! Rows of `kubesvc_accounts` as the lifecycle needs them, and the one way to move them along its table.
//!
//! Whoever changes a row's status reads it ([`load`]), asks [`lifecycle::next`] and writes what comes out with [`apply`]: a compare-and-set
//! on `fl_rev`, so that what was worked out from an older row changes nothing. [`change`] does the three in a loop.
//!
//! Each write sets `fl_due` to now unless it says otherwise, so that the dispatch loop looks at the row: a bell only makes that sooner.
//! A row whose status is a word that we do not know is nobody's here: it is not read and so never written.

mod bell;
pub mod many;
pub mod wake;
mod write;

pub use bell::Bell;
pub use many::apply_all;
pub use write::{Applied, Due, Extra, Hand, Learned, Message, NewState, Work, Zone, apply, apply_in, due_of, insert};

use serde_json::Value;

use super::db::{Arg, Row};
use super::mirrored::SealedText;
use super::tombstones::CHUNK;
use super::{OpenError, Result, Store};
use crate::account::{Origin, Status};
use crate::lifecycle::{self, Event, State, Step, Wanted};

/// How often [`change`] tries while others are faster.
const TRIES: u32 = 16;

/// A row, as far as the lifecycle needs it.
#[derive(Clone, Debug)]
pub struct StateRow {
    /// The name exactly as stored.
    pub name: String,
    /// What compare-and-set compares.
    pub rev: i64,
    /// The generation of its definition.
    pub generation: i64,
    /// What the table of states needs.
    pub state: State,
    /// Which way it came in.
    pub origin: Origin,
    /// The zone whose agents may have it.
    pub zone: Option<String>,
    /// The zone was found, not given.
    pub zone_found: bool,
    /// Attempts that failed.
    pub failed_count: i64,
    /// What went wrong last, or what is waited for.
    pub error_message: Option<String>,
    /// Agents that are connected with it, as last written.
    pub connections: i64,
    /// What was learned of its cluster.
    pub learned: Learned,
    /// When dispatch has to look at it again.
    pub due: Option<i64>,
    /// Since when it has its status.
    pub since: Option<i64>,
    /// The life of the replica that works on it.
    pub owner: Option<String>,
    /// The operation it waits for.
    pub operation: Option<String>,
    /// Fairlead's layer, sealed; see [`StateRow::overlay`].
    overlay: Option<SealedText>,
    /// JSON of its properties; for a static account as its agent said.
    pub props: Option<String>,
    /// Found after a gap; never activated by itself.
    pub after_gap: bool,
    /// The database's time when this was read.
    pub now: i64,
}

/// In the order of [`read`]; after them comes the database's time.
const COLUMNS: [&str; 24] = [
    "name",
    "fl_rev",
    "fl_generation",
    "status",
    "fl_wanted",
    "fl_sent",
    "dynamic",
    "fl_origin",
    "zone_id",
    "fl_zone_found",
    "failed_count",
    "error_message",
    "connections",
    "kube_host",
    "kube_version",
    "cert_fingerprint",
    "fl_identity",
    "fl_due",
    "fl_since",
    "fl_owner",
    "fl_operation",
    "fl_overlay",
    "props",
    "fl_after_gap",
];

fn read(store: &Store, row: &Row) -> Result<Option<StateRow>> {
    let text = |i| row.text(i).map_err(|e| store.main().row_error(e));
    let int = |i| row.int(i).map_err(|e| store.main().row_error(e));
    let name = text(0)?.unwrap_or_default();
    let Some(status) = text(3)?.as_deref().and_then(Status::parse) else {
        tracing::debug!(account = name, "a row whose status is none of ours is left alone");
        return Ok(None);
    };
    let dynamic = int(6)?.is_none_or(|d| d != 0);
    Ok(Some(StateRow {
        name,
        rev: int(1)?.unwrap_or(0),
        generation: int(2)?.unwrap_or(0),
        state: State { status, wanted: Wanted::of(text(4)?.as_deref(), status), sent: int(5)?.unwrap_or(0) != 0, dynamic },
        origin: Origin::stored(text(7)?.as_deref(), dynamic),
        zone: text(8)?.filter(|z| !z.is_empty()),
        zone_found: int(9)?.unwrap_or(0) != 0,
        failed_count: int(10)?.unwrap_or(0),
        error_message: text(11)?.filter(|m| !m.is_empty()),
        connections: int(12)?.unwrap_or(0),
        learned: Learned {
            host: text(13)?.unwrap_or_default(),
            version: text(14)?.unwrap_or_default(),
            fingerprint: text(15)?.unwrap_or_default(),
            identity: text(16)?.unwrap_or_default(),
        },
        due: int(17)?,
        since: int(18)?,
        owner: text(19)?,
        operation: text(20)?,
        overlay: text(21)?.map(SealedText),
        props: text(22)?,
        after_gap: int(23)?.unwrap_or(0) != 0,
        now: int(COLUMNS.len())?.unwrap_or(0),
    }))
}

fn select(store: &Store) -> Result<String> {
    let shape = store.ready()?;
    let list = COLUMNS.iter().map(|c| shape.read(c)).collect::<Vec<_>>().join(", ");
    Ok(format!("select {list}, {{now}} from kubesvc_accounts"))
}

async fn rows(store: &Store, rest: &str, values: &[Arg]) -> Result<Vec<StateRow>> {
    let sql = format!("{} {rest}", select(store)?);
    let found = store.main().fetch_dynamic(&sql, values).await?;
    found.iter().filter_map(|row| read(store, row).transpose()).collect()
}

/// The row of a name, as this database compares names. `None` also where its status is none of ours.
///
/// # Errors
/// The database's.
pub async fn load(store: &Store, name: &str) -> Result<Option<StateRow>> {
    if name.contains('\0') {
        return Ok(None);
    }
    Ok(rows(store, "where name = ?", &[Arg::from(name)]).await?.into_iter().next())
}

/// The rows of these names, as this database compares names, in no order.
///
/// # Errors
/// The database's.
pub async fn load_many(store: &Store, names: &[&str]) -> Result<Vec<StateRow>> {
    let names: Vec<&str> = names.iter().copied().filter(|n| !n.contains('\0')).collect();
    let mut found = Vec::with_capacity(names.len());
    for some in names.chunks(CHUNK) {
        let marks = vec!["?"; some.len()].join(", ");
        let values: Vec<Arg> = some.iter().map(|n| Arg::from(*n)).collect();
        found.extend(rows(store, &format!("where name in ({marks})"), &values).await?);
    }
    Ok(found)
}

/// Rows whose time has come, the longest due first. Costs in proportion to their number, by the index on `fl_due`.
///
/// # Errors
/// The database's.
pub async fn due(store: &Store, limit: u32) -> Result<Vec<StateRow>> {
    rows(store, "where fl_due is not null and fl_due <= {now} order by fl_due limit ?", &[Arg::from(i64::from(limit))]).await
}

/// What is sent of a row, as it is now.
#[derive(Clone, Debug)]
pub struct Payload {
    /// The name exactly as stored.
    pub name: String,
    /// The generation of the definition.
    pub generation: i64,
    /// The operation that the row waits for.
    pub operation: Option<String>,
    /// Its status; `None`: none of ours.
    pub status: Option<Status>,
    /// Clouddriver's layer, sealed.
    pub definition: SealedText,
}

/// What is to be sent of these names. Kept apart from [`StateRow`], because only what is about to be sent needs a definition.
///
/// # Errors
/// The database's.
pub async fn payloads(store: &Store, names: &[&str]) -> Result<Vec<Payload>> {
    let shape = store.ready()?;
    let list = ["name", "fl_generation", "fl_operation", "status", "definition"].map(|c| shape.read(c)).join(", ");
    let mut found = Vec::with_capacity(names.len());
    for some in names.chunks(CHUNK) {
        let marks = vec!["?"; some.len()].join(", ");
        let values: Vec<Arg> = some.iter().map(|n| Arg::from(*n)).collect();
        let sql = format!("select {list} from kubesvc_accounts where name in ({marks})");
        for row in store.main().fetch_dynamic(&sql, &values).await? {
            let text = |i| row.text(i).map_err(|e| store.main().row_error(e));
            found.push(Payload {
                name: text(0)?.unwrap_or_default(),
                generation: row.int(1).map_err(|e| store.main().row_error(e))?.unwrap_or(0),
                operation: text(2)?,
                status: text(3)?.as_deref().and_then(Status::parse),
                definition: SealedText(text(4)?.unwrap_or_default()),
            });
        }
    }
    Ok(found)
}

impl StateRow {
    /// A row of which nothing is known but its state, for who plans without a database.
    pub fn bare(name: &str, state: State) -> Self {
        Self {
            name: name.to_owned(),
            rev: 0,
            generation: 0,
            state,
            origin: if state.dynamic { Origin::Interceptor } else { Origin::Agent },
            zone: None,
            zone_found: false,
            failed_count: 0,
            error_message: None,
            connections: 0,
            learned: Learned::default(),
            due: None,
            since: None,
            owner: None,
            operation: None,
            overlay: None,
            props: None,
            after_gap: false,
            now: 0,
        }
    }

    /// Fairlead's layer, opened; an empty object where there is none.
    ///
    /// # Errors
    /// [`OpenError`]; never any of the text.
    pub fn overlay(&self, store: &Store) -> std::result::Result<Value, OpenError> {
        match &self.overlay {
            Some(text) if !text.0.is_empty() => store.open_overlay(&self.name, &text.0),
            _ => Ok(Value::Object(serde_json::Map::new())),
        }
    }

    /// A step that changes nothing of status, wish and count: for writing something else of the row by compare-and-set.
    pub const fn stay(&self) -> Step {
        let State { status, wanted, .. } = self.state;
        Step::Go { to: status, wanted, attempts: lifecycle::Attempts::Keep, tombstone: false }
    }
}

/// What came of [`change`].
#[derive(Clone, Debug)]
pub enum Changed {
    /// It was written.
    Done {
        /// As it was before.
        before: Box<StateRow>,
        /// What was done.
        step: Step,
    },
    /// The table says that it means nothing in this state, or the caller wanted nothing.
    Ignored(Box<StateRow>),
    /// The table refuses it, in words for the answer.
    Refused(Box<StateRow>, &'static str),
    /// There is no such row.
    Absent,
    /// Others were always faster: try later.
    Busy,
}

/// Reads a row, asks what is to happen, asks the table, writes; again while others are faster. `decide` gives the event (`None`: only what
/// [`Extra`] says) and what is written along with it, or nothing at all.
///
/// # Errors
/// The database's: nothing was written, or it is not known whether it was.
pub async fn change(
    store: &Store,
    name: &str,
    mut decide: impl FnMut(&StateRow) -> Option<(Option<Event>, Extra)> + Send,
) -> Result<Changed> {
    for _ in 0..TRIES {
        let Some(row) = load(store, name).await? else { return Ok(Changed::Absent) };
        let Some((event, extra)) = decide(&row) else { return Ok(Changed::Ignored(Box::new(row))) };
        let step = match event.map_or_else(|| row.stay(), |event| lifecycle::next(&row.state, event)) {
            Step::Ignore => return Ok(Changed::Ignored(Box::new(row))),
            Step::Refuse(why) => return Ok(Changed::Refused(Box::new(row), why)),
            step => step,
        };
        match apply(store, &row, step, &extra).await {
            Ok(Applied::Won) => return Ok(Changed::Done { before: Box::new(row), step }),
            Ok(Applied::Lost) => {}
            Err(e) if e.is_contention() => {}
            Err(e) => return Err(e),
        }
        tokio::time::sleep(std::time::Duration::from_micros(fastrand::u64(500..8_000))).await;
    }
    Ok(Changed::Busy)
}
