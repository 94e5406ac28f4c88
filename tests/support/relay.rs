//! A TCP relay that can fail: it stands between Fairlead and its database, or between Fairlead and Clouddriver.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::wire::Wire;

/// What the relay does with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Passes them on.
    Pass,
    /// Takes connections and closes them at once, and closes those it has: a server that was stopped.
    Refuse,
    /// Holds all bytes back until the mode changes: a server that hangs, or a network that swallows packets.
    Stall,
    /// Passes each piece on after this time: a slow server.
    Slow(Duration),
    /// Passes what the client sends; when the server answers, the connection is cut and the answer is gone.
    LoseAnswers,
    /// As [`Mode::LoseAnswers`], but only after the client sent a `COMMIT`: the server does it, the client never hears.
    LoseCommits,
}

/// A relay to one address. It ends when it is dropped.
pub struct Relay {
    pub port: u16,
    mode: watch::Sender<Mode>,
    /// How often all connections were cut.
    cuts: watch::Sender<u32>,
    /// How many answers were lost.
    lost: Arc<AtomicU32>,
    /// The statement whose next answer is lost, and the mode after that.
    next: Arc<Mutex<Option<(&'static str, Mode)>>>,
    target: Arc<Mutex<(String, u16)>>,
    task: tokio::task::JoinHandle<()>,
}

impl Relay {
    /// Listens on a free port and passes on to `host:port`.
    pub async fn start(host: &str, port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let own = listener.local_addr().expect("an address").port();
        let (mode, seen) = watch::channel(Mode::Pass);
        let cuts = watch::Sender::new(0);
        let cutter = cuts.clone();
        let lost = Arc::new(AtomicU32::new(0));
        let next = Arc::new(Mutex::new(None));
        let target = Arc::new(Mutex::new((host.to_owned(), port)));
        let (to, counter) = (target.clone(), lost.clone());
        let losses = Losses { next: next.clone(), mode: mode.clone() };
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                while connections.try_join_next().is_some() {}
                let to = to.lock().expect("no panic while it is held").clone();
                let mut cut = cutter.subscribe();
                let passing = connection(client, to, seen.clone(), counter.clone(), losses.clone());
                connections.spawn(async move {
                    tokio::select! {
                        () = passing => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { port: own, mode, cuts, lost, next, target, task }
    }

    /// Changes the mode for live connections and new ones.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Leads new connections to another port, as a name that is given to another server; cut the others by [`Relay::cut`].
    pub fn lead_to(&self, port: u16) {
        self.target.lock().expect("no panic while it is held").1 = port;
    }

    /// Cuts all live connections; new ones pass.
    pub fn cut(&self) {
        self.cuts.send_modify(|n| *n += 1);
    }

    /// Before a database: once a statement that begins so was carried out, its answer and the connection are lost, and then `then`
    /// is the mode. Only the next one.
    pub fn lose_next(&self, statement: &'static str, then: Mode) {
        *self.next.lock().expect("no panic while it is held") = Some((statement, then));
    }

    /// How many answers were lost so far.
    pub fn lost(&self) -> u32 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What [`Relay::lose_next`] has asked for.
#[derive(Clone)]
struct Losses {
    next: Arc<Mutex<Option<(&'static str, Mode)>>>,
    mode: watch::Sender<Mode>,
}

impl Losses {
    /// Whether the answer to this statement is the one.
    fn has(&self, statement: Option<&str>) -> bool {
        let mut next = self.next.lock().expect("no panic while it is held");
        let Some((_, then)) = next.filter(|(begins, _)| statement.is_some_and(|s| s.starts_with(begins))) else { return false };
        *next = None;
        self.mode.send_replace(then);
        true
    }
}

async fn connection(client: TcpStream, target: (String, u16), mut mode: watch::Receiver<Mode>, lost: Arc<AtomicU32>, losses: Losses) {
    if *mode.borrow_and_update() == Mode::Refuse {
        return;
    }
    let Ok(server) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut client_in, mut client_out) = client.into_split();
    let (mut server_in, mut server_out) = server.into_split();
    let mut refused = mode.clone();
    let (up_mode, down_mode) = (mode.clone(), mode);
    let committing = AtomicBool::new(false);
    let wire = Mutex::new(Wire::default());
    let wire = || wire.lock().expect("no panic while it is held");
    tokio::select! {
        _ = async {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(n) = client_in.read(&mut buffer).await {
                if n == 0 { break; }
                hold(up_mode.clone()).await;
                wire().client_says(&buffer[..n]);
                committing.store(*up_mode.borrow() == Mode::LoseCommits && says_commit(&buffer[..n]), Ordering::SeqCst);
                if server_out.write_all(&buffer[..n]).await.is_err() { break; }
            }
            // A half-closed client may still read its answer.
            let _ = server_out.shutdown().await;
            std::future::pending::<()>().await;
        } => {}
        () = async {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(n) = server_in.read(&mut buffer).await {
                if n == 0 { break; }
                let now = *down_mode.borrow();
                // PostgreSQL's driver prepares its COMMIT once; then only the answer says the word.
                let commits = committing.load(Ordering::SeqCst) || (now == Mode::LoseCommits && says_commit(&buffer[..n]));
                wire().server_says(&buffer[..n]);
                let chosen = losses.has(wire().under_way.as_deref());
                if now == Mode::LoseAnswers || commits || chosen {
                    lost.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                hold(down_mode.clone()).await;
                if client_out.write_all(&buffer[..n]).await.is_err() { break; }
            }
        } => {}
        _ = refused.wait_for(|m| *m == Mode::Refuse) => {}
    }
}

async fn hold(mut mode: watch::Receiver<Mode>) {
    let now = *mode.borrow();
    if let Mode::Slow(time) = now {
        tokio::time::sleep(time).await;
    }
    let _ = mode.wait_for(|m| *m != Mode::Stall).await;
}

/// Both databases' protocols send the statement as text between bytes that are no letters. (`SET autocommit` is another.)
fn says_commit(bytes: &[u8]) -> bool {
    let letter = |i: Option<usize>| i.and_then(|i| bytes.get(i)).is_some_and(u8::is_ascii_alphanumeric);
    bytes.windows(6).enumerate().any(|(i, w)| w.eq_ignore_ascii_case(b"commit") && !letter(i.checked_sub(1)) && !letter(Some(i + 6)))
}
