//! One form for states that differ in nothing that can matter any more, so that the search visits them once.
//!
//! Incarnations and values are compared for equality, and the times of reads for order: any renaming that keeps those is the same state.
//! What nobody can meet again (a deleted incarnation, a change that is over) is forgotten.

use crate::state::{Before, Change, Fate, History, Inc, Intent, Known, Life, Link, Method, Read, Row, Run, Said, State, Writer, bit};

/// The incarnation of a row that is gone for good.
const DEAD: Inc = 0;
/// The incarnation of the row that was there before everything: only what came later was made "since the gap began".
const FIRST: Inc = 1;
const NAMES: usize = 16;

pub fn tidy(s: &mut State) {
    for i in 0..s.changes.len() {
        forget_change(s, i);
    }
    rename_incarnations(s);
    rename_values(s);
    rename_times(s);
    s.runs.sort_unstable();
}

/// A value that nothing holds.
pub fn fresh_value(s: &State) -> u8 {
    let mut max = 0;
    each_row(&mut s.clone(), |row| max = max.max(row.val));
    max + 1
}

fn forget_change(s: &mut State, i: usize) {
    // A snapshot that holds it still tells its method and its pre-image.
    let remembered = s.runs.iter().any(|run| matches!(run, Run::Going(g) if g.known[i] != Known::Absent));
    let c = &mut s.changes[i];
    let down = c.owner().is_some_and(|r| s.replicas[r as usize].life == Life::Down);
    if down {
        c.answer = Said::Nothing;
        c.heard = Said::Nothing;
    }
    let over = match c.intent {
        Intent::Gone | Intent::Never => true,
        Intent::TakenAway => down || matches!(c.heard, Said::Unknown | Said::Refused),
        Intent::Absent => c.owner().is_none() || down,
        Intent::Writing | Intent::Open => false,
    };
    if over && c.decided() && !remembered {
        *c = Change { fate: Fate::Done, intent: Intent::Gone, ..Change::new(Method::Put, Writer::Foreign) };
    }
}

/// Every row that is stored or was read, with incarnation and value; the mirror's, too.
fn each_row(s: &mut State, mut f: impl FnMut(&mut Row)) {
    for row in [&mut s.row, &mut s.stale].into_iter().flatten() {
        f(row);
    }
    for run in &mut s.runs {
        if let Run::Going(g) = run
            && let Read::Row(Some(row)) = &mut g.read
        {
            f(row);
        }
    }
    if let Some(m) = &mut s.mirror
        && let Link::To(inc) = m.link
    {
        let mut row = Row { inc, val: m.val };
        f(&mut row);
        (m.link, m.val) = (Link::To(row.inc), row.val);
    }
    for c in &mut s.changes {
        if let Before::Row(row) = &mut c.before {
            f(row);
        }
    }
}

fn rename_incarnations(s: &mut State) {
    // A row that is gone can still be what a run read, what the mirror follows; a pre-image alone only differs from all others.
    let mut kept = bit(FIRST);
    let mut stored = 0;
    for row in [s.row, s.stale].into_iter().flatten() {
        stored |= bit(row.inc);
    }
    for run in &s.runs {
        if let Run::Going(g) = run
            && let Read::Row(Some(row)) = g.read
        {
            stored |= bit(row.inc);
        }
    }
    kept |= stored;
    if let Some(Link::To(inc)) = s.mirror.map(|m| m.link) {
        kept |= bit(inc);
    }
    let mut to = [DEAD; NAMES];
    let mut next = FIRST;
    for inc in FIRST..NAMES as Inc / 2 {
        if kept & bit(inc) != 0 {
            to[inc as usize] = next;
            next += 1;
        }
    }
    // "Made since": the first kept incarnation that is not older.
    for c in &mut s.changes {
        if c.floor != 0 {
            c.floor = (c.floor..s.next_inc).map(|inc| to[inc as usize]).find(|new| *new != DEAD).unwrap_or(next);
        }
    }
    each_row(s, |row| {
        row.inc = to[row.inc as usize];
        if row.inc == DEAD {
            row.val = 0;
        }
    });
    let can_be_read = |inc: Inc| if stored & bit(inc) != 0 { to[inc as usize] } else { DEAD };
    s.name.claimed = can_be_read(s.name.claimed);
    s.name.seen = can_be_read(s.name.seen);
    let set = |old: u8| {
        (FIRST..NAMES as Inc / 2)
            .filter(|inc| old & bit(*inc) != 0 && to[*inc as usize] != DEAD)
            .fold(0, |new, inc| new | bit(to[inc as usize]))
    };
    let h = s.history;
    s.history = History {
        posted: set(h.posted & stored),
        announced: set(h.announced & stored),
        beside_a_put: set(h.beside_a_put & stored),
        put: set(h.put & stored),
        deleted: set(h.deleted),
        deleted_outside: set(h.deleted_outside),
        claimed: set(h.claimed & stored),
        by_hand: set(h.by_hand & stored),
        ..h
    };
    s.next_inc = next;
}

fn rename_values(s: &mut State) {
    let mut to = [0u8; NAMES];
    let mut next = 0;
    each_row(s, |row| {
        if row.inc == DEAD {
            return;
        }
        if to[row.val as usize] == 0 {
            next += 1;
            to[row.val as usize] = next;
        }
        row.val = to[row.val as usize] - 1;
    });
}

fn rename_times(s: &mut State) {
    let mut times = [s.history.writes, s.history.applied, u8::MAX, u8::MAX];
    for (time, run) in times[2..].iter_mut().zip(&s.runs) {
        if let Run::Going(g) = run
            && g.read != Read::NotYet
        {
            *time = g.at;
        }
    }
    let rank = |t: u8| (0..t).filter(|lower| times.contains(lower)).count() as u8;
    let (writes, applied) = (rank(s.history.writes), rank(s.history.applied));
    for run in &mut s.runs {
        if let Run::Going(g) = run
            && g.read != Read::NotYet
        {
            g.at = rank(g.at);
        }
    }
    s.history.writes = writes;
    s.history.applied = applied;
}
