//! x
use std::io;
use std::net::SocketAddr;
/// x
pub async fn run(_: SocketAddr, _: &mut impl io::Write) -> io::Result<()> {
    Ok(())
}
/// x
pub fn invite(_: SocketAddr, _: SocketAddr, _: &mut impl io::Write) -> io::Result<()> {
    Ok(())
}
