//! What a command needs of the scanner that a replica does not.

use std::time::Duration;

use super::{Metrics, Scanner};
use crate::store::scans;

/// For giving the turn back.
const FAREWELL: Duration = Duration::from_secs(2);

impl Scanner {
    /// Gives the turn back after [`Scanner::now`] was dropped half-way. Bounded; where it fails, the turn ends by itself.
    pub async fn give_back(&self) {
        let given = scans::end(self.engine.store().main(), &self.who, scans::Ended::BrokenOff);
        let _ = tokio::time::timeout(FAREWELL, given).await;
    }
}

impl Metrics {
    /// Rows that scans have read.
    pub fn rows_read(&self) -> u64 {
        self.rows.get()
    }
}
