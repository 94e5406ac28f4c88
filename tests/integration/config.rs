//! Claims about config.

use std::time::Duration;

use fairlead::config::{self, FailurePolicy, Loaded, Mistakes, SourceConfig};
use fairlead::store::db::Target;

fn load(yaml: &str) -> Loaded {
    load_env(yaml, &[])
}

fn load_env(yaml: &str, env: &[(&str, &str)]) -> Loaded {
    config::load_text(yaml, env).unwrap_or_else(|m| panic!("{m}"))
}

fn mistakes(yaml: &str) -> Vec<String> {
    match config::load_text(yaml, &[]) {
        Ok(_) => panic!("taken: {yaml}"),
        Err(Mistakes { mistakes, .. }) => mistakes.iter().map(ToString::to_string).collect(),
    }
}

fn warnings(yaml: &str) -> Vec<String> {
    load(yaml).warnings.iter().map(ToString::to_string).collect()
}

fn effective<'a>(loaded: &'a Loaded, key: &str) -> &'a str {
    &loaded.effective.iter().find(|e| e.key == key).unwrap_or_else(|| panic!("{key} is not shown")).value
}

/// As the manual of the real Clouddriver has it, keys included that mean nothing here.
const CLOUDDRIVER: &str = r#"
server: { port: 17002, address: 127.0.0.1 }
redis: { enabled: false, cache.enabled: false, scheduler.enabled: false, taskRepository.enabled: false }
services:
  fiat: { enabled: false, baseUrl: "http://127.0.0.1:1" }
  front50: { enabled: true, baseUrl: "http://127.0.0.1:1" }   # without it the application does not start
fiat.enabled: false
sql:
  enabled: true
  taskRepository.enabled: true
  cache.enabled: true
  scheduler.enabled: true
  connectionPools:
    default:
      default: true
      dialect: MARIADB
      jdbcUrl: jdbc:mysql://127.0.0.1:13306/clouddriver
      user: cd
      password: cd-password
  migration: { jdbcUrl: "jdbc:mysql://127.0.0.1:13306/clouddriver", user: cd, password: cd-password }
kubernetes.enabled: true
account.storage: { enabled: true, kubernetes.enabled: true }
credentials.poller:
  enabled: true
  types.kubernetes.reloadFrequencyMs: 2000
swagger.enabled: false
spinnaker.extensibility: { default-repositories.enabled: false, enable-default-repositories: false }
logging.config: classpath:logback-defaults.xml
"#;

#[test]
fn no_file_at_all_is_a_configuration() {
    let loaded = load("");
    assert_eq!(loaded.settings.listen.to_string(), "0.0.0.0:7002");
    assert_eq!(loaded.settings.admin_listen.to_string(), "0.0.0.0:7003");
    assert!(matches!(loaded.settings.database.main.target, Target::Sqlite(_)));
    assert!(matches!(loaded.settings.database.source, SourceConfig::Api { user: None }));
    assert_eq!(loaded.settings.interceptor.failure_policy, FailurePolicy::Ignore);
    assert_eq!(loaded.settings.interceptor.max_wait, Duration::from_millis(50));
    assert_eq!(loaded.settings.interceptor.deny.fields, ["kubectlExecutable"]);
    assert_eq!(loaded.warnings, []);
}

#[test]
fn a_real_clouddrivers_file_is_read_as_it_is() {
    let loaded = load_env(CLOUDDRIVER, &[("SERVICES_CLOUDDRIVER_BASEURL", "http://clouddriver:7002")]);
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.settings.listen.to_string(), "127.0.0.1:17002");
    assert_eq!(&*loaded.settings.clouddriver.host, "clouddriver");
    let Target::MySql(options) = &loaded.settings.database.main.target else { panic!("not MySQL") };
    assert_eq!((options.get_host(), options.get_port(), options.get_database()), ("127.0.0.1", 13306, Some("clouddriver")));
    assert!(matches!(loaded.settings.database.source, SourceConfig::SameDatabase));
    assert_eq!(effective(&loaded, "sql.connectionPools.default.password"), "(hidden)");
}

#[test]
fn mistakes_come_all_at_once_with_their_lines() {
    let said = mistakes("server:\n  port: many\nfairlead:\n  proxy: {connectTimeout: 5}\n  admin.port: 70000\n");
    assert_eq!(
        said,
        [
            "fairlead.yml:2: server.port: is not a port: a number from 0 (any free one) to 65535",
            "fairlead.yml:4: fairlead.proxy.connectTimeout: has no unit: write it as 50ms, 2s, 15m or 1h",
            "fairlead.yml:5: fairlead.admin.port: is not a port: a number from 0 (any free one) to 65535",
        ]
    );
}

#[test]
fn a_mistyped_key_is_told_with_the_nearest_one() {
    assert_eq!(
        warnings("kubesvc.dynamicAccounts.interceptor.failurPolicy: Fail"),
        ["fairlead.yml:1: kubesvc.dynamicAccounts.interceptor.failurPolicy: is not a known key: did you mean \
          kubesvc.dynamicAccounts.interceptor.failurePolicy?"]
    );
}

fn first_mistake(yaml: &str) -> String {
    mistakes(yaml).swap_remove(0)
}

#[test]
fn every_spelling_and_every_place_of_a_key_is_the_same() {
    const AT: &str = "kubesvc.dynamicAccounts.interceptor";
    for yaml in [
        format!("{AT}.maxWait: 70ms"),
        "kubesvc: {dynamic-accounts: {interceptor: {max-wait: 70ms}}}".to_owned(),
        "kubesvc:\n  dynamic_accounts.interceptor:\n    max_wait: 70ms".to_owned(),
        "armory.kubesvc.dynamicAccounts.interceptor.maxWait: 70ms".to_owned(),
        "armory: {kubesvc: {dynamicAccounts: {interceptor: {maxWait: 70ms}}}}".to_owned(),
        format!("{AT}.maxWait: ${{WAIT:70ms}}"),
        format!("{AT}.maxWait: ${{my.wait}}\nmy: {{wait: \"${{no.such:70}}ms\"}}"),
        format!("{AT}: &x {{maxWait: 1s}}\n---\n{AT}.maxWait: 70ms"),
    ] {
        let loaded = load(&yaml);
        assert_eq!(loaded.settings.interceptor.max_wait, Duration::from_millis(70), "{yaml}");
        assert_eq!(loaded.warnings, [], "{yaml}");
    }
    for name in ["KUBESVC_DYNAMICACCOUNTS_INTERCEPTOR_MAXWAIT", "KUBESVC_DYNAMIC_ACCOUNTS_INTERCEPTOR_MAX_WAIT"] {
        let loaded = load_env(&format!("{AT}.maxWait: 1s"), &[(name, "70ms")]);
        assert_eq!(loaded.settings.interceptor.max_wait, Duration::from_millis(70), "{name}");
    }
}

#[test]
fn a_variable_can_replace_one_list_by_another() {
    let yaml = "kubesvc.dynamicAccounts.interceptor.deny.fields: [a, b, c]";
    let fields = |env: &[(&str, &str)]| load_env(yaml, env).settings.interceptor.deny.fields;
    assert_eq!(fields(&[]), ["a", "b", "c"]);
    assert_eq!(fields(&[("KUBESVC_DYNAMICACCOUNTS_INTERCEPTOR_DENY_FIELDS_0", "x")]), ["x"]);
    assert_eq!(fields(&[("KUBESVC_DYNAMICACCOUNTS_INTERCEPTOR_DENY_FIELDS", "x, y")]), ["x", "y"]);
    let empty = load("kubesvc.dynamicAccounts.interceptor.deny.fields: []");
    assert_eq!(empty.settings.interceptor.deny.fields, Vec::<String>::new());
}

#[test]
fn of_both_prefixes_the_newer_counts_and_that_is_told() {
    let loaded = load("kubesvc.dynamicAccounts.interceptor.maxWait: 1s\narmory.kubesvc.dynamicAccounts.interceptor.maxWait: 2s\n");
    assert_eq!(loaded.settings.interceptor.max_wait, Duration::from_secs(2));
    let said = loaded.warnings[0].to_string();
    assert!(said.starts_with("fairlead.yml:1: kubesvc.dynamicAccounts.interceptor.maxWait: is given as armory.kubesvc"), "{said}");
}

#[test]
fn a_later_layer_wins_over_an_earlier_one_whatever_the_prefix() {
    let loaded =
        load_env("armory.kubesvc.dynamicAccounts.interceptor.maxWait: 1s", &[("KUBESVC_DYNAMICACCOUNTS_INTERCEPTOR_MAXWAIT", "2s")]);
    assert_eq!(loaded.settings.interceptor.max_wait, Duration::from_secs(2));
    assert!(loaded.warnings[0].text.contains("by another prefix"), "{:?}", loaded.warnings);
}

#[test]
fn only_documents_of_an_active_profile_count() {
    let yaml = "server.port: 1\n---\nspring.config.activate.on-profile: prod\nserver.port: 2\n---\nspring: {config: {activate: {on-profile: [x, local]}}}\nfairlead.admin.port: 4\n";
    let loaded = load(yaml);
    assert_eq!((loaded.settings.listen.port(), loaded.settings.admin_listen.port()), (1, 4));
    let loaded = load_env(yaml, &[("SPRING_PROFILES_ACTIVE", "prod,other")]);
    assert_eq!((loaded.settings.listen.port(), loaded.settings.admin_listen.port()), (2, 7003));
}

#[test]
fn keys_that_contradict_one_another_are_mistakes() {
    for (yaml, word) in [
        ("server.port: 7003", "server.port and fairlead.admin.port are the same"),
        ("fairlead.admin.port: 7002", "server.port and fairlead.admin.port are the same"),
        ("services.clouddriver.baseUrl: http://localhost:7002", "where Fairlead itself listens"),
        ("server.port: 17002", "where Fairlead itself listens"),
        ("fairlead.replica: {heartbeat: 4s}", "three heartbeats"),
        ("fairlead.replica: {lease: 3s}", "three heartbeats"),
        ("fairlead.source: sql", "no pool"),
        ("fairlead.sqlite.path: ':memory:'", "in memory"),
        ("fairlead.seal: {keyFile: /dev/null, keys: [{id: a, key: b}]}", "give one of them"),
    ] {
        let said = mistakes(yaml);
        assert!(said.iter().any(|m| m.contains(word) && m.starts_with("fairlead.yml:1: ")), "{yaml}: {said:?}");
    }
    assert_eq!(load("{server.address: 127.0.0.1, fairlead.admin: {address: 127.0.0.2, port: 7002}}").warnings, []);
    assert_eq!(load("{server.port: 0, fairlead.admin.port: 0}").warnings, []);
}

#[test]
fn a_value_that_does_not_fit_is_a_mistake_that_does_not_repeat_it() {
    for yaml in [
        "server.address: s3cret",
        "server.port: s3cret",
        "services.clouddriver.baseUrl: http://u:s3cret@c",
        "services.clouddriver.baseUrl: ftp://s3cret",
        "services.clouddriver.baseUrl: http://c/s3cret",
        "clouddriver.contextPath: s3cret",
        "fairlead.proxy.connectTimeout: s3cret",
        "fairlead.proxy.threads: s3cret",
        "fairlead.logging.level: 's3cret=,=s3cret'",
        "fairlead.logging.format: s3cret",
        "kubesvc.dynamicAccounts.interceptor.failurePolicy: s3cret",
        "kubesvc.dynamicAccounts.interceptor.inspectionLimit: s3cret",
        "kubesvc.dynamicAccounts.interceptor.enabled: s3cret",
        "fairlead.seal.keys: [{id: 's3cret!', key: s3cret}]",
        "fairlead.seal.keys: [{id: a, key: czNjcmV0}]",
        "sql.connectionPools.default: {jdbcUrl: 'jdbc:mysql://u:s3cret@h,i/d'}",
        "sql.connectionPools.default: {jdbcUrl: 'jdbc:mysql://h/d?password=s3cret&sslMode=s3cret'}",
        "sql.connectionPools.default: {jdbcUrl: 's3cret'}",
        "sql.connectionPools.default: {jdbcUrl: 'jdbc:mysql://h/d', user: u, password: 'encrypted:k8s!n:s3cret!k:s3cret'}",
        "sql.connectionPools.default: {jdbcUrl: 'jdbc:mysql://h/d', user: u, password: 'encrypted:s3cret'}",
        "sql.connectionPools.default: {jdbcUrl: 'jdbc:mysql://h/d', user: u, password: 'x${s3cret}y'}",
        "a: *s3cret",
    ] {
        let Err(m) = config::load_text(yaml, &[]) else { panic!("taken: {yaml}") };
        let said = format!("{m} {m:?}");
        assert!(!said.contains("s3cret"), "{yaml}: {said}");
    }
}

#[test]
fn a_secret_that_is_used_is_shown_nowhere() {
    let key = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U=";
    let yaml = format!(
        "sql.connectionPools: {{default: {{jdbcUrl: 'jdbc:mysql://h/d?password=n0t-this', user: u, password: s3cret}}, accounts: {{jdbcUrl: \
         'jdbc:postgresql://u:s3cret@h/d'}}}}\nfairlead.seal.keys: [{{id: a, key: {key}}}]\nfairlead.api.pasword: s3cret\n"
    );
    let loaded = load(&yaml);
    let said = format!("{loaded:?}");
    for secret in ["s3cret", "n0t-this", key] {
        assert!(!said.contains(secret), "{secret} in {said}");
    }
    assert_eq!(effective(&loaded, "sql.connectionPools.accounts.jdbcUrl"), "jdbc:postgresql://h:5432/d (TLS: if the server offers it)");
}

#[test]
fn a_placeholder_that_nothing_fills_in_is_a_mistake_that_names_it() {
    let said = first_mistake("sql.connectionPools.default: {jdbcUrl: 'jdbc:mysql://h/d', user: u, password: '${DB_PASSWORD}'}");
    assert!(said.contains("fairlead.yml:1: sql.connectionPools.default.password: ") && said.contains("${DB_PASSWORD}"), "{said}");
    let said = first_mistake("server.port: ${a}\na: ${b}\nb: ${a}\n");
    assert!(said.contains("leads back to itself"), "{said}");
}

#[test]
fn the_default_pool_is_the_marked_one_the_named_one_or_the_only_one() {
    let pool = |name: &str, more: &str| format!("  {name}: {{jdbcUrl: 'jdbc:mysql://{name}/d', user: u{more}}}\n");
    let host = |pools: &[String]| {
        let loaded = load(&format!("sql.connectionPools:\n{}", pools.concat()));
        match &loaded.settings.database.main.target {
            Target::MySql(options) => options.get_host().to_owned(),
            _ => "none".to_owned(),
        }
    };
    assert_eq!(host(&[pool("default", ""), pool("cache", ", default: true")]), "cache");
    assert_eq!(host(&[pool("default", ""), pool("cache", "")]), "default");
    assert_eq!(host(&[pool("cache-writer", "")]), "cache-writer");
    assert_eq!(host(&[pool("accounts", "")]), "none");
    let none = format!("sql.connectionPools:\n{}{}", pool("a", ""), pool("b", ""));
    assert!(first_mistake(&none).contains("mark one"));
    let both = format!("sql.connectionPools:\n{}{}", pool("a", ", default: true"), pool("b", ", default: true"));
    assert!(first_mistake(&both).contains("second pool"));
}

#[test]
fn accounts_are_read_where_their_pool_says() {
    let source = |accounts: &str, more: &str| {
        let yaml = format!(
            "sql.connectionPools: {{default: {{jdbcUrl: 'jdbc:mysql://h/d', user: u}}, accounts: {{jdbcUrl: '{accounts}', user: u}}}}\n{more}"
        );
        load(&yaml).settings.database.source
    };
    assert!(matches!(source("jdbc:mysql://H:3306/d?useSSL=false", ""), SourceConfig::SameDatabase));
    assert!(matches!(source("jdbc:mysql://h/D", ""), SourceConfig::OtherDatabase(_)));
    assert!(matches!(source("jdbc:mysql://i/d", ""), SourceConfig::OtherDatabase(_)));
    assert!(matches!(source("jdbc:mysql://i/d", "fairlead.source: api"), SourceConfig::Api { .. }));
}

#[test]
fn a_pool_that_cannot_be_used_is_a_mistake_with_the_reason() {
    for (url, word) in [
        ("jdbc:mysql://a,b/d", "several hosts"),
        ("jdbc:mysql:loadbalance://a/d", "several servers"),
        ("jdbc:mysql://address=(host=a)/d", "address="),
        ("jdbc:h2:mem:d", "driver"),
        ("mysql://a/d", "not a JDBC URL"),
        ("jdbc:mysql://a", "no database"),
        ("jdbc:mysql://a:x/d", "cannot be read"),
        ("jdbc:mysql://a/d#x", "%23"),
        ("jdbc:mysql://a/d?socketFactory=x", "only the Java driver"),
        ("jdbc:mysql://a/d?sslMode=VERIFY_CA&trustCertificateKeyStoreUrl=file:x.jks", "key store"),
        ("jdbc:postgresql://a/d?sslmode=maybe", "sslmode"),
        ("jdbc:postgresql://a/d?sslcert=x", "sslkey"),
        ("jdbc:postgresql://a/d?sslcert=x&sslkey=y.pk8", "PEM"),
    ] {
        let said = first_mistake(&format!("sql.connectionPools.default:\n  user: u\n  jdbcUrl: '{url}'\n"));
        assert!(said.starts_with("fairlead.yml:3: sql.connectionPools.default.jdbcUrl: ") && said.contains(word), "{url}: {said}");
    }
    assert!(first_mistake("sql.connectionPools.default: {user: u}").contains("is missing"));
    assert!(first_mistake("sql.connectionPools.default: {jdbcUrl: 'jdbc:mysql://h/d'}").contains("has no user"));
}

#[test]
fn tls_means_what_it_means_to_the_java_driver() {
    use sqlx::mysql::MySqlSslMode as My;
    use sqlx::postgres::PgSslMode as Pg;
    let target = |url: &str| load(&format!("sql.connectionPools.default: {{user: u, jdbcUrl: '{url}'}}")).settings.database.main.target;
    for (url, mode) in [
        ("jdbc:mysql://h/d", My::Preferred),
        ("jdbc:mariadb://h/d", My::Disabled),
        ("jdbc:mysql://h/d?useSSL=false", My::Disabled),
        ("jdbc:mysql://h/d?useSSL=true", My::Preferred),
        ("jdbc:mysql://h/d?useSSL=true&requireSSL=true", My::Required),
        ("jdbc:mysql://h/d?useSSL=true&verifyServerCertificate=true", My::VerifyCa),
        ("jdbc:mysql://h/d?sslMode=VERIFY_IDENTITY", My::VerifyIdentity),
        ("jdbc:mariadb://h/d?useSsl=true&trustServerCertificate=true", My::Required),
        ("jdbc:mariadb://h/d?sslMode=verify-full", My::VerifyIdentity),
    ] {
        let Target::MySql(options) = target(url) else { panic!("{url}") };
        assert_eq!(format!("{:?}", options.get_ssl_mode()), format!("{mode:?}"), "{url}");
    }
    for (url, mode) in [
        ("jdbc:postgresql://h/d", Pg::Prefer),
        ("jdbc:postgresql://h/d?ssl=true", Pg::VerifyFull),
        ("jdbc:postgresql://h/d?ssl=true&sslfactory=org.postgresql.ssl.NonValidatingFactory", Pg::Require),
        ("jdbc:postgresql://h/d?sslmode=verify-ca&sslrootcert=/ca.pem", Pg::VerifyCa),
        ("jdbc:postgresql://h/d?sslmode=disable", Pg::Disable),
    ] {
        let Target::Postgres(options) = target(url) else { panic!("{url}") };
        assert_eq!(format!("{:?}", options.get_ssl_mode()), format!("{mode:?}"), "{url}");
    }
}

#[test]
fn parameters_without_a_meaning_are_passed_over_with_the_reason() {
    let loaded = load(
        "sql.connectionPools.default: {user: u, jdbcUrl: 'jdbc:mysql://h/d?serverTimezone=UTC&useUnicode=true&characterEncoding=utf8&wat=1'}",
    );
    assert_eq!(loaded.notes.iter().filter(|n| n.text.contains("passed over")).count(), 3, "{:?}", loaded.notes);
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].text.contains("wat"), "{:?}", loaded.warnings);
}

#[test]
fn a_password_that_clouddriver_reads_otherwise_is_warned_of() {
    let pool = |password: &str| format!("sql.connectionPools.default: {{jdbcUrl: 'jdbc:mysql://h/d', user: u, password: {password}}}");
    assert!(warnings(&pool("0123"))[0].contains("in quotes"));
    assert_eq!(warnings(&pool("'0123'")), Vec::<String>::new());
    assert_eq!(warnings(&pool("1234")), Vec::<String>::new());
}

#[test]
fn the_plugins_other_keys_are_warned_of_with_their_reason_and_clouddrivers_are_not() {
    let said = warnings(
        "kubesvc:\n  cluster: kubernetes\n  cluster-kubernetes: {namespace: x, useDNS: true}\n  grpc.server: {port: 9092, security.ciphers: \
         [x]}\n  disableV2Provider: true\nfront50.enabled: true\n",
    );
    assert_eq!(
        said,
        [
            "fairlead.yml:2: kubesvc.cluster: has no effect: replicas meet in the database; forwarding between them is not built yet",
            "fairlead.yml:3: kubesvc.cluster-kubernetes.namespace: has no effect: replicas meet in the database; forwarding between them is \
             not built yet",
            "fairlead.yml:4: kubesvc.grpc.server.security.ciphers: has no effect: names of Java's cipher suites mean nothing outside a JVM",
            "fairlead.yml:5: kubesvc.disableV2Provider: has no effect: Clouddriver's own cache tables, which Fairlead never touches",
        ]
    );
}

/// The documents' own block.
const SCAN: &str = "kubesvc:\n  dynamicAccounts:\n    enabled: true\n    scan: true\n    scanBatchSize: 5\n    scanFrequencySeconds: 60\n    \
                    namePatterns: ['^account1.*','^.*account2.*']\n";

#[test]
fn the_scanner_is_on_where_there_are_patterns_unless_it_is_turned_off() {
    let loaded = load(SCAN);
    assert_eq!(loaded.warnings.len(), 0, "{:?}", loaded.warnings);
    let scan = loaded.settings.scan.expect("on");
    assert_eq!((scan.batch, scan.every, scan.page), (5, Duration::from_secs(60), 500));
    assert_eq!((scan.deletes, scan.max_migrations, loaded.settings.dispatch.scan_batch), (false, None, 5));
    assert!(scan.patterns.take("account1") && scan.patterns.take("my-account2") && !scan.patterns.take("Account1"));
    let scan = |text: &str| load(&format!("kubesvc.dynamicAccounts: {text}")).settings.scan;
    assert!(scan("{}").is_none());
    assert!(scan("{scan: false, namePatterns: [a]}").is_none());
    assert!(scan("{enabled: false, scan: true, namePatterns: [a]}").is_none());
    let by_default = scan("{namePatterns: [a], maxMigrationsPerScan: 7, scanDeletes: true}").expect("on");
    assert_eq!((by_default.batch, by_default.every, by_default.full), (572, Duration::from_secs(120), Duration::from_secs(600)));
    assert_eq!((by_default.max_migrations, by_default.deletes), (Some(7), true));
    assert!(scan("{credentialScanNamePatterns: [b]}").is_some_and(|s| s.patterns.take("b")));
    // Without patterns it refreshes what is mirrored, and migrates nothing.
    let said = load("kubesvc.dynamicAccounts.scan: true");
    assert!(said.settings.scan.is_some_and(|s| s.patterns.is_empty()));
    assert!(said.warnings[0].text.contains("no account matches"), "{:?}", said.warnings);
}

#[test]
fn patterns_come_by_the_environment_too() {
    let loaded =
        config::load_text("", &[("KUBESVC_DYNAMICACCOUNTS_NAMEPATTERNS_0", "^a{1,2}$"), ("KUBESVC_DYNAMICACCOUNTS_SCANBATCHSIZE", "3")]);
    let scan = loaded.expect("no mistake").settings.scan.expect("on");
    assert!(scan.patterns.take("aa") && !scan.patterns.take("aaa") && scan.batch == 3);
    let loaded = config::load_text("", &[("KUBESVC_DYNAMIC_ACCOUNTS_NAME_PATTERNS", "x.*, y")]).expect("no mistake");
    assert!(loaded.settings.scan.is_some_and(|s| s.patterns.take("y") && s.patterns.take("xa")));
}

#[test]
fn a_pattern_that_cannot_be_had_is_a_mistake_with_its_place_and_all_are_told() {
    let said = mistakes(
        "kubesvc.dynamicAccounts:\n  scan: false\n  namePatterns:\n    - ok.*\n    - '^(?!prod).*'\n  credentialScanNamePatterns: ['(a)\\1']\n",
    );
    assert_eq!(said.len(), 2, "{said:?}");
    let is = |text: &str, start: &str, word: &str| text.starts_with(start) && text.contains(word);
    assert!(
        is(&said[0], "fairlead.yml:5: kubesvc.dynamicAccounts.namePatterns[1]: pattern 2, at its character 2: ", "looks around"),
        "{said:?}"
    );
    assert!(
        is(
            &said[1],
            "fairlead.yml:6: kubesvc.dynamicAccounts.credentialScanNamePatterns[0]: pattern 1, at its character 4: ",
            "refers back"
        ),
        "{said:?}"
    );
}

#[test]
fn accounts_in_clouddrivers_own_files_are_said_to_be_out_of_reach() {
    let said = warnings("kubernetes:\n  enabled: true\n  accounts:\n    - {name: a}\n    - {name: b}\n");
    assert!(said[0].starts_with("fairlead.yml:4: kubernetes.accounts: holds 2 accounts"), "{said:?}");
}

#[test]
fn a_context_path_of_clouddrivers_own_file_is_taken() {
    assert_eq!(&*load("server.servlet.context-path: /cd/").settings.clouddriver.context_path, "/cd");
    let both = load("server.servlet.contextPath: /cd\nclouddriver.contextPath: /other");
    assert_eq!(&*both.settings.clouddriver.context_path, "/other");
    assert_eq!(both.warnings.len(), 1);
}

#[test]
fn turned_off_dynamic_accounts_turn_the_interceptor_off() {
    assert!(!load("kubesvc.dynamicAccounts.enabled: false").settings.interceptor.enabled);
}

mod files {
    use super::*;
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    use config::{Sources, check};

    fn sources(files: Vec<PathBuf>, folders: Vec<PathBuf>, env: &[(&str, &str)]) -> Sources {
        let environment: BTreeMap<String, String> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Sources { files, folders, environment: Box::new(environment) }
    }

    fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
        std::fs::create_dir_all(folder).unwrap();
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn checked(sources: &Sources) -> (i32, String) {
        let mut out = Vec::new();
        let code = check::run(sources, &mut out).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_usual_places_are_laid_over_one_another_with_our_own_file_last() {
        let dir = tempfile::tempdir().unwrap();
        let (opt, home) = (dir.path().join("opt"), dir.path().join("home"));
        write(&opt, "fairlead.yml", "fairlead.admin.port: 5\n");
        write(&opt, "clouddriver-local.yml", "server.port: 2\nfairlead.proxy.threads: 2\n");
        write(&opt, "clouddriver.yml", "server.port: 1\nfairlead.proxy.threads: 1\nfairlead.admin.port: 1\n");
        write(&home, "clouddriver.yaml", "server.port: 3\n");
        write(&home, "clouddriver-prod.yml", "server.port: 4\nfairlead.admin.port: 4\n");
        let folders = vec![opt, home];
        let loaded = config::load(&sources(vec![], folders.clone(), &[])).unwrap();
        let ports = (loaded.settings.listen.port(), loaded.settings.admin_listen.port(), loaded.settings.proxy.threads);
        assert_eq!(ports, (3, 5, 2));
        let loaded = config::load(&sources(vec![], folders, &[("SPRING_PROFILES_ACTIVE", "prod")])).unwrap();
        assert_eq!((loaded.settings.listen.port(), loaded.settings.admin_listen.port()), (4, 5));
    }

    #[test]
    fn named_files_are_the_only_ones_and_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let first = write(dir.path(), "a.yml", "server.port: 1\nfairlead.proxy.threads: 1\n");
        let second = write(dir.path(), "b.yml", "server.port: 2\n");
        write(dir.path(), "fairlead.yml", "server.port: 3\n");
        let folders = vec![dir.path().to_owned()];
        let loaded = config::load(&sources(vec![first.clone(), second], folders.clone(), &[])).unwrap();
        assert_eq!((loaded.settings.listen.port(), loaded.settings.proxy.threads), (2, 1));
        let missing = dir.path().join("no.yml");
        let said = config::load(&sources(vec![missing.clone(), first, dir.path().to_owned()], folders, &[])).unwrap_err().to_string();
        assert!(said.contains(&format!("{}: cannot be read", missing.display())), "{said}");
        assert!(said.contains("not a file") && said.contains("2 mistakes"), "{said}");
    }

    #[test]
    fn a_broken_file_is_told_with_its_line_beside_the_mistakes_of_others() {
        let dir = tempfile::tempdir().unwrap();
        let broken = write(dir.path(), "a.yml", "server:\n  port: 1\n port: 2\n");
        let twice = write(dir.path(), "b.yml", "x: 1\nfairlead:\n  source: api\n  source: sql\n");
        let wrong = write(dir.path(), "c.yml", "fairlead.admin.port: x\n");
        let latin = dir.path().join("d.yml");
        std::fs::write(&latin, b"a: \xff").unwrap();
        let said = config::load(&sources(vec![broken, twice, wrong, latin], vec![], &[])).unwrap_err().to_string();
        for expected in [
            "a.yml:3: not YAML",
            "b.yml:4: the key \"source\" is here and in line 3",
            "c.yml:1: fairlead.admin.port",
            "d.yml: is not UTF-8",
        ] {
            assert!(said.contains(expected), "{expected} in {said}");
        }
    }

    #[test]
    fn a_key_file_is_read_and_each_of_its_mistakes_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let good = write(dir.path(), "good", &format!("# rotated in spring\nnew:{key}\n\nold:{key}\n"));
        let loaded = load(&format!("fairlead.seal.keyFile: {}", good.display()));
        let seal = loaded.settings.seal.unwrap();
        assert_eq!(seal.0.iter().map(|k| k.id.as_str()).collect::<Vec<_>>(), ["new", "old"]);
        let bad = write(dir.path(), "bad", &format!("a:{key}\na:{key}\nb:c2hvcnQ=\nnothing\n"));
        let said = mistakes(&format!("fairlead.seal.keyFile: {}", bad.display()));
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[1].contains("bad:3: is a key of 5 bytes; it must have 32"), "{said:?}");
        let said = first_mistake("fairlead.seal.keyFile: /no/such/file");
        assert!(said.contains("/no/such/file cannot be read"), "{said}");
    }

    #[test]
    fn check_prints_what_counts_and_where_it_came_from_and_ends_with_0() {
        let dir = tempfile::tempdir().unwrap();
        let file = write(dir.path(), "clouddriver.yml", CLOUDDRIVER);
        let shown = file.display().to_string();
        let (code, said) =
            checked(&sources(vec![file], vec![], &[("FAIRLEAD_ADMIN_PORT", "7009"), ("SERVICES_CLOUDDRIVER_BASEURL", "http://c")]));
        assert_eq!(code, 0, "{said}");
        for expected in [
            format!("server.port = 17002  ({shown}:2)"),
            "fairlead.admin.port = 7009  (env FAIRLEAD_ADMIN_PORT)".to_owned(),
            "fairlead.proxy.connectTimeout = 5s  (default)".to_owned(),
            format!("sql.connectionPools.default.password = (hidden)  ({shown}:19)"),
            "sql.connectionPools.default.jdbcUrl = jdbc:mysql://127.0.0.1:13306/clouddriver (TLS: if the server offers it)".to_owned(),
            "Clouddriver's accounts: read by SQL from sql.connectionPools.default".to_owned(),
            "no seal key".to_owned(),
        ] {
            assert!(said.contains(&expected), "{expected} in\n{said}");
        }
        assert!(!said.contains("cd-password"), "{said}");
    }

    #[test]
    fn check_ends_with_64_and_still_shows_what_could_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = write(dir.path(), "f.yml", "server.port: x\nfairlead.proxy.threads: 3\nkubesvc.cluster: redis\n");
        let (code, said) = checked(&sources(vec![file], vec![], &[]));
        assert_eq!(code, 64);
        for expected in ["mistake: ", "warning: ", "server.port = (not usable)", "fairlead.proxy.threads = 3", "cannot be used: 1 mistake"]
        {
            assert!(said.contains(expected), "{expected} in\n{said}");
        }
    }

    #[test]
    fn the_documents_table_and_the_code_know_the_same_keys_and_defaults() {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")).unwrap();
        let section = text.split("\n## Keys\n").nth(1).unwrap().split("\n## ").next().unwrap();
        let mut written: Vec<(String, String)> = Vec::new();
        for row in section.lines().filter(|l| l.starts_with("| `")) {
            let cells: Vec<&str> = row.split(" | ").collect();
            assert!(cells.len() == 3 && !cells[2].trim_matches(['|', ' ']).is_empty(), "a key without a reason: {row}");
            let bare = |cell: &str| cell.trim_matches(['|', ' ', '`']).to_owned();
            written.push((bare(cells[0]), bare(cells[1])));
        }
        let known: Vec<(String, String)> = config::documented().map(|(k, d)| (k.to_owned(), d.to_owned())).collect();
        assert_eq!(written, known);
    }
}

mod garbage {
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = String> {
        let pieces = prop::sample::select(vec![
            "a",
            "server",
            "port",
            "kubesvc",
            "armory",
            ".",
            ":",
            ": ",
            "\n",
            "\n  ",
            "- ",
            "[",
            "]",
            "{",
            "}",
            "${",
            "}",
            "*a",
            "&a ",
            "<<: ",
            "'",
            "\"",
            "|",
            "---\n",
            "0",
            "99999999999999999999",
            "sql.connectionPools.",
            "default",
            "jdbcUrl: ",
            "jdbc:mysql://",
            "jdbc:postgresql://",
            "@",
            "/",
            "?",
            "=",
            "%",
            "%zz",
            "\u{0}",
            "\u{feff}",
            "ä",
            "encrypted:",
            "!",
            "fairlead.seal.keys",
            "[0]",
            "[18446744073709551616]",
            "deny.fields",
            "kubesvc.dynamicAccounts.interceptor.",
            "-",
            "_",
            "tcp://",
            "spring.config.activate.on-profile: ",
            "#",
            ",",
            "fairlead",
            "~",
            "!!str ",
        ]);
        prop::collection::vec(prop_oneof![8 => pieces.prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from)], 0..40)
            .prop_map(|p| p.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_yaml_makes_it_panic(yaml in text()) {
            let _ = fairlead::config::load_text(&yaml, &[]).map_err(|m| m.to_string());
        }

        #[test]
        fn no_value_of_a_known_key_makes_it_panic(i in 0_usize..100, value in text(), index in "[0-9]{1,22}", name in text()) {
            let keys: Vec<_> = fairlead::config::documented().collect();
            let (key, _) = keys[i % keys.len()];
            let key = key.replace('*', &name).replace("[]", &format!("[{index}]"));
            let (key, value) = (serde_json::to_string(&key).unwrap(), serde_json::to_string(&value).unwrap());
            let _ = fairlead::config::load_text(&format!("{key}: {value}"), &[]);
        }

        #[test]
        fn no_jdbc_url_makes_it_panic(driver in "mysql|mariadb|postgresql|[a-z:]{0,9}", rest in text()) {
            let url = serde_json::to_string(&format!("jdbc:{driver}://{rest}")).unwrap();
            let _ = fairlead::config::load_text(&format!("sql.connectionPools.default: {{user: u, jdbcUrl: {url}}}"), &[]);
        }

        #[test]
        fn no_variable_makes_it_panic(name in "(FAIRLEAD|KUBESVC|ARMORY_KUBESVC|SQL)[A-Z0-9_.a-zä-]{0,30}", value in text()) {
            let _ = fairlead::config::load_text("server.port: ${A:${B}}", &[(&name, &value), ("A", &value)]);
        }
    }
}
