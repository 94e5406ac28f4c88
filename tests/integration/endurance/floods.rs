//! HTTP/2 connections that keep a server busy with nothing. Each flood ends in one of two ways: the connection is closed, or what
//! it costs is bounded. Other clients are served meanwhile, on other connections, and see nothing of it.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::frames::{CONTINUATION, END_STREAM, Flood, H2, HEADERS, PING, RST_STREAM, SETTINGS, frame, get, request};
use super::origin::{Origin, before, until};
use crate::support::http;
use crate::support::process::Fairlead;

/// Bytes that the process may hold more while it is flooded. Each flood sends more than that.
const SPARE: u64 = 3 << 20;
/// Bytes that one write of a flood has, about.
const PIECE: usize = 32 << 10;

struct Flooded {
    _origin: Origin,
    fairlead: Fairlead,
    at_rest: u64,
    over: Arc<AtomicBool>,
    others: JoinHandle<u64>,
}

impl Flooded {
    async fn start(what: &str) -> Self {
        let origin = Origin::saying((Ipv4Addr::LOCALHOST, 0).into(), "ok").await;
        let fairlead = Fairlead::start(before(origin.address, what)).await;
        let port = fairlead.setup.port;
        // Without this, a listener that speaks no HTTP/2 would pass.
        assert_eq!(H2::connect(port).await.get(1, "/before").await, b"ok");
        fairlead.forget_peak();
        let (at_rest, over) = (fairlead.memory(), Arc::new(AtomicBool::new(false)));
        let (done, served) = (over.clone(), AtomicU64::new(0));
        let others = tokio::spawn(async move {
            while !done.load(SeqCst) || served.load(SeqCst) < 10 {
                assert_eq!(http::get(port, "/other").await.expect("an answer").text(), "ok");
                assert_eq!(H2::connect(port).await.get(1, "/other").await, b"ok");
                served.fetch_add(2, SeqCst);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            served.into_inner()
        });
        Self { _origin: origin, fairlead, at_rest, over, others }
    }

    async fn connection(&self) -> H2 {
        H2::connect(self.fairlead.setup.port).await
    }

    /// What has to be true after any flood, once its connection is dropped.
    async fn end(mut self, what: &str, flood: Flood, code: Option<u32>) {
        self.over.store(true, SeqCst);
        let served = self.others.await.expect("every other client is served");
        until("the connection is gone", || async { self.fairlead.metric("fairlead_proxy_connections").await < Some(5.0) }).await;
        assert!(!self.fairlead.has_ended(), "it ended: {}", self.fairlead.log_tail());
        assert_eq!(http::get(self.fairlead.setup.port, "/after").await.unwrap().text(), "ok");
        let more = self.fairlead.peak_memory().saturating_sub(self.at_rest);
        let code = code.map_or_else(|| "no GOAWAY".to_owned(), |c| format!("GOAWAY {c}"));
        println!("{what}: {flood:?}, {code}; {} KiB of memory more at the peak; {served} requests of others served", more >> 10);
        assert!(more < SPARE, "{more} bytes more than at rest");
    }
}

/// Many small frames as few writes.
fn pieces(frames: impl Iterator<Item = Vec<u8>>) -> impl Iterator<Item = Vec<u8>> {
    let mut frames = frames.peekable();
    std::iter::from_fn(move || {
        frames.peek()?;
        let mut piece = Vec::with_capacity(2 * PIECE);
        while piece.len() < PIECE
            && let Some(frame) = frames.next()
        {
            piece.extend(frame);
        }
        Some(piece)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_reset_as_soon_as_they_are_opened_end_their_own_connection_at_most() {
    let flooded = Flooded::start("rapid-reset").await;
    let H2 { read, mut write } = flooded.connection().await;
    let read = tokio::spawn(read.until_the_end());
    let resets = (0..100_000_u32).map(|i| [request(2 * i + 1, "/reset"), frame(RST_STREAM, 0, 2 * i + 1, &8_u32.to_be_bytes())].concat());
    let flood = write.flood(pieces(resets)).await;
    drop(write);
    let code = read.await.unwrap();
    flooded.end("rapid reset", flood, code).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_never_ends_is_not_collected() {
    let flooded = Flooded::start("continuation").await;
    let H2 { read, mut write } = flooded.connection().await;
    let read = tokio::spawn(read.until_the_end());
    // A field of its own in each, which no table keeps: `x: yyyy…`.
    let field = [&[0x00, 1, b'x', 0x7F, 0xFB, 0x7E][..], &[b'y'; 16_384 - 6]].concat();
    let head = std::iter::once(frame(HEADERS, END_STREAM, 1, &get("/endless")));
    let flood = write.flood(head.chain((0..16_384).map(|_| frame(CONTINUATION, 0, 1, &field)))).await;
    assert_eq!(flood, Flood::Closed, "256 MiB of one head");
    drop(write);
    let code = read.await.unwrap();
    flooded.end("CONTINUATION", flood, code).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_continuations_without_end_are_not_followed_for_ever() {
    let flooded = Flooded::start("empty-continuation").await;
    let H2 { read, mut write } = flooded.connection().await;
    let read = tokio::spawn(read.until_the_end());
    let head = std::iter::once(frame(HEADERS, END_STREAM, 1, &get("/endless")));
    let flood = write.flood(pieces(head.chain((0..1_000_000).map(|_| frame(CONTINUATION, 0, 1, &[]))))).await;
    drop(write);
    let code = read.await.unwrap();
    flooded.end("empty CONTINUATION", flood, code).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_whose_answers_nobody_reads_do_not_pile_up() {
    let flooded = Flooded::start("ping").await;
    let H2 { read, mut write } = flooded.connection().await;
    let flood = write.flood(pieces((0..2_000_000_u64).map(|i| frame(PING, 0, 0, &i.to_be_bytes())))).await;
    drop((read, write));
    flooded.end("PING, unread", flood, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_whose_acknowledgements_nobody_reads_do_not_pile_up() {
    let flooded = Flooded::start("settings").await;
    let H2 { read, mut write } = flooded.connection().await;
    // SETTINGS_INITIAL_WINDOW_SIZE, another one each time.
    let change = |i: u32| frame(SETTINGS, 0, 0, &[&4_u16.to_be_bytes()[..], &(i % 60_000).to_be_bytes()].concat());
    let flood = write.flood(pieces((0..2_000_000).map(change))).await;
    drop((read, write));
    flooded.end("SETTINGS, unread", flood, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_and_settings_whose_answers_are_read_cost_nobody_else() {
    let flooded = Flooded::start("ping-read").await;
    let H2 { read, mut write } = flooded.connection().await;
    let read = tokio::spawn(read.until_the_end());
    let both = |i: u32| [frame(PING, 0, 0, &u64::from(i).to_be_bytes()), frame(SETTINGS, 0, 0, &[])].concat();
    let flood = write.flood(pieces((0..200_000).map(both))).await;
    drop(write);
    let code = read.await.unwrap();
    flooded.end("PING and SETTINGS, read", flood, code).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_streams_than_are_allowed_are_refused_and_not_queued() {
    let flooded = Flooded::start("streams").await;
    let H2 { read, mut write } = flooded.connection().await;
    // Their bodies never come, so that none of them ends.
    let open = |i: u32| frame(HEADERS, 4, 2 * i + 1, &[&[0x83, 0x86, 0x84, 0x01, 1][..], b"c"].concat());
    let flood = write.flood(pieces((0..400_000).map(open))).await;
    drop((read, write));
    flooded.end("streams without end", flood, None).await;
}
