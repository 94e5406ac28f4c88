//! What each step does.

use crate::canon;
use crate::mutants::Mutant;
use crate::properties as broken;
use crate::protocol::{Action, How, Protocol};
use crate::state::{
    Before, CHANGES, Change, Fate, Going, Inc, Intent, Known, Life, Link, Method, Mirror, Purpose, RUNS, Read, Replica, Row, Run, Said,
    State, Status, bit,
};
use crate::table::{self, Decision, Facts, Step};

impl Protocol {
    /// The state after an action.
    pub fn step(&self, s: &State, action: Action) -> State {
        let mut n = *s;
        match action {
            Action::Announce(i) => {
                n.changes[i].fate = Fate::Unsent;
                n.changes[i].intent = Intent::Open;
                n.changes[i].before = s.row.map_or(Before::None, Before::Row);
                n.changes[i].floor = s.next_inc;
            }
            Action::AnnounceLate(i) => {
                n.budget.faults -= 1;
                n.changes[i].fate = Fate::Unsent;
                n.changes[i].intent = Intent::Writing;
                n.changes[i].before = Before::Unknown;
                n.changes[i].floor = s.next_inc;
            }
            Action::AnnounceBlind(i) => {
                n = self.step(s, Action::Announce(i));
                n.budget.faults -= 1;
                n.changes[i].before = Before::Unknown;
            }
            Action::LateCommit(i) => {
                n.changes[i].intent = Intent::Open;
                n.changes[i].before = s.row.map_or(Before::None, Before::Row);
                n.changes[i].late = true;
                n.changes[i].lost = self.mutant == Mutant::LateIntentBelongsToNobody;
                if n.changes[i].lost {
                    n.changes[i].heard = Said::Nothing;
                } else if n.changes[i].heard == Said::Refused {
                    n.changes[i].intent = Intent::Gone;
                }
            }
            Action::LateFails(i) => {
                n.changes[i].intent = Intent::Never;
                if let Some(r) = s.changes[i].owner() {
                    n.replicas[r as usize].gap = true;
                }
                n.history.needs_pass = true;
            }
            Action::Execute(i, how) => self.execute(&mut n, i, how),
            Action::Lose(i) => {
                n.changes[i].fate = Fate::Dropped;
                n.changes[i].answer = Said::Unknown;
            }
            Action::TimeOut(i) => {
                n.budget.faults -= 1;
                if s.changes[i].fate == Fate::Unsent {
                    n.changes[i].fate = Fate::InFlight;
                }
                n.changes[i].heard = Said::Unknown;
            }
            Action::Hear(i) => {
                let c = &mut n.changes[i];
                c.heard = c.answer;
                if c.heard == Said::Refused && c.intent == Intent::Open {
                    c.intent = Intent::Gone;
                }
            }
            Action::ClientLeaves(i) => {
                n.budget.faults -= 1;
                n.changes[i].lost = true;
            }
            Action::GPassed(i) => n.changes[i].over = true,
            Action::Rewrite(i) => n.changes[i].intent = Intent::Open,
            Action::Begin(replica, purpose) => {
                match purpose {
                    Purpose::Pass | Purpose::GapPass => n.budget.passes -= 1,
                    Purpose::Take => n.budget.takes -= 1,
                    Purpose::Intents => {}
                }
                begin(&mut n, replica, purpose);
                if self.mutant == Mutant::ReadBeforeTheGeneration {
                    let k = n.runs.iter().rposition(|r| matches!(r, Run::Going(g) if !g.snapped)).unwrap_or(0);
                    read(&mut n, k, Read::Row(s.row), s.history.writes);
                } else {
                    self.snapshot(&mut n);
                }
            }
            Action::Snapshot => self.snapshot(&mut n),
            Action::Read(k) => read(&mut n, k, Read::Row(s.row), s.history.writes),
            Action::ReadStale(k) => read(&mut n, k, Read::Row(s.stale), s.history.writes.saturating_sub(1)),
            Action::ReadInVain(k) => {
                n.budget.faults -= 1;
                read(&mut n, k, Read::CannotTell, s.history.writes);
            }
            Action::Apply(k) => self.apply(&mut n, k),
            Action::AgentConfirms => n.mirror = None,
            Action::Activate => {
                n.budget.activations -= 1;
                if let Some(m) = &mut n.mirror {
                    m.status = Status::Active;
                }
            }
            Action::TakeOut => {
                n.budget.hands -= 1;
                if let Some(Link::To(inc)) = s.mirror.map(|m| m.link) {
                    n.history.by_hand |= bit(inc);
                }
                self.remove(&mut n);
            }
            Action::Crash(r) => self.stop(&mut n, r, u8::MAX, Life::Down),
            Action::Pause(r, sent) => self.stop(&mut n, r, sent, Life::Paused),
            Action::Wake(r) => {
                n.replicas[r as usize].life = Life::Waking;
                for c in &mut n.changes {
                    // By its monotonic clock too much time has passed since the announcement.
                    if c.owner() == Some(r) && c.fate == Fate::Unsent && c.over && self.mutant != Mutant::ForwardsWithoutLooking {
                        c.fate = Fate::Dropped;
                        c.answer = Said::Refused;
                        c.heard = Said::Refused;
                        if c.intent == Intent::Open {
                            c.intent = Intent::Gone;
                        }
                    }
                }
            }
            Action::RenewLease(r) => n.replicas[r as usize].life = Life::Up,
        }
        canon::tidy(&mut n);
        n
    }

    /// Clouddriver carries a call out.
    fn execute(&self, n: &mut State, i: usize, how: How) {
        let c = n.changes[i];
        let commits = matches!(how, How::Plain | How::CommitThenError);
        if how != How::Plain {
            n.budget.faults -= 1;
        }
        let taken = c.method != Method::Post || n.row.is_none();
        n.stale = if self.mutant == Mutant::LaggingRead { n.row } else { None };
        if commits && taken {
            write(n, &c, canon::fresh_value(n));
        }
        n.changes[i].fate = Fate::Done;
        n.changes[i].answer = match how {
            How::Plain | How::OkOnly if taken => Said::Ok,
            How::Plain | How::OkOnly => Said::Refused,
            How::CommitThenError => Said::Refused,
        };
    }

    /// The generation is read, and after it what is known of each open intent.
    pub fn snapshot(&self, n: &mut State) {
        let Some(k) = n.runs.iter().position(|r| matches!(r, Run::Going(g) if !g.snapped)) else { return };
        let Run::Going(mut g) = n.runs[k] else { return };
        g.snapped = true;
        for i in 0..CHANGES {
            g.known[i] = known(n, g.replica, i);
        }
        g.closes_gap = g.purpose == Purpose::GapPass && gap_is_over(n);
        g.rev = n.mirror.map_or(0, |m| m.rev);
        n.runs[k] = Run::Going(g);
        if (0..RUNS).any(|other| other != k && n.runs[other] == n.runs[k]) {
            // Two runs that know the same are one.
            n.runs[k] = Run::Idle;
        }
    }

    /// The one transaction.
    fn apply(&self, n: &mut State, k: usize) {
        let Run::Going(mut g) = n.runs[k] else { return };
        if self.mutant == Mutant::WindowJudgedAtTheEnd {
            for i in 0..CHANGES {
                if g.known[i] == Known::Unknown && n.changes[i].over {
                    g.known[i] = Known::Expired;
                }
            }
        }
        if self.mutant == Mutant::GenerationOnTheMirrorsRow && g.rev != n.mirror.map_or(0, |m| m.rev) {
            again(n, k);
            return;
        }
        let open = std::array::from_fn(|i| n.changes[i].intent == Intent::Open);
        let facts = Facts {
            read: g.read,
            mirror: n.mirror,
            name: n.name,
            purpose: g.purpose,
            changes: &n.changes,
            known: &g.known,
            open: &open,
            behind: is_behind(n),
            mutant: self.mutant,
        };
        let d = table::decide(&facts);
        n.history.broken |= broken::judge(n, &g, &d) & self.watched;
        self.carry_out(n, &g, &d);
        n.runs[k] = Run::Idle;
        // The name has a new generation: every other run's copy no longer holds.
        for other in 0..RUNS {
            if let Run::Going(o) = n.runs[other]
                && o.snapped
                && !self.mutant.ignores_generation(o.purpose)
            {
                again(n, other);
            }
        }
    }

    fn carry_out(&self, n: &mut State, g: &Going, d: &Decision) {
        let rev = n.mirror.map_or(0, |m| m.rev);
        let counts = self.mutant == Mutant::GenerationOnTheMirrorsRow;
        let linked = |row: Row, status: Status| {
            Some(Mirror { link: Link::To(row.inc), val: row.val, status, rev: if counts { rev + 1 } else { 0 } })
        };
        match d.step {
            Step::Nothing => {}
            Step::Claim(row) | Step::Insert(row) => {
                n.mirror = linked(row, Status::Inactive);
                n.history.claimed |= bit(row.inc);
                n.history.by_hand &= !bit(row.inc);
            }
            Step::Update(row) | Step::Relink(row) => n.mirror = linked(row, n.mirror.map_or(Status::Inactive, |m| m.status)),
            Step::Remove => self.remove(n),
        }
        n.name = d.name;
        n.history.applied = n.history.applied.max(g.at);
        for i in 0..CHANGES {
            let c = &mut n.changes[i];
            c.looked |= d.looked[i];
            if d.ends[i] && c.intent == Intent::Open {
                let remembered = c.owner() != Some(g.replica) && c.owner().is_some_and(|r| n.replicas[r as usize].life != Life::Down);
                c.intent = if remembered && c.heard != Said::Unknown { Intent::TakenAway } else { Intent::Gone };
            }
        }
        if g.closes_gap && (!d.undecided || self.mutant == Mutant::OnePassClosesTheGap) {
            for r in &mut n.replicas {
                r.gap = false;
            }
        }
    }

    fn remove(&self, n: &mut State) {
        n.mirror = match n.mirror {
            Some(m) if self.agent && m.status != Status::Inactive => Some(Mirror { status: Status::Deleting, ..m }),
            _ => None,
        };
    }

    /// A replica dies or is stopped, and its lease ends.
    fn stop(&self, n: &mut State, r: u8, sent: u8, life: Life) {
        n.budget.faults -= 1;
        n.replicas[r as usize] = Replica { life, gap: true };
        for i in 0..CHANGES {
            let c = &mut n.changes[i];
            if c.owner() != Some(r) {
                continue;
            }
            if c.fate == Fate::Unsent && sent & (1 << i) != 0 {
                c.fate = Fate::InFlight;
            }
            if life == Life::Down {
                c.heard = Said::Nothing;
                if c.fate == Fate::Idle {
                    c.fate = Fate::Dropped;
                }
            }
        }
        if life == Life::Down {
            for run in &mut n.runs {
                if matches!(*run, Run::Going(g) if g.replica == r) {
                    *run = Run::Idle;
                }
            }
        }
    }
}

impl Going {
    pub const fn new(replica: u8, purpose: Purpose) -> Self {
        Self { replica, purpose, snapped: false, known: [Known::Absent; CHANGES], read: Read::NotYet, at: 0, closes_gap: false, rev: 0 }
    }
}

/// What replica `r` may hold of an intent now: its own by its memory, another's by whether that one lives.
pub fn known(s: &State, r: u8, i: usize) -> Known {
    let c = &s.changes[i];
    let (Intent::Open, Some(owner)) = (c.intent, c.owner()) else { return Known::Absent };
    let given_up = if c.over { Known::Expired } else { Known::Unknown };
    if owner != r {
        return match s.replicas[owner as usize].life {
            Life::Up => Known::Pending,
            Life::Paused | Life::Waking | Life::Down => given_up,
        };
    }
    match c.heard {
        Said::Nothing | Said::Refused => Known::Pending,
        Said::Ok => Known::Ok,
        Said::Unknown => given_up,
    }
}

/// G may pass for a change only when Clouddriver will do no more about it, or while it has not left its owner.
pub fn can_expire(s: &State, i: usize) -> bool {
    let c = &s.changes[i];
    let Some(owner) = c.owner() else { return false };
    let life = s.replicas[owner as usize].life;
    let nobody_tells = life != Life::Up || c.heard == Said::Unknown;
    let fixed = c.decided() || (c.fate == Fate::Unsent && life == Life::Paused);
    c.intent == Intent::Open && !c.over && nobody_tells && fixed
}

/// Whether a pass that begins now is the last that the open gaps need: whoever left them is back or dead, what passed unjournalled
/// is decided, and no intent of a dead owner is open.
pub fn gap_is_over(s: &State) -> bool {
    let dead = |r: u8| s.replicas[r as usize].life != Life::Up;
    s.replicas.iter().all(|r| r.life != Life::Paused)
        && s.changes.iter().all(|c| match c.owner() {
            None => true,
            Some(r) => match c.intent {
                Intent::Writing => false,
                Intent::Never => c.decided(),
                Intent::Open => !dead(r),
                Intent::Absent | Intent::Gone | Intent::TakenAway => true,
            },
        })
}

/// Whether some replica's `ok_until` stands still: what is seen from now on may have been made by a change that nobody journalled.
fn is_behind(s: &State) -> bool {
    s.replicas.iter().any(|r| r.gap) || s.changes.iter().any(|c| c.intent == Intent::Writing)
}

pub fn begin(n: &mut State, replica: u8, purpose: Purpose) {
    if let Some(run) = n.runs.iter_mut().find(|r| **r == Run::Idle) {
        *run = Run::Going(Going::new(replica, purpose));
    }
}

/// A run whose generation no longer holds starts again from nothing: what it read is forgotten, so all that is left is that it may begin.
fn again(n: &mut State, k: usize) {
    if let Run::Going(g) = n.runs[k] {
        match g.purpose {
            Purpose::Intents => {}
            Purpose::Pass | Purpose::GapPass => n.budget.passes += 1,
            Purpose::Take => n.budget.takes += 1,
        }
    }
    n.runs[k] = Run::Idle;
}

pub fn read(n: &mut State, k: usize, what: Read, at: u8) {
    if let Run::Going(g) = &mut n.runs[k] {
        g.read = what;
        g.at = at;
    }
}

/// Clouddriver's transaction.
fn write(n: &mut State, c: &Change, val: u8) {
    let beside_a_put = n.changes.iter().any(|c| c.method == Method::Put && c.intent == Intent::Open && c.before != Before::Unknown);
    let h = &mut n.history;
    let journalled = c.owner().is_some() && c.intent != Intent::Writing && c.intent != Intent::Never;
    h.needs_pass |= c.owner().is_none();
    match (c.method, n.row) {
        (Method::Delete, None) => return,
        (Method::Delete, Some(row)) => {
            if journalled {
                h.deleted |= bit(row.inc);
            }
            if c.owner().is_none() {
                h.deleted_outside |= bit(row.inc);
            }
            n.row = None;
        }
        (Method::Put, Some(row)) => n.row = Some(Row { inc: row.inc, val }),
        (Method::Post | Method::Put, _) => {
            let inc: Inc = n.next_inc;
            n.next_inc += 1;
            n.row = Some(Row { inc, val });
            if c.owner().is_some() && c.method == Method::Post {
                h.posted |= bit(inc);
                if journalled {
                    h.announced |= bit(inc);
                } else if beside_a_put {
                    h.beside_a_put |= bit(inc);
                }
            }
            if journalled && c.method == Method::Put {
                h.put |= bit(inc);
            }
        }
    }
    h.writes += 1;
}
