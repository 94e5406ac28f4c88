//! `fairlead scan` and `fairlead drift`: the databases of `serve`, and nothing that listens.

use std::io::{self, BufWriter, Stdout};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::StartError;
use super::contact::ContactError;
use super::parts::Parts;
use crate::config::Settings;
pub use crate::inspect::Format;
use crate::inspect::{self, Drift, Progress, Screen, View};
use crate::mirror;
use crate::scan::{self, Report, Scanner};
use crate::store::{Store, Table};
use crate::telemetry::metrics::Metrics;

/// Between two tries to get the turn.
const TURN: Duration = Duration::from_millis(500);
/// Between two looks at how far a scan is.
const PROGRESS: Duration = Duration::from_millis(250);

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Say what a scan would do.
    DryRun {
        /// Also to accounts that are no business of its.
        all: bool,
    },
    /// Scan now.
    Once {
        /// How long another replica's scan is waited for.
        wait: Duration,
    },
    /// Compare the mirror with Clouddriver.
    Drift,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Well: no account failed, none differs.
    Well,
    /// Accounts failed, or differ.
    Found,
    /// It could not be done, or not to the end.
    Unclear(String),
    /// Of some accounts it cannot be told whether they differ; of the others none does.
    Untold,
    /// Another replica scanned all the time.
    Held,
    /// A setting stands against it.
    Refused(String),
    /// Nobody reads what is printed.
    Unread,
    /// It was told to stop.
    Stopped,
}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Contact(#[from] ContactError),
    #[error("the mirror: {0}")]
    Store(#[from] crate::store::Error),
    #[error("Clouddriver's accounts: {0}")]
    Source(#[from] crate::source::Error),
    #[error(transparent)]
    Inspect(#[from] inspect::Error),
    #[error(transparent)]
    Scan(#[from] scan::Error),
    #[error("the output: {0}")]
    Output(#[from] io::Error),
}

type Out = Screen<BufWriter<Stdout>>;

/// Does it, with results to stdout. `stop` ends it early; what was done until then stays.
pub async fn run(settings: Settings, task: Task, format: Format, stop: CancellationToken) -> Ended {
    let done = async {
        match task {
            Task::DryRun { all } => dry_run(&settings, all, format).await,
            Task::Once { wait } => once(&settings, wait, format, &stop).await,
            Task::Drift => drift(&settings, format).await,
        }
    };
    let done = tokio::select! {
        done = done => done,
        // A scan gives its turn back first.
        () = stop.cancelled(), if !matches!(task, Task::Once { .. }) => return Ended::Stopped,
    };
    match done {
        Ok(ended) => ended,
        Err(Failure::Output(e) | Failure::Inspect(inspect::Error::Output(e))) if e.kind() == io::ErrorKind::BrokenPipe => Ended::Unread,
        Err(Failure::Scan(scan::Error::Overtaken)) => Ended::Held,
        Err(e) => Ended::Unclear(e.to_string()),
    }
}

fn screen(format: Format, progress: Progress) -> Out {
    Screen::new(BufWriter::new(io::stdout()), format, progress)
}

/// Both sides, to look at.
async fn view(settings: &Settings) -> Result<(View, Progress), Failure> {
    let store = Store::open_to_look(&settings.database, settings.seal.as_ref()).map_err(StartError::from)?;
    let Parts { store, source, .. } = Parts::open(settings, store)?;
    source.check().await?;
    let mut progress = Progress::new(None);
    if progress.is_seen() {
        progress = Progress::new(source.estimate().await);
    }
    Ok((View::new(store, source).await?, progress))
}

async fn dry_run(settings: &Settings, all: bool, format: Format) -> Result<Ended, Failure> {
    let (view, progress) = view(settings).await?;
    let mut screen = screen(format, progress);
    let report = inspect::plan(&view, &settings.scan_on_demand, settings.max_deletes_per_pass, all, &mut screen).await?;
    let mut sentences = inspect::sentences(&report, true);
    let table = match view.tables().mirror {
        Table::There => "there",
        Table::Absent => {
            sentences.push("Fairlead's tables are not there yet: the first start makes them, and the mirror is empty".to_owned());
            "absent"
        }
        Table::Hidden => {
            sentences.push(hidden(settings) + ": it is taken for empty");
            "hidden"
        }
    };
    sentences.extend(off(settings));
    let mut sums = inspect::report("summary", &report);
    sums["mirror"] = table.into();
    sums["scanning"] = settings.scan.is_some().into();
    screen.end(&sums, &sentences)?;
    Ok(failed(&report))
}

fn hidden(settings: &Settings) -> String {
    format!(
        "{}: there is no kubesvc_accounts yet, or the database user may not read it (docs/database.md lists the grants)",
        settings.database.main.label
    )
}

/// Why nothing of this happens by itself.
fn off(settings: &Settings) -> Option<String> {
    const AT: &str = "kubesvc.dynamicAccounts";
    if settings.scan_on_demand.patterns.is_empty() {
        Some(format!("there are no patterns ({AT}.namePatterns): no account is taken by its name"))
    } else if !settings.dynamic_accounts_enabled {
        Some(format!("{AT}.enabled is false: nothing of this happens"))
    } else if settings.scan.is_none() {
        Some(format!("{AT}.scan is false: nothing of this happens by itself, only by fairlead scan --once"))
    } else {
        None
    }
}

const fn failed(report: &Report) -> Ended {
    if report.failed > 0 { Ended::Found } else { Ended::Well }
}

async fn once(settings: &Settings, wait: Duration, format: Format, stop: &CancellationToken) -> Result<Ended, Failure> {
    if !settings.dynamic_accounts_enabled {
        return Ok(Ended::Refused("kubesvc.dynamicAccounts.enabled is false: nothing is mirrored, so nothing is scanned".to_owned()));
    }
    let store = Store::open(&settings.database, settings.seal.as_ref()).map_err(StartError::from)?;
    let parts = Parts::open(settings, store)?;
    let until = Instant::now() + wait;
    let ready = async {
        for warning in parts.store.migrate().await.map_err(ContactError::from)?.warnings {
            warn!("{warning}");
        }
        parts.source.check().await?;
        Ok::<_, Failure>(())
    };
    tokio::select! {
        ready = ready => ready?,
        () = stop.cancelled() => return Ok(Ended::Stopped),
    }
    let mut metrics = Metrics::new();
    let engine = parts.engine(settings, metrics.register(mirror::Metrics::register), stop.child_token());
    let counts = metrics.register(scan::Metrics::register);
    let scanner = Scanner::new(engine, settings.scan_on_demand.clone(), settings.replica.lease, counts.clone(), stop.child_token());
    let mut progress = Progress::new(None);
    if progress.is_seen() {
        progress = Progress::new(parts.source.estimate().await);
    }
    let scanned = async {
        loop {
            if let Some(report) = scanner.now().await? {
                return Ok::<_, Failure>(Some(report));
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            tokio::time::sleep(TURN.min(until - Instant::now())).await;
        }
    };
    tokio::pin!(scanned);
    let report = loop {
        tokio::select! {
            report = &mut scanned => break report?,
            () = tokio::time::sleep(PROGRESS) => progress.show(counts.rows_read()),
            () = stop.cancelled() => {
                scanner.give_back().await;
                return Ok(Ended::Stopped);
            }
        }
    };
    progress.clear();
    let Some(report) = report else { return Ok(Ended::Held) };
    screen(format, Progress::unseen()).end(&inspect::report("report", &report), &inspect::sentences(&report, false))?;
    Ok(failed(&report))
}

async fn drift(settings: &Settings, format: Format) -> Result<Ended, Failure> {
    let (view, progress) = view(settings).await?;
    match view.tables().mirror {
        Table::There => {}
        Table::Absent => {
            let text = "there is no kubesvc_accounts yet: Fairlead has never run on this database";
            return Ok(Ended::Unclear(format!("{}: {text}", settings.database.main.label)));
        }
        Table::Hidden => return Ok(Ended::Unclear(hidden(settings))),
    }
    let mut screen = screen(format, progress);
    let drift = inspect::drift(&view, settings.scan.as_ref().map(|scan| &scan.patterns), &mut screen).await?;
    let sums: Value = drift.json();
    screen.end(&sums, &drift.sentences())?;
    Ok(match (drift.differences(), &drift) {
        (0, Drift { unknown: 0, .. }) => Ended::Well,
        (0, _) => Ended::Untold,
        _ => Ended::Found,
    })
}
