//! Another's tool holds the OpenAPI document against what a whole Fairlead answers. `make test` installs it.

use std::process::Stdio;
use std::time::Duration;

use fairlead::demo::{Options, StandIn};
use fairlead::store::Db;
use serde_json::json;
use tokio::process::Command;

use crate::support::databases::{Server, TestDatabase};
use crate::support::http::{self, Request as Raw};
use crate::support::process::{Fairlead, Setup};

/// What is held against each answer. Left out: that what fits the document is never refused (which names are known is no matter of shapes).
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
                      response_headers_conformance,negative_data_rejection,unsupported_method";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs schemathesis, and a minute (make test installs it)"]
async fn schemathesis_finds_nothing_that_the_document_does_not_say() {
    // By SQL: Clouddriver's API cannot tell of every name whether there is such an account, and then the answer is 503.
    let mut db = TestDatabase::create(Server::MariaDb, "apischema").await;
    db.make_accounts_table().await;
    let user = db.fairlead_user().await;
    let table = Some(Db::open(&db.pool_config()));
    let clouddriver = StandIn::start(Options { table, ..Options::default() }).await.expect("stand-in");
    for name in ["account-01", "account-02"] {
        clouddriver.upsert(&json!({"type": "kubernetes", "name": name, "kubeconfigFile": "/there"})).await.expect("stored");
    }
    let setup = Setup::new("api-schemathesis", clouddriver.address().port()).database(&db.jdbc(), &user);
    let mut fairlead = Fairlead::start(setup).await;
    let port = fairlead.setup.port;
    let taken = http::call(port, &Raw::new("POST", "/armory/accounts").json(r#"[{"name":"account-02"}]"#)).await.expect("answered");
    assert_eq!(taken.status, 202, "{}", taken.text());

    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new("schemathesis");
    command.args([
        "run",
        &format!("http://127.0.0.1:{port}/armory/openapi.json"),
        "--checks",
        CHECKS,
        "--phases",
        "examples,coverage,fuzzing",
    ]);
    command.args(["--max-examples", "40", "--max-time", "60", "--request-timeout", "30", "--no-shrink"]);
    command.args(["--generation-deterministic", "--continue-on-failure", "--warnings", "off", "--no-color"]);
    command.current_dir(&folder).stdin(Stdio::null()).kill_on_drop(true);
    let out = tokio::time::timeout(Duration::from_secs(300), command.output()).await.expect("an end").expect("schemathesis is installed");
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    println!("{}", said.lines().rev().take(12).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n"));
    assert!(out.status.success(), "{said}\n{}\n{}", String::from_utf8_lossy(&out.stderr), fairlead.log_tail());
    assert!(fairlead.drain().await.success());
}
