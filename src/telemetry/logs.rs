//! Logs: to stderr, as text for people or as one JSON object a line for machines.
//!
//! Levels, as used everywhere: `error` needs a person, `warn` will need one if it goes on, `info` is the life of the process and
//! what became of account changes, `debug` is for finding faults. No secret at any level: requests are credentials here.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Logging;

/// Why logs could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `fairlead.logging.level` is no level and no filter.
    #[error(
        "fairlead.logging.level: {source}; right would be a level (error, warn, info, debug, trace) or a list such as info,fairlead::mirror=debug"
    )]
    Level {
        /// The filter's words.
        source: ParseError,
    },
}

/// Starts the logs of this process. Where they are already started (a second call, a test), they stay as they are.
///
/// # Errors
/// [`Error::Level`], and then nothing is started.
pub fn init(logging: &Logging) -> Result<(), Error> {
    let filter = filter(&logging.level)?;
    let registry = tracing_subscriber::registry().with(filter);
    // An error here means that this process already logs, and that is all that is asked for.
    let _ = if logging.json {
        let layer = tracing_subscriber::fmt::layer().json().flatten_event(true).with_span_list(false).with_writer(std::io::stderr);
        registry.with(layer).try_init()
    } else {
        let layer = tracing_subscriber::fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
        registry.with(layer).try_init()
    };
    Ok(())
}

/// Sends panics to the log, with their place and thread but without their text: the text of a panic may quote what was being
/// read when it happened, and that may be a kubeconfig. `RUST_BACKTRACE` adds the way to the place.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let thread = std::thread::current();
        let backtrace = std::backtrace::Backtrace::capture();
        let backtrace = (backtrace.status() == std::backtrace::BacktraceStatus::Captured).then(|| backtrace.to_string());
        tracing::error!(place, thread = thread.name().unwrap_or("unnamed"), backtrace, "a panic: this is a bug in Fairlead");
    }));
}

fn filter(level: &str) -> Result<EnvFilter, Error> {
    EnvFilter::builder().parse(level).map_err(|source| Error::Level { source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_is_none_is_refused_with_its_key() {
        let said = filter("fairlead=loud").map(drop).unwrap_err().to_string();
        assert!(said.starts_with("fairlead.logging.level: "), "{said}");
        assert!(said.contains("info,fairlead::mirror=debug"), "{said}");
    }

    #[test]
    fn levels_and_lists_are_taken() {
        for level in ["info", "WARN", "info,fairlead::mirror=debug"] {
            filter(level).unwrap();
        }
    }
}
