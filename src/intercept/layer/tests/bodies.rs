//! What happens to bodies: nothing.

use std::hash::{DefaultHasher, Hasher as _};

use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::*;

const LIMIT: usize = 64 * 1024;

/// What Clouddriver got of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Got {
    hash: u64,
    length: usize,
    exact: Option<u64>,
    trailers: Option<HeaderMap>,
    broke: bool,
    ended_at_once: bool,
}

async fn get(mut body: Body) -> Got {
    let mut hasher = DefaultHasher::new();
    let mut got = Got { exact: HttpBody::size_hint(&body).exact(), ended_at_once: HttpBody::is_end_stream(&body), ..Got::default() };
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => {
                hasher.write(&data);
                got.length += data.len();
            }
            Ok(Err(frame)) => got.trailers = frame.into_trailers().ok(),
            Err(_) => {
                got.broke = true;
                break;
            }
        }
    }
    got.hash = hasher.finish();
    got
}

/// Sends one body through and gives what arrived of it, and the events.
fn send(method: &str, path: &str, body: Body) -> (Got, Vec<Event>, StatusCode) {
    let notes = Notes::default();
    let seen: Rc<RefCell<Got>> = Rc::default();
    let status = on_a_thread(async {
        let to = seen.clone();
        let service = over(&layer(&notes), move |request: Request<Body>| {
            let to = to.clone();
            async move {
                let got = get(request.into_body()).await;
                let broke = got.broke;
                to.replace(got);
                if broke { Err(Lost { certainly_not_delivered: false }) } else { response(200, "application/json", "") }
            }
        });
        service.oneshot(request(method, path, body)).await.map_or(StatusCode::BAD_GATEWAY, |answer| answer.status())
    });
    (seen.take(), notes.all(), status)
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

fn chunks(bytes: &[u8], size: usize, exact: bool) -> (Feed, Body) {
    let (feed, body) = fed(exact.then_some(bytes.len() as u64));
    for chunk in bytes.chunks(size) {
        feed.send(Ok(Frame::data(Bytes::copy_from_slice(chunk)))).unwrap();
    }
    (feed, body)
}

#[test]
fn every_length_around_the_limit_arrives_whole_and_framed_as_it_was() {
    let bytes: Vec<u8> = (0..4 * LIMIT).map(|i| (i * 7 % 251) as u8).collect();
    for length in [0, 1, LIMIT - 1, LIMIT, LIMIT + 1, 4 * LIMIT] {
        for (size, exact) in [(1 << 20, true), (1000, true), (1 << 20, false), (1000, false)] {
            let (feed, body) = chunks(&bytes[..length], size, exact);
            drop(feed);
            let (got, events, _) = send("PUT", "/credentials/acc", body);
            assert_eq!((got.length, got.hash, got.broke), (length, hash(&bytes[..length]), false), "{length} in {size}, {exact}");
            assert_eq!(got.exact, exact.then_some(length as u64), "{length} in {size}: framing");
            assert_eq!(got.ended_at_once, exact && length == 0, "an empty chunked body stays chunked");
            assert_eq!(events[0], AnnouncedEvent(Method::PutNamed, Some("acc".to_owned())));
        }
    }
}

#[test]
fn trailers_follow_a_chunked_body() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("1"));
    for length in [10, 3 * LIMIT] {
        let (feed, body) = chunks(&vec![b'x'; length], 1000, false);
        feed.send(Ok(Frame::trailers(trailers.clone()))).unwrap();
        drop(feed);
        let (got, ..) = send("POST", "/credentials", body);
        assert_eq!((got.length, got.trailers, got.exact), (length, Some(trailers.clone()), None));
    }
}

#[test]
fn twenty_mebibytes_stream_through_with_little_in_hand() {
    const CHUNK: usize = 64 * 1024;
    const COUNT: usize = 320;

    /// Makes a chunk when it is asked for one, and notes how far Clouddriver is behind.
    struct Source {
        made: usize,
        arrived: Rc<Cell<usize>>,
        behind: Rc<Cell<usize>>,
        sum: Rc<RefCell<DefaultHasher>>,
    }
    impl HttpBody for Source {
        type Data = Bytes;
        type Error = BodyError;
        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            let this = self.get_mut();
            if this.made == COUNT {
                return Poll::Ready(None);
            }
            this.made += 1;
            let chunk: Vec<u8> = (0..CHUNK).map(|i| (i * this.made % 251) as u8).collect();
            this.sum.borrow_mut().write(&chunk);
            this.behind.set(this.behind.get().max(this.made * CHUNK - this.arrived.get()));
            Poll::Ready(Some(Ok(Frame::data(chunk.into()))))
        }
    }

    let notes = Notes::default();
    let (arrived, behind, sum) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)), Rc::new(RefCell::new(DefaultHasher::new())));
    let source = Source { made: 0, arrived: arrived.clone(), behind: behind.clone(), sum: sum.clone() };
    let got = Rc::new(RefCell::new(DefaultHasher::new()));
    on_a_thread(async {
        let (arrived, got) = (arrived.clone(), got.clone());
        let service = over(&layer(&notes), move |request: Request<Body>| {
            let (arrived, got) = (arrived.clone(), got.clone());
            async move {
                let mut body = request.into_body();
                while let Some(frame) = body.frame().await {
                    let data = frame.unwrap().into_data().unwrap();
                    got.borrow_mut().write(&data);
                    arrived.set(arrived.get() + data.len());
                }
                response(200, "application/json", "")
            }
        });
        service.oneshot(request("POST", "/credentials", Body::boxed(source))).await.unwrap();
    });
    assert_eq!((arrived.get(), got.borrow().finish()), (COUNT * CHUNK, sum.borrow().finish()));
    assert!(behind.get() <= LIMIT + 2 * CHUNK, "{} bytes were held", behind.get());
    assert_eq!(notes.all(), [AnnouncedEvent(Method::Post, None), Forwarded, Finished(Outcome::Ok, None)]);
}

#[test]
fn a_client_that_breaks_off_within_the_limit_has_sent_nothing() {
    for exact in [None, Some(100)] {
        let (feed, body) = fed(exact);
        feed.send(data(r#"{"name":"acc","#)).unwrap();
        feed.send(Err("gone".into())).unwrap();
        let (_, events, status) = send("POST", "/credentials", body);
        assert_eq!((events, status.as_u16()), (vec![], 400), "{exact:?}");
    }
}

#[test]
fn a_client_that_stands_still_within_the_limit_does_not_wait_for_ever() {
    let (feed, body) = fed(None);
    feed.send(data("{")).unwrap();
    let (_, events, status) = send("POST", "/credentials", body);
    assert_eq!((events, status.as_u16()), (vec![], 400));
    drop(feed);
}

#[test]
fn a_client_that_breaks_off_beyond_the_limit_breaks_the_request_and_the_outcome_is_unknown() {
    for exact in [None, Some(4 * LIMIT as u64)] {
        let (feed, body) = fed(exact);
        for _ in 0..2 {
            feed.send(Ok(Frame::data(vec![b'x'; LIMIT].into()))).unwrap();
        }
        feed.send(Err("gone".into())).unwrap();
        let (got, events, _) = send("POST", "/credentials", body);
        assert!(got.broke && got.length == 2 * LIMIT, "{exact:?}");
        assert_eq!(events[1..], [Forwarded, Finished(Outcome::Unknown, None)]);
    }
}

#[test]
fn a_chunked_body_whose_client_is_gone_never_ends_cleanly() {
    let notes = Notes::default();
    let seen: Rc<RefCell<Got>> = Rc::default();
    on_a_thread(async {
        let to = seen.clone();
        let service = over(&layer(&notes), move |request: Request<Body>| {
            let to = to.clone();
            async move {
                to.replace(get(request.into_body()).await);
                Err(Lost { certainly_not_delivered: false })
            }
        });
        let (feed, body) = chunks(&vec![b'x'; 2 * LIMIT], 1000, false);
        let call = service.oneshot(request("POST", "/credentials", body));
        assert!(tokio::time::timeout(Duration::from_secs(1), call).await.is_err());
        // The connection is dropped with the handler; to the body that looks like its end.
        drop(feed);
    });
    assert!(seen.take().broke);
    assert_eq!(notes.all()[1..], [Forwarded, Finished(Outcome::Unknown, None)]);
}

#[test]
fn an_answer_streams_and_keeps_its_headers_and_trailers() {
    on_a_thread(async {
        let (feed, body) = fed(None);
        let body = Rc::new(RefCell::new(Some(body)));
        let service = over(&layer(&Notes::default()), move |_| {
            let body = body.take().unwrap();
            async move {
                let head = Response::builder().status(200).header("ETag", "\"x\"").header("X-A", "1").header("X-A", "2");
                Ok(head.body(body).unwrap())
            }
        });
        let mut answer = service.oneshot(request("POST", "/credentials", "{}")).await.unwrap();
        assert_eq!(answer.headers().get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(answer.headers().len(), 3);
        assert_eq!(HttpBody::size_hint(answer.body()).exact(), None);
        for part in ["{\"na", "me\":1", "}"] {
            feed.send(data(part)).unwrap();
            assert_eq!(answer.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), part);
        }
        let trailers = HeaderMap::from_iter([(http::HeaderName::from_static("x-sum"), HeaderValue::from_static("1"))]);
        feed.send(Ok(Frame::trailers(trailers.clone()))).unwrap();
        assert_eq!(answer.body_mut().frame().await.unwrap().unwrap().into_trailers().unwrap(), trailers);
        drop(feed);
        assert!(answer.body_mut().frame().await.is_none());
    });
}

#[test]
fn a_compressed_answer_passes_as_it_is_and_hints_at_nothing() {
    let notes = Notes::default();
    on_a_thread(async {
        let service = over(&layer(&notes), |_| async {
            let head = Response::builder().header("content-type", "application/json").header("content-encoding", "gzip");
            Ok(head.body(Body::from_bytes(r#"{"name":"not really gzip"}"#)).unwrap())
        });
        let answer = service.oneshot(request("POST", "/credentials", r#"{"name":"acc"}"#)).await.unwrap();
        assert_eq!(notes.all()[2..], [Finished(Outcome::Ok, None)], "finished at the head");
        assert_eq!(text(answer.into_body()).await, r#"{"name":"not really gzip"}"#);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_request_and_no_answer_makes_it_panic(
        method in "(POST|PUT|DELETE|post|PATCH|X)",
        path in "/(credentials|%63redentials|armory|/|\\.\\.|%2f|;|a|%C3%A9|%ff){0,6}",
        sent in proptest::collection::vec(any::<u8>(), 0..100),
        said in proptest::collection::vec(any::<u8>(), 0..100),
        status in 200u16..600,
    ) {
        let notes = Notes::default();
        on_a_thread(async {
            let says = said.clone();
            let service = over(&layer(&notes), move |_| {
                let said = says.clone();
                async move { response(status, "application/json", Body::from_bytes(said)) }
            });
            if let Ok(request) = Request::builder().method(&*method).uri(&path).body(Body::from_bytes(sent)) {
                let answer = service.oneshot(request).await.unwrap();
                let own = answer.status() != status;
                let got = answer.into_body().collect().await.unwrap().to_bytes();
                assert!(own || got == said);
            }
        });
        let finished = notes.all().iter().filter(|e| matches!(e, Finished(..) | Unfinished)).count();
        let announced = notes.all().iter().filter(|e| matches!(e, AnnouncedEvent(..))).count();
        prop_assert_eq!(finished, announced);
    }
}
