//! Addresses that no cluster has, and that give an agent's own credentials to whoever asks there: clouds' metadata services.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Link-local addresses, and those of metadata services elsewhere.
pub(super) fn is_metadata(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => {
            a.is_link_local()
                || [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(192, 0, 0, 192)].contains(&a)
        }
        IpAddr::V6(a) => {
            let embedded = a.to_ipv4_mapped().or_else(|| nat64(a));
            a.is_unicast_link_local()
                || a == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)
                || a == Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)
                || embedded.is_some_and(|v4| is_metadata(IpAddr::V4(v4)))
        }
    }
}

/// `64:ff9b::/96` leads to the IPv4 address at its end.
fn nat64(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let [a, b] = high.to_be_bytes();
            let [c, d] = low.to_be_bytes();
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    }
}

/// Names that lead there wherever they are resolved: by a proxy, say, so that no address is seen here.
pub(super) fn is_metadata_name(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "metadata" || host == "instance-data" || host == "metadata.google.internal" || host == "metadata.goog"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_services_are_known_in_every_dress() {
        for a in [
            "169.254.169.254",
            "169.254.1.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "fe80::1",
            "fd00:ec2::254",
            "100.100.100.200",
        ] {
            assert!(is_metadata(a.parse().unwrap()), "{a}");
        }
        for a in ["127.0.0.1", "10.0.0.1", "169.253.0.1", "::1", "2001:db8::1", "100.100.100.201", "192.168.0.1"] {
            assert!(!is_metadata(a.parse().unwrap()), "{a}");
        }
        assert!(is_metadata_name("Metadata.Google.Internal."));
        assert!(!is_metadata_name("metadata.example.com"));
    }
}
