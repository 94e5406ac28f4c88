//! The command line: parse, build, wait for a signal, drain. Nothing else.

mod commands;
mod common;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use fairlead::app::App;
use fairlead::config::{self, Sources};
use fairlead::telemetry::logs;
use tracing::{error, info, warn};

use common::{EXIT_FAILED, stop_signal};

const NAME: &str = "fairlead";
/// A bad setting (`EX_USAGE`).
const EXIT_MISTAKES: u8 = config::check::EXIT_MISTAKES as u8;
/// Requests were cut at the end of the drain.
const EXIT_CUT: u8 = 3;

#[derive(Parser)]
#[command(version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Stand in front of Clouddriver and mirror its Kubernetes account changes
    Serve {
        /// A YAML file; later ones are laid over earlier ones (default: Spinnaker's usual places)
        #[arg(long, value_name = "FILE")]
        config: Vec<PathBuf>,
        /// Run with embedded defaults before a stand-in for Clouddriver, to play with
        #[arg(long, conflicts_with = "config")]
        demo: bool,
    },
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look for accounts by their names, now: `--dry-run` or `--once`
    Scan(commands::Scan),
    /// Compare the mirror with Clouddriver's accounts, and say which differ and how
    Drift(commands::Drift),
    /// Run the main job once on embedded defaults and show the mirror after each step
    Demo,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Parse everything, list all mistakes, and print what is in force with secrets hidden
    Check {
        /// A YAML file; later ones are laid over earlier ones (default: Spinnaker's usual places)
        #[arg(long, value_name = "FILE")]
        config: Vec<PathBuf>,
    },
}

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _crashes = fail::FailScenario::setup();
    match Cli::parse().command {
        Command::Serve { demo: true, .. } => with_runtime(demo::keep_running()),
        Command::Serve { config, demo: false } => serve(config),
        Command::Config(ConfigCommand::Check { config }) => {
            let code = config::check::run(&Sources::of_process(config), &mut std::io::stdout().lock()).unwrap_or(i32::from(EXIT_FAILED));
            ExitCode::from(u8::try_from(code).unwrap_or(EXIT_FAILED))
        }
        Command::Scan(scan) => scan.run(),
        Command::Drift(drift) => drift.run(),
        Command::Demo => with_runtime(demo::story()),
    }
}

/// The control runtime: two threads are enough beside the data plane's own.
fn with_runtime(work: impl Future<Output = ExitCode>) -> ExitCode {
    common::run(NAME, "control", work)
}

fn fail(code: u8, message: &str) -> ExitCode {
    common::fail(NAME, code, message)
}

fn serve(files: Vec<PathBuf>) -> ExitCode {
    let loaded = match config::load(&Sources::of_process(files)) {
        Ok(loaded) => loaded,
        Err(mistakes) => return fail(EXIT_MISTAKES, &format!("the configuration has mistakes; nothing was started\n{mistakes}")),
    };
    if let Err(e) = logs::init(&loaded.settings.logging) {
        return fail(EXIT_MISTAKES, &e.to_string());
    }
    logs::log_panics();
    for file in &loaded.files {
        info!(file = %file, "configuration read");
    }
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    with_runtime(async move {
        // Before the start, so that a signal during it is not lost.
        let stop = stop_signal();
        let app = match App::start(loaded.settings).await {
            Ok(app) => app,
            Err(e) => {
                error!("{e}");
                return fail(EXIT_FAILED, &e.to_string());
            }
        };
        stop.await;
        if app.drain().await { ExitCode::SUCCESS } else { ExitCode::from(EXIT_CUT) }
    })
}

/// The demonstration: a stand-in for Clouddriver, and the real Fairlead in front of it on embedded defaults.
mod demo {
    use std::path::PathBuf;

    use anyhow::Context as _;
    use base64::Engine as _;
    use fairlead::demo::{AgentProcess, Cluster, Options, Stage, StandIn, story};
    use fairlead::{config, telemetry::logs};

    use super::{App, EXIT_FAILED, ExitCode, fail, stop_signal};

    struct Playground {
        app: App,
        /// Serves for as long as it is held.
        _stand_in: StandIn,
        cluster: Cluster,
        /// The token that the cluster lets in.
        token: String,
        /// Prepared, not started; or why it cannot be.
        agent: std::io::Result<AgentProcess>,
        /// Holds the SQLite file; removed at the end.
        folder: PathBuf,
    }

    impl Playground {
        async fn start(port: u16, admin_port: u16, channel_port: u16, level: &str) -> anyhow::Result<Self> {
            let stand_in = StandIn::start(Options::default()).await.context("the stand-in for Clouddriver cannot listen")?;
            let token = ulid::Ulid::generate().to_string();
            let cluster = Cluster::start(&token).await.context("the stand-in for an API server cannot listen")?;
            let folder = std::env::temp_dir().join(format!("fairlead-demo-{}", ulid::Ulid::generate()));
            std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
            let mut key = [0_u8; 32];
            aws_lc_rs::rand::fill(&mut key).map_err(|_| anyhow::anyhow!("no randomness for a sealing key"))?;
            let yaml = format!(
                "server: {{ address: 127.0.0.1, port: {port} }}\n\
                 services.clouddriver.baseUrl: http://{}\n\
                 kubesvc: {{ grpc.server: {{ address: 127.0.0.1, port: {channel_port} }}, dynamicAccounts.orphanGraceSeconds: 2 }}\n\
                 fairlead:\n  admin: {{ address: 127.0.0.1, port: {admin_port} }}\n  sqlite.path: {}\n  \
                 seal.keys: [{{ id: demo, key: \"{}\" }}]\n  logging.level: {level}\n",
                stand_in.address(),
                folder.join("fairlead.db").display(),
                base64::engine::general_purpose::STANDARD.encode(key),
            );
            let loaded = config::load_text(&yaml, &[]).map_err(|mistakes| anyhow::anyhow!("{mistakes}"))?;
            logs::init(&loaded.settings.logging)?;
            let app = App::start(loaded.settings).await?;
            let channel = app.channel_addr().context("the agents' channel is off")?;
            let agent = AgentProcess::prepare(&folder, channel);
            Ok(Self { app, _stand_in: stand_in, cluster, token, agent, folder })
        }

        async fn end(self) {
            drop(self.agent);
            self.app.drain().await;
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }

    pub async fn story() -> ExitCode {
        // Port 0: a demonstration must not stand in anybody's way.
        let mut playground = match Playground::start(0, 0, 0, "error").await {
            Ok(p) => p,
            Err(e) => return fail(EXIT_FAILED, &format!("{e:#}")),
        };
        let told = tell(&mut playground).await;
        playground.end().await;
        told.map_or_else(|e| fail(EXIT_FAILED, &format!("{e:#}")), |()| ExitCode::SUCCESS)
    }

    async fn tell(playground: &mut Playground) -> anyhow::Result<()> {
        let (proxy, mut out) = (playground.app.proxy_addr(), std::io::stdout());
        story::run(proxy, &mut out).await?;
        let Playground { cluster, token, agent, .. } = playground;
        let agent = agent.as_mut().map_err(|e| anyhow::anyhow!("{e}"))?;
        Stage { proxy, cluster, token, agent }.run(&mut out).await?;
        Ok(story::end(&mut out)?)
    }

    pub async fn keep_running() -> ExitCode {
        let stop = stop_signal();
        let mut playground = match Playground::start(7002, 7003, 9091, "info").await {
            Ok(p) => p,
            Err(e) => return fail(EXIT_FAILED, &format!("{e:#}")),
        };
        let without = match &mut playground.agent {
            Ok(agent) => agent.start().err().map(|e| e.to_string()),
            Err(e) => Some(e.to_string()),
        };
        let (proxy, admin) = (playground.app.proxy_addr(), playground.app.admin_addr());
        let told =
            story::invite(proxy, admin, &playground.cluster.kubeconfig(&playground.token), without.as_deref(), &mut std::io::stdout());
        stop.await;
        playground.end().await;
        told.map_or_else(|e| fail(EXIT_FAILED, &e.to_string()), |()| ExitCode::SUCCESS)
    }
}
