//! `fairlead scan` and `fairlead drift`: exit codes, signals, and what is said on stderr.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use fairlead::app::command::{self, Ended, Format, Task};
use fairlead::config::{self, Logging, Sources};
use fairlead::telemetry::logs;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{EXIT_FAILED, EXIT_MISTAKES, fail, with_runtime};

/// It could not be done, or not be told.
const EXIT_UNCLEAR: u8 = 2;
/// Another replica scanned all the time (`EX_TEMPFAIL`).
const EXIT_HELD: u8 = 75;
/// As a process ends that writes to a pipe which nobody reads (128 + SIGPIPE).
const EXIT_UNREAD: u8 = 141;
/// How long a stop may take: a scan gives its turn back.
const FAREWELL: Duration = Duration::from_secs(3);

#[derive(Args)]
#[command(after_long_help = "\
Exit status: 0 done; 1 accounts failed, or would (they are named); 2 it could not be done, or not to the end; 64 a mistake in the
configuration; 75 another replica scanned all the time (--once); 130 or 143 stopped by a signal. `docs/scanner.md` has the format of the output.")]
pub struct Scan {
    /// A YAML file; later ones are laid over earlier ones (default: Spinnaker's usual places)
    #[arg(long, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// Say of each account what a scan would do, and why
    ///
    /// Nothing is written: a database user with SELECT is enough, and Fairlead need not have run before. Patterns count with `scan: false` too.
    #[arg(long, required_unless_present = "once", conflicts_with = "once")]
    dry_run: bool,
    /// Scan now, as a running replica does, with `scan: false` too
    ///
    /// Tables are made if they are not there. Accounts become TO_MIGRATE; it is the running replicas that hand them to agents. Nothing else of
    /// Fairlead runs meanwhile: no port is opened, no change passes, no agent can connect.
    #[arg(long)]
    once: bool,
    /// With --dry-run: also the accounts that no pattern takes and no scan would change
    #[arg(long, requires = "dry_run")]
    all: bool,
    /// With --once: how many seconds another replica's scan is waited for
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(0..=86_400), conflicts_with = "dry_run")]
    wait: u64,
    /// A table for people, or one JSON object in each line, the sums in the last one
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Args)]
#[command(after_long_help = "\
Exit status: 0 equal; 1 accounts differ (they are named); 2 it could not be told: a database or Clouddriver does not answer, or of some accounts
nothing can be said and no other differs; 64 a mistake in the configuration; 130 or 143 stopped by a signal. `docs/scanner.md` has the format of the output.")]
pub struct Drift {
    /// A YAML file; later ones are laid over earlier ones (default: Spinnaker's usual places)
    #[arg(long, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// A table for people, or one JSON object in each line, the sums in the last one
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Table,
    Json,
}

impl Scan {
    pub fn run(self) -> ExitCode {
        let task = if self.dry_run { Task::DryRun { all: self.all } } else { Task::Once { wait: Duration::from_secs(self.wait) } };
        run(self.config, task, self.output)
    }
}

impl Drift {
    pub fn run(self) -> ExitCode {
        run(self.config, Task::Drift, self.output)
    }
}

fn run(files: Vec<PathBuf>, task: Task, output: Output) -> ExitCode {
    let loaded = match config::load(&Sources::of_process(files)) {
        Ok(loaded) => loaded,
        Err(mistakes) => return fail(EXIT_MISTAKES, &format!("the configuration has mistakes; nothing was done\n{mistakes}")),
    };
    // What a running replica tells of its life is no warning to whoever waits for a command.
    let logging = Logging { level: "warn".to_owned(), ..loaded.settings.logging.clone() };
    if let Err(e) = logs::init(&logging) {
        return fail(EXIT_MISTAKES, &e.to_string());
    }
    logs::log_panics();
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    let format = match output {
        Output::Table => Format::Table,
        Output::Json => Format::Json,
    };
    with_runtime(async move {
        // Before the start, so that a signal during it is not lost.
        let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
        let (Ok(mut interrupt), Ok(mut terminate)) = signals else { return fail(EXIT_FAILED, "no signal can be heard") };
        let stop = CancellationToken::new();
        // A task of its own: a pipe that nobody empties holds it up, and must not hold up the signals.
        let mut work = tokio::spawn(command::run(loaded.settings, task, format, stop.clone()));
        let (name, code) = tokio::select! {
            ended = &mut work => return ended.map_or_else(|_| fail(EXIT_UNCLEAR, "a panic: this is a bug in Fairlead"), said),
            _ = interrupt.recv() => ("SIGINT", 130),
            _ = terminate.recv() => ("SIGTERM", 143),
        };
        stop.cancel();
        let _ = tokio::time::timeout(FAREWELL, work).await;
        let left = match task {
            Task::Once { .. } => "what was migrated stays, and the next scan does the rest",
            Task::DryRun { .. } | Task::Drift => "what was printed is not all",
        };
        fail(code, &format!("stopped by {name}: {left}"))
    })
}

fn said(ended: Ended) -> ExitCode {
    match ended {
        Ended::Well => ExitCode::SUCCESS,
        Ended::Found => ExitCode::from(EXIT_FAILED),
        Ended::Untold => ExitCode::from(EXIT_UNCLEAR),
        Ended::Unclear(why) => fail(EXIT_UNCLEAR, &why),
        Ended::Held => fail(EXIT_HELD, "another replica scans: nothing was done, or not to the end; try again later, or give --wait"),
        Ended::Refused(why) => fail(EXIT_MISTAKES, &why),
        Ended::Unread => ExitCode::from(EXIT_UNREAD),
        Ended::Stopped => fail(EXIT_UNCLEAR, "stopped"),
    }
}
