//! Who issued a certificate, for a message: read from its DER, without trust in it.

/// The issuer's name, such as `CN=proxy CA, O=Example`. `None` where the bytes are not a certificate.
pub(super) fn issuer(certificate: &[u8]) -> Option<String> {
    let (_, certificate, _) = element(certificate)?;
    let (_, tbs, _) = element(certificate)?;
    let (tag, _, rest) = element(tbs)?;
    // The version is optional, and before the serial number.
    let rest = if tag == 0xa0 { element(rest)?.2 } else { rest };
    let (_, _, rest) = element(rest)?;
    let (tag, name, _) = element(rest)?;
    (tag == 0x30).then(|| words(name))
}

/// The attributes of a name that people know, the most telling first.
fn words(mut name: &[u8]) -> String {
    let mut found: Vec<(u8, String)> = Vec::new();
    while let Some((_, set, rest)) = element(name) {
        name = rest;
        let attribute = element(set).and_then(|(_, attribute, _)| {
            let (_, oid, value) = element(attribute)?;
            let (_, text, _) = element(value)?;
            let kind = match oid {
                [0x55, 4, kind @ (3 | 10 | 11)] => *kind,
                _ => return None,
            };
            Some((kind, String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).take(100).collect()))
        });
        found.extend(attribute);
        if found.len() > 8 {
            break;
        }
    }
    found.sort_by_key(|(kind, _)| *kind);
    let label = |kind: &u8| match kind {
        3 => "CN",
        10 => "O",
        _ => "OU",
    };
    let shown: Vec<String> = found.iter().map(|(kind, text)| format!("{}={text}", label(kind))).collect();
    if shown.is_empty() { "(no name)".to_owned() } else { shown.join(", ") }
}

/// The first element: its tag, its contents, what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0_usize, |n, b| n << 8 | usize::from(*b)), rest)
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((tag, contents, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_issuer_is_read_from_a_certificate() {
        let mut ca = rcgen::CertificateParams::default();
        ca.distinguished_name.push(rcgen::DnType::OrganizationName, "Inspection Ltd");
        ca.distinguished_name.push(rcgen::DnType::CommonName, "middle box\r\n");
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let issuer_of = rcgen::Issuer::new(ca, key);
        let leaf_key = rcgen::KeyPair::generate().unwrap();
        let leaf = rcgen::CertificateParams::new(vec!["a".to_owned()]).unwrap().signed_by(&leaf_key, &issuer_of).unwrap();
        let name = issuer(leaf.der()).unwrap();
        assert!(name.contains("CN=middle box") && name.contains("O=Inspection Ltd") && !name.contains('\n'), "{name}");
    }

    #[test]
    fn bytes_that_are_no_certificate_are_none() {
        for bytes in [&b""[..], b"\x30", b"\x30\x82\xff\xff", b"\x30\x84\xff\xff\xff\xff", b"\x30\x02\x30\x00", &[0xff; 64]] {
            assert_eq!(issuer(bytes), None, "{bytes:?}");
        }
    }
}
