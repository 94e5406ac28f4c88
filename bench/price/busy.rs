//! Sixty-four requests at a time: load that leaves as much of the CPUs as it can to the others.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::{JoinSet, LocalSet};

use crate::load::PATH;
use crate::proc::Cpu;
use crate::wire::{self, BODY};

const CONNECTIONS: usize = 64;

/// Connections are new in each slice, so that how the kernel happens to spread them differs from slice to slice.
const WARM_UP: Duration = Duration::from_millis(250);

/// What happened in a slice.
#[derive(Clone, Copy, Debug)]
pub struct Busy {
    pub requests: f64,
    pub seconds: f64,
    /// Seconds on a CPU: of the target, of the origin behind it, and of this process.
    pub target: f64,
    pub origin: f64,
    pub load: f64,
}

/// Keeps 64 requests in flight from one thread a core.
pub fn busy(port: u16, target: u32, origin: u32, cores: usize, slice: Duration) -> Busy {
    let answered: Vec<Arc<AtomicU64>> = (0..cores).map(|_| Arc::default()).collect();
    let stop = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores)
            .map(|i| {
                let (answered, stop) = (&answered[i], &stop);
                let connections = CONNECTIONS / cores + usize::from(i < CONNECTIONS % cores);
                scope.spawn(move || thread(port, connections, answered, stop))
            })
            .collect();
        let look = || {
            let cpu = [target, origin, std::process::id()].map(own);
            (Instant::now(), answered.iter().map(|n| n.load(Relaxed)).sum::<u64>(), cpu)
        };
        std::thread::sleep(WARM_UP);
        let (began, before, used) = look();
        std::thread::sleep(slice);
        let (ended, after, uses) = look();
        stop.store(true, Relaxed);
        for thread in threads {
            thread.join().expect("a load thread");
        }
        let cpu = |i: usize| uses[i].since(&used[i]).as_secs_f64();
        let seconds = (ended - began).as_secs_f64();
        Busy { requests: (after - before) as f64, seconds, target: cpu(0), origin: cpu(1), load: cpu(2) }
    })
}

/// This process has started all others, which are not its own cost.
fn own(pid: u32) -> Cpu {
    if pid == std::process::id() { Cpu::of(&[pid]) } else { Cpu::of_tree(pid) }
}

fn thread(port: u16, connections: usize, answered: &Arc<AtomicU64>, stop: &Arc<AtomicBool>) {
    let runtime = Builder::new_current_thread().enable_io().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let request: Rc<[u8]> = wire::get(port, PATH).into();
        let mut open = JoinSet::new();
        for _ in 0..connections {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap_or_else(|e| panic!("port {port}: {e}"));
            stream.set_nodelay(true).expect("a socket");
            let (request, answered, stop) = (request.clone(), answered.clone(), stop.clone());
            open.spawn_local(async move {
                let mut buffer = vec![0; 16 * 1024];
                while !stop.load(Relaxed) {
                    stream.write_all(&request).await.unwrap_or_else(|e| panic!("port {port}: {e}"));
                    read(&mut stream, &mut buffer).await;
                    answered.fetch_add(1, Relaxed);
                }
            });
        }
        while let Some(ended) = open.join_next().await {
            ended.expect("a connection");
        }
    });
}

async fn read(stream: &mut TcpStream, buffer: &mut [u8]) {
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..]).await {
            Ok(n) if n > 0 => filled += n,
            ended => panic!("an answer breaks off after {filled} bytes: {ended:?}"),
        }
        if let Some(head) = wire::head(&buffer[..filled]) {
            assert_eq!(head.length, BODY, "the length of a body");
            if filled == head.end + head.length {
                return;
            }
            assert!(filled < head.end + head.length, "more than was announced");
        }
    }
}
