//! Between what stands on the wire and this module's own types. Texts of agents lose their control characters and have a bound: they
//! go into logs, answers and tables.

use std::fmt::Write as _;
use std::sync::Arc;

use super::{Facts, Failure, Held, HeldState, NewAccount, Order, Outcome, Reason};
use crate::wire;

/// Bytes of a message for an operator.
const MESSAGE: usize = 8 << 10;
/// Bytes of a shorter text.
const TEXT: usize = 1_024;

/// A text without control characters, cut at a character's border.
pub(super) fn clean(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(most));
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if out.len() + c.len_utf8() > most {
            break;
        }
        out.push(c);
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(64).fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn texts(texts: Vec<String>) -> Vec<String> {
    texts.into_iter().map(|t| clean(&t, TEXT)).collect()
}

/// What an agent learned of a cluster.
pub(super) fn facts(facts: wire::ClusterFacts) -> Facts {
    Facts {
        host: clean(&facts.host, TEXT),
        version: clean(&facts.version, 255),
        cert_fingerprint: hex(&facts.certificate_fingerprint),
        identity: clean(&facts.identity, 255),
        ca_fingerprint: hex(&facts.ca_fingerprint),
        namespaces: (!facts.namespaces_unknown).then(|| texts(facts.namespaces)),
        kinds: texts(facts.kinds),
        remarks: texts(facts.remarks),
    }
}

/// Why something was not done.
pub(super) fn failure(failure: wire::Failure) -> Failure {
    use wire::FailureReason as W;
    let reason = match failure.reason() {
        W::Definition => Reason::Definition,
        W::Dns => Reason::Dns,
        W::Unreachable => Reason::Unreachable,
        W::Timeout => Reason::Timeout,
        W::Tls => Reason::Tls,
        W::Unauthenticated => Reason::Unauthenticated,
        W::Forbidden => Reason::Forbidden,
        W::Server => Reason::Server,
        W::Unsupported => Reason::Unsupported,
        W::Internal | W::Unspecified => Reason::Internal,
        W::Busy => Reason::Busy,
    };
    let message = if failure.message.is_empty() { "the agent gave no reason" } else { failure.message.as_str() };
    let host = (!failure.host.is_empty()).then(|| clean(&failure.host, TEXT));
    Failure { reason, message: clean(message, MESSAGE), host }
}

/// An account as an agent says that it has it.
pub(super) fn held(account: wire::Account) -> Held {
    use wire::AccountState as W;
    let state = match account.state() {
        W::Connecting | W::Unspecified => HeldState::Connecting,
        W::Standby => HeldState::Standby,
        W::Watching => HeldState::Watching,
        W::Failed => HeldState::Failed(failure(account.failure.unwrap_or_default())),
    };
    let properties = account.r#static.then(|| Arc::from(account.properties_json));
    Held { generation: account.generation, properties, state, facts: account.facts.map(|f| Arc::new(facts(f))) }
}

/// One account's part of an outcome; `None`: it does not say what.
pub(super) fn outcome(outcome: wire::AccountOutcome, name: Arc<str>) -> Option<Outcome> {
    use wire::account_outcome::Result as W;
    let result = match outcome.result? {
        W::Done(done) => Ok(done.facts.map(|f| Arc::new(facts(f)))),
        W::Failure(failed) => Err(failure(failed)),
    };
    Some(Outcome { name, generation: outcome.generation, result })
}

/// An order, for the wire.
pub(super) fn operation(id: String, order: Order, deadline_ms: u32) -> wire::Operation {
    use wire::operation::Kind;
    let kind = match order {
        Order::Add(accounts) => Kind::AddAccounts(wire::AddAccounts { accounts: accounts.into_iter().map(new_account).collect() }),
        Order::Delete(accounts) => {
            let accounts = accounts.into_iter().map(|(name, generation)| wire::AccountRef { name: name.to_string(), generation });
            Kind::DeleteAccounts(wire::DeleteAccounts { accounts: accounts.collect() })
        }
        Order::Roles(roles) => {
            let roles = roles.into_iter().map(|(name, watch)| wire::Role { name: name.to_string(), watch });
            Kind::SetRoles(wire::SetRoles { roles: roles.collect() })
        }
    };
    wire::Operation { id, deadline_ms, kind: Some(kind) }
}

fn new_account(account: NewAccount) -> wire::NewAccount {
    wire::NewAccount {
        name: account.name.to_string(),
        generation: account.generation,
        definition_json: account.definition.to_vec(),
        watch: account.watch,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_agents_have_no_control_characters_and_a_bound() {
        assert_eq!(clean("a\r\n\u{1b}[31mb\u{85}", 100), "a   [31mb ");
        assert_eq!(clean("ää", 3), "ä");
        let failed = failure(wire::Failure { reason: 99, message: "x\n".repeat(MESSAGE), host: String::new() });
        assert_eq!((failed.reason, failed.message.len(), failed.host), (Reason::Internal, MESSAGE, None));
        assert_eq!(failure(wire::Failure::default()).message, "the agent gave no reason");
    }

    #[test]
    fn namespaces_that_may_not_be_listed_are_not_an_empty_list() {
        let of = |namespaces_unknown| facts(wire::ClusterFacts { namespaces_unknown, ..Default::default() }).namespaces;
        assert_eq!((of(true), of(false)), (None, Some(Vec::new())));
    }

    #[test]
    fn fingerprints_are_written_in_hexadecimal() {
        let facts = facts(wire::ClusterFacts { certificate_fingerprint: vec![0, 0xab], ..Default::default() });
        assert_eq!((facts.cert_fingerprint.as_str(), facts.ca_fingerprint.as_str()), ("00ab", ""));
    }
}
