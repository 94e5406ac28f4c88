//! Steps at which a test ends the process, holds it, or lets it panic. Nothing without the feature `failpoints`, which nothing that is shipped
//! has.

#[cfg(feature = "failpoints")]
use std::path::Path;
#[cfg(feature = "failpoints")]
use std::time::Duration;

/// A step at which tests end the process (`FAILPOINTS=name=return`), hold it (`FAILPOINTS=name=return(FILE)`, see `meet`)
/// or let it panic (`FAILPOINTS=name=panic`). Nothing without the feature.
#[doc(hidden)]
#[macro_export]
macro_rules! crash_point {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        $crate::failpoint::meet($name)
    };
}

/// Ends the process, or with a file as the point's argument holds the thread; see [`hold`].
#[cfg(feature = "failpoints")]
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
#[cfg(feature = "failpoints")]
fn hold(file: &Path) {
    let held = file.with_extension("held");
    if std::fs::rename(file, &held).is_ok() {
        while held.exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
