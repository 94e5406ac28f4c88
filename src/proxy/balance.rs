//! Few long connections, spread evenly: the kernel chooses a thread's listener by a hash, and two busy clients may well meet on one.
//!
//! A connection stays on the thread that accepted it unless another has fewer; then it is handed over, once, before it is served.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// Connections on their way to a thread.
const QUEUE: usize = 256;

struct Thread {
    load: AtomicUsize,
    door: mpsc::Sender<std::net::TcpStream>,
}

/// One thread's view of all.
pub(super) struct Seat {
    threads: Arc<[Thread]>,
    own: usize,
    door: mpsc::Receiver<std::net::TcpStream>,
}

/// A connection that counts for a thread. Dropped, it does not any more.
pub(super) struct Taken(Arc<[Thread]>, usize);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0[self.1].load.fetch_sub(1, Relaxed);
    }
}

/// A seat for each thread.
pub(super) fn seats(count: usize) -> Vec<Seat> {
    let (threads, doors): (Vec<_>, Vec<_>) = (0..count)
        .map(|_| {
            let (door, receiver) = mpsc::channel(QUEUE);
            (Thread { load: AtomicUsize::new(0), door }, receiver)
        })
        .unzip();
    let threads: Arc<[Thread]> = threads.into();
    doors.into_iter().enumerate().map(|(own, door)| Seat { threads: threads.clone(), own, door }).collect()
}

impl Seat {
    /// Gives the connection to a thread that has fewer, or back.
    pub(super) fn hand_over(&self, stream: TcpStream) -> Option<TcpStream> {
        let own = self.threads[self.own].load.load(Relaxed);
        let (least, load) = self.threads.iter().map(|t| t.load.load(Relaxed)).enumerate().min_by_key(|(_, load)| *load)?;
        if load >= own {
            return Some(stream);
        }
        let Ok(permit) = self.threads[least].door.try_reserve() else { return Some(stream) };
        // Counted here already, so that the next one sees it.
        match stream.into_std() {
            Ok(stream) => {
                self.threads[least].load.fetch_add(1, Relaxed);
                permit.send(stream);
            }
            Err(error) => tracing::debug!(%error, "a connection ended before it began"),
        }
        None
    }

    /// Counts a connection for this thread.
    pub(super) fn take(&self) -> Taken {
        self.threads[self.own].load.fetch_add(1, Relaxed);
        self.taken()
    }

    /// One that was handed over and is counted already.
    pub(super) fn taken(&self) -> Taken {
        Taken(self.threads.clone(), self.own)
    }

    /// The next connection that another thread hands over. Dropping the wait loses none.
    pub(super) async fn handed_over(&mut self) -> Option<std::net::TcpStream> {
        self.door.recv().await
    }

    /// No more; what was on its way.
    pub(super) fn close(&mut self) -> Vec<std::net::TcpStream> {
        self.door.close();
        std::iter::from_fn(|| self.door.try_recv().ok()).collect()
    }
}
