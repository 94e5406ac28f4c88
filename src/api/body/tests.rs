use super::*;
use crate::dispatch::Zone;
use serde_json::json;

type Reader = fn(&HeaderMap, &Bytes) -> Result<Vec<Entry>, ApiError>;

fn read(reader: Reader, body: &Value) -> Result<Vec<Entry>, String> {
    reader(&HeaderMap::new(), &body.to_string().into()).map_err(|e| e.to_string())
}

fn updated(headers: &HeaderMap, body: &Bytes) -> Result<Vec<Entry>, ApiError> {
    to_update(headers, body).map(|e| vec![e])
}

fn fault(reader: Reader, body: &Value) -> String {
    match read(reader, body) {
        Ok(_) => panic!("taken: {body}"),
        Err(e) => {
            assert!(!e.contains("canary"), "{e}");
            e
        }
    }
}

#[test]
fn the_contracts_requests_are_read() {
    let body = json!([{"name": "account-01"},
        {"name": "account-02", "zoneId": "agent-1_namespace1", "kubeconfigFile": "encryptedFile:k8s!n:kubeconfig!k:config!ns:spinnaker"}]);
    let entries = read(to_take, &body).expect("read");
    assert_eq!((entries[0].ask.name.as_str(), &entries[0].ask.zone, entries[0].ask.properties.len()), ("account-01", &Zone::Keep, 0));
    assert_eq!(entries[1].ask.zone, Zone::Only("agent-1_namespace1".to_owned()));
    assert_eq!(entries[1].ask.properties["kubeconfigFile"], "encryptedFile:k8s!n:kubeconfig!k:config!ns:spinnaker");
    assert_eq!(Value::Object(entries[1].shown.clone()), body[1]);
    let body = json!([{"name": "a", "state": "ACTIVE"}, {"name": "b", "state": "INACTIVE", "zoneId": null, "kubeconfigFile": null}]);
    let wanted: Vec<_> = read(to_change, &body).expect("read").into_iter().map(|e| e.wanted).collect();
    assert_eq!(wanted, [Some(Wanted::Active), Some(Wanted::Inactive)]);
    let body = json!({"name": "acct-c", "type": "kubernetes", "kubeconfigContents": "encryptedFile:k8s!n:c!k:value!ns:cd", "kinds": [],
        "omitKinds": [], "metrics": false, "onlyNamespacedResources": false, "namespaces": ["shop", "billing"]});
    assert_eq!(read(updated, &body).expect("read")[0].ask.properties.len(), 6);
    assert_eq!(read(to_create, &body).expect("read")[0].ask.properties.len(), 6);
    assert_eq!(read(to_create, &json!([body])).expect("read").len(), 1);
}

#[test]
fn the_other_spelling_of_the_kubeconfigs_field_is_tolerated() {
    let entries = read(to_take, &json!([{"name": "a", "kubeConfigFile": "x"}])).expect("read");
    assert_eq!(entries[0].ask.properties["kubeconfigFile"], "x");
    let both = json!([{"name": "a", "kubeConfigFile": "x", "kubeconfigFile": "y"}]);
    assert_eq!(fault(to_take, &both), "/0/kubeConfigFile: is another spelling of a field that is there too");
}

#[test]
fn an_update_takes_away_what_is_null_and_nothing_else_does() {
    let body = json!({"name": "a", "zoneId": null, "kinds": null});
    let entry = read(updated, &body).expect("read").remove(0);
    assert_eq!((entry.ask.zone, entry.ask.properties.get("kinds")), (Zone::Any, Some(&Value::Null)));
    let body = json!({"name": "a", "zoneId": null, "kinds": null, "serviceAccount": true});
    let entry = read(to_create, &body).expect("read").remove(0);
    assert_eq!((entry.ask.zone, entry.ask.properties.get("kinds")), (Zone::Any, None));
}

#[test]
fn each_fault_is_named_by_its_place_and_without_its_value() {
    let long = "canary".repeat(50);
    for (reader, body, expected) in [
        (to_take as Reader, json!([]), "the body: names no account"),
        (to_take, json!({}), "the body: must be an array of accounts"),
        (to_take, json!("canary"), "the body: must be an array of accounts"),
        (to_take, json!(["canary"]), "/0: must be an object: an account"),
        (to_take, json!([{}]), "/0/name: is missing"),
        (to_take, json!([{"name": null}]), "/0/name: is missing"),
        (to_take, json!([{"name": 1}]), "/0/name: must be a string"),
        (to_take, json!([{"name": ""}]), "/0/name: must not be empty"),
        (to_take, json!([{"name": long}]), "/0/name: is longer than 255 characters"),
        (to_take, json!([{"name": "a"}, {"name": "b", "zoneId": ["canary"]}]), "/1/zoneId: must be a string"),
        (to_take, json!([{"name": "a", "zoneId": ""}]), "/0/zoneId: must not be empty"),
        (to_take, json!([{"name": "a", "zoneId": "canary\r\nx"}]), "/0/zoneId: holds a control character"),
        (to_take, json!([{"name": "a", "zoneID": "canary"}]), "/0/zoneID: is not a field of this request; is zoneId meant?"),
        (to_take, json!([{"name": "a", "the canary": 1}]), "/0/…: is not a field of this request"),
        (to_take, json!([{"name": "a"}, {"name": "b"}, {"name": "a"}]), "/2/name: is the account of /0 again"),
        (to_take, json!([{"name": "a", "state": 1}]), "/0/state: must be ACTIVE or INACTIVE"),
        (to_take, json!([{"name": "a", "kubeconfigFile": 7}]), "/0/kubeconfigFile: must be a string"),
        (to_change, json!([{"name": "a"}]), "/0/state: is missing: ACTIVE or INACTIVE"),
        (to_change, json!([{"name": "a", "state": "FAILED"}]), "/0/state: must be ACTIVE or INACTIVE"),
        (
            to_change,
            json!([{"name": "a", "state": "active"}, {"state": "ACTIVE"}]),
            "/0/state: must be ACTIVE or INACTIVE; /1/name: is missing",
        ),
        (
            to_change,
            json!([{"name": "a", "state": "ACTIVE", "kubeconfigFile": "x", "serviceAccount": true}]),
            "/0: has more than one of kubeconfigFile, kubeconfigContents and serviceAccount",
        ),
        (
            to_change,
            json!([{"name": "a", "state": "ACTIVE", "kubeconfigFile": "encryptedFile:k8s!n:canary"}]),
            "/0/kubeconfigFile: the reference lacks the parameter k, which the engine k8s needs",
        ),
        (to_create, json!({}), "the body: must be an account or an array of accounts"),
        (to_create, json!(7), "the body: must be an account or an array of accounts"),
        (to_create, json!({"name": "a"}), "the body: must have one of kubeconfigFile, kubeconfigContents and serviceAccount"),
        (
            to_create,
            json!([{"name": "a\r\ncanary", "serviceAccount": true}]),
            "/0/name: must not begin or end with a blank, nor hold a control character",
        ),
        (to_create, json!({"name": "a", "serviceAccount": "canary"}), "/serviceAccount: must be true or false"),
        (to_create, json!({"name": "a", "serviceAccount": true, "kinds": "canary"}), "/kinds: must be a list of strings"),
        (to_create, json!({"name": "a", "serviceAccount": true, "type": "canary"}), "/type: must be kubernetes"),
        (
            to_create,
            json!({"name": "a", "serviceAccount": true, "maxResumableResourceAgeMs": -1}),
            "/maxResumableResourceAgeMs: must be a whole number, not below 0",
        ),
        (
            to_create,
            json!({"name": "a", "serviceAccount": true, "permissions": {"READ": "canary"}}),
            "/permissions: must hold lists of roles, by READ, WRITE, EXECUTE or CREATE",
        ),
        (updated, json!([{"name": "a"}]), "the body: must be one object: this operation takes no list"),
        (updated, json!([]), "the body: must be one object: this operation takes no list"),
        (updated, json!({}), "the body: must be an object: a name, and what is to change"),
        (updated, json!({"kinds": []}), "/name: is missing"),
        (
            updated,
            json!({"name": "a", "kubeconfigContents": "encrypted:canary"}),
            "/kubeconfigContents: a reference has the form encryptedFile:ENGINE!NAME:VALUE!NAME:VALUE",
        ),
    ] {
        assert_eq!(fault(reader, &body), expected, "{body}");
    }
}

#[test]
fn one_answer_names_many_faults_but_not_all_of_thousands() {
    let body: Vec<Value> = (0..1000).map(|_| json!({"name": 1})).collect();
    let text = fault(to_take, &json!(body));
    assert!(text.starts_with("/0/name: must be a string; /1/name: must be a string; ") && text.ends_with("; and 980 more"), "{text}");
    let body: Vec<Value> = (0..=ENTRIES).map(|i| json!({"name": i.to_string()})).collect();
    assert_eq!(
        fault(to_take, &json!(body)),
        "the body: has 10001 entries, and one request takes 10000 at most: send them in several requests"
    );
}

#[test]
fn names_are_read_as_strings() {
    let of = |body: Value| names(&HeaderMap::new(), &body.to_string().into()).map_err(|e| e.to_string());
    assert_eq!(of(json!(["a", "b"])), Ok(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(of(json!([])), Err("the body: names no account".to_owned()));
    assert_eq!(of(json!({"name": "a"})), Err("the body: must be an array of names".to_owned()));
    assert_eq!(
        of(json!(["a", {"name": "b"}, "a"])),
        Err("/1: must be a string: an account's name; /2: is the account of /0 again".to_owned())
    );
}

#[test]
fn a_body_in_another_form_is_not_guessed_at() {
    let with = |name: &'static str, value: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().expect("a header"));
        to_take(&headers, &Bytes::from_static(b"[{\"name\":\"a\"}]")).is_ok()
    };
    for (name, value, fine) in [
        ("content-type", "application/json", true),
        ("content-type", "application/json; charset=UTF-8", true),
        ("content-type", "application/vnd.x+json", true),
        ("content-type", "text/plain", false),
        ("content-type", "application/x-www-form-urlencoded", false),
        ("content-type", "application/json; charset=utf-16", false),
        ("content-type", "application/json, text/plain", false),
        ("content-encoding", "gzip", false),
        ("content-encoding", "identity", true),
    ] {
        assert_eq!(with(name, value), fine, "{name}: {value}");
    }
    assert_eq!(to_take(&HeaderMap::new(), &Bytes::new()).map_err(|e| e.to_string()).err().as_deref(), Some("the body: is empty"));
}

#[test]
fn what_an_answer_may_repeat_of_an_entry_has_its_secrets_masked() {
    let entry = read(to_create, &json!({"name": "a", "kubeconfigContents": "canary"})).expect("read").remove(0);
    assert_eq!(entry.shown["kubeconfigContents"], "****");
    assert!(!format!("{entry:?}").contains("canary"));
}

#[test]
fn a_disconnect_may_say_nothing_and_is_held_to_its_types() {
    let of = |body: &str| disconnect(&HeaderMap::new(), &body.to_owned().into()).map_err(|e| e.to_string());
    assert_eq!(of(""), Ok(()));
    assert_eq!(of("{}"), Ok(()));
    assert_eq!(of(r#"{"clusterDriven":true,"origin":"","timestamp":1}"#), Ok(()));
    assert_eq!(of(r#"{"timestamp":"x"}"#), Err("/timestamp: must be a whole number, not below 0".to_owned()));
    assert_eq!(of("[]"), Err("the body: must be an object".to_owned()));
}
