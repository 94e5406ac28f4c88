//! The configuration is read again when its files change: by their content, for a mounted ConfigMap changes by a symbolic link.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::accounts::Keeper;
use super::metrics::{self, Metrics};
use crate::config::agent::{Loaded, Settings, Sources, load};

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(2);

/// Looks after the files.
pub(super) struct Reload {
    pub(super) sources: Sources,
    /// What was read last, good or not.
    pub(super) seen: [u8; 32],
    pub(super) settings: watch::Sender<Arc<Settings>>,
    pub(super) keeper: Keeper,
    pub(super) metrics: Metrics,
}

impl Reload {
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = stop.cancelled() => return,
            }
            let (sources, settings) = (self.sources.clone(), self.settings.borrow().clone());
            let seen = self.seen;
            let looked = tokio::task::spawn_blocking(move || {
                let digest = sources.digest();
                let loaded = (digest != seen).then(|| load(&sources).map(with_digests));
                // A kubeconfig that an account names may have changed alone.
                let mut accounts = settings.accounts.clone();
                accounts.iter_mut().for_each(digest_of);
                (digest, loaded, (accounts != settings.accounts).then(|| Settings { accounts, ..Settings::clone(&settings) }))
            });
            match looked.await {
                Err(e) => return error!(error = %e, "the configuration is no longer looked at for changes"),
                Ok((digest, loaded, changed)) => {
                    self.seen = digest;
                    match loaded {
                        Some(Ok(loaded)) => self.take(loaded),
                        Some(Err(mistakes)) => {
                            self.metrics.reloads.get_or_create(&metrics::Result { result: "refused" }).inc();
                            warn!("the configuration has changed and cannot be used, so what was read before stays in force: {mistakes}");
                        }
                        None => {
                            if let Some(settings) = changed {
                                info!("a kubeconfig of a static account has changed");
                                self.put(settings);
                            }
                        }
                    }
                }
            }
        }
    }

    fn take(&self, loaded: Loaded) {
        self.metrics.reloads.get_or_create(&metrics::Result { result: "taken" }).inc();
        info!("the configuration has changed and was read again");
        for warning in &loaded.warnings {
            warn!("{warning}");
        }
        let before = self.settings.borrow().clone();
        let after = &loaded.settings;
        for (changed, keys) in [
            (before.server != after.server, "server.*"),
            (before.prometheus != after.prometheus, "prometheus.*"),
            (before.logging != after.logging, "logging.*"),
            (before.kubernetes.max_concurrent_connects != after.kubernetes.max_concurrent_connects, "kubernetes.maxConcurrentConnects"),
        ] {
            if changed {
                warn!("{keys} has changed, and counts from the agent's next start");
            }
        }
        self.put(loaded.settings);
    }

    fn put(&self, settings: Settings) {
        let settings = Arc::new(settings);
        self.settings.send_replace(Arc::clone(&settings));
        self.keeper.set_static(&settings.accounts);
    }
}

/// With the digests of the kubeconfigs that static accounts name. Reads files.
pub(super) fn with_digests(mut loaded: Loaded) -> Loaded {
    loaded.settings.accounts.iter_mut().for_each(digest_of);
    loaded
}

fn digest_of(account: &mut crate::config::agent::StaticAccount) {
    account.file_digest = account.kubeconfig_file.as_ref().and_then(|file| {
        let text = crate::config::agent::read_text(file, 1 << 20).ok()?;
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()).as_ref().try_into().ok()
    });
}
