//! CONNECT: a proxy is asked for a way through.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::DialError;
use crate::agent::failure::Reason;
use crate::config::agent::ProxyUrl;

/// Bytes of a proxy's answer.
const MAX_HEAD: usize = 16 << 10;

/// Asks for a way to a host over a connection to the proxy. Has no bound of its own.
pub(super) async fn tunnel(stream: &mut TcpStream, proxy: &ProxyUrl, host: &str, port: u16) -> Result<(), DialError> {
    let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
    if let Some(credentials) = &proxy.credentials {
        request += &format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(credentials.expose_secret()));
    }
    request += "\r\n";
    let broke = |e: std::io::Error| DialError::new(Reason::Unreachable, format!("the proxy {proxy} broke the connection ({e})"));
    stream.write_all(request.as_bytes()).await.map_err(broke)?;
    // One byte at a time: what follows the head belongs to the other end, and may come at once.
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") {
        let byte = stream.read_u8().await.map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                DialError::new(Reason::Unreachable, format!("the proxy {proxy} closed the connection without an answer to CONNECT"))
            }
            _ => broke(e),
        })?;
        head.push(byte);
        if head.len() > MAX_HEAD {
            return Err(DialError::new(Reason::Unreachable, format!("the proxy {proxy} answers CONNECT with more than {MAX_HEAD} bytes")));
        }
    }
    let status = head
        .strip_prefix(b"HTTP/1.")
        .and_then(|rest| rest.get(2..5))
        .and_then(|code| std::str::from_utf8(code).ok())
        .and_then(|code| code.parse::<u16>().ok());
    let refusal = match status {
        Some(200..=299) => return Ok(()),
        Some(407) if proxy.credentials.is_some() => {
            "does not accept its user and password (407): correct them in the proxy's variable".to_owned()
        }
        Some(407) => "wants a user and a password (407): give them in the proxy's variable, as http://user:password@host:port".to_owned(),
        Some(403) => format!("does not let through to {authority} (403): allow it there, or name the host in NO_PROXY"),
        Some(code) => format!("could not open a way to {authority} ({code})"),
        None => "does not answer CONNECT as an HTTP proxy does".to_owned(),
    };
    Err(DialError::new(Reason::Unreachable, format!("the proxy {proxy} {refusal}")))
}
