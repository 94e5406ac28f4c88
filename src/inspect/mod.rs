//! Looking without touching: what a scan would do ([`plan`]), and where the mirror and Clouddriver differ ([`drift`]).
//!
//! Everything here reads, page by page, and holds a page at a time; nothing is locked, and no table is made. What is found goes to a
//! [`Screen`] as it is found. The rules are the scanner's own ([`crate::scan::judge`]), so what a dry run says is what a scan does.

mod compare;
mod drift;
mod plan;
mod screen;
mod text;
mod view;

pub use drift::{Drift, drift};
pub use plan::plan;
pub use screen::{Format, Progress, Record, Screen, report, sentences};
pub use view::View;

/// Why looking broke off: what was told until then is true, and not all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Our own database.
    #[error("the mirror: {0}")]
    Store(#[from] crate::store::Error),
    /// Clouddriver's accounts.
    #[error("Clouddriver's accounts: {0}")]
    Source(#[from] crate::source::Error),
    /// What was found cannot be told to anybody.
    #[error("the output: {0}")]
    Output(#[from] std::io::Error),
}
