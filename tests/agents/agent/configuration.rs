//! The agent's configuration: the original's keys as operators write them, and the document that lists them.

use std::time::Duration;

use fairlead::config::agent::{documented, load_text, not_built};

#[test]
fn the_tables_of_the_document_are_the_keys() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/agent.md")).unwrap();
    let rows = |head: &str| -> Vec<(String, String)> {
        let table = page.split_once(head).unwrap_or_else(|| panic!("no table {head}")).1;
        let rows = table.lines().skip(1).skip_while(|l| l.starts_with("|---")).take_while(|l| l.starts_with('|'));
        rows.map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(|c| c.trim().trim_matches('`')).collect();
            assert!(cells.iter().skip(2).all(|c| !c.is_empty()), "{row}");
            (cells[0].to_owned(), cells[1].to_owned())
        })
        .collect()
    };
    let known: Vec<(String, String)> = documented().map(|(k, d)| (k.to_owned(), d.to_owned())).collect();
    assert_eq!(rows("| Key | Default | Meaning |"), known);
    let unused: Vec<(String, String)> = not_built().map(|(k, why)| (k.to_owned(), why.to_owned())).collect();
    assert_eq!(rows("| Key | Why |"), unused);
}

#[test]
fn an_original_file_is_read_and_what_has_no_effect_is_said() {
    let text = "
clouddriver:
  grpc: fairlead.spinnaker:9091
  insecure: false
  keepAliveHeartbeatSeconds: 30
  backoff: { baseDelay: 2e9, multiplier: 2, jitter: 0.2, maxDelay: 60000000000 }
  tls: { cacertFile: 'file:///etc/ca.pem', clientCertFile: 'file:///etc/a.pem', clientKeyFile: /etc/a.key, serverName: fairlead }
  responseRetries: { enabled: true, maxRetries: 3 }
kubernetes:
  reconnectTimeoutMs: 3000
  retries: { enabled: false }
  cacheGroupSize: 10
  accounts:
  - name: account-01
    kubeconfigFile: /kubeconfigs/account-01.yml
    context: prod
    metrics: true
    namespaces: [default, shop]
    permissions: [{ READ: [dev, ops] }, { WRITE: [ops] }]
    customResourceDefinitions: [{ kind: A.example.com }]
  - { name: account-02, serviceAccount: true, noProxy: true }
zoneID: eu
prometheus.enabled: true
hub: { auth: { armory: { clientId: x } } }
";
    let loaded = load_text(text, &[("LOG_LEVEL", "DEBUG")]).unwrap();
    let settings = &loaded.settings;
    assert_eq!((&*settings.control.host, settings.control.port), ("fairlead.spinnaker", 9091));
    assert_eq!((settings.control.keep_alive, settings.kubernetes.retries), (Some(Duration::from_secs(30)), 0));
    assert_eq!((settings.control.backoff.base, settings.control.backoff.most), (Duration::from_secs(2), Duration::from_secs(60)));
    let tls = settings.control.tls.as_ref().unwrap();
    assert_eq!((tls.ca.as_deref(), tls.server_name.as_deref()), (Some("/etc/ca.pem".as_ref()), Some("fairlead")));
    assert_eq!((settings.zone.as_deref(), settings.logging.level.as_str()), (Some("eu"), "debug"));
    let [one, two] = &settings.accounts[..] else { panic!("{:?}", settings.accounts) };
    assert_eq!(
        (&*one.name, one.kubeconfig_file.as_deref(), one.context.as_deref()),
        ("account-01", Some("/kubeconfigs/account-01.yml".as_ref()), Some("prod"))
    );
    assert_eq!(
        (&one.namespaces[..], &one.read[..], &one.write[..]),
        (&["default".to_owned(), "shop".into()][..], &["dev".to_owned(), "ops".into()][..], &["ops".to_owned()][..])
    );
    assert!(two.service_account && two.no_proxy && two.read.is_empty());
    let said: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    for (line, word) in [
        (6, "backoff.jitter"),
        (8, "responseRetries"),
        (12, "cacheGroupSize"),
        (17, "metrics"),
        (20, "customResourceDefinitions"),
        (24, "hub"),
    ] {
        let place = format!("armory-agent.yml:{line}: ");
        assert!(said.iter().any(|s| s.starts_with(&place) && s.contains(word) && s.contains("has no effect")), "{word}: {said:#?}");
    }
    assert_eq!(said.len(), 6, "{said:#?}");
}

#[test]
fn mistakes_are_told_all_at_once_with_their_places_and_without_values() {
    let text = "
clouddriver: { grpc: hunter2, insecure: perhaps, tls: { clientCertFile: /a } }
kubernetes:
  connectTimeoutMs: hunter2
  accounts:
  - { name: 'a b', serviceAccount: true }
  - { name: twice, serviceAccount: true }
  - { name: twice, kubeconfigContents: 'token: ${hunter2_part}' }
  - { name: both, serviceAccount: true, kubeconfigFile: /a }
  - { serviceAccount: true }
";
    let said = load_text(text, &[]).unwrap_err().to_string();
    for part in [
        ":2: clouddriver.grpc: ",
        ":2: clouddriver.insecure: ",
        "clouddriver.tls.client",
        ":4: kubernetes.connectTimeoutMs: ",
        ":6: kubernetes.accounts[0].name: ",
        "kubernetes.accounts[2]: has the name of kubernetes.accounts[1]",
        "accounts[3]",
        "kubernetes.accounts[4]: has no name",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("hunter2"), "{said}");
    let near = load_text("clouddriver.grcp: a:1\nkubernetes.acounts: []", &[]).unwrap().warnings;
    assert!(near.iter().any(|w| w.text.contains("did you mean clouddriver.grpc?")), "{near:?}");
}

#[test]
fn what_is_insecure_is_warned_of() {
    let said = |text: &str| load_text(text, &[]).unwrap().warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(said("clouddriver.auth.token: abc").contains("clouddriver.insecure to false"));
    assert!(said("clouddriver.tls.cacertFile: /a").contains("has no effect while clouddriver.insecure is true"));
    assert!(said("clouddriver: { insecure: false, tls: { insecureSkipVerify: true } }").contains("pass for Fairlead"));
    assert!(said("kubernetes.accounts: [{ name: a, serviceAccount: true, permissions: [{ READ: ['dev '] }] }]").contains("blanks"));
    assert_eq!(said(""), "");
}
