//! What can go wrong in the API, and the answer to it. The shape is built in [`crate::proxy::respond`], like every answer of ours.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::body::Faults;
use crate::dispatch::desk;
use crate::proxy::respond::error_bytes;
use crate::{source, store};

/// Why a request of the API is not answered with what was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("this operation of Fairlead is not built yet")]
    NotBuilt,
    #[error("dynamic accounts are switched off: set kubesvc.dynamicAccounts.enabled to true")]
    Off,
    #[error("this method is not part of this operation")]
    MethodNotAllowed,
    #[error("neither Fairlead nor Clouddriver has a Kubernetes account of this name")]
    UnknownAccount,
    #[error("Fairlead has no account of any of these names; POST /armory/accounts takes them over from Clouddriver")]
    NoneKnown,
    #[error("Fairlead has no account of this name")]
    NoSuchRow,
    #[error("the account cannot be changed now; try again later")]
    Desk(Arc<desk::Error>),
    #[error("{message}")]
    Partly { message: String, transient: bool },
    #[error("no agent of this name is connected to this replica")]
    UnknownAgent,
    #[error("{0}")]
    Body(Faults),
    #[error("the body has to be JSON in UTF-8, not compressed, with a Content-Type that says so or with none")]
    MediaType,
    #[error("query parameter {name}: {wanted}")]
    Parameter { name: &'static str, wanted: String },
    #[error("the name in the path is not UTF-8 once its escapes are decoded")]
    Name,
    #[error("Fairlead's own database cannot answer now; try again later")]
    Store(store::Error),
    #[error("whether Clouddriver has an account of this name cannot be told now; try again later")]
    Source(source::Error),
    #[error("whether Clouddriver has an account of this name cannot be told now; try again later")]
    SourceSilent,
}

impl ApiError {
    pub(super) fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NotBuilt | Self::Off => (StatusCode::NOT_IMPLEMENTED, "UnsupportedOperationException"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "HttpRequestMethodNotSupportedException"),
            Self::UnknownAccount | Self::UnknownAgent | Self::NoSuchRow => (StatusCode::NOT_FOUND, "NotFoundException"),
            Self::MediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "HttpMediaTypeNotSupportedException"),
            Self::NoneKnown | Self::Body(_) | Self::Parameter { .. } | Self::Name => (StatusCode::BAD_REQUEST, "InvalidRequestException"),
            Self::Desk(e) if !e.is_transient() => (StatusCode::INTERNAL_SERVER_ERROR, "DatabaseException"),
            Self::Partly { transient: false, .. } => (StatusCode::INTERNAL_SERVER_ERROR, "DatabaseException"),
            Self::Desk(_) | Self::Partly { .. } => (StatusCode::SERVICE_UNAVAILABLE, "AccountUnavailableException"),
            Self::Store(e) if !e.is_transient() => (StatusCode::INTERNAL_SERVER_ERROR, "DatabaseException"),
            Self::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "DatabaseUnavailableException"),
            Self::Source(_) | Self::SourceSilent => (StatusCode::SERVICE_UNAVAILABLE, "ClouddriverUnavailableException"),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        // The causes are for the log: a driver's words may quote what a client sent.
        match &self {
            Self::Store(e) => tracing::warn!("API: {e}"),
            Self::Source(e) => tracing::warn!("API: {e}"),
            Self::Desk(e) => tracing::warn!("API: {e}"),
            _ => {}
        }
        let (status, exception) = self.status();
        let message = match &self {
            Self::Desk(e) if !e.is_transient() => {
                "the account cannot be changed: Fairlead's own database refuses; the log says why".to_owned()
            }
            Self::Store(e) if !e.is_transient() => "Fairlead's own database refuses the statement; the log says why".to_owned(),
            other => other.to_string(),
        };
        let again = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1);
        error_bytes(status, exception, &message, again).map(axum::body::Body::from).into_response()
    }
}

impl From<store::Error> for ApiError {
    fn from(e: store::Error) -> Self {
        Self::Store(e)
    }
}

impl From<Faults> for ApiError {
    fn from(faults: Faults) -> Self {
        Self::Body(faults)
    }
}

impl From<Arc<desk::Error>> for ApiError {
    fn from(e: Arc<desk::Error>) -> Self {
        Self::Desk(e)
    }
}
