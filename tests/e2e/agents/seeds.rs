//! The requests of the documents, as they are printed there: POST and PATCH of `/armory/accounts`, with a kubeconfig in a Secret.

use http::Method;
use serde_json::json;

use super::Clusters;
use super::scene::{QUICK, Scene, definition};
use super::story::lets_go;
use crate::report::Report;
use crate::support::agent::Agent;
use crate::support::http::Request;
use crate::support::kube::User;
use crate::world::{World, expect};

const POST: &str = r#"[
  {
    "name": "account-01"
  },
  {
    "name": "account-02",
    "zoneId": "agent-1_namespace1",
    "kubeconfigFile": "encryptedFile:k8s!n:kubeconfig!k:config!ns:spinnaker"
  }
]"#;
const PATCH: &str = r#"[
  {
    "name": "account-01",
    "state": "ACTIVE"
  },
  {
    "name": "account-02",
    "state": "ACTIVE",
    "zoneId": "agent-1_namespace1",
    "kubeconfigFile": "encryptedFile:k8s!n:kubeconfig!k:config!ns:spinnaker"
  }
]"#;

pub async fn run(report: &Report, world: &World, clusters: &Clusters) {
    report
        .case(
            &world.title(
                "agents: POST and PATCH as the documents print them; the kubeconfig is read from a Secret, and only its reference is kept",
            ),
            async {
                let [one, two, ..] = clusters.get().await else { unreachable!("three") };
                let may = json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["kubeconfig", "none"], "verbs": ["get"]}]);
                let fairlead = one.service_account("spinnaker", "fairlead", Some(may)).await;
                let secret = json!({"metadata": {"name": "kubeconfig"}, "stringData": {"config": two.kubeconfig(&two.admin)}});
                one.call(Method::POST, "/api/v1/namespaces/spinnaker/secrets", Some(secret)).await.expect("a Secret");
                let file = tempfile::NamedTempFile::new().expect("a file");
                std::fs::write(file.path(), one.kubeconfig(&fairlead)).expect("a kubeconfig");
                let more = format!("{QUICK}\nfairlead.secrets.kubernetes.kubeconfig: {}", file.path().display());
                let scene = Scene::new(world, "agents-seeds", &more).await;
                let (port, grpc) = (scene.fairlead.setup.port, scene.fairlead.setup.grpc_port);
                let first = Agent::start("agent-1-a", "agent-1_namespace1", grpc, "").await;
                let other = Agent::start("agent-2-a", "agent-2_namespace2", grpc, "").await;
                scene.agents(2).await;
                for name in ["account-01", "account-02", "account-03"] {
                    let stored = Request::new("POST", "/credentials").json(definition(name, &one.kubeconfig(&one.admin)));
                    expect(world.cd.port, &stored, 200).await;
                }
                let before = world.cd.accounts().await;
                let post = Request::new("POST", "/armory/accounts").header("Host", "clouddriver:7002").json(POST);
                assert_eq!(expect(port, &post, 202).await.text(), "[]");
                assert_eq!(scene.becomes("account-01", "INACTIVE").await.zone, "");
                assert_eq!(scene.becomes("account-02", "INACTIVE").await.zone, "agent-1_namespace1");
                let again = expect(port, &post, 409).await.text();
                assert!(again.contains("account-01") && again.contains("account-02"), "{again}");

                assert_eq!(expect(port, &Request::new("PATCH", "/armory/accounts").json(PATCH), 202).await.text(), "");
                let row = scene.becomes("account-01", "ACTIVE").await;
                assert!(["agent-1_namespace1", "agent-2_namespace2"].contains(&row.zone.as_str()), "{}", row.zone);
                assert_eq!(row.host, one.host());
                let row = scene.becomes("account-02", "ACTIVE").await;
                assert_eq!((row.zone.as_str(), row.host), ("agent-1_namespace1", two.host()));
                assert!(first.has("account-02").await);
                // Exactly one zone keeps what was offered to both; the other was never offered what is not its own.
                let loser = if scene.row("account-01").await.expect("there").zone == "agent-1_namespace1" { &other } else { &first };
                lets_go(loser, "account-01").await;
                assert!(!other.log().contains("account-02"), "another zone was asked");
                assert_eq!(world.cd.accounts().await, before);

                let User::Token(token) = &two.admin else { unreachable!("a token") };
                let dump = world.admin().rows("select * from kubesvc_accounts where name = 'account-02'").await;
                let dump = format!("{dump:?}");
                assert!(
                    dump.contains("encryptedFile:k8s!n:kubeconfig") && !dump.contains(token.as_str()),
                    "the row keeps the reference only"
                );
                assert!(!scene.fairlead.told().await.contains(token.as_str()), "the token is told");

                let missing = r#"[{"name": "account-03", "kubeconfigFile": "encryptedFile:k8s!n:none!k:config!ns:spinnaker"}]"#;
                expect(port, &Request::new("POST", "/armory/accounts").json(missing), 202).await;
                scene.patch("account-03", "ACTIVE", None).await;
                let row = scene.becomes("account-03", "FAILED").await;
                assert!(row.error.contains("there is no such Secret") && row.error.contains("spinnaker"), "{}", row.error);
            },
        )
        .await;
}
