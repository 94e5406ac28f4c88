//! What serving and the commands put together in the same way.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::StartError;
use crate::config::{Settings, SourceConfig};
use crate::mirror::{self, Engine};
use crate::source::Source;
use crate::store::Store;
use crate::tls::Watched;
use crate::tls::upstream::{Connector, Files};

/// Both databases. Nothing is connected yet.
pub(super) struct Parts {
    pub(super) store: Store,
    pub(super) source: Source,
    /// How Clouddriver is spoken to.
    pub(super) upstream_tls: Option<Connector>,
    /// Its files, for whoever lives long enough to see them change.
    pub(super) watched: Option<Watched<Files>>,
}

impl Parts {
    pub(super) fn open(settings: &Settings, store: Store) -> Result<Self, StartError> {
        let clouddriver = &settings.clouddriver;
        let (upstream_tls, watched) = clouddriver.tls.clone().map(|files| Connector::open(files, &clouddriver.host)).transpose()?.unzip();
        let source = Source::open(&settings.database.source, store.main(), clouddriver, upstream_tls.clone());
        Ok(Self { store, source, upstream_tls, watched })
    }

    /// The mirror on them, with none of its background tasks running.
    pub(super) fn engine(&self, settings: &Settings, metrics: mirror::Metrics, stop: CancellationToken) -> Arc<Engine> {
        Engine::new(
            self.store.clone(),
            self.source.clone(),
            matches!(settings.database.source, SourceConfig::SameDatabase),
            settings.interceptor.clone(),
            settings.max_deletes_per_pass,
            settings.replica.clone(),
            metrics,
            tokio::runtime::Handle::current(),
            stop,
        )
    }
}
