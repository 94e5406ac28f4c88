//! Claims about the read side of the API: through the proxy's own listener, on real tables.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fairlead::account::Incarnation;
use fairlead::api::front::{self, FrontLayer};
use fairlead::api::{Api, BoxFuture, Lookup, Settler};
use fairlead::args;
use fairlead::proxy::{self, Body};
use fairlead::source::{self, Reading, SourceRow};
use fairlead::store::Store;
use http::{Request, Response};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::Layer as _;

use crate::store::{Place, places, store};
use crate::support::databases::pool_config;
use crate::support::http::{Answer, Request as Raw, call, get};

const CANARY: &str = "canary-of-a-secret";

/// Clouddriver as the tests want it: one account of each type.
struct Clouddriver;

impl Lookup for Clouddriver {
    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Reading, source::Error>> {
        let row = |id: &str, kind: &str| {
            Reading::Present(SourceRow {
                id: id.to_owned(),
                kind: kind.to_owned(),
                body: json!({"type": kind, "name": id, "kubeconfigContents": CANARY, "password": CANARY, "namespaces": ["n"],
                    "permissions": {"READ": ["r1"]}, "dockerRegistries": [{"accountName": "d", "apiToken": CANARY}]})
                .to_string(),
                incarnation: Incarnation(1),
                modified: Some(1),
            })
        };
        Box::pin(std::future::ready(match name {
            "only-there" => Ok(row(name, "kubernetes")),
            "a/b%c é🦀" => Ok(row(name, "kubernetes")),
            "amazon" => Ok(row(name, "aws")),
            "cannot-tell" => Ok(Reading::Unknown(CANARY.to_owned())),
            "broken" => Err(source::Error::Api { hop: "h:1".to_owned(), reason: CANARY.to_owned() }),
            _ => Ok(Reading::Absent),
        }))
    }
}

/// Does the work of the mirror that a test asks for, before a name is read.
#[derive(Default)]
struct Mirror {
    asked: Mutex<Vec<String>>,
    insert: Option<Store>,
    hang: bool,
}

impl Settler for Mirror {
    fn settle_open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            self.asked.lock().expect("not poisoned").push(name.to_owned());
            if self.hang {
                std::future::pending::<()>().await;
            }
            if let Some(store) = &self.insert {
                insert(store, name, &json!({"name": name})).await;
            }
        })
    }
}

struct Running {
    port: u16,
    proxy: proxy::Handle,
    stop: CancellationToken,
    reached: Arc<AtomicU32>,
}

impl Running {
    async fn start(store: &Store, settler: Mirror, enabled: bool) -> Self {
        let (calls, queue) = front::queue();
        let (stop, reached) = (CancellationToken::new(), Arc::new(AtomicU32::new(0)));
        let api = Api {
            store: store.clone(),
            settler: Arc::new(settler),
            lookup: Arc::new(Clouddriver),
            desk: None,
            agents: Arc::new(fairlead::channel::Nobody),
            replica: "r1".into(),
            enabled,
        };
        tokio::spawn(front::serve(queue, api.router(), front::Metrics::default(), stop.clone()));
        let layer = FrontLayer::new(calls, "".into(), front::Metrics::default());
        let counter = reached.clone();
        let config = proxy_config();
        let metrics = proxy::Metrics::register(&mut Registry::default());
        let proxy = proxy::serve(&config, &metrics, move || {
            proxy::Stack::looking_into_everything(layer.layer(tower::service_fn(move |_: Request<Body>| {
                counter.fetch_add(1, Ordering::Relaxed);
                std::future::ready(Ok(Response::new(Body::from_bytes("clouddriver"))))
            })))
        })
        .expect("started");
        Self { port: proxy.local_addr().port(), proxy, stop, reached }
    }

    async fn get(&self, target: &str) -> Answer {
        let answer = get(self.port, target).await.unwrap_or_else(|e| panic!("{target}: {e}"));
        assert!(!answer.text().contains(CANARY), "{target}: {}", answer.text());
        answer
    }

    async fn json(&self, target: &str) -> (u16, Value) {
        let answer = self.get(target).await;
        (answer.status, answer.json())
    }

    async fn end(self) {
        assert_eq!(self.reached.load(Ordering::Relaxed), 0, "nothing below our paths is ever forwarded");
        self.stop.cancel();
        self.proxy.drain(Duration::from_secs(5)).await;
    }
}

fn proxy_config() -> proxy::serve::Config {
    proxy::serve::Config {
        listen: "127.0.0.1:0".parse().expect("an address"),
        threads: 1,
        limits: proxy::Limits { header_timeout: Duration::from_secs(10), max_connections: 64, ..proxy::Limits::default() },
        tls: None,
    }
}

async fn insert(store: &Store, name: &str, definition: &Value) {
    let shape = store.ready().expect("ready");
    let sealed = store.seal_definition(name, definition).expect("sealed");
    let sql = shape.insert(&[
        "name",
        "dynamic",
        "status",
        "definition",
        "fl_key_id",
        "fl_origin",
        "zone_id",
        "props",
        "error_message",
        "cert_fingerprint",
    ]);
    let props = json!({"permissions": {"READ": ["dev"], "WRITE": ["ops"]}, "apiToken": CANARY}).to_string();
    let values = args![name, true, "INACTIVE", sealed.text, sealed.key_id, "interceptor", "zone-1", props, None::<&str>, "0102"];
    store.main().exec_dynamic(&sql, values).await.unwrap_or_else(|e| panic!("{name}: {e}"));
}

fn definition(name: &str) -> Value {
    json!({"type": "kubernetes", "name": name, "kubeconfigContents": CANARY, "password": "encrypted:s3!r:eu", "nested": {"deep": [{"apiToken": CANARY}]}})
}

async fn ready(place: &Place, keyed: bool) -> Store {
    let store = if keyed { place.sealing(&[("k1", 1)]) } else { place.store() };
    store.migrate().await.expect("migrated");
    store
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_of_the_mirror_is_shown_in_both_shapes_of_the_contract_with_its_secrets_masked() {
    for place in places("api").await {
        for keyed in [false, true] {
            let store = ready(&place, keyed).await;
            place.sql.exec("delete from kubesvc_accounts").await;
            insert(&store, "prod", &definition("prod")).await;
            let running = Running::start(&store, Mirror::default(), true).await;
            for target in
                ["/armory/accounts/prod", "/agents/kubernetes/accounts/prod", "/armory/accounts/prod/", "/agents/kubernetes/accounts/prod/"]
            {
                let (status, shown) = running.json(target).await;
                assert_eq!(status, 200, "{target}");
                let expected = json!({"type": "kubernetes", "name": "prod", "kubeconfigContents": "****", "password": "encrypted:s3!r:eu",
                    "nested": {"deep": [{"apiToken": "****"}]}});
                for (key, value) in [
                    ("name", json!("prod")),
                    ("type", json!("kubernetes")),
                    ("source", json!("clouddriver")),
                    ("config", expected.clone()),
                    ("definition", expected.clone()),
                    ("definitionAsString", json!(expected.to_string())),
                    ("def", json!(expected.to_string())),
                    ("zoneId", json!("zone-1")),
                    ("agents", json!([])),
                    ("status", json!("INACTIVE")),
                    ("dynamic", json!(true)),
                    ("connections", json!(0)),
                    ("retryCount", json!(0)),
                    ("permissions", json!({"READ": ["dev"], "WRITE": ["ops"]})),
                    ("certFingerprint", json!("0102")),
                    ("errorMessage", Value::Null),
                ] {
                    let shown = if key.starts_with("definitionAs") || key == "def" {
                        json!(serde_json::from_str::<Value>(shown[key].as_str().expect("text")).expect("JSON").to_string())
                    } else {
                        shown[key].clone()
                    };
                    assert_eq!(shown, value, "{} {target} {key}", place.word());
                }
                assert_eq!(shown["properties"]["apiToken"], "****");
            }
            running.end().await;
            store.close().await;
        }
        place.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_only_clouddriver_has_is_answered_and_one_unknown_to_both_is_not() {
    let store = store(pool_config("sqlite::memory:"), None);
    store.migrate().await.expect("migrated");
    let running = Running::start(&store, Mirror::default(), true).await;
    let (status, shown) = running.json("/armory/accounts/only-there").await;
    assert_eq!((status, &shown["name"], &shown["source"]), (200, &json!("only-there"), &json!("clouddriver")));
    assert_eq!((&shown["config"]["kubeconfigContents"], &shown["config"]["namespaces"]), (&json!("****"), &json!(["n"])));
    assert_eq!(shown["permissions"], json!({"READ": ["r1"]}));
    assert!(shown.get("status").is_none(), "it is in no state of ours");
    assert_eq!(running.json("/agents/kubernetes/accounts/only-there").await, (200, json!({})));

    let (status, shown) = running.json("/armory/accounts/nobody").await;
    assert_eq!(
        (status, &shown["status"], &shown["error"], &shown["exception"]),
        (404, &json!(404), &json!("Not Found"), &json!("NotFoundException"))
    );
    assert!(shown["timestamp"].is_number() && shown["message"].is_string());
    assert_eq!(running.json("/agents/kubernetes/accounts/nobody").await, (200, json!({})));
    assert_eq!(running.json("/armory/accounts/amazon").await.0, 404, "accounts of other types are not ours to show");
    for silent in ["cannot-tell", "broken"] {
        let answer = running.get(&format!("/armory/accounts/{silent}")).await;
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (503, Some("1")),
            "{silent}: that nothing can be said is not that it is not there"
        );
    }
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_paged_in_the_order_of_names() {
    for place in places("paged").await {
        let store = ready(&place, true).await;
        for name in ["c", "a", "b", "e", "d"] {
            insert(&store, name, &definition(name)).await;
        }
        let running = Running::start(&store, Mirror::default(), true).await;
        let names = |v: &Value| {
            v["items"].as_array().expect("items").iter().map(|i| i["name"].as_str().expect("name").to_owned()).collect::<String>()
        };
        for (target, expected, page, limit) in [
            ("/armory/accounts", "abcde", 1, 100),
            ("/armory/accounts/", "abcde", 1, 100),
            ("/armory/accounts?page=1&limit=2", "ab", 1, 2),
            ("/armory/accounts?limit=2&page=3", "e", 3, 2),
            ("/armory/accounts?page=9", "", 9, 100),
            ("/armory/accounts?page=4294967295&limit=1000", "", 4_294_967_295_u32, 1000),
        ] {
            let (status, shown) = running.json(target).await;
            assert_eq!(
                (status, &shown["page"], &shown["limit"], &shown["total"]),
                (200, &json!(page), &json!(limit), &json!(5)),
                "{target}"
            );
            assert_eq!(names(&shown), expected, "{} {target}", place.word());
        }
        for (target, parameter) in
            [("/armory/accounts?page=0", "page"), ("/armory/accounts?limit=x", "limit"), ("/armory/accounts?limit=1001", "limit")]
        {
            let (status, shown) = running.json(target).await;
            assert_eq!(status, 400, "{target}");
            assert!(shown["message"].as_str().expect("text").contains(parameter), "{shown}");
        }
        running.end().await;
        store.close().await;
        place.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_account_is_listed_with_the_way_it_came_in() {
    for place in places("origins").await {
        let store = ready(&place, false).await;
        let mut wanted = vec![("adopted", "migrated"), ("adopted-static", "agent")];
        for (name, _) in &wanted {
            insert(&store, name, &definition(name)).await;
        }
        let taken_over = "update kubesvc_accounts set fl_origin = NULL, dynamic = ? where name = ?";
        let dynamic = store.ready().expect("ready").write("dynamic");
        for (name, is) in [("adopted", true), ("adopted-static", false)] {
            let sql = taken_over.replacen('?', &dynamic, 1);
            store.main().exec_dynamic(&sql, args![is, name]).await.expect("written");
        }
        for origin in ["agent", "created", "interceptor", "migrated", "scanner"] {
            insert(&store, origin, &definition(origin)).await;
            store
                .main()
                .exec_dynamic("update kubesvc_accounts set fl_origin = ? where name = ?", args![origin, origin])
                .await
                .expect("written");
            wanted.push((origin, origin));
        }
        let running = Running::start(&store, Mirror::default(), true).await;
        let (_, shown) = running.json("/armory/accounts").await;
        let shown: Vec<(&str, &str)> = shown["items"]
            .as_array()
            .expect("items")
            .iter()
            .map(|item| (item["name"].as_str().expect("a name"), item["origin"].as_str().unwrap_or("-")))
            .collect();
        assert_eq!(shown, wanted, "{}", place.word());
        running.end().await;
        store.close().await;
        place.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_name_is_found_by_its_escapes() {
    for place in places("names").await {
        let store = ready(&place, false).await;
        let long = "n".repeat(255);
        let names = [
            "a/b",
            "50%",
            "é🦀€",
            "a b",
            "'; drop table kubesvc_accounts; --",
            "\" or 1=1 --",
            "a\r\nb",
            "a\\b",
            "dynamic",
            "{name}",
            "?",
            "a+b",
            long.as_str(),
        ];
        for name in names {
            insert(&store, name, &definition(name)).await;
        }
        let running = Running::start(&store, Mirror::default(), true).await;
        for name in names {
            let escaped: String = name.bytes().map(|b| format!("%{b:02X}")).collect();
            let (status, shown) = running.json(&format!("/armory/accounts/{escaped}")).await;
            let ambiguous = name.contains(['\r', '\\']) || name == "?" || name == "50%";
            if ambiguous && status == 404 {
                // A path that another server might read otherwise is nobody's; such an account is in the list.
                continue;
            }
            assert_eq!((status, &shown["name"]), (200, &json!(name)), "{} {name:?}", place.word());
        }
        let too_long = running.json(&format!("/armory/accounts/{}", "n".repeat(256))).await;
        assert_eq!(too_long.0, 404);
        assert_eq!(running.json("/armory/accounts/%C3%28").await.0, 400, "not UTF-8");
        assert_eq!(running.json("/armory/accounts?limit=1000").await.1["total"], json!(names.len()));
        running.end().await;
        store.close().await;
        place.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_settled_before_it_is_read_and_a_mirror_that_hangs_does_not_stop_the_answer() {
    let store = store(pool_config("sqlite::memory:"), None);
    store.migrate().await.expect("migrated");
    let running = Running::start(&store, Mirror { insert: Some(store.clone()), ..Mirror::default() }, true).await;
    assert_eq!(running.json("/agents/kubernetes/accounts/just-posted").await.1["name"], "just-posted");
    assert_eq!(running.json("/armory/accounts/another").await.1["status"], "INACTIVE");
    running.end().await;
    let running = Running::start(&store, Mirror { hang: true, ..Mirror::default() }, true).await;
    assert_eq!(running.json("/armory/accounts/another").await.0, 200);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_built_is_501_from_us_and_a_wrong_method_405() {
    let store = store(pool_config("sqlite::memory:"), None);
    store.migrate().await.expect("migrated");
    let running = Running::start(&store, Mirror::default(), true).await;
    for (method, target, status) in [
        ("GET", "/armory/agent/operations", 501),
        ("POST", "/armory/agent/operations", 501),
        ("POST", "/armory/agent/operationresults", 501),
        ("GET", "/armory/agent/operations/01J", 501),
        ("GET", "/armory/clouddrivers", 501),
        ("GET", "/armory/clouddrivers/pod-1", 501),
        ("GET", "/armory/agent/operations/disconnect", 501),
        ("POST", "/armory/agent/operations/database", 501),
        ("POST", "/armory/agents", 405),
        ("GET", "/armory/agent/a/disconnect", 405),
        ("GET", "/armory", 501),
        ("GET", "/armory/", 501),
        ("GET", "/agents/kubernetes", 501),
        ("GET", "/agents/kubernetes/accounts", 501),
        ("POST", "/agents/kubernetes/accounts/a/namespaces", 405),
        ("POST", "/armory/accounts", 501),
        ("PATCH", "/armory/accounts", 501),
        ("DELETE", "/armory/accounts", 501),
        ("DELETE", "/armory/accounts/a", 501),
        ("POST", "/armory/accounts/dynamic", 501),
        ("PUT", "/armory/accounts/dynamic", 501),
        ("BREW", "/armory/teapot", 501),
        ("PUT", "/armory/accounts", 405),
        ("POST", "/armory/accounts/a", 405),
        ("PATCH", "/agents/kubernetes/accounts/a", 405),
        ("TRACE", "/armory/accounts", 405),
    ] {
        let answer = call(running.port, &Raw::new(method, target).json("[]")).await.unwrap_or_else(|e| panic!("{method} {target}: {e}"));
        assert_eq!(answer.status, status, "{method} {target}");
        let shown = answer.json();
        assert_eq!((&shown["status"], shown["message"].is_string()), (&json!(status), true), "{method} {target}");
        if status == 405 {
            assert!(answer.header("allow").is_some_and(|a| a.contains("OPTIONS")), "{method} {target}: {:?}", answer.headers);
        }
    }
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn head_and_options_say_what_get_would() {
    let store = store(pool_config("sqlite::memory:"), None);
    store.migrate().await.expect("migrated");
    insert(&store, "a", &definition("a")).await;
    let running = Running::start(&store, Mirror::default(), true).await;
    let full = running.get("/armory/accounts/a").await;
    let head = call(running.port, &Raw::new("HEAD", "/armory/accounts/a")).await.expect("answered");
    assert_eq!((head.status, head.body.len(), head.header("content-length")), (200, 0, full.header("content-length")));
    assert_eq!(call(running.port, &Raw::new("HEAD", "/armory/accounts/b")).await.expect("answered").status, 404);
    let options = call(running.port, &Raw::new("OPTIONS", "/armory/accounts")).await.expect("answered");
    assert_eq!(options.status, 204);
    assert!(options.header("allow").is_some_and(|a| a.contains("GET") && a.contains("OPTIONS")), "{:?}", options.headers);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_dynamic_accounts_off_each_account_endpoint_is_501_and_says_why() {
    let store = store(pool_config("sqlite::memory:"), None);
    store.migrate().await.expect("migrated");
    insert(&store, "a", &definition("a")).await;
    let running = Running::start(&store, Mirror::default(), false).await;
    for target in [
        "/armory/accounts",
        "/armory/accounts?page=0",
        "/armory/accounts/a",
        "/armory/accounts/only-there",
        "/agents/kubernetes/accounts/a",
    ] {
        let (status, shown) = running.json(target).await;
        assert_eq!(status, 501, "{target}");
        assert!(shown["message"].as_str().expect("text").contains("kubesvc.dynamicAccounts.enabled"), "{target}: {shown}");
    }
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_down_is_503_and_not_a_500() {
    for url in ["mysql://root@127.0.0.1:1/x", "postgres://postgres@127.0.0.1:1/x"] {
        let mut config = pool_config(url);
        config.acquire_timeout = Duration::from_millis(300);
        let store = store(config, None);
        assert!(store.migrate().await.expect_err("down").is_transient());
        let running = Running::start(&store, Mirror::default(), true).await;
        for target in ["/armory/accounts", "/armory/accounts/a", "/agents/kubernetes/accounts/a"] {
            let answer = running.get(target).await;
            assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{target}");
            assert!(answer.json()["message"].as_str().expect("text").contains("database"), "{target}");
        }
        running.end().await;
    }
    // And one that goes away after a good start.
    for place in places("down").await {
        let store = ready(&place, false).await;
        let running = Running::start(&store, Mirror::default(), true).await;
        assert_eq!(running.get("/armory/accounts").await.status, 200);
        store.close().await;
        assert_eq!(running.get("/armory/accounts").await.status, 503, "{}", place.word());
        running.end().await;
        place.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_table_holds_by_others_hands_is_shown_without_harm() {
    for place in places("odd").await {
        let store = ready(&place, false).await;
        for (name, text) in [
            ("not-json", format!("apiVersion: v1 {CANARY}")),
            ("array", format!("[\"{CANARY}\"]")),
            ("sealed-elsewhere", format!("{{\"x\":\"fairlead-sealed:v1:gone:{CANARY}\"}}")),
            ("large", json!({"name": "large", "notes": "x".repeat(70_000)}).to_string()),
        ] {
            let sql = store.ready().expect("ready").insert(&["name", "definition", "props", "error_message", "fl_origin"]);
            let error = format!("bad: -----BEGIN PRIVATE KEY-----{CANARY}");
            store.main().exec_dynamic(&sql, args![name, text, "}", error, "a-newer-word"]).await.expect("inserted");
        }
        let running = Running::start(&store, Mirror::default(), true).await;
        let (status, shown) = running.json("/armory/accounts").await;
        assert_eq!((status, &shown["total"]), (200, &json!(4)));
        for name in ["not-json", "array", "sealed-elsewhere", "large"] {
            let (status, shown) = running.json(&format!("/armory/accounts/{name}")).await;
            assert_eq!((status, &shown["name"], &shown["errorMessage"]), (200, &json!(name), &json!("****")), "{}", place.word());
        }
        assert_eq!(running.json("/armory/accounts/large").await.1["definition"]["notes"].as_str().map(str::len), Some(70_000));
        let large = shown["items"].as_array().and_then(|i| i.iter().find(|i| i["name"] == "large")).expect("listed");
        assert_eq!(large["definition"], json!({}), "a page stays small");
        running.end().await;
        store.close().await;
        place.done().await;
    }
}
