//! Writing a row along the table of states: one statement, or one transaction where something goes with it.

use std::time::Duration;

use super::StateRow;
use crate::account::{Origin, Status};
use crate::args;
use crate::lifecycle::{self, Attempts, State, Step, Wanted};
use crate::store::db::{Arg, Tx};
use crate::store::journal::fresh_generation;
use crate::store::{Result, Sealed, Store, hand, tombstones};

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was written.
    Won,
    /// The row has changed since it was read: nothing was written.
    Lost,
}

/// When dispatch looks at the row again, by the database's clock. A row whose wish is still to be followed ([`lifecycle::follow`]) is due at
/// once, whatever is said here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Due {
    /// At once: it has something to do about the change, or finds that it has not.
    #[default]
    Now,
    /// After this time.
    In(Duration),
    /// Not before something else changes the row.
    Never,
    /// As it was.
    Keep,
}

/// What becomes of operation and owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Work {
    /// Gone where the status changes, else as it was.
    #[default]
    Auto,
    /// This operation, of this life of a replica, is about to be sent.
    Begin {
        /// Its ULID.
        operation: String,
        /// The replica's life.
        owner: String,
    },
    /// Nobody works on it.
    Clear,
}

/// What becomes of `error_message`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Message {
    /// Gone with [`Attempts::Reset`], else as it was.
    #[default]
    Auto,
    /// This.
    Set(String),
    /// Gone.
    Clear,
}

/// What becomes of the zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Zone {
    /// It stays.
    #[default]
    Keep,
    /// Given by a user; `None`: none is given.
    Given(Option<String>),
    /// Found by offering the account to every zone.
    Found(String),
    /// The one that was found counts no more.
    Forget,
}

/// What becomes of what a user did by hand; see [`hand`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hand {
    /// Noted.
    Note(Wanted),
    /// Forgotten.
    Forget,
}

/// What is known of a cluster; empty texts where nothing is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// `kube_host`.
    pub host: String,
    /// `kube_version`.
    pub version: String,
    /// `cert_fingerprint`, hexadecimal.
    pub fingerprint: String,
    /// Which cluster it is.
    pub identity: String,
}

/// What is written along with a step.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    /// When dispatch looks at it again.
    pub due: Due,
    /// Who works on it.
    pub work: Work,
    /// What is told of it.
    pub message: Message,
    /// Its zone.
    pub zone: Zone,
    /// What was learned of its cluster.
    pub learned: Option<Learned>,
    /// Agents that are connected with it.
    pub connections: Option<i64>,
    /// Its properties, JSON.
    pub props: Option<String>,
    /// Whether an agent may have it from now on.
    pub sent: Option<bool>,
    /// Clouddriver's layer. Its agents have to hear of it: say [`Extra::changed`] too.
    pub definition: Option<Sealed>,
    /// Fairlead's layer, sealed by [`Store::seal_overlay`]; `None` inside: it goes.
    pub overlay: Option<Option<String>>,
    /// What an agent is to have has changed: a new generation, and what was known of its cluster's identity counts no more.
    pub changed: bool,
    /// What a user did by hand, in the same transaction.
    pub hand: Option<Hand>,
}

/// The columns of one write and their values, in order.
pub(super) struct Set {
    pub parts: Vec<String>,
    pub values: Vec<Arg>,
}

/// `generation`: its next one, if it gets one. `None`: the row goes.
pub(super) fn set(store: &Store, row: &StateRow, step: Step, extra: &Extra, generation: i64) -> Result<Option<Set>> {
    let Step::Go { to, wanted, attempts, .. } = step else { return Ok(None) };
    let shape = store.ready()?;
    let mut set = Set { parts: vec!["fl_rev = fl_rev + 1".into()], values: vec![] };
    let mut put = |column: &str, value: Arg| {
        set.parts.push(format!("{column} = {}", shape.write(column)));
        set.values.push(value);
    };
    let moved = to != row.state.status;
    put("status", to.as_str().into());
    put("fl_wanted", wanted.as_str().into());
    match attempts {
        Attempts::Keep => {}
        Attempts::Reset => put("failed_count", 0_i64.into()),
        Attempts::Failed => put("failed_count", (row.failed_count + 1).into()),
    }
    match (&extra.message, attempts) {
        (Message::Set(text), _) => put("error_message", shape.fit("error_message", &text.replace('\0', "\u{fffd}")).into()),
        (Message::Clear, _) | (Message::Auto, Attempts::Reset) => put("error_message", None::<String>.into()),
        (Message::Auto, _) => {}
    }
    match &extra.zone {
        Zone::Keep => {}
        Zone::Given(zone) => {
            put("zone_id", zone.clone().into());
            put("fl_zone_found", 0_i64.into());
        }
        Zone::Found(zone) => {
            put("zone_id", zone.into());
            put("fl_zone_found", 1_i64.into());
        }
        Zone::Forget if row.zone_found => {
            put("zone_id", None::<String>.into());
            put("fl_zone_found", 0_i64.into());
        }
        Zone::Forget => {}
    }
    match &extra.work {
        Work::Auto if !moved => {}
        Work::Auto | Work::Clear => {
            put("fl_operation", None::<String>.into());
            put("fl_owner", None::<String>.into());
        }
        Work::Begin { operation, owner } => {
            put("fl_operation", operation.into());
            put("fl_owner", owner.into());
        }
    }
    if extra.changed {
        put("fl_generation", generation.into());
    }
    match &extra.learned {
        Some(learned) => {
            put("kube_host", shape.fit("kube_host", &learned.host).into());
            put("kube_version", shape.fit("kube_version", &learned.version).into());
            put("cert_fingerprint", Some(learned.fingerprint.clone()).filter(|f| !f.is_empty()).into());
            put("fl_identity", shape.fit("fl_identity", &learned.identity).into());
        }
        None if extra.changed => put("fl_identity", None::<String>.into()),
        None => {}
    }
    if let Some(n) = extra.connections {
        put("connections", n.into());
    }
    if let Some(props) = &extra.props {
        put("props", props.into());
    }
    if let Some(sent) = extra.sent {
        put("fl_sent", sent.into());
    }
    if let Some(overlay) = &extra.overlay {
        put("fl_overlay", overlay.clone().into());
    }
    if let Some(Sealed { text, key_id }) = &extra.definition {
        put("definition", text.into());
        put("fl_key_id", key_id.clone().into());
    }
    let now = |column: &str| format!("{column} = {{now}}");
    match due_of(&State { status: to, wanted, ..row.state }, extra.due) {
        Due::Now => set.parts.push(now("fl_due")),
        Due::In(after) => {
            set.parts.push("fl_due = {now} + ?".into());
            set.values.push(millis(after).into());
        }
        Due::Never => set.parts.push("fl_due = NULL".into()),
        Due::Keep => {}
    }
    if moved {
        set.parts.push(now("fl_since"));
    }
    set.parts.push(format!("last_updated = {}", shape.write("last_updated").replace('?', "{now}")));
    Ok(Some(set))
}

/// When a row that becomes this is looked at again: as the writer says, but at once where a wish that came meanwhile is to be followed,
/// whoever writes the end of what was under way and whatever it takes for its next time.
pub fn due_of(after: &State, said: Due) -> Due {
    if lifecycle::follow(after).is_some() { Due::Now } else { said }
}

/// Milliseconds, as the columns have them.
fn millis(d: Duration) -> i64 {
    i64::try_from(d.as_millis()).unwrap_or(i64::MAX / 4)
}

impl Set {
    fn statement(mut self, row: &StateRow) -> (String, Vec<Arg>) {
        let sql = format!("update kubesvc_accounts set {} where name = ? and fl_rev = ?", self.parts.join(", "));
        self.values.push(Arg::from(&row.name));
        self.values.push(Arg::from(row.rev));
        (sql, self.values)
    }
}

/// Writes a step where the row is still as it was read. [`Step::Ignore`] and [`Step::Refuse`] write nothing and win.
///
/// # Errors
/// The database's: nothing was written, or (unreachable, no answer) it is not known whether it was. Read again then.
pub async fn apply(store: &Store, row: &StateRow, step: Step, extra: &Extra) -> Result<Applied> {
    let mut tx = store.main().begin().await?;
    let applied = apply_in(store, &mut tx, row, step, extra).await?;
    match applied {
        Applied::Won => tx.commit().await?,
        Applied::Lost => tx.rollback().await,
    }
    Ok(applied)
}

/// As [`apply`], inside a transaction of the caller's.
///
/// # Errors
/// As [`apply`]; the transaction is of no more use then.
pub async fn apply_in(store: &Store, tx: &mut Tx<'_>, row: &StateRow, step: Step, extra: &Extra) -> Result<Applied> {
    let tombstone = match step {
        Step::Ignore | Step::Refuse(_) => return Ok(Applied::Won),
        Step::Go { tombstone, .. } | Step::Leave { tombstone } => tombstone,
    };
    let written = match set(store, row, step, extra, fresh_generation())? {
        Some(set) => {
            let (sql, values) = set.statement(row);
            tx.exec_dynamic(&sql, &values).await?
        }
        None => tx.exec("delete from kubesvc_accounts where name = ? and fl_rev = ?", args![&row.name, row.rev]).await?,
    };
    if written == 0 {
        return Ok(Applied::Lost);
    }
    if tombstone {
        tombstones::write(store, tx, &row.name, row.generation).await?;
    }
    match extra.hand {
        Some(Hand::Note(wanted)) => hand::note(store, tx, &row.name, wanted).await?,
        Some(Hand::Forget) => hand::forget(tx, &row.name).await?,
        None => {}
    }
    Ok(Applied::Won)
}

/// A row that enters by the API or by an agent's registration; those of Clouddriver enter by settling.
pub struct NewState<'a> {
    /// Its name.
    pub name: &'a str,
    /// Which way it comes in; [`Origin::Agent`] makes it static.
    pub origin: Origin,
    /// Its first status.
    pub status: Status,
    /// What is wanted of it.
    pub wanted: Wanted,
    /// Its zone; not one that was found.
    pub zone: Option<String>,
    /// The definition, where there is one.
    pub definition: Option<Sealed>,
    /// Fairlead's layer, sealed.
    pub overlay: Option<String>,
    /// Properties, JSON.
    pub props: Option<String>,
    /// What was learned of its cluster.
    pub learned: Option<Learned>,
}

/// Puts a row in. `false`: the name is there already, and nothing was written.
///
/// # Errors
/// The database's.
pub async fn insert(store: &Store, tx: &mut Tx<'_>, new: &NewState<'_>) -> Result<bool> {
    if !tx.fetch_dynamic("select 1 from kubesvc_accounts where name = ? {update}", args![new.name]).await?.is_empty() {
        return Ok(false);
    }
    let now = super::super::journal::first_int(store.main(), &tx.fetch("select {now}", args![]).await?)?;
    let (names, values): (Vec<&str>, Vec<Arg>) = columns(store, new, fresh_generation(), now)?.into_iter().unzip();
    match tx.exec_dynamic(&store.ready()?.insert(&names), &values).await {
        Ok(_) => Ok(true),
        Err(e) if e.says_duplicate() => Ok(false),
        Err(e) => Err(e),
    }
}

/// The columns of a row that enters, and its values.
pub(super) fn columns(store: &Store, new: &NewState<'_>, generation: i64, now: Option<i64>) -> Result<[(&'static str, Arg); 23]> {
    let shape = store.ready()?;
    let (definition, key) = new.definition.clone().map_or((None, None), |d| (Some(d.text), d.key_id));
    let learned = new.learned.clone().unwrap_or_default();
    let some = |text: &str| Some(text.to_owned()).filter(|t| !t.is_empty());
    Ok([
        ("name", new.name.into()),
        ("dynamic", (new.origin != Origin::Agent).into()),
        ("status", new.status.as_str().into()),
        ("fl_wanted", new.wanted.as_str().into()),
        ("zone_id", new.zone.clone().into()),
        ("definition", definition.into()),
        ("fl_overlay", new.overlay.clone().into()),
        ("fl_key_id", key.into()),
        ("props", new.props.clone().into()),
        ("failed_count", 0_i64.into()),
        ("connections", 0_i64.into()),
        ("last_updated", now.into()),
        ("kube_host", some(shape.fit("kube_host", &learned.host)).into()),
        ("kube_version", some(shape.fit("kube_version", &learned.version)).into()),
        ("cert_fingerprint", some(&learned.fingerprint).into()),
        ("fl_identity", some(shape.fit("fl_identity", &learned.identity)).into()),
        ("fl_origin", new.origin.as_str().into()),
        ("fl_generation", generation.into()),
        ("fl_sent", 0_i64.into()),
        ("fl_after_gap", 0_i64.into()),
        ("fl_created", now.into()),
        ("fl_since", now.into()),
        ("fl_due", now.into()),
    ])
}
