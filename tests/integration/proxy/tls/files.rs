//! What the settings say of files before anything starts.

use fairlead::config::load_text;

use crate::support::certificates::{Ca, Folder};

/// What is told of a configuration that cannot be used.
fn mistakes(yaml: &str) -> Vec<String> {
    match load_text(yaml, &[]) {
        Ok(_) => panic!("taken: {yaml}"),
        Err(mistakes) => mistakes.mistakes.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn files_that_cannot_be_used_are_told_of_with_their_line_key_and_name_and_without_what_is_in_them() {
    let (ca, folder) = (Ca::new(), Folder::new());
    let (one, other) = (ca.issue(), ca.issue());
    let encrypted = one.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let secret = one.key.lines().nth(1).unwrap();
    for (name, text) in [
        ("tls.crt", &*one.certificate),
        ("tls.key", &one.key),
        ("other.key", &other.key),
        ("encrypted.key", &encrypted),
        ("cut.key", &one.key[..one.key.len() / 2]),
        ("text", "nothing"),
    ] {
        folder.write(name, text);
    }
    for (certificate, key, trust, line, said) in [
        ("missing", "tls.key", "tls.crt", 4, "server.ssl.certificate: "),
        (".", "tls.key", "tls.crt", 4, "cannot be read (not a file)"),
        ("text", "tls.key", "tls.crt", 4, "holds no certificate in PEM"),
        ("tls.key", "tls.key", "tls.crt", 4, "holds no certificate in PEM"),
        ("tls.crt", "missing", "tls.crt", 5, "server.ssl.certificatePrivateKey: "),
        ("tls.crt", "text", "tls.crt", 5, "holds no private key in PEM"),
        ("tls.crt", "tls.crt", "tls.crt", 5, "holds no private key in PEM"),
        ("tls.crt", "cut.key", "tls.crt", 5, "holds PEM that cannot be read"),
        ("tls.crt", "encrypted.key", "tls.crt", 5, "under a password"),
        ("tls.crt", "other.key", "tls.crt", 5, "is not the private key of the certificate in"),
        ("tls.crt", "tls.key", "missing", 6, "server.ssl.trustCertificate: "),
        ("tls.crt", "tls.key", "text", 6, "holds no certificate in PEM"),
    ] {
        let yaml = format!(
            "server:\n  ssl:\n    client-auth: want\n    certificate: {}\n    certificatePrivateKey: {}\n    trustCertificate: {}\n",
            folder.path(certificate).display(),
            folder.path(key).display(),
            folder.path(trust).display()
        );
        let told = mistakes(&yaml);
        let expected = format!("fairlead.yml:{line}: ");
        assert!(told.len() == 1 && told[0].starts_with(&expected) && told[0].contains(said), "{certificate} {key} {trust}: {told:?}");
        assert!(!told[0].contains(secret), "{told:?}");
    }
}

#[test]
fn half_a_configuration_of_tls_is_none() {
    let folder = Folder::new();
    let pair = Ca::new().issue();
    let certificate = folder.write("tls.crt", &pair.certificate);
    let key = folder.write("tls.key", &pair.key);
    let (certificate, key) = (certificate.display(), key.display());
    for (yaml, said) in [
        ("server.ssl.enabled: true".to_owned(), "name no PEM files"),
        ("server.ssl: { enabled: true, key-store: file:x.p12 }".to_owned(), "Java's key stores cannot be read"),
        (format!("server.ssl.certificate: {certificate}"), "certificatePrivateKey no key"),
        (format!("server.ssl.certificatePrivateKey: {key}"), "server.ssl.certificate no certificate"),
        (format!("server.ssl: {{ certificate: {certificate}, certificatePrivateKey: {key}, clientAuth: need }}"), "no file with their CAs"),
        ("services.clouddriver.baseUrl: https://c:7002".to_owned(), "there is no other list of CAs"),
        (
            format!(
                "services.clouddriver: {{ baseUrl: 'https://c', ssl: {{ trustCertificate: {certificate}, certificate: {certificate} }} }}"
            ),
            "services.clouddriver.ssl.certificatePrivateKey no key",
        ),
    ] {
        let told = mistakes(&yaml);
        assert!(told.len() == 1 && told[0].contains(said), "{yaml}: {told:?}");
    }
    let loaded = load_text(&format!("server.ssl: {{ enabled: false, certificate: {certificate} }}"), &[]).unwrap();
    assert!(loaded.settings.tls.is_none());
}

#[test]
fn a_private_key_in_place_of_a_file_name_is_refused_and_shown_nowhere() {
    let key = Ca::new().issue().key;
    let indented = key.replace('\n', "\n    ");
    let Err(mistakes) = load_text(&format!("server.ssl:\n  certificatePrivateKey: |\n    {indented}\n"), &[]) else { panic!("taken") };
    assert!(mistakes.to_string().contains("name a file"), "{mistakes}");
    assert!(!format!("{mistakes:?}").contains(key.lines().nth(1).unwrap()), "a private key is printed");
}
