//! The task of one account: reaches its cluster, and looks now and then whether it still lets us in.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::keeper::Inner;
use super::reach::Way;
use super::table::{First, Standing};
use crate::agent::cluster::{Definition, Facts};
use crate::agent::failure::{Failure, Reason};

/// One account's task.
pub(super) struct Tended {
    pub(super) inner: Arc<Inner>,
    pub(super) serial: u64,
    pub(super) definition: Arc<Definition>,
    pub(super) stop: CancellationToken,
    /// By then the first attempt is to have ended.
    pub(super) deadline: Option<Instant>,
}

impl Tended {
    /// Runs until the account is let go of, or could not be had in the first place.
    pub(super) async fn run(self, first: watch::Sender<First>) {
        let stop = self.stop.clone();
        tokio::select! {
            // What is under way is dropped, and its connections with it.
            () = stop.cancelled() => {}
            () = self.tend(first) => {}
        }
    }

    async fn tend(&self, first: watch::Sender<First>) {
        let mut way = match self.reach(self.deadline).await {
            Ok((way, facts)) => {
                let facts = self.reached(facts);
                first.send_replace(Some(Ok(facts)));
                Some(way)
            }
            Err(failure) => {
                let stays = self.failed_at_first(&failure);
                first.send_replace(Some(Err(failure)));
                if !stays {
                    return;
                }
                None
            }
        };
        loop {
            let pause = jittered(self.inner.settings.borrow().kubernetes.check_every);
            tokio::time::sleep(pause).await;
            let looked = match &way {
                Some(open) => self.look(&**open).await.map(|again| again.map(|facts| (None, facts))),
                None => self.reach(None).await.map(|(open, facts)| Some((Some(open), facts))),
            };
            match looked {
                Ok(None) => {}
                Ok(Some((open, facts))) => {
                    self.reached(facts);
                    way = open.or(way);
                }
                Err(failure) => {
                    way = None;
                    self.failed(failure);
                }
            }
        }
    }

    /// Sees that the credentials are accepted, with the retries that the settings give; learns anew where the version has changed.
    async fn look(&self, way: &dyn Way) -> Result<Option<Facts>, Failure> {
        let mut attempt = 0;
        let version = loop {
            match way.check().await {
                Ok(version) => break version,
                Err(failure) => {
                    let (retries, pause) = {
                        let settings = self.inner.settings.borrow();
                        (settings.kubernetes.retries, settings.kubernetes.retry_pause)
                    };
                    if attempt >= retries {
                        return Err(failure);
                    }
                    attempt += 1;
                    tokio::time::sleep(pause).await;
                }
            }
        };
        let known = {
            let mut table = self.inner.table();
            table.same(&self.definition.account.name, self.serial).and_then(|e| e.facts.clone())
        };
        if known.is_some_and(|k| k.version == version) { Ok(None) } else { way.learn().await.map(Some) }
    }

    /// Reaches the cluster, when its turn has come. An attempt that could not end by the deadline any more is not begun.
    async fn reach(&self, deadline: Option<Instant>) -> Result<(Box<dyn Way>, Facts), Failure> {
        let limit = self.inner.settings.borrow().kubernetes.connect_timeout;
        let by = deadline.map(|d| d.checked_sub(limit).filter(|by| *by > Instant::now()).unwrap_or(d));
        let Some(place) = self.inner.places.turn(by).await else {
            let text = "its turn did not come in time, and nothing was tried: too many clusters are slow to answer for \
                        kubernetes.maxConcurrentConnects";
            return Err(Failure::new(Reason::Busy, text));
        };
        let attempt = async {
            let way = self.inner.reach.open(Arc::clone(&self.definition)).await?;
            let facts = way.learn().await?;
            Ok((way, facts))
        };
        self.inner.places.spend(place, attempt).await
    }

    fn reached(&self, facts: Facts) -> Arc<Facts> {
        let name = &self.definition.account.name;
        let mut table = self.inner.table();
        let was_connecting = table.told_connecting.contains(name);
        let Some(entry) = table.same(name, self.serial) else { return Arc::new(facts) };
        // The first success of a dynamic account is told by its outcome; all else is news.
        let news = entry.standing != Standing::Connecting || !self.definition.dynamic || was_connecting;
        let unchanged = entry.standing == Standing::Reached && entry.facts.as_deref() == Some(&facts);
        if entry.standing != Standing::Reached {
            info!(account = %name, host = facts.host, version = facts.version, "cluster reached");
        }
        let facts = Arc::new(facts);
        entry.standing = Standing::Reached;
        entry.facts = Some(Arc::clone(&facts));
        if news && !unchanged {
            self.inner.changed(&mut table, name);
        }
        self.inner.count(&table);
        facts
    }

    /// The first attempt has failed. A static account stays; one that came from Fairlead goes, and its outcome says why.
    fn failed_at_first(&self, failure: &Failure) -> bool {
        let name = &self.definition.account.name;
        if !self.definition.dynamic {
            self.failed(failure.clone());
            return true;
        }
        warn!(account = %name, "cluster not reached: {}", failure.message);
        let mut table = self.inner.table();
        let mut told = table.told_connecting.remove(name);
        if let Some(entry) = table.same(name, self.serial) {
            told |= entry.replaces;
            table.let_go(name);
        }
        self.inner.count(&table);
        drop(table);
        if told {
            self.inner.unlisted();
        }
        false
    }

    fn failed(&self, failure: Failure) {
        let name = &self.definition.account.name;
        let mut table = self.inner.table();
        let Some(entry) = table.same(name, self.serial) else { return };
        let standing = Standing::Failed(failure);
        if entry.standing == standing {
            return;
        }
        if let Standing::Failed(failure) = &standing {
            warn!(account = %name, "its cluster does not let the agent in: {}", failure.message);
        }
        entry.standing = standing;
        self.inner.changed(&mut table, name);
        self.inner.count(&table);
    }
}

/// Four to six fifths.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.8 + 0.4 * fastrand::f64())
}
