use proptest::prelude::*;
use secrecy::SecretString;
use serde_json::json;

use super::*;
use crate::config::SealKey;

fn key(id: &str, byte: u8) -> SealKey {
    SealKey { id: id.to_owned(), key: SecretString::from(STANDARD.encode([byte; 32])) }
}

fn sealer(keys: &[(&str, u8)]) -> Sealer {
    let keys = SealKeys(keys.iter().map(|(id, b)| key(id, *b)).collect());
    Sealer::new(Some(&keys)).unwrap_or_else(|e| panic!("{e}"))
}

fn definition() -> Value {
    json!({"type": "kubernetes", "name": "prod", "kubeconfigContents": "canary-kubeconfig", "nested": [{"password": "canary-password"}],
        "token": "encrypted:s3!r:eu", "namespaces": ["a", "b"]})
}

#[test]
fn secrets_are_sealed_in_place_and_the_rest_stays_readable() {
    let (text, id) = sealer(&[("k1", 1)]).seal_definition("prod", &definition()).unwrap();
    assert_eq!(id.as_deref(), Some("k1"));
    assert!(!text.contains("canary"), "{text}");
    let stored: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(stored["namespaces"], json!(["a", "b"]));
    assert_eq!(stored["token"], "encrypted:s3!r:eu");
    assert!(stored["kubeconfigContents"].as_str().unwrap().starts_with("fairlead-sealed:v1:k1:"));
}

#[test]
fn what_was_sealed_opens_for_the_same_row_only() {
    let s = sealer(&[("k1", 1)]);
    let (text, _) = s.seal_definition("prod", &definition()).unwrap();
    assert_eq!(s.open_definition("prod", &text).unwrap(), definition());
    assert!(matches!(s.open_definition("Prod", &text), Err(OpenError::Tampered(_))));
}

#[test]
fn a_value_moved_to_another_property_does_not_open() {
    let s = sealer(&[("k1", 1)]);
    let (text, _) = s.seal_definition("prod", &json!({"kubeconfigContents": "canary", "password": "other"})).unwrap();
    let mut stored: Value = serde_json::from_str(&text).unwrap();
    stored["description"] = stored["kubeconfigContents"].clone();
    assert_eq!(s.open_definition("prod", &stored.to_string()), Err(OpenError::Tampered("/description".to_owned())));
    stored["description"] = Value::Null;
    stored["password"] = stored["kubeconfigContents"].clone();
    assert_eq!(s.open_definition("prod", &stored.to_string()), Err(OpenError::Tampered("/password".to_owned())));
}

#[test]
fn a_changed_or_cut_value_does_not_open() {
    let s = sealer(&[("k1", 1)]);
    let (text, _) = s.seal_definition("p", &json!({"password": "canary"})).unwrap();
    let stored: Value = serde_json::from_str(&text).unwrap();
    let sealed = stored["password"].as_str().unwrap();
    for bad in [
        &sealed[..sealed.len() - 4],
        "fairlead-sealed:v1:k1:",
        "fairlead-sealed:v1:k1:!!!!",
        "fairlead-sealed:v2:k1:AAAA",
        "fairlead-sealed:",
    ] {
        let e = s.open_definition("p", &json!({"password": bad}).to_string());
        assert_eq!(e, Err(OpenError::Tampered("/password".to_owned())), "{bad}");
    }
}

#[test]
fn an_old_key_opens_and_an_unknown_one_is_named() {
    let (text, _) = sealer(&[("old", 1)]).seal_definition("p", &definition()).unwrap();
    let rotated = sealer(&[("new", 2), ("old", 1)]);
    assert_eq!(rotated.open_definition("p", &text).unwrap(), definition());
    assert_eq!(sealer(&[("new", 2)]).open_definition("p", &text), Err(OpenError::UnknownKey("old".to_owned())));
    assert_eq!(Sealer::default().open_definition("p", &text), Err(OpenError::UnknownKey("old".to_owned())));
}

#[test]
fn a_users_text_that_looks_sealed_comes_back_as_it_was() {
    for s in [Sealer::default(), sealer(&[("k1", 1)])] {
        for user in ["fairlead-sealed:v1:k1:AAAA", "fairlead-sealed:raw:x", "fairlead-sealed:"] {
            let d = json!({"password": user, "description": user, "list": [user]});
            let (text, _) = s.seal_definition("p", &d).unwrap();
            assert_eq!(s.open_definition("p", &text).unwrap(), d);
        }
    }
}

#[test]
fn with_no_key_the_definition_stays_as_it_came_with_its_keys_sorted() {
    let (text, id) = Sealer::default().seal_definition("p", &json!({"b": {"z": 1, "a": "x"}, "a": "kubeconfig"})).unwrap();
    assert_eq!((text.as_str(), id), (r#"{"a":"kubeconfig","b":{"a":"x","z":1}}"#, None));
}

#[test]
fn an_error_names_the_place_and_never_the_text() {
    let e = sealer(&[("k1", 1)]).open_definition("p", "{\"password\": canary}").unwrap_err();
    assert_eq!(e, OpenError::NotJson { line: 1, column: 14 });
    assert!(!format!("{e:?} {e}").contains("canary"));
}

#[test]
fn bad_keys_are_refused_by_their_id_and_never_printed() {
    let bad = |keys: Vec<SealKey>| Sealer::new(Some(&SealKeys(keys))).unwrap_err();
    let short = SealKey { id: "k".to_owned(), key: SecretString::from("Y2FuYXJ5") };
    assert!(matches!(bad(vec![short]), KeyError::Length { .. }));
    assert!(matches!(bad(vec![key("a:b", 1)]), KeyError::Id { .. }));
    assert!(matches!(bad(vec![key("", 1)]), KeyError::Id { .. }));
    assert!(matches!(bad(vec![key("a", 1), key("a", 2)]), KeyError::Twice { .. }));
    assert_eq!(format!("{:?}", sealer(&[("k1", 1)])), "[\"k1\"]");
}

#[test]
fn what_could_not_be_read_again_is_not_written() {
    let mut deep = json!("x");
    for _ in 0..200 {
        deep = Value::Array(vec![deep]);
    }
    assert!(matches!(Sealer::default().seal_definition("p", &json!({"a": deep})), Err(SealError::TooDeep)));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "fairlead-sealed:(v1|raw)?:?[a-z:]{0,6}".prop_map(Value::from),
        "(encrypted:|secret://)?.{0,6}".prop_map(Value::from),
    ];
    let name = prop_oneof![Just("password".to_owned()), Just("kubeconfigContents".to_owned()), Just("a/b~c".to_owned()), ".{0,6}"];
    leaf.prop_recursive(4, 32, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..5).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_definition_of_any_name_comes_back(d in any_json(), row in ".{0,20}", keyed in any::<bool>()) {
        let s = if keyed { sealer(&[("k1", 1)]) } else { Sealer::default() };
        let (text, _) = s.seal_definition(&row, &d).unwrap();
        prop_assert_eq!(s.open_definition(&row, &text).unwrap(), d);
    }

    #[test]
    fn any_stored_text_opens_or_is_an_error_but_never_panics(text in ".{0,40}", sealed in "fairlead-sealed:[v1raw:k]{0,8}[A-Za-z0-9+/=]{0,60}") {
        let s = sealer(&[("k1", 1)]);
        let _ = s.open_definition("p", &text);
        let _ = s.open_definition("p", &json!({"a": sealed}).to_string());
    }
}
