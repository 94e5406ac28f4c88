//! Files that are read again when they change. What is in use stays in use until something usable takes its place.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::FileError;
use super::pem::{File, digest};

/// How often the files are looked at. By their content: a mounted Secret changes by a symbolic link, and times may lie.
const EVERY: Duration = Duration::from_secs(2);

/// What is made from files.
pub trait Files: Send + 'static {
    /// What is made.
    type Made: Send + Sync + 'static;
    /// The group of keys that names them, for the log.
    const KEYS: &'static str;

    #[doc(hidden)]
    fn read(&self) -> Result<Contents, FileError>;

    #[doc(hidden)]
    fn make(&self, contents: &Contents) -> Result<Self::Made, FileError>;
}

/// The files as they were read, in an order of the reader's.
pub struct Contents(pub(super) Vec<File>);

/// What was made last.
pub(super) type Latest<F> = watch::Receiver<Arc<<F as Files>::Made>>;

/// Looks after files: see the module's page.
pub struct Watched<F: Files> {
    files: F,
    seen: Arc<[u8]>,
    told: Option<String>,
    made: watch::Sender<Arc<F::Made>>,
}

impl<F: Files> Watched<F> {
    /// Reads them for the first time.
    ///
    /// # Errors
    /// The first of them that cannot be used.
    pub(super) fn open(files: F) -> Result<(Self, Latest<F>), FileError> {
        let contents = files.read()?;
        let (made, receiver) = watch::channel(Arc::new(files.make(&contents)?));
        Ok((Self { files, seen: digest(&contents.0), told: None, made }, receiver))
    }

    /// Looks at them again and again until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = stop.cancelled() => return,
            }
            // A file may lie on a disk that does not answer.
            let looked = tokio::task::spawn_blocking(move || {
                let _ = self.look();
                self
            });
            match looked.await {
                Ok(watched) => self = watched,
                Err(e) => return error!(error = %e, "{}: files are no longer looked at for changes", F::KEYS),
            }
        }
    }

    /// Looks at them once; true: they had changed, and new connections use them.
    ///
    /// # Errors
    /// The first that cannot be used; what was read before stays in use. The log has it too, once for each trouble.
    pub fn look(&mut self) -> Result<bool, FileError> {
        let read = self.files.read().and_then(|contents| {
            let digest = digest(&contents.0);
            let changed = digest != self.seen;
            Ok(if changed { Some((digest, self.files.make(&contents)?)) } else { None })
        });
        match &read {
            Ok(_) => self.told = None,
            Err(e) => self.tell(e.to_string()),
        }
        let Some((digest, made)) = read? else { return Ok(false) };
        self.made.send_replace(Arc::new(made));
        self.seen = digest;
        info!("{}: changed files were read; new connections use them", F::KEYS);
        Ok(true)
    }

    fn tell(&mut self, trouble: String) {
        if self.told.as_ref() != Some(&trouble) {
            warn!("{}: a file has changed and cannot be used, so what was read before stays in use: {trouble}", F::KEYS);
            self.told = Some(trouble);
        }
    }
}
