//! Operations on agents: who is connected, and breaking a connection off.
//!
//! They show the agents of this replica. `kubesvc.dynamicAccounts.enabled` does not switch them: agents bring accounts of their own.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::error::ApiError;
use super::schema::{ArmoryAgentResponse, Besides, DisconnectRequest, ErrorBody, WithBody, WithName};
use super::{Api, body};
use crate::channel::{Agent, AgentId, Agents, HeldState};

type Id = Result<Path<String>, PathRejection>;

/// Agents that are connected to this replica, in the order of their names.
#[utoipa::path(get, path = "/armory/agents", tag = "agents",
    responses((status = 200, description = "Who is connected", body = Vec<ArmoryAgentResponse>), Besides))]
pub(super) async fn list(State(api): State<Api>) -> Json<Value> {
    let mut all = api.agents.all();
    all.sort_by(|a, b| a.session.agent.cmp(&b.session.agent));
    Json(all.iter().map(|a| shown(a, &api.replica)).collect())
}

/// One agent that is connected to this replica.
#[utoipa::path(get, path = "/armory/agents/{id}", tag = "agents", params(("id" = String, Path)),
    responses((status = 200, description = "The agent", body = ArmoryAgentResponse), WithName, Besides))]
pub(super) async fn one(State(api): State<Api>, id: Id) -> Result<Json<Value>, ApiError> {
    let agent = api.agents.get(&named(id)?).ok_or(ApiError::UnknownAgent)?;
    Ok(Json(shown(&agent, &api.replica)))
}

/// Ends an agent's session. It may come back at once.
#[utoipa::path(post, path = "/armory/agent/{id}/disconnect", tag = "agents", params(("id" = String, Path)), request_body = Option<DisconnectRequest>,
    responses((status = 200, description = "It is disconnected"), WithBody,
        (status = 404, description = "No such agent is connected to this replica", body = ErrorBody), Besides))]
pub(super) async fn disconnect(State(api): State<Api>, id: Id, headers: HeaderMap, bytes: Bytes) -> Result<StatusCode, ApiError> {
    let id = named(id)?;
    body::disconnect(&headers, &bytes)?;
    let agent = api.agents.get(&id).ok_or(ApiError::UnknownAgent)?;
    if !api.agents.disconnect(&agent.session, "an operator has asked for it") {
        return Err(ApiError::UnknownAgent);
    }
    tracing::info!(agent = &*id.0, "API: an agent was disconnected");
    Ok(StatusCode::OK)
}

/// The agents that have an account, as an account shows them; the first to connect first.
pub(super) fn of_account(agents: &dyn Agents, account: &str) -> Vec<Value> {
    let holders = agents.holders(account);
    holders.iter().map(|a| json!({"agentId": &*a.session.agent.0, "caching": watches(a, account)})).collect()
}

/// What an account's agents say of its namespaces; `None`: none of them may list them.
pub(super) fn namespaces(agents: &dyn Agents, account: &str) -> Option<Vec<String>> {
    let holders = agents.holders(account);
    let facts = |a: &Agent| a.accounts.get(account)?.facts.as_ref()?.namespaces.clone();
    // Who watches knows best.
    let (watching, others): (Vec<_>, Vec<_>) = holders.iter().partition(|a| watches(a, account));
    watching.into_iter().chain(others).find_map(|a| facts(a))
}

fn named(id: Id) -> Result<AgentId, ApiError> {
    id.map(|Path(id)| AgentId(id.into())).map_err(|_| ApiError::Name)
}

fn watches(agent: &Agent, account: &str) -> bool {
    agent.accounts.get(account).is_some_and(|held| held.state == HeldState::Watching)
}

/// The contract's `ArmoryAgentResponse`, and the zone: what waits for an agent says for which zone.
fn shown(agent: &Agent, replica: &str) -> Value {
    let accounts: Vec<&str> = agent.accounts.keys().map(|name| &**name).collect();
    json!({
        "accounts": accounts,
        "agentId": &*agent.session.agent.0,
        "caching": agent.accounts.values().any(|held| held.state == HeldState::Watching),
        "clouddriverId": replica,
        "lastConnection": Timestamp::try_from(agent.since).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
        "type": "kubernetes",
        "zoneId": &*agent.zone.0,
    })
}
