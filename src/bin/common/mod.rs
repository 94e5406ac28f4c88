//! What both programs do.

use std::io::Write as _;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

/// A start that failed for another reason than its settings.
pub const EXIT_FAILED: u8 = 1;

/// Says on stderr why the program ends, and with which code.
pub fn fail(program: &str, code: u8, message: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{program}: {message}");
    ExitCode::from(code)
}

/// Does the work on two threads of this name.
pub fn run(program: &str, threads: &str, work: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name(threads).enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(work);
            // A name resolution that hangs must not keep the process.
            runtime.shutdown_timeout(std::time::Duration::from_secs(1));
            code
        }
        Err(e) => fail(program, EXIT_FAILED, &format!("the runtime cannot be started: {e}")),
    }
}

/// Ends at the first SIGTERM or SIGINT.
pub fn stop_signal() -> impl Future<Output = ()> {
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
