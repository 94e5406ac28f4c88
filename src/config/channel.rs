//! The agents' port: `kubesvc.grpc.server.*` as the plugin has them, and `fairlead.channel.*`.

use std::net::SocketAddr;
use std::time::Duration;

use super::reader::{Given, Reader};
use super::settings::ChannelConfig;
use super::{tls, values};

const AT: &str = "kubesvc.grpc.server";
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// What the plugin leaves to gRPC's own library, which never pings: a connection that a balancer has forgotten would stay.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// `None`: it is off, or a mistake was noted.
pub(super) fn read(reader: &mut Reader<'_>, others: [(SocketAddr, &str); 2]) -> Option<ChannelConfig> {
    let enabled = reader.required("fairlead.channel.enabled", values::boolean);
    let address = reader.required(&format!("{AT}.address"), values::address);
    let (port, port_at) = reader.required_located(&format!("{AT}.port"), values::port);
    let listen = SocketAddr::new(address, port);
    if enabled && port != 0 {
        for (other, key) in others {
            let meet = other.ip() == address || other.ip().is_unspecified() || address.is_unspecified();
            if other.port() == port && meet {
                let at =
                    if port_at.origin == super::Origin::Default { reader.given(key).unwrap_or(port_at.clone()) } else { port_at.clone() };
                reader.mistake(&at, format!("{key} and {AT}.port are the same: give each its own"));
            }
        }
    }
    let health = reader.required(&format!("{AT}.healthServiceEnabled"), values::boolean);
    let max_message = reader.required(&format!("{AT}.maxInboundMessageSize"), values::size(64 << 10, 64 << 20));
    let every = seconds(reader, "keepAliveHeartbeatSeconds").unwrap_or(KEEP_ALIVE);
    let keep_alive_timeout = seconds(reader, "keepAliveTimeOutSeconds").filter(|t| !t.is_zero()).unwrap_or(KEEP_ALIVE);
    let max_connections = reader.required("fairlead.channel.maxConnections", values::number(1, 1_048_576));
    let handshake_timeout = reader.required("fairlead.channel.handshakeTimeout", values::duration(None, MS * 100, SECOND * 300));
    let ping_interval = reader.required("fairlead.channel.pingInterval", values::duration(None, MS * 10, SECOND * 3_600));
    let (dead_after, at) = reader.required_located("fairlead.channel.deadAfter", values::duration(None, MS * 20, SECOND * 7_200));
    if dead_after < ping_interval * 2 {
        reader.mistake(&at, "is shorter than two of fairlead.channel.pingInterval: one answer that is late would count as a death");
    }
    let tls = tls::agents(reader);
    filters(reader);
    enabled.then(|| ChannelConfig {
        listen,
        tls,
        health,
        max_message: usize::try_from(max_message).unwrap_or(usize::MAX),
        keep_alive: (!every.is_zero()).then_some(every),
        keep_alive_timeout,
        max_connections: usize::try_from(max_connections).unwrap_or(usize::MAX),
        handshake_timeout,
        ping_interval,
        dead_after,
    })
}

/// A number of seconds in either of the two places where it is written.
fn seconds(reader: &mut Reader<'_>, name: &str) -> Option<Duration> {
    let parse = |text: &str| values::number(0, 86_400)(text).map(Duration::from_secs);
    let own = reader.located(&format!("{AT}.{name}"), parse);
    let documented = reader.located(&format!("{AT}.security.{name}"), parse);
    if let (Some((own, _)), Some((documented, at))) = (&own, &documented)
        && own != documented
    {
        let at: Given = at.clone();
        reader.warn(&at, format!("differs from {AT}.{name}, which counts"));
    }
    own.or(documented).map(|(value, _)| value)
}

/// Who is kept out by a filter would be let in if it were passed over.
fn filters(reader: &mut Reader<'_>) {
    if let Some(at) = reader.given("kubesvc.grpc.auth.x509.enabled")
        && values::boolean(at.text.trim()) != Ok(false)
    {
        let text = "filters of certificates by their subject are not built yet, and passing them over would let in whom they keep out: set it to \
                    false, and give agents a CA of their own in kubesvc.grpc.server.security.trustCertCollection";
        reader.mistake(&at, text);
    }
}
