//! The agent's command line: parse, build, wait for a signal, drain. Nothing else.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use fairlead::agent::Agent;
use fairlead::config::agent::{self, Sources, Surroundings};
use fairlead::config::{Environment as _, ProcessEnvironment};
use fairlead::telemetry::logs;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

/// A start that failed for another reason than its settings.
const EXIT_FAILED: u8 = 1;
/// A bad setting (`EX_USAGE`).
const EXIT_MISTAKES: u8 = 64;

/// Connects clusters to Fairlead: reaches them with the accounts that it is given, and says what it sees
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// A YAML file; later ones are laid over earlier ones (default: armory-agent.yml and armory-agent-local.yml in /opt/armory/config)
    #[arg(long, value_name = "FILE")]
    config: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let sources = Sources::new(Cli::parse().config, ProcessEnvironment.variables());
    let loaded = match agent::load(&sources) {
        Ok(loaded) => loaded,
        Err(mistakes) => return fail(EXIT_MISTAKES, &format!("the configuration has mistakes; nothing was started\n{mistakes}")),
    };
    if let Err(e) = logs::init(&loaded.settings.logging) {
        return fail(EXIT_MISTAKES, &e.to_string());
    }
    logs::log_panics();
    if loaded.files.is_empty() {
        info!(folder = %sources.folder.display(), "no configuration file is there: defaults are used");
    }
    for file in &loaded.files {
        info!(file = %file, "configuration read");
    }
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("agent").enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return fail(EXIT_FAILED, &format!("the runtime cannot be started: {e}")),
    };
    let code = runtime.block_on(async move {
        // Before the start, so that a signal during it is not lost.
        let stop = stop_signal();
        match Agent::start(sources, loaded, Surroundings::of(&ProcessEnvironment)).await {
            Ok(agent) => {
                stop.await;
                agent.drain().await;
                ExitCode::SUCCESS
            }
            Err(e) => {
                error!("{e}");
                fail(EXIT_FAILED, &e.to_string())
            }
        }
    });
    // A name resolution that hangs must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    code
}

fn fail(code: u8, message: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "fairlead-agent: {message}");
    ExitCode::from(code)
}

/// Ends at the first SIGTERM or SIGINT.
fn stop_signal() -> impl Future<Output = ()> {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async move {
        match signals {
            (Ok(mut terminate), Ok(mut interrupt)) => {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            }
            // Without signals there is no orderly end; running on is better than not running.
            _ => std::future::pending().await,
        }
    }
}
