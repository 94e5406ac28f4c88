use std::convert::Infallible;

use http_body_util::Full;
use tower::service_fn;

use super::*;

fn request(target: &str, body: impl Into<Bytes>) -> Request<Body> {
    let mut request = Request::new(Body::Full(Full::new(body.into())));
    *request.uri_mut() = target.parse().unwrap_or_else(|e| panic!("{target}: {e}"));
    request
}

/// A front before something that says where the request went.
fn front(calls: mpsc::Sender<Call>) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible> {
    FrontLayer::new(calls, "/cd".into(), Metrics::default()).layer(service_fn(|request: Request<Body>| async move {
        Ok(Response::new(Body::from_bytes(format!("clouddriver {}", request.uri()))))
    }))
}

async fn text(answer: Response<Body>) -> (u16, String) {
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap_or_else(|e| panic!("{e}")).to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

fn router() -> Router {
    Router::new()
        .route("/armory/echo", axum::routing::any(|uri: Uri, body: Bytes| async move { format!("ours {uri} {}", body.len()) }))
        .route("/armory/panic", axum::routing::any(|| async { if true { panic!("as asked") } else { "" } }))
}

#[tokio::test]
async fn our_paths_are_answered_by_the_control_runtime_and_no_others() {
    let (calls, queue) = queue();
    let stop = CancellationToken::new();
    let server = tokio::spawn(serve(queue, router(), Metrics::default(), stop.clone()));
    let mut front = front(calls);
    for (target, expected) in [
        ("/armory/echo?a=b", "ours /armory/echo?a=b 3"),
        ("/cd/armory/echo", "ours /armory/echo 3"),
        ("http://elsewhere/armory/echo", "ours /armory/echo 3"),
        ("/armoryx/echo", "clouddriver /armoryx/echo"),
        ("/credentials", "clouddriver /credentials"),
        ("/", "clouddriver /"),
    ] {
        let Ok(answer) = front.call(request(target, "abc")).await;
        assert_eq!(text(answer).await, (200, expected.to_owned()), "{target}");
    }
    let Ok(answer) = front.call(request("/armory/../credentials", "")).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND, "a spelling that means two things is nobody's");
    stop.cancel();
    server.await.unwrap_or_else(|e| panic!("{e}"));
}

#[tokio::test]
async fn a_panic_is_a_500_there_and_nowhere_else() {
    let (calls, queue) = queue();
    let server = tokio::spawn(serve(queue, router(), Metrics::default(), CancellationToken::new()));
    let mut front = front(calls);
    let Ok(answer) = front.call(request("/armory/panic", "")).await;
    let (status, body) = text(answer).await;
    assert_eq!(status, 500);
    assert!(!body.contains("as asked"), "{body}");
    let Ok(answer) = front.call(request("/armory/echo", "")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    drop(front);
    server.await.unwrap_or_else(|e| panic!("{e}"));
}

#[tokio::test]
async fn a_full_queue_and_a_runtime_that_is_gone_are_503_with_a_time_to_come_back() {
    let (calls, waiting) = mpsc::channel(1);
    let (other, _) = (front(calls.clone()), ());
    let mut one = other;
    let mut first = Box::pin(one.call(request("/armory/echo", "")));
    assert!(futures_util::poll!(&mut first).is_pending());
    let mut two = front(calls);
    let Ok(answer) = two.call(request("/armory/echo", "")).await;
    assert_eq!((answer.status().as_u16(), answer.headers()[header::RETRY_AFTER].clone()), (503, HeaderValue::from(1)));
    drop(waiting);
    let Ok(answer) = first.await;
    assert_eq!((answer.status().as_u16(), answer.headers()[header::RETRY_AFTER].clone()), (503, HeaderValue::from(1)));
    let Ok(answer) = two.call(request("/armory/echo", "")).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let Ok(answer) = two.call(request("/applications", "")).await;
    assert_eq!(answer.status(), StatusCode::OK, "Clouddriver's requests go on");
}

#[tokio::test]
async fn a_body_above_the_bound_is_413_and_ends_the_connection() {
    let (calls, queue) = queue();
    let server = tokio::spawn(serve(queue, router(), Metrics::default(), CancellationToken::new()));
    let mut front = front(calls);
    let Ok(answer) = front.call(request("/armory/echo", vec![b'x'; BODY_LIMIT + 1])).await;
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.headers()[header::CONNECTION], "close");
    let Ok(answer) = front.call(request("/armory/echo", vec![b'x'; 2 * 1024 * 1024])).await;
    assert_eq!(answer.status(), StatusCode::OK);
    drop(front);
    server.await.unwrap_or_else(|e| panic!("{e}"));
}

#[tokio::test]
async fn a_request_whose_client_has_left_is_not_begun() {
    let (calls, queue) = mpsc::channel(4);
    let mut front = front(calls);
    let mut call = Box::pin(front.call(request("/armory/panic", "")));
    assert!(futures_util::poll!(&mut call).is_pending());
    drop(call);
    drop(front);
    let metrics = Metrics::default();
    serve(queue, router(), metrics.clone(), CancellationToken::new()).await;
    assert_eq!(metrics.panics.get(), 0);
}

#[tokio::test]
async fn stopping_finishes_what_is_under_way_and_turns_away_what_waits() {
    let (calls, queue) = queue();
    let (entered, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (e, g) = (entered.clone(), gate.clone());
    let router = Router::new().route(
        "/armory/slow",
        axum::routing::any(move || {
            let (e, g) = (e.clone(), g.clone());
            async move {
                e.add_permits(1);
                let _ = g.acquire().await;
                "done"
            }
        }),
    );
    let stop = CancellationToken::new();
    let server = tokio::spawn(serve(queue, router, Metrics::default(), stop.clone()));
    let mut front = front(calls);
    let mut slow = Box::pin(front.call(request("/armory/slow", "")));
    assert!(futures_util::poll!(&mut slow).is_pending());
    let _ = entered.acquire().await;
    stop.cancel();
    gate.add_permits(1);
    let Ok(answer) = slow.await;
    assert_eq!(text(answer).await, (200, "done".to_owned()));
    server.await.unwrap_or_else(|e| panic!("{e}"));
    let Ok(answer) = front.call(request("/armory/slow", "")).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
}
