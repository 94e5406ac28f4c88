//! The operations that change accounts.
//!
//! A body with a fault changes nothing. Of a batch without one, each entry stands for itself: what can be done is, and the answer (POST) or the
//! account's message and the log (PATCH, DELETE) say what was not. A client that leaves stops nothing: the batch is finished.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

use super::body::{self, Entry};
use super::error::ApiError;
use super::schema::{
    AddBatch, Besides, ChangeBatch, DynamicAccount, DynamicAccounts, ErrorBody, Names, NotTaken, OfAccounts, WithBody, WithName,
};
use super::{Api, read};
use crate::dispatch::desk::{Desk, Error, Outcome};
use crate::lifecycle::Wanted;

/// Accounts of one request that are worked on at once. More would take the pool's connections from others.
const AT_ONCE: usize = 6;

/// Takes accounts over from Clouddriver's table: INACTIVE.
#[utoipa::path(post, path = "/armory/accounts", tag = "accounts", request_body = AddBatch,
    responses(
        (status = 202, description = "All are taken", body = Vec<NotTaken>),
        (status = 409, description = "Those that were not taken, and why; the others are", body = Vec<NotTaken>),
        WithBody, OfAccounts, Besides,
    ))]
pub(super) async fn take(State(api): State<Api>, headers: HeaderMap, bytes: Bytes) -> Result<Response, ApiError> {
    let desk = api.desk()?;
    let entries = body::to_take(&headers, &bytes)?;
    let outcomes = each(entries.len(), |i| desk.take(&entries[i].ask)).await;
    desk.ring();
    answer_of_posts(&entries, outcomes, "neither Fairlead nor Clouddriver's accounts table has a Kubernetes account of this name")
}

/// Activates and deactivates accounts.
#[utoipa::path(patch, path = "/armory/accounts", tag = "accounts", request_body = ChangeBatch,
    responses((status = 202, description = "Noted; what becomes of it is in each account's status"), WithBody, OfAccounts, Besides))]
pub(super) async fn change(State(api): State<Api>, headers: HeaderMap, bytes: Bytes) -> Result<StatusCode, ApiError> {
    let desk = api.desk()?;
    let entries = body::to_change(&headers, &bytes)?;
    let outcomes = each(entries.len(), |i| desk.want(&entries[i].ask, entries[i].wanted.unwrap_or(Wanted::Inactive))).await;
    desk.ring();
    accepted(entries.iter().map(|e| e.ask.name.as_str()), outcomes)
}

/// The same as `PATCH /armory/accounts`.
#[utoipa::path(patch, path = "/armory/accounts/dynamic", tag = "accounts", request_body = ChangeBatch,
    responses((status = 202, description = "Noted; what becomes of it is in each account's status"), WithBody, OfAccounts, Besides))]
pub(super) async fn change_dynamic(state: State<Api>, headers: HeaderMap, bytes: Bytes) -> Result<StatusCode, ApiError> {
    change(state, headers, bytes).await
}

/// Takes accounts out, from their agents first. The body has their names.
#[utoipa::path(delete, path = "/armory/accounts", tag = "accounts", request_body = Names,
    responses((status = 202, description = "Noted; each goes when its agents have let go"), WithBody, OfAccounts, Besides))]
pub(super) async fn delete(State(api): State<Api>, headers: HeaderMap, bytes: Bytes) -> Result<StatusCode, ApiError> {
    let desk = api.desk()?;
    let names = body::names(&headers, &bytes)?;
    let outcomes = each(names.len(), |i| desk.delete(&names[i])).await;
    desk.ring();
    accepted(names.iter().map(String::as_str), outcomes)
}

/// Takes one account out, from its agents first.
#[utoipa::path(delete, path = "/armory/accounts/{name}", tag = "accounts", params(("name" = String, Path)),
    responses((status = 202, description = "Noted; it goes when its agents have let go"), WithName, OfAccounts, Besides))]
pub(super) async fn delete_one(State(api): State<Api>, name: Result<Path<String>, PathRejection>) -> Result<StatusCode, ApiError> {
    let name = read::decoded(name)?;
    if !crate::proxy::path::is_possible_name(&name) {
        return Err(ApiError::NoneKnown);
    }
    let desk = api.desk()?;
    let outcome = desk.delete(&name).await;
    desk.ring();
    accepted(std::iter::once(name.as_str()), vec![outcome])
}

/// Makes accounts that Clouddriver does not have: INACTIVE.
#[utoipa::path(post, path = "/armory/accounts/dynamic", tag = "accounts", request_body = DynamicAccounts,
    responses(
        (status = 202, description = "All are taken", body = Vec<NotTaken>),
        (status = 409, description = "Those that were not taken, and why; the others are", body = Vec<NotTaken>),
        WithBody, OfAccounts, Besides,
    ))]
pub(super) async fn create(State(api): State<Api>, headers: HeaderMap, bytes: Bytes) -> Result<Response, ApiError> {
    let desk = api.desk()?;
    let entries = body::to_create(&headers, &bytes)?;
    let outcomes = each(entries.len(), |i| desk.create(&entries[i].ask)).await;
    desk.ring();
    answer_of_posts(&entries, outcomes, "")
}

/// Changes what lies over one account's definition. `null` takes a field away again.
#[utoipa::path(put, path = "/armory/accounts/dynamic", tag = "accounts", request_body = DynamicAccount,
    responses(
        (status = 202, description = "Changed; its agents hear of it", body = Vec<NotTaken>),
        (status = 404, description = "No such account", body = ErrorBody),
        (status = 409, description = "It cannot be changed, and why", body = Vec<NotTaken>),
        WithBody, OfAccounts, Besides,
    ))]
pub(super) async fn update(State(api): State<Api>, headers: HeaderMap, bytes: Bytes) -> Result<Response, ApiError> {
    let desk = api.desk()?;
    let entry = body::to_update(&headers, &bytes)?;
    let outcome = desk.update(&entry.ask).await?;
    desk.ring();
    match outcome {
        Outcome::Done => Ok(taken()),
        Outcome::Unknown => Err(ApiError::NoSuchRow),
        Outcome::Not(why) => Ok(refused(vec![told(&entry, &why)])),
    }
}

/// Which of their agents watches these accounts is decided anew.
#[utoipa::path(post, path = "/armory/agent/assignments", tag = "agents", request_body = Names,
    responses((status = 200, description = "Noted"), WithBody, Besides))]
pub(super) async fn assign(State(api): State<Api>, headers: HeaderMap, bytes: Bytes) -> Result<StatusCode, ApiError> {
    let desk = api.desk()?;
    let names = body::names(&headers, &bytes)?;
    let outcomes = each(names.len(), |i| desk.look(&names[i])).await;
    desk.ring();
    accepted(names.iter().map(String::as_str), outcomes).map(|_| StatusCode::OK)
}

/// Asks for each of so many, some at a time; the answers in their order.
async fn each<F: Future<Output = Result<Outcome, Error>>>(count: usize, ask: impl FnMut(usize) -> F) -> Vec<Result<Outcome, Error>> {
    stream::iter(0..count).map(ask).buffered(AT_ONCE).collect().await
}

/// 202 `[]`, or 409 with what was not taken and why. Where nothing at all could be told, 503 says so.
fn answer_of_posts(entries: &[Entry], outcomes: Vec<Result<Outcome, Error>>, unknown: &str) -> Result<Response, ApiError> {
    let (mut not, mut failed) = (Vec::new(), None);
    let all_failed = outcomes.iter().all(Result::is_err);
    for (entry, outcome) in entries.iter().zip(outcomes) {
        match outcome {
            Ok(Outcome::Done) => {}
            Ok(Outcome::Unknown) => not.push(told(entry, unknown)),
            Ok(Outcome::Not(why)) => not.push(told(entry, &why)),
            Err(e) => {
                tracing::warn!(account = entry.ask.name, "API: {e}");
                not.push(told(entry, "whether it was taken cannot be told now; ask for it, or send it again"));
                failed = Some(e);
            }
        }
    }
    match failed {
        Some(e) if all_failed => Err(e.into()),
        _ if not.is_empty() => Ok(taken()),
        _ => Ok(refused(not)),
    }
}

/// 202, if any of the names is known. Of what was passed over the log knows, and the account's message.
fn accepted<'a>(names: impl Iterator<Item = &'a str>, outcomes: Vec<Result<Outcome, Error>>) -> Result<StatusCode, ApiError> {
    let (mut known, mut failed) = (false, None);
    for (name, outcome) in names.zip(outcomes) {
        match outcome {
            Ok(Outcome::Unknown) => tracing::warn!(account = name, "API: a name that Fairlead does not have is passed over"),
            Ok(Outcome::Done | Outcome::Not(_)) => known = true,
            Err(e) => {
                tracing::warn!(account = name, "API: {e}");
                failed = Some(e);
            }
        }
    }
    match failed {
        // Sent again, it does no harm to what was done.
        Some(e) => Err(e.into()),
        None if known => Ok(StatusCode::ACCEPTED),
        None => Err(ApiError::NoneKnown),
    }
}

fn taken() -> Response {
    (StatusCode::ACCEPTED, Json(json!([]))).into_response()
}

fn refused(entries: Vec<Value>) -> Response {
    (StatusCode::CONFLICT, Json(Value::Array(entries))).into_response()
}

/// The entry's own fields, secrets masked, and why it was not taken.
fn told(entry: &Entry, why: &str) -> Value {
    let mut shown: Map<String, Value> = entry.shown.clone();
    shown.insert("message".to_owned(), why.into());
    Value::Object(shown)
}

impl Api {
    fn desk(&self) -> Result<&Desk, ApiError> {
        self.desk.as_ref().ok_or(ApiError::NotBuilt)
    }
}
