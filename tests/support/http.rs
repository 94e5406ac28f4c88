//! A small HTTP/1.1 client that sends exactly the bytes it is given: a library would repair what the tests want broken.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The longest a test waits for one answer. Clouddriver waits 50 s for a row's lock.
pub const PATIENCE: Duration = Duration::from_secs(70);

/// One answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    /// In the order they came, names as they came.
    pub headers: Vec<(String, String)>,
    /// After chunked coding is undone.
    pub body: Vec<u8>,
    /// The server closes the connection after it.
    pub closes: bool,
}

impl Answer {
    /// The first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null where it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// A kept connection.
pub struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    /// Connects to a local port.
    pub async fn open(port: u16) -> io::Result<Self> {
        let connect = TcpStream::connect(("127.0.0.1", port));
        let stream = tokio::time::timeout(Duration::from_secs(5), connect).await.map_err(|_| timed_out("connect"))??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::new() })
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Says that nothing more will be sent.
    pub async fn end_sending(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// Reads one answer (to a `HEAD` it has no body whatever its headers say). `1xx` answers are skipped.
    pub async fn answer(&mut self, method: &str) -> io::Result<Answer> {
        tokio::time::timeout(PATIENCE, self.answer_unbounded(method)).await.map_err(|_| timed_out("answer"))?
    }

    /// A request and its answer.
    pub async fn call(&mut self, request: &Request) -> io::Result<Answer> {
        // Servers answer bad requests early and close; then a failed write says less than the answer that is there.
        let sent = self.send(&request.bytes()).await;
        match self.answer(&request.method).await {
            Ok(a) => Ok(a),
            Err(e) => Err(sent.err().unwrap_or(e)),
        }
    }

    async fn answer_unbounded(&mut self, method: &str) -> io::Result<Answer> {
        loop {
            let head_end = loop {
                if let Some(i) = find(&self.read, b"\r\n\r\n") {
                    break i;
                }
                self.more().await?;
            };
            let head = String::from_utf8_lossy(&self.read[..head_end]).into_owned();
            self.read.drain(..head_end + 4);
            let mut lines = head.split("\r\n");
            let status_line = lines.next().unwrap_or_default();
            let status = status_line.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(|| bad(status_line))?;
            let headers: Vec<_> =
                lines.filter_map(|l| l.split_once(':')).map(|(n, v)| (n.trim().to_owned(), v.trim().to_owned())).collect();
            let mut answer = Answer { status, headers, ..Answer::default() };
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            answer.closes =
                answer.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close")) || status_line.starts_with("HTTP/1.0");
            let chunked = answer.header("transfer-encoding").is_some_and(|v| v.to_ascii_lowercase().contains("chunked"));
            let length = answer.header("content-length").and_then(|v| v.parse::<usize>().ok());
            if method == "HEAD" || status == 204 || status == 304 || status == 101 {
                return Ok(answer);
            }
            if chunked {
                answer.body = self.chunks().await?;
            } else if let Some(length) = length {
                answer.body = self.exactly(length).await?;
            } else {
                answer.closes = true;
                while self.more().await.is_ok() {}
                answer.body = std::mem::take(&mut self.read);
            }
            return Ok(answer);
        }
    }

    async fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16).map_err(|_| bad(&line))?;
            if size == 0 {
                while !self.line().await?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.exactly(size).await?);
            self.line().await?;
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(i) = find(&self.read, b"\r\n") {
                let line = String::from_utf8_lossy(&self.read[..i]).into_owned();
                self.read.drain(..i + 2);
                return Ok(line);
            }
            self.more().await?;
        }
    }

    async fn exactly(&mut self, n: usize) -> io::Result<Vec<u8>> {
        while self.read.len() < n {
            self.more().await?;
        }
        Ok(self.read.drain(..n).collect())
    }

    async fn more(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        let n = self.stream.read(&mut buffer).await?;
        if n == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed before the answer's end"));
        }
        self.read.extend_from_slice(&buffer[..n]);
        Ok(())
    }
}

/// A request in parts, each sent as it stands.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: Vec<u8>,
    /// Without `Host` and `Content-Length`, which are added unless [`Request::exact`] is used.
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
    /// The whole request, where the parts cannot say it.
    pub exact: Option<Vec<u8>>,
}

impl Request {
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.to_owned(), target: target.as_bytes().to_vec(), headers: Vec::new(), body: None, exact: None }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A body with the media type that Gate sends.
    pub fn json(self, body: impl Into<Vec<u8>>) -> Self {
        self.body("application/json; charset=UTF-8", body)
    }

    pub fn body(mut self, media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self.header("Content-Type", media_type)
    }

    /// The bytes on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        if let Some(exact) = &self.exact {
            return exact.clone();
        }
        let mut out = self.method.clone().into_bytes();
        out.push(b' ');
        out.extend_from_slice(&self.target);
        out.extend_from_slice(b" HTTP/1.1\r\n");
        if !self.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("host")) {
            out.extend_from_slice(b"Host: spin-clouddriver:7002\r\n");
        }
        for (name, value) in &self.headers {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        let framed =
            self.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("transfer-encoding") || n.eq_ignore_ascii_case("content-length"));
        if let Some(body) = &self.body {
            if !framed {
                out.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
            }
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(body);
        } else {
            out.extend_from_slice(b"\r\n");
        }
        out
    }
}

/// One request on a connection of its own.
pub async fn call(port: u16, request: &Request) -> io::Result<Answer> {
    Connection::open(port).await?.call(request).await
}

/// `GET` on a connection of its own.
pub async fn get(port: u16, target: &str) -> io::Result<Answer> {
    call(port, &Request::new("GET", target)).await
}

/// The length of the first message, once all of it is there. Read as strictly as can be: what is odd never ends.
pub fn whole(bytes: &[u8]) -> Option<usize> {
    let line = |from: usize| bytes[from..].windows(2).position(|w| w == b"\r\n").map(|n| (&bytes[from..from + n], from + n + 2));
    let (mut length, mut chunked) = (0, false);
    let (_, mut at) = line(0)?;
    loop {
        let (header, next) = line(at)?;
        at = next;
        if header.is_empty() {
            break;
        }
        let header = String::from_utf8_lossy(header).to_ascii_lowercase();
        if let Some((name, value)) = header.split_once(':') {
            match name {
                // `parse` would take a sign.
                "content-length" => length = value.trim().parse().ok().filter(|_| !value.contains('+'))?,
                "transfer-encoding" => chunked = value.trim() == "chunked",
                _ => {}
            }
        }
    }
    if !chunked {
        return (bytes.len() >= at + length).then_some(at + length);
    }
    loop {
        let (size, next) = line(at)?;
        let size = std::str::from_utf8(size).ok()?.split(';').next()?;
        let size = usize::from_str_radix(size, 16).ok().filter(|_| size.bytes().all(|b| b.is_ascii_hexdigit()))?;
        if size == 0 {
            at = next;
            break;
        }
        at = next.checked_add(size)?.checked_add(2)?;
        if bytes.get(at - 2..at)? != b"\r\n" {
            return None;
        }
    }
    loop {
        let (trailer, next) = line(at)?;
        at = next;
        if trailer.is_empty() {
            return Some(at);
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP/1: {what:?}"))
}

fn timed_out(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no {what} in time"))
}
