//! What the agent tells whoever is near: `/health`, `/accounts`, `/version` on one port, metrics on another. No secret, nothing to change.

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::accounts::{Keeper, Shown, Standing};
use super::status::Status;
use crate::telemetry::metrics::{CONTENT_TYPE, Exposition};

/// What it tells of.
#[derive(Clone)]
pub(super) struct Local {
    pub(super) keeper: Keeper,
    pub(super) status: Status,
    pub(super) agent: std::sync::Arc<str>,
}

/// Accounts in one answer, at most.
const MAX_ITEMS: usize = 10_000;

/// Health and accounts.
pub(super) fn router(local: Local) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/accounts", get(accounts))
        .route("/accounts/{name}/version", get(version_of))
        .route("/version", get(version))
        .fallback(async || {
            let text = "here are /health, /accounts, /accounts/NAME/version and /version";
            (StatusCode::NOT_FOUND, Json(json!({ "message": text })))
        })
        .with_state(local)
}

/// Metrics, under both of the original's paths.
pub(super) fn metrics(exposition: Exposition) -> Router {
    let answer = |State(exposition): State<Exposition>| async move { ([(header::CONTENT_TYPE, CONTENT_TYPE)], exposition.encode()) };
    Router::new().route("/metrics", get(answer)).route("/prometheus_metrics", get(answer)).with_state(exposition)
}

/// 200 while the agent is connected and registered: only then it is of use to anybody.
async fn health(State(local): State<Local>) -> Response {
    match local.status.get() {
        Ok(session) => {
            let since = session.since.duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
            Json(json!({
                "status": "UP", "agentId": *local.agent, "replica": session.replica, "epoch": session.epoch, "connectedSince": since
            }))
            .into_response()
        }
        Err(why) => {
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "DOWN", "agentId": *local.agent, "message": why }))).into_response()
        }
    }
}

async fn version() -> Json<Value> {
    Json(json!({ "version": env!("CARGO_PKG_VERSION") }))
}

async fn version_of(State(local): State<Local>, Path(name): Path<String>) -> Response {
    match local.keeper.get(&name) {
        Some(Shown { facts: Some(facts), .. }) => Json(json!({ "account": name, "version": facts.version })).into_response(),
        Some(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "message": "the account's cluster was not reached yet" }))).into_response()
        }
        None => (StatusCode::NOT_FOUND, Json(json!({ "message": "the agent has no account of this name" }))).into_response(),
    }
}

/// Which accounts are asked for. `offtset` is how the original's document prints it.
#[derive(serde::Deserialize)]
struct Wanted {
    #[serde(rename = "Config.Name")]
    name: Option<String>,
    #[serde(rename = "Config.Dynamic")]
    dynamic: Option<bool>,
    #[serde(rename = "State.Name")]
    state: Option<String>,
    limit: Option<usize>,
    #[serde(alias = "offtset")]
    offset: Option<usize>,
}

async fn accounts(State(local): State<Local>, wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>) -> Response {
    let Ok(Query(wanted)) = wanted else {
        let text = "Config.Name, Config.Dynamic (true, false), State.Name, limit and offset (numbers) are understood";
        return (StatusCode::BAD_REQUEST, Json(json!({ "message": text }))).into_response();
    };
    let fits = |shown: &Shown| {
        wanted.name.as_ref().is_none_or(|n| **n == *shown.name)
            && wanted.dynamic.is_none_or(|d| d == shown.definition.dynamic)
            && wanted.state.as_ref().is_none_or(|s| s.eq_ignore_ascii_case(state(shown)))
    };
    let all = local.keeper.all();
    let some = all.iter().filter(|s| fits(s)).skip(wanted.offset.unwrap_or(0)).take(wanted.limit.unwrap_or(MAX_ITEMS).min(MAX_ITEMS));
    Json(some.map(account).collect::<Vec<_>>()).into_response()
}

/// The original's names of states.
fn state(shown: &Shown) -> &'static str {
    match shown.standing {
        Standing::Connecting => "ConfigLoaded",
        Standing::Reached => "Healthy",
        Standing::Failed(_) => "DiscoveryError",
    }
}

fn account(shown: &Shown) -> Value {
    let config = &shown.definition.account;
    let facts = shown.facts.as_deref();
    json!({
        "Config": {
            "Name": *shown.name,
            "Dynamic": shown.definition.dynamic,
            "ServiceAccount": config.service_account,
            "Context": config.context,
            "Namespaces": config.namespaces,
            "Insecure": config.insecure,
            "NoProxy": config.no_proxy,
        },
        "State": {
            "Name": state(shown),
            "Error": match &shown.standing { Standing::Failed(failure) => Some(&failure.message), _ => None },
            "Refused": shown.refused,
        },
        "Role": if shown.watch { "WATCHING" } else { "STANDBY" },
        "Generation": shown.generation,
        "Host": facts.map(|f| &f.host),
        "Version": facts.map(|f| &f.version),
        "Namespaces": facts.and_then(|f| f.namespaces.as_ref()),
        "Kinds": facts.map(|f| &f.kinds),
        "Remarks": facts.map(|f| &f.remarks),
    })
}
