//! The agent's place. It is not built yet, and says so.

use std::process::ExitCode;

#[allow(clippy::print_stderr)]
fn main() -> ExitCode {
    eprintln!("fairlead-agent is not built yet: this version mirrors accounts and connects no agents");
    ExitCode::from(69)
}
