//! Between the agent's own types and the messages on the wire.

use std::sync::Arc;
use std::time::Duration;

use crate::agent::accounts::{AccountOutcome, NewAccount, Order, Outcome, Shown, Standing};
use crate::agent::cluster::Facts;
use crate::agent::failure::{Failure, Reason};
use crate::wire;

/// What the agent can do.
pub(super) fn features() -> Vec<i32> {
    vec![wire::Feature::Chunks as i32, wire::Feature::Roles as i32, wire::Feature::Credits as i32]
}

/// How much is said of an account.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    /// Everything.
    Full,
    /// Without the lists of a cluster's namespaces and kinds.
    Brief,
}

pub(super) fn account(shown: &Shown, detail: Detail) -> wire::Account {
    let (state, failure) = match &shown.standing {
        Standing::Connecting => (wire::AccountState::Connecting, None),
        Standing::Reached if shown.watch => (wire::AccountState::Watching, None),
        Standing::Reached => (wire::AccountState::Standby, None),
        Standing::Failed(failure) => (wire::AccountState::Failed, Some(self::failure(failure))),
    };
    let is_static = !shown.definition.dynamic;
    wire::Account {
        name: shown.name.to_string(),
        generation: shown.generation,
        r#static: is_static,
        state: state as i32,
        facts: shown.facts.as_deref().map(|f| facts(f, detail)),
        failure,
        properties_json: if is_static { properties(shown) } else { String::new() },
    }
}

/// A static account's properties in Clouddriver's form, without credentials.
fn properties(shown: &Shown) -> String {
    let account = &shown.definition.account;
    let mut properties = serde_json::json!({
        "type": "kubernetes",
        "name": *account.name,
        "serviceAccount": account.service_account,
        "namespaces": account.namespaces,
    });
    if !account.read.is_empty() || !account.write.is_empty() {
        properties["permissions"] = serde_json::json!({ "READ": account.read, "WRITE": account.write });
    }
    if let Some(context) = &account.context {
        properties["context"] = context.as_str().into();
    }
    properties.to_string()
}

fn facts(facts: &Facts, detail: Detail) -> wire::ClusterFacts {
    let full = detail == Detail::Full;
    wire::ClusterFacts {
        host: facts.host.clone(),
        version: facts.version.clone(),
        certificate_fingerprint: facts.certificate.map(|c| c.to_vec()).unwrap_or_default(),
        identity: facts.identity.clone().unwrap_or_default(),
        ca_fingerprint: facts.ca.map(|c| c.to_vec()).unwrap_or_default(),
        namespaces: if full { facts.namespaces.clone().unwrap_or_default() } else { Vec::new() },
        namespaces_unknown: !full || facts.namespaces.is_none(),
        kinds: if full { facts.kinds.clone() } else { Vec::new() },
        remarks: if full { facts.remarks.clone() } else { vec!["too much to tell: namespaces and kinds are left out".to_owned()] },
    }
}

pub(super) fn failure(failure: &Failure) -> wire::Failure {
    let reason = match failure.reason {
        Reason::Definition => wire::FailureReason::Definition,
        Reason::Dns => wire::FailureReason::Dns,
        Reason::Unreachable => wire::FailureReason::Unreachable,
        Reason::Timeout => wire::FailureReason::Timeout,
        Reason::Tls => wire::FailureReason::Tls,
        Reason::Unauthenticated => wire::FailureReason::Unauthenticated,
        Reason::Forbidden => wire::FailureReason::Forbidden,
        Reason::Server => wire::FailureReason::Server,
        Reason::Unsupported => wire::FailureReason::Unsupported,
        Reason::Internal => wire::FailureReason::Internal,
        Reason::Busy => wire::FailureReason::Busy,
    };
    wire::Failure { reason: reason as i32, message: failure.message.clone(), host: failure.host.clone().unwrap_or_default() }
}

/// An operation as it is done here.
pub(super) fn order(operation: wire::Operation) -> (String, Option<Duration>, Order) {
    use wire::operation::Kind;
    let deadline = (operation.deadline_ms > 0).then(|| Duration::from_millis(operation.deadline_ms.into()));
    let order = match operation.kind {
        Some(Kind::AddAccounts(add)) => Order::Add(add.accounts.into_iter().map(new_account).collect()),
        Some(Kind::DeleteAccounts(delete)) => {
            Order::Delete(delete.accounts.into_iter().map(|a| (Arc::from(a.name), a.generation)).collect())
        }
        Some(Kind::SetRoles(set)) => Order::Roles(set.roles.into_iter().map(|r| (Arc::from(r.name), r.watch)).collect()),
        None => Order::Unknown,
    };
    (operation.id, deadline, order)
}

fn new_account(account: wire::NewAccount) -> NewAccount {
    NewAccount { name: account.name.into(), generation: account.generation, definition: account.definition_json, watch: account.watch }
}

pub(super) fn outcome(id: String, epoch: u64, outcome: &Outcome) -> wire::Outcome {
    wire::Outcome {
        operation_id: id,
        epoch,
        accounts: outcome.accounts.iter().map(account_outcome).collect(),
        failure: outcome.failure.as_ref().map(failure),
    }
}

fn account_outcome(outcome: &AccountOutcome) -> wire::AccountOutcome {
    use wire::account_outcome::Result;
    let result = match &outcome.result {
        Ok(known) => Result::Done(wire::Done { facts: known.as_deref().map(|f| facts(f, Detail::Full)) }),
        Err(why) => Result::Failure(failure(why)),
    };
    wire::AccountOutcome { name: outcome.name.to_string(), generation: outcome.generation, result: Some(result) }
}
