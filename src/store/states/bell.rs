//! A bell: whoever changed a row rings it, so that the dispatch loop looks sooner than its next poll would.
//!
//! It carries nothing. What there is to do stands in the rows (`fl_due`), so a ring that is lost costs time only, and many rings before
//! a look are one.

use std::sync::Arc;

use tokio::sync::Notify;

/// The loop's bell. Clones ring the same one.
#[derive(Clone, Debug, Default)]
pub struct Bell(Arc<Notify>);

impl Bell {
    /// Asks for a look soon.
    pub fn ring(&self) {
        self.0.notify_one();
    }

    /// Waits for a ring since the last wait. One waiter.
    pub async fn rung(&self) {
        self.0.notified().await;
    }
}
