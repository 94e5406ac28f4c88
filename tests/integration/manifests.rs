//! The manifests of `deploy/` are so: what they mount loads, and what they name is what the programs serve. That a real API server takes
//! them is the end-to-end tests' to show.

use fairlead::config::agent;

use super::docs::{GIVEN, block, loads_without_a_remark, read};
use super::support::http;
use super::support::process::{Fairlead, Setup, free_port};

/// The file in a ConfigMap.
fn file(map: &str, name: &str) -> String {
    block(&read(map), &format!("{name}: |"), |line| !line.is_empty() && !line.starts_with("    "))
}

/// What follows these words, each time, to the next comma, brace or end of line.
fn values<'a>(text: &'a str, words: &str) -> Vec<&'a str> {
    text.split(words).skip(1).filter_map(|rest| rest.split([',', '}', '\n']).next()).map(|value| value.trim().trim_matches('"')).collect()
}

#[test]
fn the_configuration_of_the_manifests_loads_without_a_remark() {
    loads_without_a_remark("configmap.yaml", &file("deploy/kubernetes/configmap.yaml", "fairlead.yml"));
    let loaded =
        agent::load_text(&file("deploy/kubernetes/agent/configmap.yaml", "armory-agent.yml"), &[]).unwrap_or_else(|e| panic!("{e}"));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>());
}

#[test]
fn the_manifests_take_from_the_environment_what_the_secret_holds() {
    let secret = block(&read("deploy/kubernetes/secret.example.yaml"), "stringData:", |line| !line.starts_with("  "));
    let map = read("deploy/kubernetes/configmap.yaml");
    for line in secret.lines() {
        let (name, value) = line.split_once(':').unwrap();
        assert!(map.contains(&format!("${{{name}}}")), "{name} is in the example Secret and used nowhere");
        assert_eq!(value.trim(), "\"\"", "the example Secret holds a value for {name}");
    }
}

#[test]
fn the_ports_of_the_manifests_are_those_that_the_programs_listen_on() {
    let yaml = file("deploy/kubernetes/configmap.yaml", "fairlead.yml");
    let settings = fairlead::config::load_text(&yaml, GIVEN).unwrap_or_else(|e| panic!("{e}")).settings;
    let channel = settings.channel.expect("agents are served").listen.port();
    let ports = [settings.listen.port(), settings.admin_listen.port(), channel].map(|port| port.to_string());
    let deployment = read("deploy/kubernetes/deployment.yaml");
    assert_eq!(values(&deployment, "containerPort:"), ports);
    assert_eq!(values(&deployment, "prometheus.io/port:"), [&*ports[1]]);
    let service = read("deploy/kubernetes/service.yaml");
    assert_eq!((values(&service, "port:"), values(&service, "targetPort:")), (vec![&*ports[0], &*ports[2]], vec!["http", "grpc"]));
    assert_eq!(values(&service, "name:").iter().filter(|name| ["http", "grpc"].contains(name)).count(), 2);
    let policies = read("deploy/kubernetes/networkpolicy.yaml");
    assert_eq!(values(&policies, "port:")[..3], [&*ports[0], &*ports[2], &*ports[1]]);
    // Clouddriver's own, under the name that the configuration has.
    let origin = read("deploy/kubernetes/service-origin.yaml");
    assert_eq!((values(&origin, "  name:")[0], values(&origin, "targetPort:")[0]), (&*settings.clouddriver.host, "7002"));
    assert_eq!(values(&origin, "port:")[0], settings.clouddriver.port.to_string());

    let settings = agent::load_text(&file("deploy/kubernetes/agent/configmap.yaml", "armory-agent.yml"), &[]).unwrap().settings;
    let metrics = settings.prometheus.expect("metrics are on").port().to_string();
    let deployment = read("deploy/kubernetes/agent/deployment.yaml");
    assert_eq!(values(&deployment, "containerPort:"), [&*settings.server.port().to_string(), &metrics]);
    assert_eq!(values(&deployment, "prometheus.io/port:"), [&*metrics]);
    assert!(values(&service, "  name:").contains(&&*settings.control.host), "the agent looks for {}", settings.control.host);
    assert_eq!(settings.control.port, channel);
}

#[tokio::test]
async fn what_probes_and_scrapers_ask_for_is_served() {
    let name = format!("manifests-{}", free_port());
    let fairlead = Fairlead::start(Setup::new(&name, free_port()).embedded()).await;
    let deployment = read("deploy/kubernetes/deployment.yaml");
    let mut paths = values(&deployment, "path:");
    paths.retain(|path| path.starts_with('/'));
    assert_eq!(paths.len(), 4, "three probes and a scraper: {paths:?}");
    for path in paths {
        assert_eq!(http::get(fairlead.setup.admin_port, path).await.unwrap().status, 200, "{path}");
    }
}

#[test]
fn the_agents_rights_are_those_that_its_document_names() {
    let rules = |text: &str| text.lines().map(str::trim).filter(|l| l.starts_with("- {apiGroups:")).map(str::to_owned).collect::<Vec<_>>();
    let manifest = rules(&read("deploy/kubernetes/agent/serviceaccount.yaml"));
    assert_eq!((manifest.len(), &manifest), (2, &rules(&read("docs/agent.md"))));
}
