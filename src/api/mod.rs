//! Fairlead's own REST API: everything below `/armory/` and `/agents/kubernetes/`.
//!
//! [`front`] stands on the data plane and sends these requests, with their bodies, to the control runtime; [`Api`] answers them there. What
//! is not built yet answers 501 here, and is never forwarded. No answer holds a secret: definitions are masked by
//! [`crate::store::secrets`] before they are serialised, and errors name no value of the request.

mod agents;
mod body;
mod error;
pub mod front;
mod openapi;
mod places;
mod query;
mod read;
mod schema;
mod view;
mod write;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{MethodRouter, any, get, post};

use crate::channel::Agents;
use crate::dispatch::Desk;
use crate::source::{self, Reading, Source};
use crate::store::Store;
use error::ApiError;

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The mirror, as far as the API needs it.
pub trait Settler: Send + Sync {
    /// Settles the open intents of this name, as far as that goes in a moment; the API waits a bounded time and then answers from what is
    /// there. Dropping the future leaves what was begun to the mirror.
    fn settle_open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, ()>;
}

/// Clouddriver's own account of a name.
pub trait Lookup: Send + Sync {
    /// What Clouddriver stores for this name.
    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Reading, source::Error>>;
}

impl Lookup for Source {
    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Reading, source::Error>> {
        Box::pin(self.read(name))
    }
}

/// Settles nothing: for a process that runs no mirror.
#[derive(Clone, Copy, Debug)]
pub struct NoSettler;

impl Settler for NoSettler {
    fn settle_open<'a>(&'a self, _: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// What the API answers from.
#[derive(Clone)]
pub struct Api {
    /// The mirror's tables.
    pub store: Store,
    /// Settles a name before it is read.
    pub settler: Arc<dyn Settler>,
    /// Clouddriver's side.
    pub lookup: Arc<dyn Lookup>,
    /// What users ask for; `None`: this process changes no account, and answers 501.
    pub desk: Option<Desk>,
    /// Who is connected.
    pub agents: Arc<dyn Agents>,
    /// This replica's name (`fairlead.replica.id`).
    pub replica: Arc<str>,
    /// `kubesvc.dynamicAccounts.enabled`: off, each account endpoint answers 501.
    pub enabled: bool,
}

/// Settling before a read takes no longer than this; then the read shows what is there.
const SETTLE_BOUND: std::time::Duration = std::time::Duration::from_secs(2);
/// And asking Clouddriver no longer than this.
const LOOKUP_BOUND: std::time::Duration = std::time::Duration::from_secs(10);

impl Api {
    /// The routes. An operation of the contract that is not built yet answers 501, a method that is not of the contract 405.
    pub fn router(self) -> Router {
        let accounts = || {
            let routes = get(read::list).post(write::take).patch(write::change).delete(write::delete);
            known(routes, "GET, HEAD, POST, PATCH, DELETE, OPTIONS")
        };
        let account = || known(get(read::one).delete(write::delete_one), "GET, HEAD, DELETE, OPTIONS");
        // An account may have this name too, and nothing in the route says it.
        let name = || Ok(Path("dynamic".to_owned()));
        let dynamic = || {
            let routes = post(write::create)
                .put(write::update)
                .patch(write::change_dynamic)
                .get(move |state| read::one(state, name()))
                .delete(move |state, until| write::delete_one(state, until, name()));
            known(routes, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
        };
        let handled = || known(get(read::handled), "GET, HEAD, OPTIONS");
        let agents = || known(get(agents::list), "GET, HEAD, OPTIONS");
        Router::new()
            .route("/armory/accounts", accounts())
            .route("/armory/accounts/", accounts())
            .route("/armory/accounts/dynamic", dynamic())
            .route("/armory/accounts/dynamic/", dynamic())
            .route("/armory/accounts/{name}", account())
            .route("/armory/accounts/{name}/", account())
            .route("/agents/kubernetes/accounts/{name}", handled())
            .route("/agents/kubernetes/accounts/{name}/", handled())
            .route("/agents/kubernetes/accounts/{name}/namespaces", known(get(read::namespaces), "GET, HEAD, OPTIONS"))
            .route("/armory/openapi.json", known(get(openapi::document), "GET, HEAD, OPTIONS"))
            .route("/armory/agents", agents())
            .route("/armory/agents/", agents())
            .route("/armory/agents/{id}", known(get(agents::one), "GET, HEAD, OPTIONS"))
            .route("/armory/agent/assignments", known(post(write::assign), "POST, OPTIONS"))
            .route("/armory/agent/{id}/disconnect", known(post(agents::disconnect), "POST, OPTIONS"))
            // Not an agent of this name.
            .route("/armory/agent/operations/{*rest}", any(|| async { ApiError::NotBuilt }))
            .method_not_allowed_fallback(|| async { ApiError::MethodNotAllowed })
            .fallback(|| async { ApiError::NotBuilt })
            // The front has bounded the body already.
            .layer(axum::extract::DefaultBodyLimit::disable())
            .layer(axum::middleware::from_fn_with_state(self.clone(), gate))
            .with_state(self)
    }
}

/// With an answer to OPTIONS that says what is built.
fn known(routes: MethodRouter<Api>, allow: &'static str) -> MethodRouter<Api> {
    routes.options(move || async move { (http::StatusCode::NO_CONTENT, [(http::header::ALLOW, allow)]) })
}

/// The feature's switch stands before each account endpoint, built or not.
async fn gate(State(api): State<Api>, request: axum::extract::Request, next: axum::middleware::Next) -> Result<Response, ApiError> {
    let path = request.uri().path();
    let of_accounts = ["/armory/accounts", "/agents/kubernetes/accounts"]
        .iter()
        .any(|p| path.strip_prefix(p).is_some_and(|r| r.is_empty() || r.starts_with('/')));
    if of_accounts && !api.enabled {
        return Err(ApiError::Off);
    }
    Ok(next.run(request).await)
}
