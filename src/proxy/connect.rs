//! A TCP connection to Clouddriver. The name is resolved each time, so a change of address is followed at the next connect.

use std::io;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use super::Cause;

/// Tries every address of the name in turn; together they take at most `timeout`, and one that says nothing leaves the others
/// their share of it.
pub(super) async fn connect(host: &str, port: u16, timeout: Duration) -> Result<TcpStream, Cause> {
    let deadline = Instant::now() + timeout;
    let addresses: Vec<_> = match timeout_at(deadline, lookup_host((host, port))).await {
        Err(_) => return Err(Cause::Dns(io::ErrorKind::TimedOut.into())),
        Ok(Err(error)) => return Err(Cause::Dns(error)),
        Ok(Ok(addresses)) => addresses.collect(),
    };
    let mut last = Cause::Dns(io::ErrorKind::NotFound.into());
    for (i, address) in addresses.iter().enumerate() {
        let now = Instant::now();
        let share = deadline.saturating_duration_since(now) / (addresses.len() - i) as u32;
        last = match timeout_at(now + share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true).map_err(Cause::Connect)?;
                return Ok(stream);
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Cause::Refused,
            Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => Cause::ConnectTimeout(timeout),
            Ok(Err(error)) => Cause::Connect(error),
            Err(_) => Cause::ConnectTimeout(timeout),
        };
    }
    Err(last)
}
