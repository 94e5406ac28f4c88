//! The layer and its service.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::{Either, LocalBoxFuture};
use http::{Request, Response, StatusCode};
use tower::{Layer, Service};

use super::route::{self, Kind};
use super::{Metrics, change};
use crate::config::{Deny, Settings};
use crate::mirror::Journal;
use crate::proxy::{Body, Delivery, path, respond};

/// What all clones of a service share.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    enabled: bool,
    context_path: Arc<str>,
    pub(super) inspection_limit: usize,
    pub(super) deny: Arc<Deny>,
    pub(super) metrics: Metrics,
}

/// Puts an [`Intercept`] around a service. One value serves all data-plane threads, where `J` may.
#[derive(Clone, Debug)]
pub struct InterceptLayer<J> {
    journal: J,
    shared: Shared,
}

impl<J> InterceptLayer<J> {
    /// With `interceptor.enabled` or `dynamicAccounts.enabled` off, everything passes.
    pub fn new(settings: &Settings, journal: J, metrics: Metrics) -> Self {
        let interceptor = &settings.interceptor;
        Self {
            journal,
            shared: Shared {
                enabled: settings.dynamic_accounts_enabled && interceptor.enabled,
                context_path: settings.clouddriver.context_path.clone(),
                inspection_limit: interceptor.inspection_limit,
                deny: Arc::new(interceptor.deny.clone()),
                metrics,
            },
        }
    }
}

impl<S, J: Clone> Layer<S> for InterceptLayer<J> {
    type Service = Intercept<S, J>;

    fn layer(&self, inner: S) -> Self::Service {
        Intercept { inner, journal: self.journal.clone(), shared: self.shared.clone() }
    }
}

/// Announces account changes and hears their outcomes; everything else passes straight to the inner service.
///
/// It must be called where local tasks can be spawned, and the end should wait for them: a change goes on without its client.
#[derive(Clone, Debug)]
pub struct Intercept<S, J> {
    inner: S,
    journal: J,
    shared: Shared,
}

impl<S, J> Service<Request<Body>> for Intercept<S, J>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + 'static,
    S::Error: Delivery + 'static,
    S::Future: 'static,
    J: Journal,
{
    type Response = Response<Body>;
    type Error = S::Error;
    // What passes costs no allocation here; a change is boxed, it waits for a database in any case.
    type Future = Either<S::Future, LocalBoxFuture<'static, Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if !self.shared.enabled {
            return Either::Left(self.inner.call(request));
        }
        match route::kind(request.method(), path::of(request.uri(), &self.shared.context_path)) {
            Kind::Pass => Either::Left(self.inner.call(request)),
            Kind::Watch => {
                let answer = self.inner.call(request);
                let (journal, metrics) = (self.journal.clone(), self.shared.metrics.clone());
                Either::Right(Box::pin(async move {
                    let answer = answer.await?;
                    if answer.status().is_success() {
                        metrics.suspicious.inc();
                        journal.sweep_soon("suspicious path");
                    }
                    Ok(answer)
                }))
            }
            Kind::Ours => {
                let message = "this path is Fairlead's own, and there is nothing at it";
                Either::Right(Box::pin(std::future::ready(Ok(respond::error(StatusCode::NOT_FOUND, "NotFound", message, None)))))
            }
            Kind::Change(method, name) => {
                // The instance that was polled ready does the call; its clone stays for the next request.
                let clone = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, clone);
                Either::Right(Box::pin(change::handle(ready, self.journal.clone(), self.shared.clone(), request, method, name)))
            }
        }
    }
}

#[cfg(test)]
mod tests;
