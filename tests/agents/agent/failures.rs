//! Why an account cannot be had: each class, and words that help. No secret is in any of them.

use fairlead::wire::account_outcome::Result as Outcome;
use fairlead::wire::{Failure, FailureReason as Reason, NewAccount};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::api_server::{ApiServer, Authority, healthy, kubeconfig};
use super::rig::{Rig, account, with, yaml};
use super::scripted::{Scripted, Session};

/// Stands wherever a secret can: it must be in no message.
const CANARY: &str = "hunter2-canary";

struct Asker {
    _rig: Rig,
    _fairlead: Scripted,
    session: Session,
    asked: u64,
}

impl Asker {
    async fn start(more: &str) -> Self {
        let mut fairlead = Scripted::start().await;
        let rig = Rig::start(&yaml(fairlead.address, more)).await;
        let (session, _) = fairlead.registered(1).await;
        Self { _rig: rig, _fairlead: fairlead, session, asked: 0 }
    }

    async fn failure(&mut self, account: NewAccount) -> Failure {
        self.asked += 1;
        let outcome = self.session.add(&format!("op-{}", self.asked), vec![account]).await;
        match outcome.accounts.into_iter().next().and_then(|a| a.result) {
            Some(Outcome::Failure(failure)) => {
                assert!(!failure.message.contains(CANARY), "{}", failure.message);
                failure
            }
            other => panic!("not a failure: {other:?}"),
        }
    }

    /// Its class is this, and its words have all of these.
    async fn refuses(&mut self, account: NewAccount, reason: Reason, words: &[&str]) {
        let failure = self.failure(account).await;
        assert_eq!(failure.reason(), reason, "{}", failure.message);
        for word in words {
            assert!(failure.message.contains(word), "{word:?} is not in: {}", failure.message);
        }
    }

    async fn refuses_text(&mut self, text: &str, reason: Reason, words: &[&str]) {
        self.refuses(account("prod", self.asked as i64 + 1, text), reason, words).await;
    }
}

fn by_token(server: &str, ca: &str) -> String {
    kubeconfig(server, ca, &format!("token: {CANARY}"))
}

#[tokio::test]
async fn a_definition_that_cannot_be_used_says_what_is_wrong_with_it() {
    let mut asker = Asker::start("").await;
    let good = by_token("https://api.example.com:6443", "");
    for (text, words) in [
        (format!("clusters: [{CANARY}"), &["cannot be read", "line"][..]),
        (format!("users: {CANARY}"), &["cannot be read"]),
        (good.replace("current-context: x", "current-context: y"), &["no context y"]),
        (good.replace("cluster: c,", "cluster: d,"), &["no cluster d"]),
        (good.replace("user: u }", "user: v }"), &["no user"]),
        (by_token(&format!("https://u:{CANARY}@api.example.com"), ""), &["user or a password"]),
        (by_token("ftp://api.example.com", ""), &["no https URL"]),
        (by_token("", ""), &["https://host:port"]),
        (good.replace("server:", "certificate-authority-data: '%%', server:"), &["certificate-authority-data", "base64"]),
        (by_token("https://api.example.com:6443", CANARY), &["certificate-authority-data", "no certificate in PEM"]),
        (kubeconfig("https://a", "", &format!("token: \"{CANARY} x\"")), &["token that holds blanks"]),
        (kubeconfig("https://a", "", &format!("client-key-data: {CANARY}A")), &["client-"]),
    ] {
        asker.refuses_text(&text, Reason::Definition, words).await;
    }
    for (properties, words) in [
        (json!({}), &["kubeconfigContents"][..]),
        (json!({ "kubeconfigContents": "!!" }), &["neither YAML nor base64"]),
        (json!({ "kubeconfigContents": 7 }), &["kubeconfigContents", "not a text"]),
        (json!({ "kubeconfigFile": "/etc/passwd" }), &["kubeconfigFile", "allowFilePaths"]),
        (json!({ "kubeconfigContents": good, "namespaces": "a" }), &["namespaces", "list of texts"]),
        (json!({ "serviceAccount": true }), &["service account", "KUBERNETES_SERVICE_HOST"]),
    ] {
        asker.refuses(with("prod", 1, properties), Reason::Definition, words).await;
    }
    let broken = NewAccount { name: "prod".into(), definition_json: format!("{{\"a\": {CANARY}").into_bytes(), ..NewAccount::default() };
    asker.refuses(broken, Reason::Definition, &["no JSON", "line 1"]).await;
}

#[tokio::test]
async fn what_would_run_programs_read_the_disk_or_act_as_others_is_refused() {
    let mut asker = Asker::start("").await;
    let user = |user: &str| kubeconfig("https://api.example.com:6443", "", user);
    let cluster =
        |more: &str| by_token("https://api.example.com:6443", "").replace("cluster: { server:", &format!("cluster: {{ {more}, server:"));
    for (text, words) in [
        (user("exec: { apiVersion: client.authentication.k8s.io/v1, command: /bin/sh }"), &["exec plugin", "static token"][..]),
        (user("auth-provider: { name: gcp }"), &["auth-provider"]),
        (user("tokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token"), &["tokenFile", "allowFilePaths"]),
        (user("client-certificate: /a, client-key: /b"), &["client-certificate", "allowFilePaths"]),
        (user(&format!("token: {CANARY}, as: system:admin")), &["impersonation"]),
        (cluster("certificate-authority: /etc/ca.pem"), &["certificate-authority", "allowFilePaths"]),
        (cluster(&format!("proxy-url: \"http://u:{CANARY}@proxy:3128\"")), &["proxy-url", "allowProxyUrl"]),
    ] {
        asker.refuses_text(&text, Reason::Unsupported, words).await;
    }
}

#[tokio::test]
async fn addresses_of_metadata_services_are_not_asked_unless_that_is_allowed() {
    let hosts = ["169.254.169.254", "[::ffff:169.254.169.254]", "metadata.google.internal", "[fd00:ec2::254]"];
    let mut asker = Asker::start("").await;
    for host in hosts {
        asker.refuses_text(&by_token(&format!("http://{host}/"), ""), Reason::Definition, &["metadata", "allowMetadataAddresses"]).await;
    }
    let mut asker = Asker::start("kubernetes: { allowMetadataAddresses: true, connectTimeoutMs: 100 }").await;
    let failure = asker.failure(account("prod", 1, &by_token("http://169.254.169.254/", ""))).await;
    assert_ne!(failure.reason(), Reason::Definition, "{}", failure.message);
}

#[tokio::test]
async fn a_host_that_does_not_answer_as_it_should_is_told_apart() {
    let mut asker = Asker::start("kubernetes.connectTimeoutMs: 400").await;
    asker.refuses_text(&by_token("https://no-such-host.invalid:6443", ""), Reason::Dns, &["no-such-host.invalid", "resolved", "DNS"]).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    asker.refuses_text(&by_token(&format!("https://{closed}"), ""), Reason::Unreachable, &[&closed.to_string(), "nobody listens"]).await;
    // Takes connections, as a stopped process does, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    asker.refuses_text(&by_token(&format!("https://{address}"), ""), Reason::Timeout, &["400 ms", "/version"]).await;
    // Closes them at once.
    tokio::spawn(async move { while silent.accept().await.is_ok() {} });
    asker.refuses_text(&by_token(&format!("http://{address}"), ""), Reason::Unreachable, &["broke the connection"]).await;
}

#[tokio::test]
async fn a_certificate_that_is_not_believed_is_told_with_its_reason() {
    let mut asker = Asker::start("").await;
    let (authority, other) = (Authority::new("right"), Authority::new("inspecting box"));
    let server = ApiServer::start(&other.server(&["127.0.0.1"]), None).await;
    let url = |server: &ApiServer| format!("https://{}", server.address);
    asker.refuses_text(&by_token(&url(&server), &authority.pem()), Reason::Tls, &["unknown CA", "inspecting box"]).await;
    let named = ApiServer::start(&authority.server(&["api.example.com"]), None).await;
    asker.refuses_text(&by_token(&url(&named), &authority.pem()), Reason::Tls, &["another name", "tls-server-name"]).await;
    let expired = authority.certificate(&["127.0.0.1"], |params| {
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2001, 1, 1), rcgen::date_time_ymd(2002, 1, 1));
    });
    let expired = ApiServer::start(&expired, None).await;
    asker.refuses_text(&by_token(&url(&expired), &authority.pem()), Reason::Tls, &["expired"]).await;
    let future = authority.certificate(&["127.0.0.1"], |params| {
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2990, 1, 1), rcgen::date_time_ymd(2999, 1, 1));
    });
    let future = ApiServer::start(&future, None).await;
    asker.refuses_text(&by_token(&url(&future), &authority.pem()), Reason::Tls, &["not valid yet"]).await;
    // The name that is said to be its own, and no verification, are ways out.
    let renamed = by_token(&url(&named), &authority.pem()).replace("server:", "tls-server-name: api.example.com, server:");
    let insecure = by_token(&url(&expired), "").replace("server:", "insecure-skip-tls-verify: true, server:");
    for (i, text) in [renamed, insecure].into_iter().enumerate() {
        let outcome = asker.session.add(&format!("good-{i}"), vec![account("prod", 100 + i as i64, &text)]).await;
        assert!(matches!(outcome.accounts[0].result, Some(Outcome::Done(_))), "{outcome:?}");
    }
}

#[tokio::test]
async fn what_answers_is_judged_by_what_it_answers() {
    let mut asker = Asker::start("").await;
    let authority = Authority::new("ca");
    let server = ApiServer::start(&authority.server(&["127.0.0.1"]), None).await;
    let text = by_token(&format!("https://{}", server.address), &authority.pem());
    let host = server.address.to_string();
    server.answers(|_| (401, json!({ "kind": "Status" })));
    asker.refuses_text(&text, Reason::Unauthenticated, &[&host, "401", "expired or revoked"]).await;
    server.answers(|_| (403, json!({ "kind": "Status" })));
    asker.refuses_text(&text, Reason::Forbidden, &[&host, "403", "grant"]).await;
    server.answers(|_| (503, json!({})));
    asker.refuses_text(&text, Reason::Server, &[&host, "503"]).await;
    for answer in [(404, json!({})), (200, json!("welcome")), (200, json!({ "gitVersion": "" })), (302, json!({}))] {
        server.answers(move |_| answer.clone());
        asker.refuses_text(&text, Reason::Server, &[&host, "no Kubernetes API server"]).await;
    }
    // The version is for everybody; what follows is not.
    server.answers(|asked| if asked.path == "/version" { healthy(asked) } else { (401, json!({})) });
    asker.refuses_text(&text, Reason::Unauthenticated, &["401"]).await;
    let nobody = kubeconfig(&format!("https://{}", server.address), &authority.pem(), "username: u");
    server.answers(|asked| if asked.path.starts_with("/api/v1") { (403, json!({})) } else { healthy(asked) });
    asker.refuses_text(&nobody, Reason::Forbidden, &["no credentials"]).await;
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = plain.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            tokio::spawn(async move {
                let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await;
                // It reads on: what ends this is the agent's own end.
                let _ = stream.read_to_end(&mut Vec::new()).await;
            });
        }
    });
    asker.refuses_text(&by_token(&format!("http://{address}"), ""), Reason::Server, &["HTTP"]).await;
    asker.refuses_text(&by_token(&format!("https://{address}"), ""), Reason::Tls, &["does not speak TLS"]).await;
}

#[tokio::test]
async fn namespaces_in_which_nothing_is_allowed_are_a_failure_and_one_with_a_right_is_enough() {
    let mut asker = Asker::start("").await;
    let authority = Authority::new("ca");
    let server = ApiServer::start(&authority.server(&["127.0.0.1"]), None).await;
    let basic = json!({ "verbs": ["create"], "resources": ["selfsubjectreviews", "selfsubjectaccessreviews"] });
    let rules = move |rules: serde_json::Value| {
        move |asked: &super::api_server::Asked| match asked.path.as_str() {
            path if path.ends_with("selfsubjectrulesreviews") => {
                (201, json!({ "status": { "incomplete": false, "resourceRules": rules } }))
            }
            path if path.starts_with("/api/v1/namespaces") => (403, json!({})),
            _ => healthy(asked),
        }
    };
    let text = by_token(&format!("https://{}", server.address), &authority.pem());
    let named = |generation| with("prod", generation, json!({ "kubeconfigContents": text, "namespaces": ["shop"] }));
    server.answers(rules(json!([basic])));
    asker.refuses(named(1), Reason::Forbidden, &["shop", "grant"]).await;
    server.answers(rules(json!([basic, { "verbs": ["get"], "resources": ["pods"] }])));
    let outcome = asker.session.add("right", vec![named(2)]).await;
    let Some(Outcome::Done(done)) = &outcome.accounts[0].result else { panic!("{outcome:?}") };
    assert_eq!(done.facts.as_ref().unwrap().namespaces, ["shop"]);
}
