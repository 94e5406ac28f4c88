//! Accounts by their names: those that a full scan looks at though no pattern takes them, and looking at some that are named.

use super::once::Course;
use super::{Error, Scanner, Turn};
use crate::source::{Names, Page, Poison, Reading, SortedNames};
use crate::store::{hand, heads};

/// Names of the mirror's, or notes, read at a time.
const PAGE: u32 = 2_000;
/// Definitions read at a time.
pub(super) const AT_ONCE: usize = 100;

impl Scanner {
    /// The names that are in the mirror, and those that users took out by hand: read once, when a scan begins, instead of asking for those of
    /// each page.
    ///
    /// What enters the mirror while the scan goes on is not among them. Its row in Clouddriver's table may then be passed over, and so nothing
    /// says at the end that the account is there: it is looked for by its name, compared, and is drift if Clouddriver does not have it
    /// ([`super::absent`]). What leaves the mirror is looked at for nothing.
    pub(super) async fn known(&self, turn: &mut Turn) -> Result<SortedNames, Error> {
        let (store, mut known) = (self.engine.store(), Names::default());
        let mut after = None::<String>;
        loop {
            self.keep(turn).await?;
            let page = heads::page(store, after.as_deref(), PAGE).await?;
            page.iter().for_each(|row| known.put(&row.name));
            match page.into_iter().next_back() {
                Some(last) => after = Some(last.name),
                None => break,
            }
        }
        let mut after = None::<String>;
        loop {
            self.keep(turn).await?;
            let page = hand::page(store, after.as_deref(), PAGE).await?;
            page.iter().for_each(|note| known.put(&note.name));
            match page.into_iter().next_back() {
                Some(last) => after = Some(last.name),
                None => return Ok(known.sorted()),
            }
        }
    }

    /// Reads these as they are now, and looks at them as at those of a page, in this order. Says how many of them there are.
    pub(super) async fn look_at_names(&self, names: &[&str], course: &mut Course, turn: &mut Turn) -> Result<usize, Error> {
        let (source, mut rows) = (self.engine.source(), 0);
        for some in names.chunks(AT_ONCE) {
            self.keep(turn).await?;
            let mut page = Page::default();
            for (name, reading) in some.iter().zip(source.read_all(some).await?) {
                match reading {
                    Some(reading) => rows += put(&mut page, name, reading),
                    // It may be large: what came before it goes first, and it goes before the next is read.
                    None => {
                        self.look_at(&std::mem::take(&mut page), course, turn).await?;
                        rows += put(&mut page, name, source.read(name).await?);
                        self.look_at(&std::mem::take(&mut page), course, turn).await?;
                    }
                }
            }
            self.look_at(&page, course, turn).await?;
        }
        Ok(rows)
    }
}

/// `1`: it is there.
fn put(page: &mut Page, name: &str, reading: Reading) -> usize {
    match reading {
        Reading::Present(row) => page.rows.push(row),
        Reading::Unknown(reason) => page.poison.push(Poison { id: name.to_owned(), reason }),
        Reading::Absent => return 0,
    }
    1
}
