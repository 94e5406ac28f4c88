//! The operations that only read.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::error::ApiError;
use super::query::Paging;
use super::schema::{Account, AccountOrNone, AccountPage, Besides, ErrorBody, OfAccounts, WithName};
use super::{Api, LOOKUP_BOUND, SETTLE_BOUND, agents, view};
use crate::proxy::path::is_possible_name;
use crate::source::Reading;
use crate::store::AccountRow;

type Name = Result<Path<String>, PathRejection>;

/// All accounts in the order of their names, also those of agents' own files.
#[utoipa::path(get, path = "/armory/accounts", tag = "accounts",
    params(
        ("page" = Option<i64>, Query, minimum = 1, maximum = 4294967295_i64, description = "From 1"),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 1000, description = "100 where it is not given"),
    ),
    responses(
        (status = 200, description = "Some of them", body = AccountPage),
        (status = 400, description = "page or limit is no such number", body = ErrorBody),
        OfAccounts, Besides,
    ))]
pub(super) async fn list(State(api): State<Api>, RawQuery(query): RawQuery) -> Result<Json<Value>, ApiError> {
    let Paging { page, limit } = Paging::parse(query.as_deref())?;
    let found = api.store.page(page, limit).await?;
    let items: Vec<Value> = found.rows.iter().map(|row| shown(&api, row)).collect();
    Ok(Json(json!({"items": items, "page": page, "limit": limit, "total": found.total})))
}

/// The account: Fairlead's, else Clouddriver's own, without a status.
#[utoipa::path(get, path = "/armory/accounts/{name}", tag = "accounts", params(("name" = String, Path)),
    responses((status = 200, description = "The account", body = Account), WithName, OfAccounts, Besides))]
pub(super) async fn one(State(api): State<Api>, name: Name) -> Result<Json<Value>, ApiError> {
    let name = decoded(name)?;
    if let Some(row) = settled(&api, &name).await? {
        return Ok(Json(shown(&api, &row)));
    }
    if !is_possible_name(&name) {
        return Err(ApiError::UnknownAccount);
    }
    match timeout(LOOKUP_BOUND, api.lookup.lookup(&name)).await {
        Ok(Ok(Reading::Present(row))) if row.is_kubernetes() => Ok(Json(view::clouddrivers(&row))),
        Ok(Ok(Reading::Present(_) | Reading::Absent)) => Err(ApiError::UnknownAccount),
        Ok(Ok(Reading::Unknown(_))) | Err(_) => Err(ApiError::SourceSilent),
        Ok(Err(e)) => Err(ApiError::Source(e)),
    }
}

/// The account, if Fairlead has it, else an empty object.
#[utoipa::path(get, path = "/agents/kubernetes/accounts/{name}", tag = "accounts", params(("name" = String, Path)),
    responses((status = 200, description = "The account or {}", body = AccountOrNone), WithName, OfAccounts, Besides))]
pub(super) async fn handled(State(api): State<Api>, name: Name) -> Result<Json<Value>, ApiError> {
    let row = settled(&api, &decoded(name)?).await?;
    Ok(Json(row.map_or_else(|| json!({}), |row| shown(&api, &row))))
}

/// The account's namespaces as its agents see them, else as its definition names them, else none.
#[utoipa::path(get, path = "/agents/kubernetes/accounts/{name}/namespaces", tag = "accounts", params(("name" = String, Path)),
    responses((status = 200, description = "Names", body = Vec<String>), WithName, OfAccounts, Besides))]
pub(super) async fn namespaces(State(api): State<Api>, name: Name) -> Result<Json<Value>, ApiError> {
    let Some(row) = settled(&api, &decoded(name)?).await? else { return Ok(Json(json!([]))) };
    let seen = agents::namespaces(&*api.agents, &row.name);
    Ok(Json(seen.map_or_else(|| view::namespaces(&row), |seen| json!(seen))))
}

fn shown(api: &Api, row: &AccountRow) -> Value {
    view::account(row, agents::of_account(&*api.agents, &row.name))
}

pub(super) fn decoded(name: Name) -> Result<String, ApiError> {
    name.map(|Path(name)| name).map_err(|_| ApiError::Name)
}

async fn settled(api: &Api, name: &str) -> Result<Option<AccountRow>, ApiError> {
    if !is_possible_name(name) {
        return Ok(None);
    }
    if timeout(SETTLE_BOUND, api.settler.settle_open(name)).await.is_err() {
        tracing::debug!("API: open changes of an account were not settled in time; the answer shows what is there");
    }
    Ok(api.store.get(name).await?)
}
