//! An origin that keeps what it reads, and answers as the path asks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::http::whole;

/// Answers by their number: `/answer/3` gets the third. What has no length ends with its connection.
pub const ANSWERS: &[(&str, &str)] = &[
    ("plain", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("no reason", "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok"),
    ("its own reason", "HTTP/1.1 404 Nicht da\r\nContent-Length: 0\r\n\r\n"),
    ("an unknown status", "HTTP/1.1 299 Odd\r\nContent-Length: 0\r\n\r\n"),
    ("names in their own letters", "HTTP/1.1 200 OK\r\nx-lower: 1\r\nX-UPPER: 2\r\nX-miXed: 3\r\nContent-LENGTH: 0\r\n\r\n"),
    ("equal names", "HTTP/1.1 200 OK\r\nVary: Origin\r\nVary: Accept\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n"),
    ("empty and blank values", "HTTP/1.1 200 OK\r\nX-A:\r\nX-B: a\tb\r\nContent-Length: 0\r\n\r\n"),
    ("Latin letters", "HTTP/1.1 200 OK\r\nX-A: \u{e9}\r\nContent-Length: 0\r\n\r\n"),
    ("Spinnaker's", "HTTP/1.1 200 \r\nX-SPINNAKER-REQUEST-ID: q\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"),
    ("a date and a server", "HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 00:00:00 GMT\r\nServer: x\r\nContent-Length: 0\r\n\r\n"),
    ("chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;e=1\r\n!\r\n0\r\n\r\n"),
    ("chunks and trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"),
    ("until the end", "HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\nhello"),
    ("no content", "HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n"),
    ("not modified", "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nContent-Length: 77\r\n\r\n"),
    ("a way elsewhere", "HTTP/1.1 302 Found\r\nLocation: http://clouddriver:7002/x\r\nContent-Length: 0\r\n\r\n"),
    ("who are you", "HTTP/1.1 401 \r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n"),
    ("a part", "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/9\r\nContent-Length: 2\r\n\r\nok"),
    ("coded, or not", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x02x"),
    ("come later", "HTTP/1.1 503 \r\nRetry-After: 7\r\nX-Accel-Redirect: /x\r\nContent-Length: 2\r\n\r\nno"),
    ("hints before", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("its last", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"),
    ("its hop's own", "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=9\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nContent-Length: 0\r\n\r\n"),
    ("both lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"),
    ("no HTTP", "SSH-2.0-OpenSSH_9.2\r\n\r\n"),
];

/// By the number of the connection.
type Log = Arc<Mutex<BTreeMap<usize, Vec<u8>>>>;

/// See the module's page.
pub struct Scripted {
    pub port: u16,
    seen: Log,
    task: tokio::task::JoinHandle<()>,
}

impl Scripted {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let seen = Log::default();
        let log = seen.clone();
        let task = tokio::spawn(async move {
            for number in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                tokio::spawn(serve(stream, number, log.clone()));
            }
        });
        Self { port, seen, task }
    }

    /// What it has read since it was asked last.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.seen.lock().expect("no panic while it is held")).into_values().flatten().collect()
    }

    /// Every request that it has read, as it takes them.
    pub fn requests(&self) -> Vec<Vec<u8>> {
        let seen = self.seen.lock().expect("no panic while it is held");
        let mut requests = Vec::new();
        for mut rest in seen.values().map(Vec::as_slice) {
            while let Some(length) = whole(rest) {
                requests.push(rest[..length].to_vec());
                rest = &rest[length..];
            }
        }
        requests
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, number: usize, log: Log) {
    let (mut open, mut chunk) = (Vec::new(), vec![0; 16 * 1024]);
    while let Ok(n @ 1..) = stream.read(&mut chunk).await {
        log.lock().expect("no panic while it is held").entry(number).or_default().extend_from_slice(&chunk[..n]);
        open.extend_from_slice(&chunk[..n]);
        while let Some(length) = whole(&open) {
            let request: Vec<u8> = open.drain(..length).collect();
            let text = String::from_utf8_lossy(&request);
            let number = text.split("/answer/").nth(1).and_then(|rest| rest.split([' ', '?']).next()?.parse::<usize>().ok());
            let answer = ANSWERS[number.unwrap_or(0)].1;
            let (head, body) = answer.rsplit_once("\r\n\r\n").unwrap_or((answer, ""));
            let answer =
                if text.starts_with("HEAD ") && !answer.contains("chunked") { format!("{head}\r\n\r\n") } else { answer.to_owned() };
            // Latin letters are one byte each.
            let bytes: Vec<u8> = answer.chars().map(|c| u8::try_from(c).expect("Latin-1")).collect();
            let ends = !answer.contains("Content-L") && !answer.contains("chunked") && !answer.contains(" 204 ");
            if stream.write_all(&bytes).await.is_err() || ends || body.starts_with("SSH") || answer.contains("Connection: close") {
                return;
            }
        }
    }
}
