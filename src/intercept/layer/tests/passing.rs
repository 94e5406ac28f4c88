//! What passes, and what is answered by us.

use super::*;

fn call(layer: &InterceptLayer<Notes>, method: &str, path: &str, status: u16) -> StatusCode {
    on_a_thread(async {
        let service = over(layer, move |_| async move { response(status, "application/json", "") });
        service.oneshot(request(method, path, "{}")).await.unwrap().status()
    })
}

#[test]
fn what_is_no_change_passes_unannounced() {
    for (method, path) in [
        ("GET", "/credentials"),
        ("HEAD", "/credentials"),
        ("OPTIONS", "/credentials"),
        ("GET", "/credentials/acc"),
        ("DELETE", "/credentials/type/x"),
        ("POST", "/Credentials"),
        ("POST", "/kubernetes/ops"),
        ("post", "/credentials/type/x"),
    ] {
        let notes = Notes::default();
        assert_eq!(call(&layer(&notes), method, path, 200), 200, "{method} {path}");
        assert_eq!(notes.all(), [Forwarded], "{method} {path}");
    }
}

#[test]
fn a_spelling_that_should_be_refused_rings_a_sweep_only_when_it_was_taken() {
    for (method, path) in
        [("POST", "//credentials"), ("DELETE", "/credentials/a%2fb"), ("post", "/credentials"), ("PATCH", "/credentials/acc")]
    {
        let notes = Notes::default();
        let layer = layer(&notes);
        call(&layer, method, path, 200);
        assert_eq!(notes.all(), [Forwarded, Sweep], "{method} {path}");
        assert_eq!(layer.shared.metrics.suspicious.get(), 1);
        for refused in [400, 404, 405, 500] {
            let notes = Notes::default();
            call(&self::layer(&notes), method, path, refused);
            assert_eq!(notes.all(), [Forwarded], "{method} {path} {refused}");
        }
    }
}

#[test]
fn switched_off_everything_passes() {
    let notes = Notes::default();
    let mut layer = layer(&notes);
    layer.shared.enabled = false;
    for (method, path) in [("POST", "/credentials"), ("DELETE", "/credentials/acc"), ("POST", "//credentials")] {
        call(&layer, method, path, 200);
    }
    assert_eq!(notes.all(), [Forwarded, Forwarded, Forwarded]);
}

#[test]
fn our_own_paths_are_never_forwarded_in_any_spelling() {
    for path in ["/armory/accounts", "/%61rmory", "//armory", "/x/../armory", "/agents/kubernetes/accounts/a", "/armory/../credentials"] {
        let notes = Notes::default();
        assert_eq!(call(&layer(&notes), "POST", path, 200), 404, "{path}");
        assert_eq!(notes.all(), [], "{path}");
    }
}

#[test]
fn a_change_that_cannot_be_recorded_is_answered_503_and_not_forwarded() {
    for refusal in [Refusal::JournalUnavailable, Refusal::NotRegistered] {
        let notes = Notes { refusal: Some(refusal), ..Notes::default() };
        on_a_thread(async {
            let service = over(&layer(&notes), |_| async { response(200, "application/json", "{}") });
            let answer = service.oneshot(request("POST", "/credentials", r#"{"name":"acc"}"#)).await.unwrap();
            assert_eq!(answer.status(), 503);
            assert_eq!(answer.headers()["retry-after"], "5");
            let said: serde_json::Value = serde_json::from_str(&text(answer.into_body()).await).unwrap();
            assert_eq!(said["status"], 503);
            assert!(said["message"].as_str().unwrap().contains("nothing was changed"), "{said}");
        });
        assert_eq!(notes.all(), [AnnouncedEvent(Method::Post, Some("acc".to_owned()))]);
    }
}

#[test]
fn a_change_that_was_held_up_after_its_announcement_is_not_forwarded() {
    let notes = Notes { forwards: Rc::new(Cell::new(0)), ..Notes::default() };
    let answer = call(&layer(&notes), "DELETE", "/credentials/acc", 200);
    assert_eq!(answer, 503);
    assert_eq!(notes.all(), [AnnouncedEvent(Method::Delete, Some("acc".to_owned())), Unfinished]);
}

#[test]
fn a_change_that_is_held_up_on_its_way_to_the_wire_breaks_before_its_first_byte() {
    let notes = Notes { forwards: Rc::new(Cell::new(1)), ..Notes::default() };
    on_a_thread(async {
        let service = over(&layer(&notes), |request: Request<Body>| async {
            assert!(request.into_body().collect().await.is_err(), "the body left");
            Err(Lost { certainly_not_delivered: false })
        });
        let answer = service.oneshot(request("POST", "/credentials", r#"{"name":"acc"}"#)).await.unwrap();
        assert_eq!(answer.status(), 503, "whose fault it was is told");
    });
    assert_eq!(notes.all()[1..], [Forwarded, Finished(Outcome::Unknown, None)]);
}

#[test]
fn a_denied_property_is_refused_before_anything_is_announced() {
    let notes = Notes::default();
    let mut layer = layer(&notes);
    layer.shared.deny = Arc::new(Deny { fields: vec!["kubectlExecutable".to_owned()], action: DenyAction::Refuse });
    let bodies = [
        (r#"{"name":"a","kubectlExecutable":"/s3cret"}"#, 403),
        (r#"{"name":"a","name":"b"}"#, 400),
        (r#"["kubernetes",{"kubectlExecutable":"/s3cret"}]"#, 400),
    ];
    for (method, path) in [("POST", "/credentials"), ("PUT", "/credentials"), ("PUT", "/credentials/a")] {
        for (body, status) in bodies {
            on_a_thread(async {
                let service = over(&layer, |_| async { response(200, "application/json", "{}") });
                let answer = service.oneshot(request(method, path, body)).await.unwrap();
                assert_eq!(answer.status(), status, "{method} {path} {body}");
                assert!(!text(answer.into_body()).await.contains("s3cret"));
            });
        }
    }
    assert_eq!(notes.all(), []);
    assert_eq!(call(&layer, "DELETE", "/credentials/a", 200), 200, "a DELETE has no definition");
}

#[test]
fn a_denied_property_only_warns_by_default() {
    let notes = Notes::default();
    let layer = layer(&notes);
    on_a_thread(async {
        let service = over(&layer, |_| async { response(200, "application/json", "{}") });
        let answer = service.oneshot(request("POST", "/credentials", r#"{"name":"a","kubectlExecutable":"x"}"#)).await.unwrap();
        assert_eq!(answer.status(), 200);
        text(answer.into_body()).await;
    });
    assert!(notes.all().contains(&Forwarded));
    assert_eq!(layer.shared.metrics.warned.get(), 1);
}

/// A service that must be polled ready before each call, and whose clones are not ready.
#[derive(Default)]
struct Strict(bool);

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self(false)
    }
}

impl Service<Request<Body>> for Strict {
    type Response = Response<Body>;
    type Error = Lost;
    type Future = std::future::Ready<Answer>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        self.0 = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        assert!(std::mem::take(&mut self.0), "called without being ready");
        std::future::ready(response(200, "application/json", ""))
    }
}

#[test]
fn the_instance_that_was_polled_ready_is_the_one_that_is_called() {
    on_a_thread(async {
        let mut service = layer(&Notes::default()).layer(Strict::default());
        for (method, path) in [("DELETE", "/credentials/a"), ("GET", "/x"), ("POST", "/credentials"), ("POST", "//credentials")] {
            let answer = service.ready().await.unwrap().call(request(method, path, "{}")).await.unwrap();
            assert_eq!(answer.status(), 200, "{method} {path}");
        }
    });
}

#[test]
fn one_layer_serves_all_threads_when_its_journal_may() {
    fn may_cross<T: Send + Clone>() {}
    may_cross::<InterceptLayer<()>>();
}
