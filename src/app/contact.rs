//! First contact with the databases: what cannot become right by waiting ends the start, the rest is waited for.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::StartError;
use super::observe::Observer;
use crate::mirror::Engine;
use crate::source::{self, Source};
use crate::store::{self, Store};

/// Between tries to reach the database at start.
const CONTACT_RETRY: Duration = Duration::from_secs(1);

/// What it takes.
pub(super) struct Contact {
    pub(super) store: Store,
    pub(super) source: Source,
    pub(super) engine: Arc<Engine>,
    pub(super) observer: Observer,
    /// The interceptor is on. Off, the mirror is only looked at: no epoch, no passes.
    pub(super) mirroring: bool,
}

/// Why the databases cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ContactError {
    #[error(transparent)]
    Migrate(#[from] store::MigrateError),
    #[error(transparent)]
    Source(#[from] source::Error),
    #[error(transparent)]
    Register(#[from] store::Error),
}

impl ContactError {
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Migrate(e) => e.is_transient(),
            Self::Source(e) => e.is_transient(),
            Self::Register(e) => e.is_transient(),
        }
    }

    pub(super) fn into_start_error(self) -> StartError {
        match self {
            Self::Migrate(e) => e.into(),
            Self::Source(e) => e.into(),
            Self::Register(e) => store::MigrateError::from(e).into(),
        }
    }
}

impl Contact {
    /// Tables, epoch, background tasks, in this order.
    async fn contact(&self) -> Result<(), ContactError> {
        let report = self.store.migrate().await?;
        for warning in &report.warnings {
            warn!("{warning}");
        }
        match self.source.check().await {
            Ok(found) => info!(mode = found.mode, place = found.place, server = found.server, "Clouddriver's accounts can be read"),
            // Clouddriver may be on its way up, and its table with it.
            Err(e) if e.is_transient() => warn!(error = %e, "Clouddriver's accounts cannot be read yet"),
            Err(e) => return Err(e.into()),
        }
        if self.mirroring {
            self.engine.register_now().await?;
            self.engine.start();
        }
        self.observer.database_is_up();
        Ok(())
    }

    /// Tries until it succeeds or the process ends; the first try's result is told.
    pub(super) async fn keep_trying(self, first: oneshot::Sender<Result<(), ContactError>>, stop: CancellationToken) {
        let mut first = Some(first);
        loop {
            let result = tokio::select! {
                result = self.contact() => result,
                () = stop.cancelled() => return,
            };
            let done = result.is_ok();
            match (first.take(), result) {
                (Some(first), result) => drop(first.send(result)),
                (None, Ok(())) => info!("the database answers"),
                (None, Err(e)) if e.is_transient() => warn!(error = %e, "the database does not answer yet"),
                (None, Err(e)) => error!(error = %e, "the database cannot be used as it is: an operator has to look at it"),
            }
            if done {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(CONTACT_RETRY) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}
