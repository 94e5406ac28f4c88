//! Requests as Gate sends them, and as much of an answer as has to be understood to know where it ends.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// The body of the origin's usual answer.
pub const BODY: usize = 1024;

/// Longer than anything here takes; a wait that ends by it is a fault.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is read or written at once.
pub const CHUNK: usize = 256 * 1024;

/// The same twelve headers, in the same order, as a Gate sends.
pub fn get(port: u16, path: &str) -> Vec<u8> {
    request("GET", port, path, "")
}

/// The head of a request with a body of that length.
pub fn post(port: u16, length: usize) -> Vec<u8> {
    let more = format!("Content-Type: application/json; charset=UTF-8\r\nContent-Length: {length}\r\n");
    request("POST", port, "/applications/x/upload", &more)
}

fn request(method: &str, port: u16, path: &str, more: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\n\
         X-SPINNAKER-USER-ORIGIN: deck\r\n\
         X-SPINNAKER-USER: somebody@example.com\r\n\
         X-SPINNAKER-APPLICATION: x\r\n\
         X-SPINNAKER-REQUEST-ID: 2f1d6c7e-2b43-4a5d-9f0e-6b1c1a4d7e55\r\n\
         X-SPINNAKER-ACCOUNTS: account-01,account-02,account-03\r\n\
         {more}Host: 127.0.0.1:{port}\r\n\
         Connection: Keep-Alive\r\n\
         Accept-Encoding: gzip\r\n\
         User-Agent: okhttp/4.9.3\r\n\
         X-B3-TraceId: 463ac35c9f6413ad48485a3953bb6124\r\n\
         X-B3-SpanId: a2fb4a1d1a96d312\r\n\
         X-B3-Sampled: 1\r\n\r\n"
    )
    .into_bytes()
}

/// What the head of an answer says.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Bytes of the head, the empty line included.
    pub end: usize,
    /// Bytes of the body.
    pub length: usize,
}

/// The head, once all of it is there. Anything but a 200 with a length ends the bench.
pub fn head(read: &[u8]) -> Option<Head> {
    let end = read.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let head = &read[..end];
    assert!(head.starts_with(b"HTTP/1.1 200 "), "not a 200:\n{}", String::from_utf8_lossy(head));
    const NAME: &[u8] = b"content-length:";
    let line = head.split(|byte| *byte == b'\n').find(|line| line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME));
    let length = line.and_then(|line| std::str::from_utf8(&line[NAME.len()..]).ok()?.trim().parse().ok());
    Some(Head { end, length: length.unwrap_or_else(|| panic!("an answer without a length:\n{}", String::from_utf8_lossy(head))) })
}

/// A kept connection that blocks: nothing stands between the kernel's wake and the clock.
pub fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Reads one answer to its last byte. The buffer has all of it, if it is large enough, and else nothing of use.
pub fn answer(mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<Head> {
    let mut filled = 0;
    let head = loop {
        match stream.read(&mut buffer[filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => filled += n,
        }
        if let Some(head) = head(&buffer[..filled]) {
            break head;
        }
    };
    let mut rest = (head.end + head.length).checked_sub(filled).expect("no more than was announced");
    while rest > 0 {
        filled %= buffer.len();
        let end = buffer.len().min(filled + rest);
        match stream.read(&mut buffer[filled..end])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => (filled, rest) = (filled + n, rest - n),
        }
    }
    Ok(head)
}

/// A request without a body, and its answer.
pub fn call(mut stream: &TcpStream, request: &[u8], buffer: &mut [u8]) -> io::Result<Head> {
    stream.write_all(request)?;
    answer(stream, buffer)
}

/// The body of an answer to one request on a connection of its own, as text.
pub fn text(port: u16, request: &[u8]) -> io::Result<String> {
    let mut buffer = vec![0; CHUNK];
    let head = call(&connect(port)?, request, &mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[head.end..head.end + head.length]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_whole_at_its_empty_line() {
        let bytes = b"HTTP/1.1 200 OK\r\nX: y\r\ncontent-LENGTH: 12\r\n\r\nabc";
        assert!(head(&bytes[..bytes.len() - 4]).is_none());
        let head = head(bytes).unwrap();
        assert_eq!((head.end, head.length), (bytes.len() - 3, 12));
    }

    #[test]
    #[should_panic(expected = "not a 200")]
    fn an_error_is_no_measurement() {
        head(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
    }

    #[test]
    fn a_request_has_twelve_headers() {
        let request = get(1, "/");
        assert_eq!(String::from_utf8_lossy(&request).matches(": ").count(), 12);
    }
}
