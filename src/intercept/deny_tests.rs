use http::{HeaderValue, header};
use proptest::prelude::*;

use super::*;

fn deny(action: DenyAction) -> Deny {
    Deny { fields: vec!["kubectlExecutable".to_owned()], action }
}

fn json() -> HeaderMap {
    HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"))])
}

fn status(headers: &HeaderMap, body: &[u8]) -> Option<u16> {
    match check(&deny(DenyAction::Refuse), headers, Some(body)) {
        Decision::Pass => None,
        Decision::Refuse(refused) => Some(refused.status.as_u16()),
        Decision::Warn(_) => panic!("warned under refuse"),
    }
}

#[test]
fn refuse_names_the_property_and_never_its_value() {
    let body = br#"{"name":"a","KUBECTLexecutable":"/tmp/s3cret"}"#;
    let Decision::Refuse(refused) = check(&deny(DenyAction::Refuse), &json(), Some(body)) else { panic!("passed") };
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.found && refused.message.contains("kubectlExecutable"), "{refused:?}");
    assert!(!refused.message.contains("s3cret"), "{refused:?}");
}

#[test]
fn under_refuse_only_what_is_read_with_certainty_passes() {
    let deep = |n: usize| format!(r#"{{"x":{}{}}}"#, "[".repeat(n), "]".repeat(n));
    let (shallow, deep) = (deep(100), deep(500));
    let table: &[(&[u8], Option<u16>)] = &[
        (br#"{"name":"a","type":"kubernetes","namespaces":["x"],"permissions":{"READ":["a"]}}"#, None),
        (b"  {} \r\n", None),
        (br#"{"x":{"kubectlExecutable":"nested"}}"#, None),
        (br#"{"kubectlExecutableX":1}"#, None),
        (shallow.as_bytes(), None),
        (br#"{"kubectlExecutable":"/bin/x"}"#, Some(403)),
        (br#"{"kubectlExecut\u0061ble":null}"#, Some(403)),
        (br#"{"kubectlexecutable":"x"}"#, Some(403)),
        (br#"{"name":"a","name":"a"}"#, Some(400)),
        (br#"{"name":"a","n\u0061me":"a"}"#, Some(400)),
        (br#"{"x":[{"y":1,"y":2}]}"#, Some(400)),
        (b"\xEF\xBB\xBF{}", Some(400)),
        (b"{} {}", Some(400)),
        (b"{} x", Some(400)),
        (b"{}\0", Some(400)),
        (b"", Some(400)),
        (b"[]", Some(400)),
        (br#"["kubernetes",{"kubectlExecutable":"x"}]"#, Some(400)),
        (b"null", Some(400)),
        (b"1", Some(400)),
        (b"{\"x\":\"\xC0\xAF\"}", Some(400)),
        (b"{\"x\":\"\xFF\"}", Some(400)),
        (br#"{"x":"\ud800"}"#, Some(400)),
        (br#"{"x":1e999}"#, Some(400)),
        (b"{'x':1}", Some(400)),
        (b"{\"x\":1,}", Some(400)),
        (b"{/* */}", Some(400)),
        (b"\0{\0}", Some(400)),
        (deep.as_bytes(), Some(400)),
    ];
    for (body, expected) in table {
        assert_eq!(status(&json(), body), *expected, "{}", String::from_utf8_lossy(&body[..body.len().min(80)]));
    }
}

#[test]
fn under_refuse_headers_must_leave_one_reading() {
    let typed = |text: &str| HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_str(text).unwrap())]);
    for (content_type, expected) in [
        ("application/json", None),
        ("Application/JSON;charset=\"UTF-8\"", None),
        ("application/vnd.x+json", None),
        ("application/json;charset=utf-16", Some(415)),
        ("application/json;charset=iso-8859-1", Some(415)),
        ("application/json;charset=utf-8;charset=utf-16", Some(415)),
        ("application/json, application/cbor", Some(415)),
        ("application/cbor", Some(415)),
        ("application/x-jackson-smile", Some(415)),
        ("application/xml", Some(415)),
        ("application/yaml", Some(415)),
        ("text/plain", Some(415)),
        ("", Some(415)),
    ] {
        assert_eq!(status(&typed(content_type), b"{}"), expected, "{content_type:?}");
    }
    assert_eq!(status(&HeaderMap::new(), b"{}"), Some(415), "no Content-Type");
    let mut twice = json();
    twice.append(header::CONTENT_TYPE, HeaderValue::from_static("application/cbor"));
    assert_eq!(status(&twice, b"{}"), Some(415), "two Content-Types");
    let mut coded = json();
    coded.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    assert_eq!(status(&coded, b"{}"), Some(415), "compressed");
    let Decision::Refuse(long) = check(&deny(DenyAction::Refuse), &json(), None) else { panic!("passed") };
    assert_eq!(long.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[test]
fn warn_reads_leniently_and_lets_everything_pass() {
    let warned = |body: &[u8]| check(&deny(DenyAction::Warn), &HeaderMap::new(), Some(body));
    let field = || Decision::Warn("kubectlExecutable".to_owned());
    assert_eq!(warned(br#"{"kubectlExecutable":"x"} trailing"#), field());
    assert_eq!(warned(b"\xEF\xBB\xBF{\"KUBECTLEXECUTABLE\":1}"), field());
    assert_eq!(warned(br#"["kubernetes",{"kubectlExecutable":"x"}]"#), field());
    assert_eq!(warned(br#"{"a":1,"a":2}"#), Decision::Pass);
    assert_eq!(warned(b"rubbish"), Decision::Pass);
    assert_eq!(check(&deny(DenyAction::Warn), &HeaderMap::new(), None), Decision::Pass);
}

#[test]
fn with_no_fields_nothing_is_looked_at() {
    let none = Deny { fields: Vec::new(), action: DenyAction::Refuse };
    assert_eq!(check(&none, &HeaderMap::new(), None), Decision::Pass);
}

proptest! {
    #[test]
    fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        check(&deny(DenyAction::Refuse), &json(), Some(&body));
        check(&deny(DenyAction::Warn), &json(), Some(&body));
    }

    #[test]
    fn what_passes_under_refuse_has_no_denied_property_for_a_lenient_reader(body in r#"(\{|\}|\[|\]|,|:|"kubectlExecutable"|"kubectlexecutable"|"a"|1| |x){0,12}"#) {
        if status(&json(), body.as_bytes()).is_none() {
            prop_assert_eq!(check(&deny(DenyAction::Warn), &json(), Some(body.as_bytes())), Decision::Pass);
        }
    }
}
