//! The life of a change: what is announced and finished, when, and what a client that leaves changes about it.

use super::*;

const BODY: &str = r#"{"name":"sent","type":"kubernetes"}"#;
const STORED: &str = r#"{"type":"kubernetes","name":"stored"}"#;

fn some(name: &str) -> Option<String> {
    Some(name.to_owned())
}

/// The events of one change that was heard to its end.
fn events(method: &str, path: &str, status: u16, content_type: &'static str, said: &'static str) -> Vec<Event> {
    let notes = Notes::default();
    on_a_thread(async {
        let service = over(&layer(&notes), move |_| async move { response(status, content_type, said) });
        let answer = service.oneshot(request(method, path, if method == "DELETE" { "" } else { BODY })).await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(text(answer.into_body()).await, said);
    });
    notes.all()
}

#[test]
fn each_call_is_announced_forwarded_and_finished_once() {
    let json = "application/json";
    let of = |method, path, said| events(method, path, 200, json, said);
    assert_eq!(
        of("POST", "/credentials", STORED),
        [AnnouncedEvent(Method::Post, some("sent")), Forwarded, Finished(Outcome::Ok, some("stored"))]
    );
    assert_eq!(
        of("PUT", "/credentials/", STORED),
        [AnnouncedEvent(Method::Put, some("sent")), Forwarded, Finished(Outcome::Ok, some("stored"))]
    );
    assert_eq!(
        of("PUT", "/%63redentials/a%63c/", STORED),
        [AnnouncedEvent(Method::PutNamed, some("acc")), Forwarded, Finished(Outcome::Ok, None)]
    );
    assert_eq!(
        of("DELETE", "/credentials/a%20b", ""),
        [AnnouncedEvent(Method::Delete, some("a b")), Forwarded, Finished(Outcome::Ok, None)]
    );
    assert_eq!(
        of("POST", "http://elsewhere/credentials?x=1", STORED),
        [AnnouncedEvent(Method::Post, some("sent")), Forwarded, Finished(Outcome::Ok, some("stored"))]
    );
}

#[test]
fn the_verdict_follows_the_closed_list() {
    let invalid = r#"{"exception":"com.netflix.spinnaker.kork.web.exceptions.InvalidRequestException"}"#;
    let sql = r#"{"exception":"com.netflix.spinnaker.clouddriver.sql.security.SqlAccountDefinitionException","name":"x"}"#;
    let table = [
        (200, STORED, Outcome::Ok, some("stored")),
        (201, STORED, Outcome::Ok, some("stored")),
        (204, "", Outcome::Ok, None),
        (200, "", Outcome::Ok, None),
        (207, "<xml/>", Outcome::Ok, None),
        (302, "", Outcome::Unknown, None),
        (400, "", Outcome::Refused, None),
        (400, invalid, Outcome::Refused, None),
        (400, sql, Outcome::Unknown, None),
        (403, "{}", Outcome::Refused, None),
        (404, "{}", Outcome::Refused, None),
        (409, "{}", Outcome::Unknown, None),
        (500, STORED, Outcome::Unknown, None),
        (503, "", Outcome::Unknown, None),
    ];
    for (status, said, outcome, name) in table {
        let events = events("POST", "/credentials", status, "application/json", said);
        assert_eq!(events[2..], [Finished(outcome, name)], "{status} {said}");
    }
    assert_eq!(events("POST", "/credentials", 400, "application/problem+json", "{}")[2..], [Finished(Outcome::Refused, None)]);
}

#[test]
fn without_an_answer_delivery_decides() {
    for (certainly_not_delivered, outcome) in [(true, Outcome::Refused), (false, Outcome::Unknown)] {
        let notes = Notes::default();
        let error = on_a_thread(async {
            let service = over(&layer(&notes), move |_| async move { Err(Lost { certainly_not_delivered }) });
            service.oneshot(request("DELETE", "/credentials/acc", "")).await.err().unwrap()
        });
        assert_eq!(error, Lost { certainly_not_delivered }, "the error goes on as it is");
        assert_eq!(notes.all()[1..], [Forwarded, Finished(outcome, None)]);
    }
}

#[test]
fn an_answer_that_never_comes_is_unknown_in_the_end() {
    let notes = Notes::default();
    let answer = on_a_thread(async {
        let service = over(&layer(&notes), |_| std::future::pending::<Answer>());
        service.oneshot(request("DELETE", "/credentials/acc", "")).await.unwrap()
    });
    assert_eq!(answer.status(), 504);
    assert_eq!(notes.all()[1..], [Forwarded, Finished(Outcome::Unknown, None)]);
}

#[test]
fn a_client_that_leaves_before_the_announcement_has_changed_nothing() {
    let notes = Notes { waits: Duration::from_millis(40), ..Notes::default() };
    let (read, saw) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
    let (begun, ended) = (read.clone(), saw.clone());
    on_a_thread(async move {
        let service = over(&layer(&notes), move |request| {
            let (read, ended) = (read.clone(), ended.clone());
            async move {
                read.set(request.into_body().frame().await.is_some());
                ended.set(true);
                response(200, "application/json", STORED)
            }
        });
        let call = service.oneshot(request("POST", "/credentials", BODY));
        assert!(tokio::time::timeout(Duration::from_millis(10), call).await.is_err());
        tokio::time::sleep(Duration::from_secs(1)).await;
        // Its head was on its way; its body never was, and the connection to Clouddriver is closed.
        assert_eq!(notes.all()[..2], [Forwarded, AnnouncedEvent(Method::Post, Some("sent".into()))]);
        assert_eq!(notes.all()[2..], [Finished(Outcome::Refused, None)]);
    });
    assert!(!begun.get() && !saw.get());
}

#[test]
fn a_body_leaves_when_its_change_is_announced_and_a_request_without_one_not_before() {
    for (method, path, body) in [("POST", "/credentials", BODY), ("PUT", "/credentials/acc", BODY), ("DELETE", "/credentials/acc", "")] {
        let notes = Notes { waits: Duration::from_millis(40), ..Notes::default() };
        on_a_thread(async {
            let for_service = notes.clone();
            let service = over(&layer(&notes), move |request| {
                let notes = for_service.clone();
                async move {
                    let body = request.into_body().collect().await;
                    assert!(body.is_ok());
                    assert!(notes.all().iter().any(|e| matches!(e, AnnouncedEvent(..))), "{method} {path}");
                    response(200, "application/json", STORED)
                }
            });
            assert_eq!(service.oneshot(request(method, path, body)).await.unwrap().status(), 200);
            let first = notes.all()[0].clone();
            assert_eq!(first == Forwarded, method != "DELETE", "the head goes ahead only where a body has to follow: {method}");
        });
    }
}

#[test]
fn a_change_that_cannot_be_announced_gives_clouddriver_no_byte_of_its_body() {
    let notes = Notes { waits: Duration::from_millis(40), refusal: Some(Refusal::JournalUnavailable), ..Notes::default() };
    on_a_thread(async {
        let service = over(&layer(&notes), |request| async {
            request.into_body().collect().await.map(drop).expect_err("no body");
            response(200, "application/json", STORED)
        });
        assert_eq!(service.oneshot(request("POST", "/credentials", BODY)).await.unwrap().status(), 503);
    });
    assert!(matches!(notes.all()[..], [Forwarded, AnnouncedEvent(..)]), "{:?}", notes.all());
}

#[test]
fn a_client_that_leaves_while_clouddriver_works_is_survived_by_the_call() {
    let notes = Notes::default();
    let layer = layer(&notes);
    on_a_thread(async {
        let service = over(&layer, |request: Request<Body>| async {
            tokio::time::sleep(Duration::from_secs(40)).await;
            assert_eq!(text(request.into_body()).await, BODY);
            response(200, "application/json", STORED)
        });
        let call = service.oneshot(request("POST", "/credentials", BODY));
        assert!(tokio::time::timeout(Duration::from_secs(3), call).await.is_err());
        assert_eq!(notes.all().len(), 2, "still open");
    });
    assert_eq!(notes.all()[2..], [Finished(Outcome::Ok, some("stored"))]);
    assert_eq!(layer.shared.metrics.clients_left.get(), 1);
}

#[test]
fn a_client_that_leaves_within_the_answer_changes_nothing_about_the_verdict() {
    let notes = Notes::default();
    let layer = layer(&notes);
    on_a_thread(async {
        let (feed, body) = fed(None);
        let body = Rc::new(RefCell::new(Some(body)));
        let service = over(&layer, move |_| {
            let body = body.take().unwrap();
            async move { response(200, "application/json", body) }
        });
        let mut answer = service.oneshot(request("POST", "/credentials", BODY)).await.unwrap();
        feed.send(data(r#"{"type":"kubernetes","#)).unwrap();
        assert!(answer.body_mut().frame().await.unwrap().is_ok());
        drop(answer);
        settle().await;
        feed.send(data(r#""name":"stored"}"#)).unwrap();
        drop(feed);
    });
    assert_eq!(notes.all()[2..], [Finished(Outcome::Ok, some("stored"))]);
    assert_eq!(layer.shared.metrics.clients_left.get(), 1);
}

#[test]
fn an_answer_that_dries_up_after_its_client_left_does_not_keep_the_change_open() {
    let notes = Notes::default();
    let feed = on_a_thread(async {
        let (feed, body) = fed(None);
        let body = Rc::new(RefCell::new(Some(body)));
        let service = over(&layer(&notes), move |_| {
            let body = body.take().unwrap();
            async move { response(200, "application/json", body) }
        });
        let answer = service.oneshot(request("POST", "/credentials", BODY)).await.unwrap();
        feed.send(data(r#"{"name":"stored","#)).unwrap();
        drop(answer);
        feed
    });
    assert!(feed.is_closed());
    assert_eq!(notes.all()[2..], [Finished(Outcome::Ok, some("stored"))]);
}

#[test]
fn a_client_that_reads_nothing_does_not_keep_the_change_open() {
    let notes = Notes::default();
    on_a_thread(async {
        let (feed, body) = fed(None);
        let body = Rc::new(RefCell::new(Some(body)));
        let service = over(&layer(&notes), move |_| {
            let body = body.take().unwrap();
            async move { response(200, "application/json", body) }
        });
        let answer = service.oneshot(request("POST", "/credentials", BODY)).await.unwrap();
        for _ in 0..20 {
            feed.send(data(" ")).unwrap();
        }
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(notes.all()[2..], [Finished(Outcome::Ok, None)]);
        feed.send(data(STORED)).unwrap();
        drop(feed);
        assert_eq!(text(answer.into_body()).await, format!("{}{STORED}", " ".repeat(20)), "and nothing of its answer is lost");
    });
    assert_eq!(notes.all().len(), 3);
}

#[test]
fn who_has_the_whole_answer_finds_the_change_finished() {
    for exact in [None, Some(STORED.len() as u64)] {
        let notes = Notes::default();
        on_a_thread(async {
            let (feed, body) = fed(exact);
            let body = Rc::new(RefCell::new(Some(body)));
            let service = over(&layer(&notes), move |_| {
                let body = body.take().unwrap();
                async move { response(200, "application/json", body) }
            });
            let mut answer = service.oneshot(request("POST", "/credentials", BODY)).await.unwrap();
            assert_eq!(notes.all().len(), 2, "the head came before the verdict");
            feed.send(data(STORED)).unwrap();
            assert!(answer.body_mut().frame().await.unwrap().is_ok());
            if exact.is_none() {
                drop(feed);
                assert!(answer.body_mut().frame().await.is_none());
            }
            assert!(HttpBody::is_end_stream(answer.body()));
            assert_eq!(notes.all()[2..], [Finished(Outcome::Ok, some("stored"))], "{exact:?}");
        });
    }
}

#[test]
fn an_answer_that_breaks_off_breaks_for_the_client_and_the_status_decides() {
    for (status, outcome) in [(200, Outcome::Ok), (400, Outcome::Unknown)] {
        let notes = Notes::default();
        on_a_thread(async {
            let (feed, body) = fed(None);
            let body = Rc::new(RefCell::new(Some(body)));
            let service = over(&layer(&notes), move |_| {
                let body = body.take().unwrap();
                async move { response(status, "application/json", body) }
            });
            let answer = service.oneshot(request("PUT", "/credentials", BODY)).await.unwrap();
            feed.send(data(r#"{"exception":"x","#)).unwrap();
            feed.send(Err("cut".into())).unwrap();
            let mut body = answer.into_body();
            assert!(body.frame().await.unwrap().is_ok());
            assert!(body.frame().await.unwrap().is_err());
        });
        assert_eq!(notes.all()[2..], [Finished(outcome, None)], "{status}");
    }
}

#[test]
fn an_answer_longer_than_the_copy_reaches_the_client_whole() {
    let notes = Notes::default();
    on_a_thread(async {
        let long = format!(r#"{{"name":"stored","x":"{}"}}"#, "y".repeat(1_000_000));
        let sent = long.clone();
        let service = over(&layer(&notes), move |_| {
            let (feed, body) = fed(Some(sent.len() as u64));
            for chunk in sent.as_bytes().chunks(10_000) {
                feed.send(Ok(Frame::data(Bytes::copy_from_slice(chunk)))).unwrap();
            }
            async move { response(200, "application/json", body) }
        });
        let answer = service.oneshot(request("POST", "/credentials", BODY)).await.unwrap();
        assert_eq!(HttpBody::size_hint(answer.body()).exact(), Some(long.len() as u64), "its length stays told");
        assert_eq!(text(answer.into_body()).await, long);
    });
    assert_eq!(notes.all()[2..], [Finished(Outcome::Ok, some("stored"))]);
}

#[test]
fn a_panic_in_the_call_is_a_500_and_an_unknown_outcome() {
    let notes = Notes::default();
    let answer = on_a_thread(async {
        let service = over(&layer(&notes), |_| async { panic!("in the call") });
        service.oneshot(request("DELETE", "/credentials/acc", "")).await.unwrap()
    });
    assert_eq!(answer.status(), 500);
    assert_eq!(notes.all()[1..], [Forwarded, Unfinished]);
}

#[test]
fn a_thread_that_ends_leaves_its_changes_unknown() {
    let notes = Notes::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let local = LocalSet::new();
    let service = over(&layer(&notes), |_| std::future::pending::<Answer>());
    local.block_on(&runtime, async {
        let call = service.oneshot(request("DELETE", "/credentials/acc", ""));
        assert!(tokio::time::timeout(Duration::from_secs(3), call).await.is_err());
    });
    drop(local);
    assert_eq!(notes.all()[1..], [Forwarded, Unfinished]);
}

#[test]
fn an_answer_whose_relay_has_died_never_ends_cleanly() {
    let notes = Notes::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let local = LocalSet::new();
    let (feed, body) = fed(None);
    let body = Rc::new(RefCell::new(Some(body)));
    let service = over(&layer(&notes), move |_| {
        let body = body.take().unwrap();
        async move { response(200, "application/json", body) }
    });
    let mut answer = local.block_on(&runtime, service.oneshot(request("POST", "/credentials", BODY))).unwrap();
    feed.send(data("{")).unwrap();
    assert!(local.block_on(&runtime, answer.body_mut().frame()).unwrap().is_ok());
    drop(local);
    assert!(runtime.block_on(answer.body_mut().frame()).unwrap().is_err());
    assert_eq!(notes.all()[2..], [Unfinished]);
}

#[test]
fn a_following_change_of_the_same_client_is_announced_after_the_first_is_finished() {
    let notes = Notes::default();
    on_a_thread(async {
        let mut service = over(&layer(&notes), |_| async { response(200, "application/json", STORED) });
        for _ in 0..3 {
            let answer = service.ready().await.unwrap().call(request("PUT", "/credentials", BODY)).await.unwrap();
            text(answer.into_body()).await;
        }
    });
    let one = [AnnouncedEvent(Method::Put, some("sent")), Forwarded, Finished(Outcome::Ok, some("stored"))];
    assert_eq!(notes.all(), [one.clone(), one.clone(), one].concat());
}
