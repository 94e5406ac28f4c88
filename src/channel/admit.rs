//! Whether a registration can be taken. What is wrong is told with its field: the agent's operator reads it in the agent's log.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::IgnoredAny;

use super::convert::{clean, held};
use super::{AgentId, Held, ZoneId};
use crate::wire::{Feature, Refusal, Register};

/// What either side takes where it does not say.
pub(super) const DEFAULT_LIMIT: usize = 4 << 20;
/// Below that a message would be nothing but chunks.
const LEAST_LIMIT: u32 = 4 << 10;
const AGENT_ID: usize = 253;
const ZONE_ID: usize = 255;
const ACCOUNT: usize = 255;
/// Of an account that came from Fairlead: 255 characters, as databases count.
const GIVEN: usize = 4 * ACCOUNT;
const VERSION: usize = 64;

/// What Fairlead can do.
pub(super) const FEATURES: [Feature; 3] = [Feature::Chunks, Feature::Roles, Feature::Credits];

/// A registration that can be taken.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) agent: AgentId,
    pub(super) zone: ZoneId,
    pub(super) version: Arc<str>,
    pub(super) instance: Arc<str>,
    pub(super) replicas: Option<u32>,
    pub(super) accounts: BTreeMap<Arc<str>, Held>,
    /// Accounts that are not taken.
    pub(super) refusals: Vec<Refusal>,
    /// What both sides can do.
    pub(super) features: Vec<Feature>,
    /// The largest message that the agent takes.
    pub(super) limit: usize,
}

/// Why it cannot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {why}")]
pub(super) struct NotAdmitted {
    pub(super) field: &'static str,
    pub(super) why: String,
}

/// Looks at a registration.
pub(super) fn admit(register: Register) -> Result<Admitted, NotAdmitted> {
    name("agent_id", &register.agent_id, AGENT_ID)?;
    if let Some(c) = register.agent_id.chars().find(|c| !c.is_ascii_alphanumeric() && !"-_.:".contains(*c)) {
        return Err(wrong("agent_id", format!("holds {c:?}: letters, digits, - _ . and : can be")));
    }
    name("zone_id", &register.zone_id, ZONE_ID)?;
    if register.max_message_bytes != 0 && register.max_message_bytes < LEAST_LIMIT {
        return Err(wrong("max_message_bytes", format!("is {}, below the least of {LEAST_LIMIT}", register.max_message_bytes)));
    }
    let limit = match register.max_message_bytes {
        0 => DEFAULT_LIMIT,
        bytes => usize::try_from(bytes).unwrap_or(usize::MAX),
    };
    let features = FEATURES.into_iter().filter(|f| register.features.contains(&i32::from(*f))).collect();
    let (mut accounts, mut refusals) = (BTreeMap::new(), Vec::new());
    for account in register.accounts {
        let name = account.name.clone();
        match unusable(&account, &accounts) {
            None => drop(accounts.insert(Arc::from(name), held(account))),
            Some(reason) => refusals.push(Refusal { account: clean(&name, ACCOUNT), reason }),
        }
    }
    Ok(Admitted {
        agent: AgentId(register.agent_id.into()),
        zone: ZoneId(register.zone_id.into()),
        version: clean(&register.version, VERSION).into(),
        instance: clean(&register.instance_id, VERSION).into(),
        replicas: (register.replicas > 0).then_some(register.replicas),
        accounts,
        refusals,
        features,
        limit,
    })
}

/// Why an account of a registration is not taken. The others are.
fn unusable(account: &crate::wire::Account, taken: &BTreeMap<Arc<str>, Held>) -> Option<String> {
    // Of what Clouddriver calls its accounts nobody is the judge here: what is not known to be at an agent is never taken from it.
    let named = match account.r#static {
        true => name("its name", &account.name, ACCOUNT),
        false if account.name.is_empty() || account.name.len() > GIVEN => name("its name", &account.name, GIVEN),
        false => Ok(()),
    };
    if let Err(e) = named {
        return Some(e.to_string());
    }
    if taken.contains_key(account.name.as_str()) {
        return Some("the registration names it twice; the first one counts".to_owned());
    }
    let json = &account.properties_json;
    if account.r#static && !json.is_empty() && (!json.trim_start().starts_with('{') || serde_json::from_str::<IgnoredAny>(json).is_err()) {
        return Some("its properties are no JSON object".to_owned());
    }
    None
}

fn name(field: &'static str, text: &str, most: usize) -> Result<(), NotAdmitted> {
    if text.is_empty() {
        return Err(wrong(field, "is empty"));
    }
    if text.len() > most {
        return Err(wrong(field, format!("has {} bytes, more than {most}", text.len())));
    }
    if text.chars().any(char::is_control) {
        return Err(wrong(field, "holds a control character"));
    }
    if text.trim() != text {
        return Err(wrong(field, "begins or ends with a space"));
    }
    Ok(())
}

fn wrong(field: &'static str, why: impl Into<String>) -> NotAdmitted {
    NotAdmitted { field, why: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Account;

    fn register(agent_id: &str, zone_id: &str) -> Register {
        Register { agent_id: agent_id.to_owned(), zone_id: zone_id.to_owned(), ..Register::default() }
    }

    #[test]
    fn names_that_cannot_be_are_refused_with_their_field() {
        let long = "x".repeat(300);
        for (agent, zone, words) in [
            ("", "z", "agent_id is empty"),
            (long.as_str(), "z", "agent_id has 300 bytes"),
            ("a b", "z", "agent_id holds ' '"),
            ("a/b", "z", "agent_id holds '/'"),
            ("a\nb", "z", "agent_id holds a control"),
            ("ä", "z", "agent_id holds 'ä'"),
            ("a", "", "zone_id is empty"),
            ("a", "z\r", "zone_id holds a control"),
            ("a", " z", "zone_id begins or ends"),
            ("a", long.as_str(), "zone_id has 300 bytes"),
        ] {
            let refused = admit(register(agent, zone)).unwrap_err().to_string();
            assert!(refused.starts_with(words), "{agent:?} {zone:?}: {refused}");
        }
        assert!(admit(register("agent-7d9f_x.y:1", "deploy_ns with space")).is_ok());
        let small = Register { max_message_bytes: 100, ..register("a", "z") };
        assert_eq!(admit(small).unwrap_err().field, "max_message_bytes");
    }

    #[test]
    fn an_account_that_cannot_be_is_refused_and_the_others_are_taken() {
        let account = |name: &str, json: &str| Account {
            name: name.to_owned(),
            r#static: true,
            properties_json: json.to_owned(),
            ..Account::default()
        };
        let accounts =
            vec![account("a", "{}"), account("", ""), account("a", ""), account("b", "[1]"), account("c", "{"), account("d", "")];
        let admitted = admit(Register { accounts, ..register("a", "z") }).unwrap();
        assert_eq!(admitted.accounts.keys().map(|k| &**k).collect::<Vec<_>>(), ["a", "d"]);
        let refused: Vec<_> = admitted.refusals.iter().map(|r| r.account.as_str()).collect();
        assert_eq!(refused, ["", "a", "b", "c"]);
    }

    #[test]
    fn what_fairlead_gave_is_known_by_any_name_that_clouddriver_has() {
        let account = |name: &str| Account { name: name.to_owned(), generation: 7, ..Account::default() };
        let names = ["ends with a blank ", "tab\tin it", &"é".repeat(255)];
        let accounts = names.iter().map(|n| account(n)).chain([account(""), account(&"x".repeat(1_021))]).collect();
        let admitted = admit(Register { accounts, ..register("a", "z") }).unwrap();
        assert!(names.iter().all(|n| admitted.accounts.contains_key(*n)), "{:?}", admitted.refusals);
        assert_eq!((admitted.accounts.len(), admitted.refusals.len()), (3, 2));
    }

    #[test]
    fn only_what_both_sides_know_is_a_feature() {
        let admitted = admit(Register { features: vec![1, 3, 77, 0], ..register("a", "z") }).unwrap();
        assert_eq!(admitted.features, [Feature::Chunks, Feature::Credits]);
        assert_eq!(admitted.limit, DEFAULT_LIMIT);
    }
}
