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
            "fairlead.yml:5: fairlead.admin.port: is not a port: a number from 0 (any free one) to 65535",
            "fairlead.yml:4: fairlead.proxy.connectTimeout: has no unit: write it as 50ms, 2s, 15m or 1h",
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
