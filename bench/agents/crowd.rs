//! All simulated agents of a part, on a runtime of their own.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use tokio::runtime::{Builder, Runtime};

use crate::agent::Agent;

/// What they share, and what they count.
pub struct Crowd {
    pub port: u16,
    pub tls: Arc<ClientConfig>,
    /// They start in so much time.
    pub spread: Duration,
    /// Connections that were begun, and those of them that came to the end of TLS.
    pub attempts: AtomicU64,
    pub handshakes: AtomicU64,
    /// Registrations that were told to come another time.
    pub refused: AtomicU64,
    /// Agents that are registered now.
    pub registered: AtomicI64,
    /// Accounts of operations that were answered.
    pub operations: AtomicU64,
    /// Who wants to know when an account's definition arrives.
    awaited: Mutex<HashMap<String, std::sync::mpsc::Sender<Instant>>>,
}

impl Crowd {
    /// An account's definition has reached its agent.
    pub fn arrived(&self, account: &str) {
        if let Some(tell) = self.awaited.lock().expect("no panic while it is held").remove(account) {
            let _ = tell.send(Instant::now());
        }
    }

    /// When the next definition of this account arrives, it is told.
    pub fn await_arrival(&self, account: &str) -> std::sync::mpsc::Receiver<Instant> {
        let (tell, told) = std::sync::mpsc::channel();
        self.awaited.lock().expect("no panic while it is held").insert(account.to_owned(), tell);
        told
    }
}

/// A crowd that lives; gone when it is dropped.
pub struct Running {
    pub crowd: Arc<Crowd>,
    pub size: usize,
    runtime: Option<Runtime>,
}

impl Running {
    /// Starts so many, each with its own connection, within `spread`.
    pub fn start(size: usize, port: u16, tls: &Arc<ClientConfig>, spread: Duration, threads: usize) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(threads).enable_all().build().expect("a runtime");
        let crowd = Arc::new(Crowd {
            port,
            tls: tls.clone(),
            spread,
            attempts: AtomicU64::new(0),
            handshakes: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            registered: AtomicI64::new(0),
            operations: AtomicU64::new(0),
            awaited: Mutex::default(),
        });
        for number in 0..size {
            runtime.spawn(Agent { number, crowd: crowd.clone(), accounts: BTreeMap::new() }.live());
        }
        Self { crowd, size, runtime: Some(runtime) }
    }

    pub fn registered(&self) -> usize {
        usize::try_from(self.crowd.registered.load(Relaxed)).unwrap_or(0)
    }

    /// Waits until all are registered; what they counted tells why not.
    pub fn all(&self, patience: Duration) {
        let began = Instant::now();
        while self.registered() < self.size {
            let crowd = &self.crowd;
            assert!(
                began.elapsed() < patience,
                "of {} agents {} are registered after {patience:?}: {} attempts, {} handshakes, {} refused",
                self.size,
                self.registered(),
                crowd.attempts.load(Relaxed),
                crowd.handshakes.load(Relaxed),
                crowd.refused.load(Relaxed)
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}
