//! The operations that only read.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::error::ApiError;
use super::query::Paging;
use super::{Api, LOOKUP_BOUND, SETTLE_BOUND, agents, view};
use crate::proxy::path::is_possible_name;
use crate::source::Reading;
use crate::store::AccountRow;

type Name = Result<Path<String>, PathRejection>;

/// `GET /armory/accounts?page=&limit=`.
pub(super) async fn list(State(api): State<Api>, RawQuery(query): RawQuery) -> Result<Json<Value>, ApiError> {
    let Paging { page, limit } = Paging::parse(query.as_deref())?;
    let found = api.store.page(page, limit).await?;
    let items: Vec<Value> = found.rows.iter().map(|row| shown(&api, row)).collect();
    Ok(Json(json!({"items": items, "page": page, "limit": limit, "total": found.total})))
}

/// `GET /armory/accounts/{name}`: the mirror's row, else Clouddriver's account, else 404.
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

/// `GET /agents/kubernetes/accounts/{name}`: the mirror's row, else an empty object.
pub(super) async fn handled(State(api): State<Api>, name: Name) -> Result<Json<Value>, ApiError> {
    let row = settled(&api, &decoded(name)?).await?;
    Ok(Json(row.map_or_else(|| json!({}), |row| shown(&api, &row))))
}

/// `GET /agents/kubernetes/accounts/{name}/namespaces`: as its agents see them, else as its definition names them, else none.
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
