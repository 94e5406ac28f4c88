//! Bodies larger than anybody could keep.

use std::io;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use fairlead::demo::{Options, StandIn};
use serde_json::json;
use tokio::net::TcpStream;

use super::origin::{GET, NEVER, Origin, Wire, before, header, until};
use crate::support::http::{self, Request};
use crate::support::process::Fairlead;

const MIB: u64 = 1 << 20;
/// What the process may hold more than before, whatever passes: some buffers, and the inspection limit for what is looked at.
const SPARE: u64 = 4 * MIB;
/// The same for a body that nobody looks at.
const SPARE_BLIND: u64 = 2 * MIB;

async fn connect(fairlead: &Fairlead) -> Wire {
    Wire::new(TcpStream::connect(("127.0.0.1", fairlead.setup.port)).await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gigabyte_for_a_slow_reader_waits_at_clouddriver_and_not_in_memory() {
    const LENGTH: u64 = 1 << 30;
    // Each mebibyte is made of one byte of its own, so that what is lost or comes twice shows.
    let piece = |at: u64| vec![(at / MIB) as u8; MIB as usize];
    let sent = Arc::new(AtomicU64::new(0));
    let count = sent.clone();
    let origin = Origin::start(move |mut wire| {
        let count = count.clone();
        async move {
            // The mirror asks too, and not for this.
            while !wire.head().await?.starts_with("GET /applications ") {
                wire.answer("404 ", "", b"").await?;
            }
            wire.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n").as_bytes()).await?;
            for at in (0..LENGTH).step_by(MIB as usize) {
                wire.write(&piece(at)).await?;
                count.fetch_add(MIB, SeqCst);
            }
            // The other end closes first.
            wire.head().await.map(drop)
        }
    })
    .await;
    let fairlead = Fairlead::start(before(origin.address, "slow-reader")).await;
    fairlead.forget_peak();
    let at_rest = fairlead.memory();

    let mut client = connect(&fairlead).await;
    client.write(GET).await.unwrap();
    let head = client.head().await.unwrap();
    assert_eq!(header(&head, "content-length"), Some("1073741824"), "{head}");
    // Nothing is read until the origin cannot write any more either.
    let mut last = (0, 0);
    while last.1 < 10 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = sent.load(SeqCst);
        last = if now == last.0 && now > 0 { (now, last.1 + 1) } else { (now, 0) };
    }
    assert!(last.0 < LENGTH / 2, "{} bytes were taken from the origin for a client that reads nothing", last.0);

    let mut got = 0;
    while got < LENGTH {
        let bytes = tokio::time::timeout(NEVER, client.some()).await.expect("bytes in time").unwrap();
        for (i, byte) in bytes.iter().enumerate().step_by(4096).chain(bytes.iter().enumerate().next_back()) {
            assert_eq!(*byte, ((got + i as u64) / MIB) as u8, "at {}", got + i as u64);
        }
        got += bytes.len() as u64;
    }
    assert_eq!(got, LENGTH);
    let more = fairlead.peak_memory().saturating_sub(at_rest);
    println!("1 GiB for a slow reader: {} KiB of memory more at the peak; the origin stood still after {} KiB", more >> 10, last.0 >> 10);
    assert!(more < SPARE_BLIND, "{more} bytes more than at rest");
}

/// A Clouddriver's account management that takes bodies of any size: what is too large for the stand-in is hashed as it comes and
/// stored as a small account, and every other call is the stand-in's. `answer`: headers and body of the answer to a POST.
async fn any_size(stand_in: StandIn, hashes: Arc<Mutex<Vec<Vec<u8>>>>, answer: Arc<(String, Vec<u8>)>) -> Origin {
    let to = stand_in.address().port();
    Origin::start(move |mut wire| {
        let (stand_in, hashes, answer) = (stand_in.clone(), hashes.clone(), answer.clone());
        async move {
            loop {
                let head = wire.head().await?;
                if !head.starts_with("POST ") {
                    let answer = http::call(to, &Request { exact: Some(head.clone().into_bytes()), ..Request::new("GET", "/") }).await?;
                    wire.answer(&format!("{} ", answer.status), "Content-Type: application/json\r\n", &answer.body).await?;
                    continue;
                }
                let hash = hashed_body(&mut wire, &head).await?;
                hashes.lock().unwrap().push(hash);
                let name = header(&head, "x-name").unwrap_or_default();
                stand_in.upsert(&json!({"type": "kubernetes", "name": name})).await.map_err(io::Error::other)?;
                wire.answer("200 ", &answer.0, &answer.1).await?;
            }
        }
    })
    .await
}

async fn hashed_body(wire: &mut Wire, head: &str) -> io::Result<Vec<u8>> {
    let mut hash = Context::new(&SHA256);
    if let Some(length) = header(head, "content-length") {
        let mut left: usize = length.parse().map_err(io::Error::other)?;
        while left > 0 {
            let bytes = wire.exactly(left.min(64 << 10)).await?;
            left -= bytes.len();
            hash.update(&bytes);
        }
    } else {
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                line.extend(wire.exactly(1).await?);
            }
            let size = String::from_utf8_lossy(&line);
            let size = usize::from_str_radix(size.split([';', '\r']).next().unwrap_or_default(), 16).map_err(io::Error::other)?;
            let bytes = wire.exactly(size + 2).await?;
            hash.update(&bytes[..size]);
            if size == 0 {
                break;
            }
        }
    }
    Ok(hash.finish().as_ref().to_vec())
}

async fn mirrored(fairlead: &Fairlead, name: &str) {
    let path = format!("/armory/accounts/{name}");
    until("the account is mirrored", || async { http::get(fairlead.setup.port, &path).await.is_ok_and(|answer| answer.status == 200) })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_far_beyond_the_inspection_limit_passes_byte_for_byte_and_is_mirrored() {
    let stand_in = StandIn::start(Options::default()).await.unwrap();
    let hashes = Arc::default();
    let origin = any_size(stand_in.clone(), Arc::clone(&hashes), Arc::default()).await;
    let fairlead = Fairlead::start(before(origin.address, "large")).await;
    fairlead.forget_peak();
    let at_rest = fairlead.memory();
    for (name, length, chunked) in [("two-hundred", 200 * MIB as usize, false), ("in-chunks", 50 * MIB as usize, true)] {
        let framing = if chunked { "Transfer-Encoding: chunked".to_owned() } else { format!("Content-Length: {length}") };
        let mut client = connect(&fairlead).await;
        let head =
            format!("POST /credentials HTTP/1.1\r\nHost: c\r\nContent-Type: application/json\r\nX-Name: {name}\r\n{framing}\r\n\r\n");
        client.write(head.as_bytes()).await.unwrap();
        let mut hash = Context::new(&SHA256);
        let (mut left, mut piece) = (length, Vec::new());
        while left > 0 {
            piece.clear();
            // No two pieces are equal.
            piece.extend_from_slice(left.to_string().as_bytes());
            piece.resize(left.min(100_000), b' ');
            hash.update(&piece);
            left -= piece.len();
            if chunked {
                piece.splice(..0, format!("{:x}\r\n", piece.len()).into_bytes());
                piece.extend_from_slice(b"\r\n");
            }
            client.write(&piece).await.unwrap();
        }
        if chunked {
            client.write(b"0\r\n\r\n").await.unwrap();
        }
        let answer = tokio::time::timeout(NEVER, client.head()).await.expect("an answer in time").unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(hashes.lock().unwrap().pop().as_deref(), Some(hash.finish().as_ref()), "other bytes than were sent");
        mirrored(&fairlead, name).await;
    }
    let more = fairlead.peak_memory().saturating_sub(at_rest);
    println!("changes of 200 MiB: {} KiB of memory more at the peak", more >> 10);
    assert!(more < SPARE, "{more} bytes more than at rest");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compressed_answer_that_would_burst_passes_as_it_is_and_the_change_is_mirrored() {
    // 896 MiB of blanks in less than the inspection limit: a coded text may consist of several.
    let one = Command::new("sh").args(["-c", "head -c 134217728 /dev/zero | tr '\\0' ' ' | gzip -9"]).output().expect("gzip").stdout;
    let bomb = one.repeat(7);
    assert!((500_000..1_000_000).contains(&bomb.len()), "{} bytes", bomb.len());
    let stand_in = StandIn::start(Options::default()).await.unwrap();
    let answer = ("Content-Type: application/json\r\nContent-Encoding: gzip\r\n".to_owned(), bomb.clone());
    let origin = any_size(stand_in.clone(), Arc::default(), Arc::new(answer)).await;
    let fairlead = Fairlead::start(before(origin.address, "bomb")).await;
    fairlead.forget_peak();
    let at_rest = fairlead.memory();
    // The second one's name is in its answer only, or so one might hope.
    for (name, body) in [("told", r#"{"type":"kubernetes","name":"told"}"#), ("untold", "no JSON")] {
        let request = Request::new("POST", "/credentials").header("X-Name", name).header("Accept-Encoding", "gzip");
        let answer = http::call(fairlead.setup.port, &request.json(body)).await.unwrap();
        assert_eq!((answer.status, answer.header("content-encoding")), (200, Some("gzip")));
        assert!(answer.body == bomb, "{} bytes came of {}", answer.body.len(), bomb.len());
        mirrored(&fairlead, name).await;
    }
    let more = fairlead.peak_memory().saturating_sub(at_rest);
    println!("a gzip bomb of {} KiB: {} KiB of memory more at the peak", bomb.len() >> 10, more >> 10);
    assert!(more < SPARE, "{more} bytes more than at rest");
}
