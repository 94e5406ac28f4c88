//! The known ways round an interceptor (numbered as in the list that `docs/reliability.md` refers to), as far as this layer meets
//! them. Elsewhere: fragments (10), lengths that contradict each other (16), upgrades and HTTP/2 (18, 19) and nominated headers
//! (20) end in the proxy; twins of a name (21) in the mirror's comparison; other ways into the table (23) in the passes over it.
//! Pipelining (17) needs a connection: `tests/integration/intercept.rs`.

use super::*;

/// What the layer makes of a request that Clouddriver takes with 200 and no body.
fn of(request: Request<Body>) -> Vec<Event> {
    let notes = Notes::default();
    on_a_thread(async {
        let service = over(&layer(&notes), |_| async { response(200, "application/json", "") });
        service.oneshot(request).await.unwrap();
    });
    notes.all()
}

fn announced(method: Method, name: Option<&str>) -> Vec<Event> {
    vec![AnnouncedEvent(method, name.map(str::to_owned)), Forwarded, Finished(Outcome::Ok, None)]
}

#[test]
fn spellings_of_the_path() {
    let delete = |path| of(request("DELETE", path, ""));
    let post = |path| of(request("POST", path, r#"{"name":"n"}"#));
    for path in [
        "/%63redentials",                // 1
        "/credential%73",                // 1
        "/credentials/",                 // 2
        "http://other:1/credentials",    // 5
        "HTTP://host/credentials",       // 5
        "https://host/credentials",      // 5
        "/credentials?",                 // 6
        "/credentials?x",                // 6
        "http://host/credentials/?x=/y", // 5, 6
    ] {
        assert_eq!(post(path), announced(Method::Post, Some("n")), "{path}");
    }
    for (path, name) in [
        ("/credentials/acc/", "acc"),              // 2
        ("/credentials/a%63c", "acc"),             // 3
        ("/credentials/a+b", "a+b"),               // 3
        ("/credentials/a%2Bb", "a+b"),             // 3
        ("/credentials/a%3Fb%23%20%7E", "a?b# ~"), // 3
        ("/credentials/%C3%A9", "é"),              // 3
        ("/credentials/type", "type"),             // 4
        ("/credentials/history", "history"),       // 4
        ("http://host/credentials/acc?x", "acc"),  // 5, 6
    ] {
        assert_eq!(delete(path), announced(Method::Delete, Some(name)), "{path}");
    }
    for path in [
        "/credentials;x=1",  // 7
        "/credentials%3Bx",  // 7
        "//credentials",     // 8
        "/./credentials",    // 8
        "/x/../credentials", // 8
        "/%2e/credentials",  // 8
        "/%2563redentials",  // 8
        "/credentials%2f",   // 8
        "/credentials/é",    // C2: not ASCII
    ] {
        assert_eq!(post(path), [Forwarded, Sweep], "{path}: not announced, and nothing lost if it is taken one day");
    }
    for path in ["/Credentials", "/%43redentials", "/credentials.json", "/credentials%20", "/credentials/type/x"] {
        assert_eq!(post(path), [Forwarded], "{path}"); // 9
    }
    // 10: what is left when a library has swallowed the fragment is seen all the same.
    assert_eq!(post("/credentials#frag"), announced(Method::Post, Some("n")));
}

#[test]
fn a_context_path_is_a_setting_and_no_header_is_one() {
    // 22
    let notes = Notes::default();
    let mut layer = layer(&notes);
    layer.shared.context_path = "/clouddriver".into();
    let send = |path: &'static str| {
        on_a_thread(async {
            let service = over(&layer, |_| async { response(200, "application/json", "") });
            let mut request = request("DELETE", path, "");
            request.headers_mut().insert("x-forwarded-prefix", http::HeaderValue::from_static("/clouddriver"));
            service.oneshot(request).await.unwrap();
        });
        std::mem::take(&mut *notes.events.borrow_mut())
    };
    assert_eq!(send("/clouddriver/credentials/acc"), announced(Method::Delete, Some("acc")));
    assert_eq!(send("/credentials/acc"), [Forwarded]);
}

#[test]
fn methods_and_overrides() {
    // 11, 12, 27
    for method in ["OPTIONS", "HEAD", "GET", "TRACE"] {
        for header in ["x-http-method-override", "x-method-override", "x-http-method"] {
            let mut request = request(method, "/credentials/acc?_method=DELETE", "");
            request.headers_mut().insert(header, http::HeaderValue::from_static("DELETE"));
            request.headers_mut().insert("access-control-request-method", http::HeaderValue::from_static("DELETE"));
            assert_eq!(of(request), [Forwarded], "{method} {header}");
        }
    }
    let mut overridden = request("POST", "/credentials", r#"{"name":"n"}"#);
    overridden.headers_mut().insert("x-http-method-override", http::HeaderValue::from_static("GET"));
    assert_eq!(of(overridden), announced(Method::Post, Some("n")), "a POST stays one");
    assert_eq!(of(request("post", "/credentials", "{}")), [Forwarded, Sweep]);
    assert_eq!(of(request("PUT", "/credentials", r#"{"name":"n"}"#)), announced(Method::Put, Some("n")));
}

#[test]
fn bodies_that_say_something_else_than_they_seem_to() {
    let named = |body: &'static str| of(request("PUT", "/credentials/path", body));
    assert_eq!(named(r#"{"name":"body"}"#), announced(Method::PutNamed, Some("path"))); // 13
    let typed = |content_type: &str, body: Vec<u8>| {
        let mut request = request("POST", "/credentials", Body::from_bytes(body));
        request.headers_mut().insert("content-type", content_type.parse().unwrap());
        of(request)
    };
    let utf16: Vec<u8> = r#"{"name":"acc"}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (body, name) in [
        (r#"{"name":17}"#.into(), Some("17")),                 // 14
        (r#"{"name":true}"#.into(), Some("true")),             // 14
        (r#"{"name":"a","name":"acc"}"#.into(), Some("acc")),  // 14
        ("\u{feff}{\"name\":\"acc\"}".into(), Some("acc")),    // 14
        (r#"{"name":"acc"}{"name":"x"}"#.into(), Some("acc")), // 14
        (utf16, Some("acc")),                                  // 14
        (b"\x1f\x8b\x08 no json".to_vec(), None),              // 15: Clouddriver does not decode it either
        (b"\xbf\x64name\x63acc\xff".to_vec(), None),           // CBOR, which Clouddriver reads
        (b"---\nname: acc\n".to_vec(), None),                  // YAML
    ] {
        assert_eq!(typed("application/json", body), announced(Method::Post, name));
    }
    let mut expecting = request("POST", "/credentials", r#"{"name":"acc"}"#); // 15
    expecting.headers_mut().insert("expect", http::HeaderValue::from_static("100-continue"));
    assert_eq!(of(expecting), announced(Method::Post, Some("acc")));
    let long = format!(r#"{{"name":"acc","x":"{}"}}"#, "y".repeat(200_000)); // 24
    assert_eq!(typed("application/json", long.into_bytes()), announced(Method::Post, None));
}

#[test]
fn answers_other_than_200() {
    // 25, 26
    for (status, outcome) in [
        (201, Outcome::Ok),
        (202, Outcome::Ok),
        (204, Outcome::Ok),
        (207, Outcome::Ok),
        (301, Outcome::Unknown),
        (302, Outcome::Unknown),
        (307, Outcome::Unknown),
        (500, Outcome::Unknown),
        (504, Outcome::Unknown),
    ] {
        let notes = Notes::default();
        on_a_thread(async {
            let service = over(&layer(&notes), move |_| async move { response(status, "text/plain", "") });
            let answer = service.oneshot(request("POST", "/credentials", r#"{"name":"n"}"#)).await.unwrap();
            assert_eq!(answer.status(), status, "passed on, never followed");
        });
        assert_eq!(notes.all()[1..], [Forwarded, Finished(outcome, None)], "{status}");
    }
}
