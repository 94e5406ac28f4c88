//! Rotation: what another key sealed, or none, is sealed with the first key.

use super::db::Result;
use super::{OpenError, Store, UnstorableError};

const PAGE: i64 = 100;

/// What one call did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Resealed {
    /// Rows that are sealed with the first key now.
    pub count: u32,
    /// Rows that could not be, by name; they stay as they are.
    pub failed: Vec<(String, ResealError)>,
    /// The whole table was looked through.
    pub finished: bool,
}

/// Why one row could not be sealed anew.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResealError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot be stored.
    #[error(transparent)]
    Store(#[from] UnstorableError),
}

impl Store {
    /// Seals at most `limit` rows anew with the first key; with no key it does nothing. Rows that change meanwhile are left to the next call.
    ///
    /// # Errors
    /// See [`super::Error`]; what was sealed until then stays sealed.
    ///
    /// Dropped half-way, the row under way is either as before or sealed anew.
    pub async fn reseal(&self, limit: u32) -> Result<Resealed> {
        let mut done = Resealed::default();
        let Some(key) = self.sealer().key_id() else {
            return Ok(Resealed { finished: true, ..done });
        };
        let shape = self.ready()?;
        let select = format!(
            "SELECT name, {}, {}, {}, {} FROM kubesvc_accounts
             WHERE name > ? AND (definition IS NOT NULL OR fl_overlay IS NOT NULL) AND (fl_key_id IS NULL OR fl_key_id <> ?) ORDER BY name LIMIT ?",
            shape.read("definition"),
            shape.read("fl_rev"),
            shape.read("fl_key_id"),
            shape.read("fl_overlay")
        );
        let update = format!(
            "UPDATE kubesvc_accounts SET {}, fl_rev = fl_rev + 1 WHERE name = ? AND fl_rev = ? AND COALESCE(fl_key_id, '') = ?",
            shape.assign(&["definition", "fl_overlay", "fl_key_id"])
        );
        let db = self.main();
        let mut after = String::new();
        while done.count < limit {
            let rows = db.fetch_dynamic(&select, crate::args![&after, key, PAGE]).await?;
            done.finished = rows.is_empty();
            if done.finished {
                break;
            }
            for row in &rows {
                let text = |i| row.text(i).map_err(|e| db.row_error(e));
                let (name, old) = (text(0)?.unwrap_or_default(), text(3)?.unwrap_or_default());
                let (stored, overlay) = (text(1)?, text(4)?);
                let rev = row.int(2).map_err(|e| db.row_error(e))?.unwrap_or(0);
                after.clone_from(&name);
                let sealed = stored.map(|text| self.reseal_definition(&name, &text)).transpose();
                match sealed.and_then(|d| Ok((d, overlay.map(|text| self.reseal_overlay(&name, &text)).transpose()?))) {
                    Ok((definition, overlay)) => {
                        let n = db.exec_dynamic(&update, crate::args![definition, overlay, key, &name, rev, old]).await?;
                        done.count += u32::from(n == 1);
                    }
                    Err(e) => done.failed.push((name, e)),
                }
                if done.count >= limit {
                    break;
                }
            }
        }
        Ok(done)
    }

    fn reseal_definition(&self, name: &str, text: &str) -> std::result::Result<String, ResealError> {
        Ok(self.seal_definition(name, &self.open_definition(name, text)?)?.text)
    }

    /// An overlay sealed with the first key.
    pub(super) fn reseal_overlay(&self, name: &str, text: &str) -> std::result::Result<String, ResealError> {
        Ok(self.seal_overlay(name, &self.open_overlay(name, text)?)?)
    }
}
