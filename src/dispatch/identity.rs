//! Which cluster stands behind an account: the UID of its namespace kube-system, or, where the account may not read that, host and CA.

use crate::channel::Facts;
use crate::store::states::Learned;

/// The identity, as it stands in the row; empty where nothing is known.
pub fn of(facts: &Facts) -> String {
    if !facts.identity.is_empty() {
        format!("uid:{}", facts.identity)
    } else if facts.host.is_empty() {
        String::new()
    } else {
        format!("host:{} ca:{}", facts.host, facts.ca_fingerprint)
    }
}

/// What is written of a cluster.
pub fn learned(facts: &Facts) -> Learned {
    Learned { host: facts.host.clone(), version: facts.version.clone(), fingerprint: facts.cert_fingerprint.clone(), identity: of(facts) }
}

/// Whether two identities say for certain that these are two clusters. A UID and a host cannot be compared, and neither can nothing.
pub fn differ(one: &str, other: &str) -> bool {
    let kind = |i: &str| i.split(':').next().map(str::to_owned);
    !one.is_empty() && !other.is_empty() && kind(one) == kind(other) && one != other
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(identity: &str, host: &str, ca: &str, certificate: &str) -> Facts {
        Facts {
            identity: identity.into(),
            host: host.into(),
            ca_fingerprint: ca.into(),
            cert_fingerprint: certificate.into(),
            ..Facts::default()
        }
    }

    #[test]
    fn a_renewed_certificate_or_a_moved_address_of_the_same_uid_is_the_same_cluster() {
        let (before, after) = (facts("u1", "https://a", "ca1", "c1"), facts("u1", "https://b", "ca2", "c2"));
        assert!(!differ(&of(&before), &of(&after)));
        assert!(differ(&of(&before), &of(&facts("u2", "https://a", "ca1", "c1"))));
    }

    #[test]
    fn without_a_uid_host_and_ca_tell_and_the_certificate_does_not() {
        let one = of(&facts("", "https://a", "ca1", "c1"));
        assert!(!differ(&one, &of(&facts("", "https://a", "ca1", "c2"))));
        assert!(differ(&one, &of(&facts("", "https://a", "ca2", "c1"))));
        assert!(differ(&one, &of(&facts("", "https://b", "ca1", "c1"))));
    }

    #[test]
    fn what_cannot_be_compared_is_not_called_different() {
        assert!(!differ(&of(&facts("u1", "https://a", "ca", "c")), &of(&facts("", "https://b", "cb", "c"))));
        assert!(!differ("", &of(&facts("u1", "", "", ""))));
    }
}
