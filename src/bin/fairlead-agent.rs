//! The agent's command line: parse, build, wait for a signal, drain. Nothing else.

mod common;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use fairlead::agent::Agent;
use fairlead::config::agent::{self, Sources, Surroundings};
use fairlead::config::{Environment as _, ProcessEnvironment};
use fairlead::telemetry::logs;
use tracing::{error, info, warn};

use common::{EXIT_FAILED, stop_signal};

const NAME: &str = "fairlead-agent";
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
    common::run(NAME, "agent", async move {
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
    })
}

fn fail(code: u8, message: &str) -> ExitCode {
    common::fail(NAME, code, message)
}
