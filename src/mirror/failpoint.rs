//! What happens at a crash point that is switched on: the process ends there, or its thread stands still.

use std::path::Path;
use std::time::Duration;

/// Ends the process, or with a file as the point's argument holds the thread; see [`hold`].
pub fn meet(name: &str) {
    fail::eval(name, |file| match file {
        None => std::process::abort(),
        Some(file) => hold(Path::new(&file)),
    });
}

/// Stands still where the file is there: renames it to `FILE.held`, so that a test sees who stands where, and goes on once that is
/// gone. One thread for each time that a test has made the file.
// The thread is meant to stop: the test stops the whole process next.
#[allow(clippy::disallowed_methods)]
fn hold(file: &Path) {
    let held = file.with_extension("held");
    if std::fs::rename(file, &held).is_ok() {
        while held.exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
