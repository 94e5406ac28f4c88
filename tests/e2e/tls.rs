//! TLS: a real Clouddriver's Tomcat that asks for a certificate, and a real Gate, which speaks HTTP/2 where it may.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::report::Report;
use super::world::{World, definition, delete, expect, post, put, same_value, start};
use crate::support::certificates::{Ca, Folder, Pair};
use crate::support::clouddriver::{Clouddriver, Generation};
use crate::support::databases::Server;
use crate::support::gate::Gate;
use crate::support::http;
use crate::support::process::Fairlead;

/// Of the files that Java reads; they hold nothing but a test's keys.
const PASSWORD: &str = "changeit";

/// One certificate for all, and who believes it.
struct Files {
    _folder: Folder,
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    /// The same for Java.
    identity: PathBuf,
    trust: PathBuf,
}

impl Files {
    fn make() -> Result<Self, String> {
        let (folder, ca) = (Folder::new(), Ca::new());
        let Pair { certificate, key } = ca.issue();
        let (ca, certificate, key) =
            (folder.write("ca.crt", &ca.certificate()), folder.write("tls.crt", &certificate), folder.write("tls.key", &key));
        let files = Self { ca, certificate, key, identity: folder.path("identity.p12"), trust: folder.path("trust.p12"), _folder: folder };
        let password = format!("pass:{PASSWORD}");
        run(
            "openssl",
            &["pkcs12", "-export", "-name", "it", "-passout", &password],
            &[("-in", &files.certificate), ("-inkey", &files.key), ("-out", &files.identity)],
        )?;
        let import = ["-importcert", "-noprompt", "-alias", "ca", "-storetype", "PKCS12", "-storepass", PASSWORD];
        run("keytool", &import, &[("-file", &files.ca), ("-keystore", &files.trust)])?;
        Ok(files)
    }

    /// `server.ssl` of Clouddriver: with a certificate of its client.
    fn ssl(&self) -> String {
        format!(
            "{{ enabled: true, clientAuth: need, keyStore: \"file:{}\", keyStoreType: PKCS12, keyStorePassword: {PASSWORD}, \
             trustStore: \"file:{}\", trustStoreType: PKCS12, trustStorePassword: {PASSWORD} }}",
            self.identity.display(),
            self.trust.display()
        )
    }

    /// What Fairlead has for its way to Clouddriver.
    fn upstream(&self, port: u16) -> String {
        format!(
            "services.clouddriver:\n  baseUrl: https://localhost:{port}\n  ssl: {{ trustCertificate: {}, certificate: {}, certificatePrivateKey: {} }}",
            self.ca.display(),
            self.certificate.display(),
            self.key.display()
        )
    }

    /// What it has in front.
    fn front(&self) -> String {
        format!("server.ssl: {{ certificate: {}, certificatePrivateKey: {} }}", self.certificate.display(), self.key.display())
    }
}

fn run(program: &str, words: &[&str], files: &[(&str, &Path)]) -> Result<(), String> {
    let mut command = Command::new(program);
    command.args(words);
    for (option, file) in files {
        command.arg(option).arg(file);
    }
    let output = command.output().map_err(|e| format!("{program}: {e}"))?;
    output.status.success().then_some(()).ok_or_else(|| format!("{program}: {}", String::from_utf8_lossy(&output.stderr)))
}

pub async fn suite(report: &Report, generation: &Generation) {
    let place = format!("{} tls", generation.name);
    if report.long_storm() || !report.wants_place(&place) || !(report.wants_any("gate") || report.wants_any("clouddriver")) {
        return;
    }
    let files = match Files::make() {
        Ok(files) => files,
        Err(why) => return report.left_out(&format!("TLS: {why}")),
    };
    let gate = Gate::command().map(|command| Gate::spawn_with_tls(&command, (&files.trust, PASSWORD)));
    let (clouddriver, port) = Clouddriver::start_with_tls(generation, Server::MariaDb, &files.ssl()).await;
    let world = World::new(clouddriver, place).await;
    report
        .case(&world.title("clouddriver: accounts are created, updated and deleted by a Tomcat that asks for a certificate"), async {
            world.fresh().await;
            let fairlead = start(world.setup("upstream").with(&files.upstream(port))).await;
            life(&world, &fairlead, fairlead.setup.port).await;
        })
        .await;
    report
        .case(&world.title("clouddriver: the same by HTTP/2, on which both agree by ALPN"), async {
            world.fresh().await;
            let yaml = format!("{}\n  http2.enabled: true", files.upstream(port));
            let fairlead = start(world.setup("upstream-http2").with(&yaml)).await;
            life(&world, &fairlead, fairlead.setup.port).await;
        })
        .await;
    let Some(mut gate) = gate else { return };
    report
        .case(&world.title("gate: the same from a Gate that reaches Fairlead by TLS"), async {
            world.fresh().await;
            let mut setup = world.setup("front").with(&files.upstream(port)).with(&files.front());
            setup.port = gate.clouddriver_port;
            let fairlead = start(setup).await;
            gate.answering().await;
            life(&world, &fairlead, gate.port).await;
        })
        .await;
}

/// One account's life, asked for at `port`.
async fn life(world: &World, fairlead: &Fairlead, port: u16) {
    expect(port, &post("secured", "1"), 200).await;
    check(world, fairlead, &["secured"]).await;
    expect(port, &put("secured", "2"), 200).await;
    check(world, fairlead, &["secured"]).await;
    world.live(&["secured".to_owned()]).await;
    expect(port, &post("secured", "3"), 400).await;
    check(world, fairlead, &["secured"]).await;
    let listed = http::get(port, "/credentials/type/kubernetes").await.expect("an answer");
    assert!(listed.status == 200 && listed.text().contains("secured"), "{}: {}", listed.status, listed.text());
    // Longer than any buffer of TLS on the way.
    let mut long = definition("long", "1");
    long["namespaces"] = (0..20_000).map(|i| format!("namespace-{i}")).collect::<Vec<_>>().into();
    expect(port, &http::Request::new("POST", "/credentials").json(long.to_string()), 200).await;
    check(world, fairlead, &["long", "secured"]).await;
    for name in ["long", "secured"] {
        expect(port, &delete(name), 200).await;
    }
    check(world, fairlead, &[]).await;
}

/// The mirror has these, as Clouddriver stores them.
async fn check(world: &World, fairlead: &Fairlead, names: &[&str]) {
    world.rest(&[fairlead]).await;
    let (stored, mirror) = (world.cd.accounts().await, world.mirror().await);
    assert_eq!(mirror.iter().map(|row| &*row.name).collect::<Vec<_>>(), names, "{}", fairlead.log_tail());
    assert_eq!(stored.iter().map(|account| &*account.id).collect::<Vec<_>>(), names);
    for (row, account) in mirror.iter().zip(&stored) {
        assert!(same_value(&row.definition, &account.body), "{}: the mirror has another definition", row.name);
    }
}
