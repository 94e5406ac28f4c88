//! Other people's tools against the listener. They are not part of `make test`: `make slowhttptest` and `make h2spec` install them.

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use tokio::process::Command;

use super::origin::{NEVER, Origin, before, header, until};
use crate::support::certificates::{Ca, Folder};
use crate::support::http;
use crate::support::process::Fairlead;

/// More than a slow reader takes, and no more than the kernel can keep for a thousand of them: what they were sent and have not read lies
/// there, and when that is full, the kernel slows down everybody.
const MUCH: usize = 128 << 10;

/// Reads a request to its end, and then has much to say.
async fn talkative() -> Origin {
    Origin::start(|mut wire| async move {
        let body = "x".repeat(MUCH);
        loop {
            let head = wire.head().await?;
            let length = header(&head, "content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
            wire.exactly(length).await?;
            wire.answer("200 OK", "", body.as_bytes()).await?;
        }
    })
    .await
}

/// Runs a tool to its end and returns what it printed.
async fn run(program: &str, words: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null()).kill_on_drop(true);
    let out = command.output().await.unwrap_or_else(|e| panic!("{program}: {e}"));
    String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs slowhttptest, and a minute (make slowhttptest)"]
async fn slowhttptest_in_its_three_modes_starves_nobody_else() {
    let origin = talkative().await;
    // The least rate is above that of the attacks, and no client of theirs ever stands still for so long.
    let limits = "fairlead.proxy: { headerTimeout: 5s, stallTimeout: 5s, minRate: 200B }";
    let fairlead = Fairlead::start(before(origin.address, "slowhttptest").with(limits)).await;
    let port = fairlead.setup.port;
    let url = format!("http://127.0.0.1:{port}/applications");
    for (mode, words) in [
        ("slow headers", "-H -i 2 -x 24 -t GET"),
        ("slow body", "-B -i 2 -x 24 -s 8192 -t POST"),
        ("slow read", "-X -i 2 -w 512 -y 1024 -n 5 -z 32 -k 1 -t GET"),
    ] {
        let (over, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (done, count) = (over.clone(), served.clone());
        let others = tokio::spawn(async move {
            while !done.load(SeqCst) {
                let answer = http::get(port, "/normal").await.expect("an answer");
                assert_eq!((answer.status, answer.body.len()), (200, MUCH));
                count.fetch_add(1, SeqCst);
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        });
        let at_rest = fairlead.memory();
        fairlead.forget_peak();
        let words: Vec<&str> = words.split(' ').chain(["-c", "1000", "-r", "200", "-l", "20", "-p", "3", "-u", &url]).collect();
        let said = run("slowhttptest", &words).await;
        over.store(true, SeqCst);
        others.await.expect("every other client is served");
        let more = fairlead.peak_memory().saturating_sub(at_rest) >> 10;
        until("every connection of the attack is gone", || async { fairlead.metric("fairlead_proxy_connections").await < Some(5.0) }).await;
        let available = said.lines().rfind(|l| l.contains("service available")).unwrap_or(&said).to_owned();
        println!(
            "slowhttptest, {mode}: {} requests of others served, {more} KiB of memory more, {}",
            served.load(SeqCst),
            available.trim()
        );
        assert!(available.contains("YES"), "{said}");
        assert!(served.load(SeqCst) > 50);
        let given_up = fairlead.metric("fairlead_proxy_clients_given_up_total").await.expect("it is counted");
        println!("slowhttptest, {mode}: {given_up} clients given up for their pace so far");
        if mode == "slow body" {
            assert!(given_up >= 900.0, "only {given_up} of a thousand that dribble were given up");
        }
    }
}

/// What a listener without TLS has to do otherwise, since it speaks HTTP/1 too: bytes that are no preface of HTTP/2 are a bad request
/// of HTTP/1, and are answered 400 in its words before the connection is closed.
const FAILS_WITHOUT_TLS: [&str; 1] = ["2: Sends invalid connection preface"];

/// What h2spec finds wrong.
async fn h2spec(fairlead: &Fairlead, tls: &[&str]) -> Vec<String> {
    let port = fairlead.setup.port.to_string();
    let words = [&["--strict", "--host", "127.0.0.1", "--port", &port, "--timeout", "5"], tls].concat();
    let said = tokio::time::timeout(10 * NEVER, run("h2spec", &words)).await.expect("an end");
    let (_, failures) = said.split_once("Failures:").unwrap_or((&said, ""));
    println!("{failures}\n{}: {}", tls.join(" "), said.lines().rfind(|l| l.contains(" passed, ")).unwrap_or(&said));
    failures.lines().filter_map(|l| l.trim().strip_prefix("× ")).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs h2spec (make h2spec)"]
async fn h2spec_finds_nothing_but_that_the_listener_without_tls_speaks_http_1_too() {
    let origin = Origin::saying((Ipv4Addr::LOCALHOST, 0).into(), "ok").await;
    let plain = Fairlead::start(before(origin.address, "h2spec")).await;
    assert_eq!(h2spec(&plain, &[]).await, FAILS_WITHOUT_TLS);

    let (files, pair) = (Folder::new(), Ca::new().issue());
    let (certificate, key) = (files.write("tls.crt", &pair.certificate), files.write("tls.key", &pair.key));
    let yaml = format!("server.ssl: {{ certificate: {}, certificatePrivateKey: {} }}", certificate.display(), key.display());
    let secret = Fairlead::start(before(origin.address, "h2spec-tls").with(&yaml)).await;
    assert_eq!(h2spec(&secret, &["--tls", "--insecure"]).await, Vec::<String>::new());
}
