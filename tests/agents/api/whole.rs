//! A whole Fairlead before a stand-in for Clouddriver: a PATCH comes right after the POST that made its account.

use fairlead::demo::{Options, StandIn};
use fairlead::store::Db;
use serde_json::json;

use crate::support::databases::{SERVERS, TestDatabase};
use crate::support::http::{Connection, Request as Raw};
use crate::support::process::{Fairlead, Setup};

const TIMES: usize = 300;

/// POST `/credentials` and one PATCH `/armory/accounts` on one connection, again and again.
async fn never_unknown(fairlead: &Fairlead, times: usize) {
    let mut connection = Connection::open(fairlead.setup.port).await.expect("connected");
    for i in 0..times {
        let name = format!("account-{i}");
        let body = json!({"type": "kubernetes", "name": name, "kubeconfigFile": "/etc/kubeconfig"}).to_string();
        let posted = connection.call(&Raw::new("POST", "/credentials").json(body)).await.expect("answered");
        assert!(posted.is_success(), "{i}: {}", posted.text());
        let body = json!([{"name": name, "state": "ACTIVE"}]).to_string();
        let patched = connection.call(&Raw::new("PATCH", "/armory/accounts").json(body)).await.expect("answered");
        assert_eq!(patched.status, 202, "{i}: {}\n{}", patched.text(), fairlead.log_tail());
    }
    let shown = connection.call(&Raw::new("GET", "/armory/accounts?limit=1")).await.expect("answered").json();
    assert_eq!(shown["total"], times, "{shown}");
    assert_ne!(shown["items"][0]["status"], "INACTIVE", "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_post_one_patch_never_meets_an_unknown_name_by_clouddrivers_api() {
    let clouddriver = StandIn::start(Options::default()).await.expect("stand-in");
    let mut fairlead = Fairlead::start(Setup::new("api-a12-sqlite", clouddriver.address().port()).embedded()).await;
    never_unknown(&fairlead, TIMES).await;
    assert!(fairlead.drain().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_post_one_patch_never_meets_an_unknown_name_by_sql() {
    for server in SERVERS {
        let mut db = TestDatabase::create(server, "apia12").await;
        db.make_accounts_table().await;
        let user = db.fairlead_user().await;
        let table = Some(Db::open(&db.pool_config()));
        let clouddriver = StandIn::start(Options { table, ..Options::default() }).await.expect("stand-in");
        let name = format!("api-a12-{}", server.word());
        let mut fairlead = Fairlead::start(Setup::new(&name, clouddriver.address().port()).database(&db.jdbc(), &user)).await;
        never_unknown(&fairlead, TIMES).await;
        assert!(fairlead.drain().await.success());
    }
}
