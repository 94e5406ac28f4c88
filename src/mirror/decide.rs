//! The decision table of the mirror: what one applied reading of Clouddriver's row does to ours. Pure.
//!
//! The words: R is Clouddriver's row, M ours, an *incarnation* one life of R. M is *linked* when it mirrors an incarnation.
//! The table is evaluated inside the one transaction that holds the name (see [`super::settle`]); everything it needs is in its
//! arguments, so that a model and property tests can search it. `docs/adr/0004-mirror-protocol.md` tells why each line is there.

use ulid::Ulid;

use super::Method;
use crate::account::{Incarnation, Origin};

/// What the table needs of R. Rows of every type are seen; only Kubernetes rows are mirrored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RowFacts {
    /// Which life.
    pub incarnation: Incarnation,
    /// Time of the last change, where known.
    pub modified: Option<i64>,
    /// Whether the column `type` says `kubernetes`.
    pub kubernetes: bool,
    /// Whether its definition differs, as a value, from the one in M; false where there is no M.
    pub differs: bool,
}

/// What the table needs of M.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MirrorFacts {
    /// Which way it came in; decides whether it follows Clouddriver at all.
    pub origin: Origin,
    /// The incarnation it mirrors; `None` for an adopted row that has not seen its R yet.
    pub incarnation: Option<Incarnation>,
    /// Whether it was ever sent to an agent.
    pub sent: bool,
    /// Its agents are being told to let go: it is never linked to another life.
    pub deleting: bool,
}

/// What the row was before the change was forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PreImage {
    /// There was none.
    None,
    /// This one.
    Row {
        /// Its incarnation.
        incarnation: Incarnation,
        /// Its time of last change.
        modified: Option<i64>,
    },
    /// Not known: no name in the hints, no access, or read too late.
    Unknown,
}

/// What is known of an intent's outcome when the settling began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Known {
    /// Its owner lives and has not heard the answer.
    Pending,
    /// 2xx.
    Ok,
    /// Certainly not done.
    Refused,
    /// Nobody will ever know.
    Unknown,
}

/// An open intent, as it was known *before* R was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IntentFacts {
    /// Its id.
    pub id: Ulid,
    /// Which call.
    pub method: Method,
    /// The row before it.
    pub pre: PreImage,
    /// The change was forwarded before its intent was journalled, so a pre-image that shows today's row proves nothing: it may have
    /// been read after the change.
    pub late: bool,
    /// Its outcome.
    pub known: Known,
    /// Whether the window in which an unknown outcome is looked after has passed.
    pub past_window: bool,
    /// When it was journalled, by the database's clock.
    pub created: i64,
}

/// What outlives M for a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NameFacts {
    /// The incarnation that a POST of ours brought in, so that it is never brought in twice.
    pub claimed: Option<Incarnation>,
    /// The last incarnation that an applied reading saw.
    pub seen: Option<Incarnation>,
    /// When it was first seen; 0 where a journalled PUT is known to have made it.
    pub seen_at: i64,
}

/// Why the name is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// For its intents.
    Intents,
    /// For them, and to bring the account in: a user or the scanner asked for it by name.
    Take,
    /// A pass over everything came by.
    Pass {
        /// Changes may have gone unjournalled.
        gap: Option<Gap>,
        /// Whether a linked M without R goes (else it is shown as drift).
        may_remove: bool,
    },
}

/// A time in which changes may have passed that no journal tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gap {
    /// Rows that the mirror lacks enter when their life began at or after this (the gap's beginning, less the window and the skew).
    pub since: i64,
    /// Until here everything that passed was journalled: what was seen by then was settled with all that is known of it.
    pub ok_until: i64,
}

/// What happens to M.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Nothing.
    Keep,
    /// A new row.
    Insert {
        /// It was found after a gap, not brought in by a POST that is known.
        after_gap: bool,
    },
    /// Same incarnation, new definition.
    Update,
    /// Mirror this incarnation from now on; the status stays.
    Relink,
    /// M goes and a new row comes, in one step: it was never sent to an agent.
    Replace,
    /// M goes.
    Remove,
}

/// What a reading is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What happens to M.
    pub action: Action,
    /// R's incarnation is noted as claimed: M mirrors it now, so nothing brings it in a second time.
    pub claims: bool,
    /// A journalled PUT is known to have made this R.
    pub put_made_it: bool,
    /// These intents end with this transaction.
    pub ended: Vec<Ulid>,
    /// These would end, and stay open because the table cannot do yet what they ask for.
    pub held: Vec<Ulid>,
    /// Settle again at once: a removed row makes place for the next one.
    pub again: bool,
    /// A pass after a gap could not decide yet: what is open on this name comes first.
    pub undecided: bool,
    /// M is there and R is not, and nothing says that a deletion went through us.
    pub drift: bool,
    /// M belongs to Fairlead or to an agent, and Clouddriver has the name too.
    pub conflict: bool,
}

/// How far Clouddriver's clock and the database's may lie apart when nothing better than time tells whose a row is.
pub const CLOCK_SKEW_MS: i64 = 10_000;

impl IntentFacts {
    /// The pre-image, as far as it proves something beside `r`.
    fn before(&self, r: &RowFacts) -> PreImage {
        match self.pre {
            PreImage::Row { incarnation, .. } if self.late && incarnation == r.incarnation => PreImage::Unknown,
            pre => pre,
        }
    }
}

/// Whether this intent is a POST that may have made `r`.
fn claims(intent: &IntentFacts, r: &RowFacts, name: &NameFacts) -> bool {
    if intent.method != Method::Post || name.claimed == Some(r.incarnation) {
        return false;
    }
    match (intent.known, intent.before(r)) {
        (Known::Pending | Known::Refused, _) => false,
        (_, PreImage::None) | (Known::Ok, PreImage::Unknown) => true,
        (_, PreImage::Row { incarnation, .. }) => incarnation != r.incarnation,
        // Nothing but the time is left to tell whose row this is.
        (Known::Unknown, PreImage::Unknown) => near(intent, r),
    }
}

/// Whether the row's life began about when the change was forwarded.
fn near(intent: &IntentFacts, r: &RowFacts) -> bool {
    (r.incarnation.0 - intent.created).abs() <= CLOCK_SKEW_MS
}

/// Whether what is read shows an acknowledged change, so that its intent has served.
fn explained(intent: &IntentFacts, r: Option<&RowFacts>) -> bool {
    match (intent.method, r, r.map_or(intent.pre, |r| intent.before(r))) {
        (Method::Post, None, _) | (Method::Put | Method::PutNamed, None, _) => false,
        (Method::Post, Some(_), PreImage::None | PreImage::Unknown) => true,
        (Method::Post, Some(r), PreImage::Row { incarnation, .. }) => r.incarnation != incarnation,
        (Method::Put | Method::PutNamed, Some(r), PreImage::Row { incarnation, modified }) => {
            r.incarnation != incarnation || r.modified != modified || r.modified.is_none() || r.differs
        }
        (Method::Put | Method::PutNamed, Some(_), _) => true,
        (Method::Delete, None, _) => true,
        (Method::Delete, Some(r), PreImage::Row { incarnation, .. }) => r.incarnation != incarnation,
        (Method::Delete, Some(_), PreImage::None) => true,
        (Method::Delete, Some(_), PreImage::Unknown) => false,
    }
}

/// Evaluates the table. First match wins.
///
/// `open_now`: all intents of the name that are open at the moment of the transaction, whether the snapshot knew them or not.
pub fn decide(
    r: Option<&RowFacts>,
    m: Option<&MirrorFacts>,
    name: &NameFacts,
    intents: &[IntentFacts],
    open_now: &[(Ulid, Method)],
    trigger: Trigger,
) -> Decision {
    // Another type is no Kubernetes account: for M it counts as none. Explaining an intent looks at every type.
    let k = r.filter(|r| r.kubernetes);
    let effective = |i: &&IntentFacts| matches!(i.known, Known::Ok | Known::Unknown);
    let claim = k.is_some_and(|k| intents.iter().any(|i| claims(i, k, name)));
    let delete = intents.iter().filter(effective).any(|i| i.method == Method::Delete);
    let delete_ok = intents.iter().any(|i| i.method == Method::Delete && i.known == Known::Ok);
    let linked = m.is_some_and(|m| m.origin.follows_clouddriver());

    let after_gap = matches!(trigger, Trigger::Pass { gap: Some(_), .. });
    let (mut drift, mut again, mut conflict, mut undecided) = (false, false, false, false);
    // Intents of these methods stay open although they are explained: the table could not do yet what they ask for.
    let (mut hold_posts, mut hold_puts) = (false, false);

    let action = match (k, m) {
        (k, Some(m)) if !linked => {
            conflict = k.is_some();
            let deleted = intents.iter().any(|i| i.method == Method::Delete && i.known == Known::Ok && explained(i, r));
            if m.origin == Origin::Created && deleted {
                // What came after the deletion comes in by the next round.
                (again, hold_posts) = (k.is_some(), true);
                Action::Remove
            } else {
                // A deletion that is still open, or that agents have not confirmed, makes place for what a POST asks for.
                hold_posts = m.origin == Origin::Created && (m.deleting || open_now.iter().any(|(_, method)| *method == Method::Delete));
                Action::Keep
            }
        }
        (None, Some(m)) => {
            let asked = match trigger {
                // An adopted row that never saw its R may never have had one: only a deletion takes it.
                Trigger::Intents | Trigger::Take if m.incarnation.is_none() => delete,
                Trigger::Intents | Trigger::Take => intents.iter().any(|i| matches!(i.known, Known::Ok | Known::Unknown)),
                Trigger::Pass { may_remove, .. } => delete || (may_remove && m.incarnation.is_some()),
            };
            drift = !asked;
            if asked { Action::Remove } else { Action::Keep }
        }
        (None, None) => Action::Keep,
        (Some(k), Some(m)) if m.incarnation == Some(k.incarnation) => {
            if k.differs {
                Action::Update
            } else {
                Action::Keep
            }
        }
        // The first sight of R for an adopted row.
        (Some(_), Some(m)) if m.incarnation.is_none() => Action::Relink,
        (Some(k), None) => {
            let unjournalled = match trigger {
                Trigger::Pass { gap: Some(gap), .. } => {
                    // Seen after the gap began, it may have been seen by the settling of another change only.
                    let settled = name.seen == Some(k.incarnation) && name.seen_at <= gap.ok_until;
                    k.incarnation.0 >= gap.since
                        && !settled
                        && name.claimed != Some(k.incarnation)
                        // A PUT that made the row explains it, and a PUT alone brings nothing in.
                        && !intents.iter().any(|i| put_made(i, k))
                }
                _ => false,
            };
            // One that was announced since the snapshot may have made the row.
            let put_since = open_now.iter().any(|(id, method)| *method == Method::Put && !intents.iter().any(|i| i.id == *id));
            if claim || trigger == Trigger::Take {
                Action::Insert { after_gap: false }
            } else if unjournalled && put_since {
                undecided = true;
                Action::Keep
            } else if unjournalled {
                Action::Insert { after_gap: true }
            } else {
                Action::Keep
            }
        }
        (Some(_), Some(m)) if claim && !m.sent => Action::Replace,
        (Some(_), Some(_)) if claim => {
            // Two clusters may stand behind the two lives: the old one is taken from its agents before the new one comes in.
            (again, hold_posts) = (true, true);
            Action::Remove
        }
        (Some(_), Some(_)) if delete => {
            // After a gap, what comes after the deletion may have come unjournalled.
            again = after_gap;
            Action::Remove
        }
        (Some(_), Some(m)) => {
            // Relinking carries the status over, so nothing that may yet say "another cluster" may be open, in the snapshot or after
            // it. PUTs do not stand in each other's way.
            let ends = |id: &Ulid| intents.iter().any(|i| i.id == *id && ends(i, r, delete_ok));
            let blocks = |(id, method): &(Ulid, Method)| matches!(method, Method::Post | Method::Delete) && !ends(id);
            if m.deleting || open_now.iter().any(blocks) {
                hold_puts = true;
                undecided = after_gap;
                Action::Keep
            } else {
                Action::Relink
            }
        }
    };

    let is_held = |i: &IntentFacts| match i.method {
        Method::Post => hold_posts,
        Method::Put | Method::PutNamed => hold_puts && i.known == Known::Ok,
        Method::Delete => false,
    };
    let (held, ended): (Vec<&IntentFacts>, Vec<&IntentFacts>) = intents.iter().filter(|i| ends(i, r, delete_ok)).partition(|i| is_held(i));
    let ids = |intents: Vec<&IntentFacts>| intents.iter().map(|i| i.id).collect::<Vec<_>>();
    let (held, ended) = (ids(held), ids(ended));
    let mirrored = match (k, m, action) {
        (None, ..) | (_, _, Action::Remove) => false,
        (_, _, Action::Insert { .. } | Action::Update | Action::Relink | Action::Replace) => true,
        (Some(k), Some(m), Action::Keep) => linked && m.incarnation == Some(k.incarnation),
        (Some(_), None, Action::Keep) => false,
    };
    let put_made_it = r.is_some_and(|r| intents.iter().any(|i| put_made(i, r)));
    Decision { action, claims: mirrored, put_made_it, ended, held, again, undecided, drift, conflict }
}

/// Whether this reading ends the intent, as far as the intent itself goes.
fn ends(intent: &IntentFacts, r: Option<&RowFacts>, delete_ok: bool) -> bool {
    match intent.known {
        Known::Pending => false,
        Known::Refused => true,
        Known::Unknown => intent.past_window,
        // Deleted after it, by a change whose outcome was known before this reading began: that explains it as well.
        Known::Ok => explained(intent, r) || (r.is_none() && delete_ok),
    }
}

/// Whether a PUT that is known of made this life of the row, as far as anything tells.
///
/// Only a pre-image does. A PUT whose own is not known, or was read too late, was forwarded while the journal was slow: then a POST may
/// have gone unjournalled as well, and that one account too many is INACTIVE is nothing beside one that is lost. An update by name
/// creates nothing.
fn put_made(intent: &IntentFacts, r: &RowFacts) -> bool {
    intent.method == Method::Put
        && intent.known != Known::Refused
        && match intent.before(r) {
            PreImage::None => true,
            PreImage::Row { incarnation, .. } => incarnation != r.incarnation,
            PreImage::Unknown => false,
        }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
