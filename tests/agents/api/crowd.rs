//! Agents as a test wants them: who is connected is said, and what is asked of them is noted.

use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use fairlead::channel::{
    Agent, AgentChange, AgentId, Agents, BoxFuture, Facts, Held, HeldState, Order, Outcome, SessionId, Unanswered, ZoneId,
};
use ulid::Ulid;

#[derive(Default)]
pub struct Crowd {
    here: Mutex<Vec<Arc<Agent>>>,
    pub disconnected: Mutex<Vec<(SessionId, String)>>,
}

/// An account as an agent has it.
pub fn held(state: HeldState, namespaces: Option<&[&str]>) -> Held {
    let namespaces = namespaces.map(|n| n.iter().map(|n| (*n).to_owned()).collect());
    Held { generation: 1, properties: None, state, facts: Some(Arc::new(Facts { namespaces, ..Facts::default() })) }
}

impl Crowd {
    /// One more is connected: since so many milliseconds after the epoch.
    pub fn comes(&self, id: &str, since_ms: u64, accounts: Vec<(&str, Held)>) {
        self.here.lock().expect("not poisoned").push(Arc::new(Agent {
            session: SessionId { agent: AgentId(id.into()), epoch: 7 },
            zone: ZoneId("zone-1".into()),
            version: "1".into(),
            since: UNIX_EPOCH + Duration::from_millis(since_ms),
            replicas: None,
            accounts: accounts.into_iter().map(|(name, held)| (name.into(), held)).collect(),
        }));
    }

    pub fn all_go(&self) {
        self.here.lock().expect("not poisoned").clear();
    }
}

impl Agents for Crowd {
    fn get(&self, agent: &AgentId) -> Option<Arc<Agent>> {
        self.all().into_iter().find(|a| a.session.agent == *agent)
    }

    fn all(&self) -> Vec<Arc<Agent>> {
        self.here.lock().expect("not poisoned").clone()
    }

    fn of_zone(&self, zone: &ZoneId) -> Vec<Arc<Agent>> {
        self.all().into_iter().filter(|a| a.zone == *zone).collect()
    }

    fn zones(&self) -> Vec<ZoneId> {
        self.all().first().map(|a| a.zone.clone()).into_iter().collect()
    }

    fn holders(&self, account: &str) -> Vec<Arc<Agent>> {
        self.all().into_iter().filter(|a| a.accounts.contains_key(account)).collect()
    }

    fn changed(&self) -> BoxFuture<'_, Vec<AgentChange>> {
        Box::pin(std::future::pending())
    }

    fn execute(&self, _: &SessionId, _: Ulid, _: Order, _: Duration) -> BoxFuture<'static, Result<Vec<Outcome>, Unanswered>> {
        Box::pin(std::future::ready(Err(Unanswered::Lost)))
    }

    fn disconnect(&self, session: &SessionId, reason: &str) -> bool {
        let mut here = self.here.lock().expect("not poisoned");
        let before = here.len();
        here.retain(|a| a.session != *session);
        self.disconnected.lock().expect("not poisoned").push((session.clone(), reason.to_owned()));
        here.len() < before
    }
}
