//! The operations that change accounts.
//!
//! A body with a fault changes nothing. Of a batch without one, each entry stands for itself: what can be done is, and the answer (POST) or the
//! account's message and the log (PATCH, DELETE) say what was not. A client that leaves stops nothing: the batch is finished. Where the time of
//! one request is not enough, or the database is away, the answer says which entries were done and which were not.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

use super::body::{self, Entry};
use super::error::ApiError;
use super::front::Until;
use super::places::places;
use super::schema::{
    AddBatch, Besides, ChangeBatch, DynamicAccount, DynamicAccounts, ErrorBody, Names, NotTaken, OfAccounts, WithBody, WithName,
};
use super::{Api, read};
use crate::dispatch::Ask;
use crate::dispatch::desk::{Desk, Error, Outcome, Told};
use crate::lifecycle::Wanted;

/// Takes accounts over from Clouddriver's table: INACTIVE.
#[utoipa::path(post, path = "/armory/accounts", tag = "accounts", request_body = AddBatch,
    responses(
        (status = 202, description = "All are taken", body = Vec<NotTaken>),
        (status = 409, description = "Those that were not taken, and why; the others are", body = Vec<NotTaken>),
        WithBody, OfAccounts, Besides,
    ))]
pub(super) async fn take(State(api): State<Api>, until: Time, headers: HeaderMap, bytes: Bytes) -> Result<Response, ApiError> {
    let desk = api.desk()?;
    let entries = body::to_take(&headers, &bytes)?;
    let outcomes = desk.take(&asks(&entries), end(until)).await;
    desk.ring();
    answer_of_posts(&entries, outcomes, "neither Fairlead nor Clouddriver's accounts table has a Kubernetes account of this name")
}

/// Activates and deactivates accounts.
#[utoipa::path(patch, path = "/armory/accounts", tag = "accounts", request_body = ChangeBatch,
    responses((status = 202, description = "Noted; what becomes of it is in each account's status"), WithBody, OfAccounts, Besides))]
pub(super) async fn change(State(api): State<Api>, until: Time, headers: HeaderMap, bytes: Bytes) -> Result<StatusCode, ApiError> {
    let desk = api.desk()?;
    let entries = body::to_change(&headers, &bytes)?;
    let wishes: Vec<(&Ask, Wanted)> = entries.iter().map(|e| (&e.ask, e.wanted.unwrap_or(Wanted::Inactive))).collect();
    let outcomes = desk.want(&wishes, end(until)).await;
    desk.ring();
    accepted(entries.iter().map(|e| e.ask.name.as_str()), outcomes)
}

/// The same as `PATCH /armory/accounts`.
#[utoipa::path(patch, path = "/armory/accounts/dynamic", tag = "accounts", request_body = ChangeBatch,
    responses((status = 202, description = "Noted; what becomes of it is in each account's status"), WithBody, OfAccounts, Besides))]
pub(super) async fn change_dynamic(state: State<Api>, until: Time, headers: HeaderMap, bytes: Bytes) -> Result<StatusCode, ApiError> {
    change(state, until, headers, bytes).await
}

/// Takes accounts out, from their agents first. The body has their names.
#[utoipa::path(delete, path = "/armory/accounts", tag = "accounts", request_body = Names,
    responses((status = 202, description = "Noted; each goes when its agents have let go"), WithBody, OfAccounts, Besides))]
pub(super) async fn delete(State(api): State<Api>, until: Time, headers: HeaderMap, bytes: Bytes) -> Result<StatusCode, ApiError> {
    let desk = api.desk()?;
    let names = body::names(&headers, &bytes)?;
    let outcomes = desk.delete(&names.iter().map(String::as_str).collect::<Vec<_>>(), end(until)).await;
    desk.ring();
    accepted(names.iter().map(String::as_str), outcomes)
}

/// Takes one account out, from its agents first.
#[utoipa::path(delete, path = "/armory/accounts/{name}", tag = "accounts", params(("name" = String, Path)),
    responses((status = 202, description = "Noted; it goes when its agents have let go"), WithName, OfAccounts, Besides))]
pub(super) async fn delete_one(
    State(api): State<Api>,
    until: Time,
    name: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, ApiError> {
    let name = read::decoded(name)?;
    if !crate::proxy::path::is_possible_name(&name) {
        return Err(ApiError::NoneKnown);
    }
    let desk = api.desk()?;
    let outcomes = desk.delete(&[&name], end(until)).await;
    desk.ring();
    accepted(std::iter::once(name.as_str()), outcomes)
}

/// Makes accounts that Clouddriver does not have: INACTIVE.
#[utoipa::path(post, path = "/armory/accounts/dynamic", tag = "accounts", request_body = DynamicAccounts,
    responses(
        (status = 202, description = "All are taken", body = Vec<NotTaken>),
        (status = 409, description = "Those that were not taken, and why; the others are", body = Vec<NotTaken>),
        WithBody, OfAccounts, Besides,
    ))]
pub(super) async fn create(State(api): State<Api>, until: Time, headers: HeaderMap, bytes: Bytes) -> Result<Response, ApiError> {
    let desk = api.desk()?;
    let entries = body::to_create(&headers, &bytes)?;
    let outcomes = desk.create(&asks(&entries), end(until)).await;
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
pub(super) async fn update(State(api): State<Api>, until: Time, headers: HeaderMap, bytes: Bytes) -> Result<Response, ApiError> {
    let desk = api.desk()?;
    let entry = body::to_update(&headers, &bytes)?;
    let outcomes = desk.update(&[&entry.ask], end(until)).await;
    desk.ring();
    match outcomes.into_iter().next() {
        Some(Ok(Outcome::Done)) => Ok(taken()),
        Some(Ok(Outcome::Unknown)) | None => Err(ApiError::NoSuchRow),
        Some(Ok(Outcome::Not(why))) => Ok(refused(vec![told(&entry, &why)])),
        Some(Err(e)) => Err(e.into()),
    }
}

/// Which of their agents watches these accounts is decided anew.
#[utoipa::path(post, path = "/armory/agent/assignments", tag = "agents", request_body = Names,
    responses((status = 200, description = "Noted"), WithBody, Besides))]
pub(super) async fn assign(State(api): State<Api>, until: Time, headers: HeaderMap, bytes: Bytes) -> Result<StatusCode, ApiError> {
    let desk = api.desk()?;
    let names = body::names(&headers, &bytes)?;
    let outcomes = desk.look(&names.iter().map(String::as_str).collect::<Vec<_>>(), end(until)).await;
    desk.ring();
    accepted(names.iter().map(String::as_str), outcomes).map(|_| StatusCode::OK)
}

/// When what is not begun is left; the front says it of each request.
type Time = Option<Extension<Until>>;

fn end(time: Time) -> tokio::time::Instant {
    time.map_or_else(Until::from_now, |Extension(until)| until).0
}

fn asks(entries: &[Entry]) -> Vec<&Ask> {
    entries.iter().map(|entry| &entry.ask).collect()
}

/// 202 `[]`, or 409 with what was not taken and why. Where nothing at all could be told, 503 says so.
fn answer_of_posts(entries: &[Entry], outcomes: Vec<Told>, unknown: &str) -> Result<Response, ApiError> {
    let (mut not, mut failed) = (Vec::new(), None);
    let all_failed = outcomes.iter().all(Result::is_err);
    for (entry, outcome) in entries.iter().zip(outcomes) {
        match outcome {
            Ok(Outcome::Done) => {}
            Ok(Outcome::Unknown) => not.push(told(entry, unknown)),
            Ok(Outcome::Not(why)) => not.push(told(entry, &why)),
            Err(e) => {
                let why = match *e {
                    Error::NotBegun => "it was not begun: send it again",
                    _ if !e.is_transient() => "Fairlead's own database refuses it; the log says why",
                    _ => "whether it was taken cannot be told now; ask for it, or send it again",
                };
                if !matches!(*e, Error::NotBegun) {
                    tracing::warn!(account = entry.ask.name, "API: {e}");
                }
                not.push(told(entry, why));
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

/// 202, if any of the names is known. Of what was passed over the log knows, and the account's message. Where of some it is not known, or not
/// all could be begun, the answer has their places; sent again, nothing does harm to what was done.
fn accepted<'a>(names: impl Iterator<Item = &'a str>, outcomes: Vec<Told>) -> Result<StatusCode, ApiError> {
    let (count, mut known, mut passed) = (outcomes.len(), 0, 0);
    let (mut refused, mut unsure, mut not_begun, mut cause) = (Vec::new(), Vec::new(), Vec::new(), None);
    for (i, (name, outcome)) in names.zip(outcomes).enumerate() {
        match outcome {
            Ok(Outcome::Unknown) => {
                tracing::warn!(account = name, "API: a name that Fairlead does not have is passed over");
                passed += 1;
            }
            Ok(Outcome::Done | Outcome::Not(_)) => known += 1,
            Err(e) if matches!(*e, Error::NotBegun) => {
                not_begun.push(i);
                cause.get_or_insert(e);
            }
            Err(e) => {
                tracing::warn!(account = name, "API: {e}");
                if e.is_transient() {
                    unsure.push(i)
                } else {
                    refused.push(i)
                }
                cause = Some(e);
            }
        }
    }
    let Some(cause) = cause else {
        return if known > 0 { Ok(StatusCode::ACCEPTED) } else { Err(ApiError::NoneKnown) };
    };
    let open = refused.len() + unsure.len() + not_begun.len();
    if open == count && (count == 1 || not_begun.is_empty()) {
        return Err(cause.into());
    }
    tracing::warn!(
        entries = count,
        refused = refused.len(),
        unsure = unsure.len(),
        not_begun = not_begun.len(),
        "API: a request is done in part"
    );
    let mut message = format!("of {count} entries {known} are noted");
    if passed > 0 {
        message.push_str(&format!(", {passed} name no account of Fairlead's"));
    }
    for (what, which) in [
        ("Fairlead's own database refuses (the log says why)", &refused),
        ("whether they are noted cannot be told of", &unsure),
        ("not begun are", &not_begun),
    ] {
        if !which.is_empty() {
            message.push_str(&format!("; {what} {}", places(which)));
        }
    }
    if refused.len() < open {
        message.push_str("; send them again, or all: what is noted comes to no harm");
    }
    Err(ApiError::Partly { message, transient: refused.len() < open })
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn answered(outcomes: Vec<Told>) -> (u16, String) {
        let names = vec!["a"; outcomes.len()];
        match accepted(names.into_iter(), outcomes) {
            Ok(status) => (status.as_u16(), String::new()),
            Err(e) => (e.status().0.as_u16(), e.to_string()),
        }
    }

    #[test]
    fn an_answer_to_many_says_what_was_done_and_what_was_not() {
        let (done, unknown) = (|| Ok(Outcome::Done), || Ok(Outcome::Unknown));
        let (not_begun, unsure) = (|| Err(Arc::new(Error::NotBegun)), || Err(Arc::new(Error::Busy)));
        assert_eq!(answered(vec![done(), unknown()]).0, 202);
        assert_eq!(answered(vec![unknown(), unknown()]).0, 400);
        let (status, text) = answered(vec![done(), unknown(), unsure(), done(), not_begun(), not_begun()]);
        assert_eq!(
            (status, &*text),
            (
                503,
                "of 6 entries 2 are noted, 1 name no account of Fairlead's; whether they are noted cannot be told of /2; not begun are /4 to /5; \
                 send them again, or all: what is noted comes to no harm"
            )
        );
        assert_eq!(answered(vec![unsure()]), (503, "the account cannot be changed now; try again later".to_owned()));
        let (status, text) = answered(vec![not_begun(), not_begun()]);
        assert_eq!((status, text.starts_with("of 2 entries 0 are noted; not begun are /0 to /1; ")), (503, true), "{text}");
    }
}
