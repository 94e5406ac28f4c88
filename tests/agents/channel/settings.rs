//! What the keys of the port mean, and what of them ends the start.

use std::time::Duration;

use fairlead::config::{ChannelConfig, load_text};
use fairlead::tls::ClientAuth;

use crate::support::certificates::{Ca, Folder};

fn channel(yaml: &str) -> ChannelConfig {
    load_text(yaml, &[]).unwrap_or_else(|e| panic!("{yaml}: {e}")).settings.channel.expect("a channel")
}

fn mistake(yaml: &str) -> String {
    load_text(yaml, &[]).expect_err(yaml).to_string()
}

fn warnings(yaml: &str) -> Vec<String> {
    load_text(yaml, &[]).unwrap_or_else(|e| panic!("{yaml}: {e}")).warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_not_given_is_as_the_plugin_has_it() {
    let channel = channel("");
    assert_eq!((channel.listen.to_string().as_str(), channel.health, channel.max_message), ("0.0.0.0:9091", true, 4 << 20));
    assert!(channel.tls.is_none());
    assert_eq!((channel.ping_interval, channel.dead_after), (Duration::from_secs(10), Duration::from_secs(25)));
    assert!(load_text("fairlead.channel.enabled: false", &[]).unwrap().settings.channel.is_none());
}

#[test]
fn keys_are_taken_under_both_prefixes_and_pings_in_both_places_and_spellings() {
    assert_eq!(channel("armory.kubesvc.grpc.server: {address: 127.0.0.1, port: 7}").listen.to_string(), "127.0.0.1:7");
    for yaml in [
        "kubesvc.grpc.server.security: {keepAliveHeartbeatSeconds: 60, KeepAliveTimeOutSeconds: 180}",
        "kubesvc.grpc.server: {keepAliveHeartbeatSeconds: 60, keepAliveTimeOutSeconds: 180}",
        "armory.kubesvc.grpc.server: {keep-alive-heartbeat-seconds: 60, security: {keepAliveTimeOutSeconds: 180}}",
    ] {
        let channel = channel(yaml);
        assert_eq!((channel.keep_alive, channel.keep_alive_timeout), (Some(Duration::from_secs(60)), Duration::from_secs(180)), "{yaml}");
    }
    assert_eq!(channel("kubesvc.grpc.server.keepAliveHeartbeatSeconds: 0").keep_alive, None);
    let both = "kubesvc.grpc.server: {keepAliveHeartbeatSeconds: 60, security.keepAliveHeartbeatSeconds: 61}";
    assert_eq!(channel(both).keep_alive, Some(Duration::from_secs(60)));
    assert!(warnings(both)[0].contains("which counts"));
}

#[test]
fn what_cannot_be_done_ends_the_start_with_the_key() {
    for (yaml, words) in [
        ("kubesvc.grpc.server.port: 7002", "server.port and kubesvc.grpc.server.port are the same"),
        ("{kubesvc.grpc.server.port: 7003, fairlead.admin.port: 7003}", "fairlead.admin.port and kubesvc.grpc.server.port are the same"),
        ("kubesvc.grpc.server.maxInboundMessageSize: 1GB", "lies outside"),
        ("kubesvc.grpc.server.security.enabled: true", "name no PEM files"),
        ("kubesvc.grpc.server.security.protocols: [TLSv1.1]", "no longer safe"),
        ("kubesvc.grpc.server.security.protocols: 'TLSv1.3,Other'", "what is no version"),
        ("kubesvc.grpc.server.security.clientAuth: SOME", "none of NONE, OPTIONAL, REQUIRE"),
        ("kubesvc.grpc.auth.x509: {enabled: true, filters: ['.*CN=a.*']}", "would let in whom they keep out"),
        ("fairlead.channel: {pingInterval: 10s, deadAfter: 15s}", "shorter than two"),
    ] {
        assert!(mistake(yaml).contains(words), "{yaml}: {}", mistake(yaml));
    }
}

#[test]
fn tls_is_set_up_by_files_that_are_looked_at_before_the_start() {
    let (ca, folder) = (Ca::new(), Folder::new());
    let pair = ca.issue();
    let certificate = folder.write("tls.crt", &pair.certificate);
    let key = folder.write("tls.key", &pair.key);
    let trust = folder.write("ca.crt", &ca.certificate());
    let yaml = |more: &str| {
        format!(
            "kubesvc.grpc.server.security: {{enabled: true, certificateChain: 'file:{}', privateKey: 'file://{}'{more}}}",
            certificate.display(),
            key.display()
        )
    };
    let of = |more: &str| channel(&yaml(more)).tls.expect("TLS");
    let plain = of("");
    assert_eq!((plain.certificate, plain.client_auth, plain.trust), (certificate.clone(), ClientAuth::None, None));
    let asked = of(&format!(", trustCertCollection: '{}', clientAuth: require, protocols: [TLSv1.2]", trust.display()));
    assert_eq!((asked.client_auth, asked.trust, asked.versions.tls12, asked.versions.tls13), (ClientAuth::Need, Some(trust), true, false));
    for (more, words) in [
        (", clientAuth: OPTIONAL", "names no file with their CAs"),
        (", privateKeyPassword: 'correct horse'", "a key under a password is not supported"),
    ] {
        let said = mistake(&yaml(more));
        assert!(said.contains(words) && !said.contains("correct horse"), "{said}");
    }
    folder.write("tls.key", &ca.issue().key);
    assert!(mistake(&yaml("")).contains("is not the private key"));
    let off = format!("kubesvc.grpc.server.security: {{certificateChain: '{}', clientAuth: REQUIRE}}", certificate.display());
    assert!(warnings(&off)[0].contains("agents are served without TLS"), "{:?}", warnings(&off));
}
