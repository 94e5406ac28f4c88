//! What a scan makes of one account. Pure: everything it looks at is in its arguments, and asked twice it answers the same.
//!
//! Level-triggered: nothing is remembered from one scan to the next, so one that broke off is made good by the next one. What is decided
//! here is worth something only while row and mirror are as they were read: it is done by settling and by compare-and-set, which look again.

use crate::account::Status;
use crate::lifecycle::Wanted;

/// What is known of an account that Clouddriver has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Account {
    /// A pattern takes its name.
    pub matched: bool,
    /// Clouddriver's definition of it can be read.
    pub readable: bool,
    /// A user has deactivated or deleted it here, and has not asked for it since.
    pub by_hand: bool,
    /// Its row in the mirror.
    pub mirrored: Option<Mirrored>,
}

/// What is known of its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mirrored {
    /// It mirrors Clouddriver's account; otherwise it is Fairlead's own, or an agent's.
    pub follows: bool,
    /// Its status; `None`: a word that is none of ours.
    pub status: Option<Status>,
    /// What is wanted of it.
    pub wanted: Wanted,
    /// It is not, or may not be, what Clouddriver has.
    pub differs: bool,
}

/// What is done to have it managed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Migrate {
    /// It enters the mirror.
    Take,
    /// It is in the mirror, at rest and INACTIVE: it is wanted managed.
    Activate,
}

/// Why that is done, or is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// A pattern takes it, and nothing speaks against it.
    Matched,
    /// No pattern takes it. One that no longer matches stays as it is.
    NotMatched,
    /// A user took it out by hand.
    ByHand,
    /// Its definition cannot be read.
    Unreadable,
    /// The name stands for an account of Fairlead's own or of an agent's.
    NotClouddrivers,
    /// It is managed, or on its way; what failed is tried again by dispatch, and then by a user.
    InHand,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Verdict {
    /// Its row is settled: Clouddriver's definition was changed behind our back.
    pub refresh: bool,
    /// It is to be managed.
    pub migrate: Option<Migrate>,
    /// Why so.
    pub why: Why,
}

/// Judges one account.
pub fn judge(account: &Account) -> Verdict {
    let Account { matched, readable, by_hand, mirrored } = *account;
    let refresh = readable && mirrored.is_some_and(|m| m.follows && m.differs);
    let (migrate, why) = match mirrored {
        Some(m) if !m.follows => (None, Why::NotClouddrivers),
        _ if !matched => (None, Why::NotMatched),
        _ if !readable => (None, Why::Unreadable),
        // A wish that is under way is followed by dispatch.
        Some(m) if m.status != Some(Status::Inactive) || m.wanted != Wanted::Inactive => (None, Why::InHand),
        _ if by_hand => (None, Why::ByHand),
        Some(_) => (Some(Migrate::Activate), Why::Matched),
        None => (Some(Migrate::Take), Why::Matched),
    };
    Verdict { refresh, migrate, why }
}

/// How many accounts one scan may still migrate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// `maxMigrationsPerScan`; `None`: no limit.
    migrations: Option<u32>,
    /// Accounts that came in another way are not counted among the scanner's while they are ACTIVATING: here is their bound.
    activations: u32,
    /// Accounts that wait for the next scan.
    pub held_back: u64,
}

impl Budget {
    /// Of a new scan.
    pub const fn new(max_migrations: Option<u32>, batch: u32) -> Self {
        Self { migrations: max_migrations, activations: batch, held_back: 0 }
    }

    /// Whether there is room; where there is none, the account is counted as held back.
    pub fn admits(&mut self, migrate: Migrate) -> bool {
        let room = self.migrations != Some(0) && (migrate == Migrate::Take || self.activations > 0);
        self.held_back += u64::from(!room);
        room
    }

    /// One was migrated.
    pub fn spend(&mut self, migrate: Migrate) {
        self.migrations = self.migrations.map(|n| n.saturating_sub(1));
        if migrate == Migrate::Activate {
            self.activations = self.activations.saturating_sub(1);
        }
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
