//! Agents that follow a script, in place of the channel: what dispatch asks is noted and answered as the test says.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use fairlead::channel::{
    Agent, AgentChange, AgentId, Agents, BoxFuture, Facts, Failure, Held, HeldState, Order, Outcome, Reason, SessionId, Unanswered, ZoneId,
};
use tokio::sync::{Notify, watch};
use ulid::Ulid;

/// What an agent does with one account of an order.
#[derive(Clone)]
pub enum Reply {
    /// As asked; the cluster is this one.
    Reach(Facts),
    /// It cannot.
    Fail(String),
    /// It has too much else to do and says that it tried nothing.
    NoTurn,
    /// It says nothing until the test lets it (see [`Scripted::release`]); then it does as asked.
    Hang(Facts),
    /// Too much is under way with it: the order does not go out.
    Busy,
}

type Script = Arc<dyn Fn(&str, &str) -> Reply + Send + Sync>;

struct Session {
    agent: Arc<Agent>,
    order: u64,
    gone: watch::Sender<bool>,
}

#[derive(Default)]
struct Inner {
    sessions: BTreeMap<AgentId, Session>,
    scripts: HashMap<AgentId, Script>,
    changes: Vec<AgentChange>,
    asked: Vec<String>,
    orders: Vec<(Ulid, usize)>,
    ids: BTreeSet<Ulid>,
    reused: Vec<Ulid>,
    epoch: u64,
}

pub struct Scripted {
    inner: Mutex<Inner>,
    bell: Notify,
    release: watch::Sender<u64>,
}

pub fn cluster(identity: &str) -> Facts {
    Facts {
        host: format!("https://{identity}.example:6443"),
        version: "v1.34.4".into(),
        cert_fingerprint: "00112233445566778899aabbccddeeff".into(),
        identity: identity.into(),
        ca_fingerprint: "ca".into(),
        namespaces: Some(vec!["shop".into()]),
        ..Facts::default()
    }
}

pub fn held(generation: i64, state: HeldState, facts: Facts) -> Held {
    Held { generation, properties: None, state, facts: Some(Arc::new(facts)) }
}

pub fn configured(state: HeldState, facts: Facts) -> Held {
    Held { generation: 0, properties: Some("{\"name\":\"static\"}".into()), state, facts: Some(Arc::new(facts)) }
}

fn id(agent: &str) -> AgentId {
    AgentId(agent.into())
}

impl Scripted {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { inner: Mutex::default(), bell: Notify::new(), release: watch::Sender::new(0) })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic inside")
    }

    /// What this agent does, by account and order (`add`, `delete`, `role`). Without one it reaches the cluster `c`.
    pub fn script(&self, agent: &str, script: impl Fn(&str, &str) -> Reply + Send + Sync + 'static) {
        self.inner().scripts.insert(id(agent), Arc::new(script));
    }

    /// A new session, which has these accounts.
    pub fn connect(&self, agent: &str, zone: &str, accounts: &[(&str, Held)]) {
        let mut inner = self.inner();
        inner.epoch += 1;
        let epoch = inner.epoch;
        let accounts: BTreeMap<Arc<str>, Held> = accounts.iter().map(|(n, h)| (Arc::from(*n), h.clone())).collect();
        let change = AgentChange {
            agent: id(agent),
            zone: ZoneId(zone.into()),
            connected: true,
            registered: true,
            accounts: accounts.keys().cloned().collect(),
        };
        let session = SessionId { agent: id(agent), epoch };
        let agent = Agent {
            session: session.clone(),
            zone: ZoneId(zone.into()),
            version: "1".into(),
            since: SystemTime::now(),
            replicas: None,
            accounts,
        };
        if let Some(old) =
            inner.sessions.insert(session.agent.clone(), Session { agent: Arc::new(agent), order: epoch, gone: watch::Sender::new(false) })
        {
            old.gone.send_replace(true);
        }
        inner.changes.push(change);
        drop(inner);
        self.bell.notify_one();
    }

    pub fn disconnect(&self, agent: &str) {
        let mut inner = self.inner();
        if let Some(old) = inner.sessions.remove(&id(agent)) {
            old.gone.send_replace(true);
            inner.changes.push(AgentChange {
                agent: id(agent),
                zone: old.agent.zone.clone(),
                connected: false,
                registered: false,
                accounts: old.agent.accounts.keys().cloned().collect(),
            });
        }
        drop(inner);
        self.bell.notify_one();
    }

    /// An agent says something else of an account that it has.
    pub fn report(&self, agent: &str, account: &str, change: impl FnOnce(&mut Held)) {
        self.edit(&id(agent), |accounts| {
            change(accounts.get_mut(account).expect("it has it"));
            vec![account.into()]
        });
    }

    fn edit(&self, agent: &AgentId, edit: impl FnOnce(&mut BTreeMap<Arc<str>, Held>) -> Vec<Arc<str>>) {
        let mut inner = self.inner();
        let Some(session) = inner.sessions.get_mut(agent) else { return };
        let accounts = edit(&mut Arc::make_mut(&mut session.agent).accounts);
        let zone = session.agent.zone.clone();
        inner.changes.push(AgentChange { agent: agent.clone(), zone, connected: true, registered: false, accounts });
        drop(inner);
        self.bell.notify_one();
    }

    /// Lets all go on that hang.
    pub fn release(&self) {
        self.release.send_modify(|n| *n += 1);
    }

    /// What was asked of agents, in order: `a1 add x watch`, `a1 add x`, `a1 delete x`, `a1 role x watch`, `a1 role x`.
    pub fn asked(&self) -> Vec<String> {
        self.inner().asked.clone()
    }

    pub fn count(&self, what: &str) -> usize {
        self.inner().asked.iter().filter(|a| a.contains(what)).count()
    }

    /// Accounts of each order to add.
    pub fn orders(&self) -> Vec<usize> {
        self.inner().orders.iter().map(|(_, n)| *n).collect()
    }

    /// Ids that more than one order came under: an agent that has done the first repeats its outcome for the second.
    pub fn reused(&self) -> Vec<Ulid> {
        self.inner().reused.clone()
    }

    /// Who has an account and whether it watches: `a1`, `a2*`.
    pub fn having(&self, account: &str) -> Vec<String> {
        let inner = self.inner();
        let has = |s: &Session| {
            let h = s.agent.accounts.get(account)?;
            Some(format!("{}{}", s.agent.session.agent, if h.state == HeldState::Watching { "*" } else { "" }))
        };
        inner.sessions.values().filter_map(has).collect()
    }

    pub fn generation(&self, agent: &str, account: &str) -> Option<i64> {
        Some(self.inner().sessions.get(&id(agent))?.agent.accounts.get(account)?.generation)
    }

    fn all_where(&self, which: impl Fn(&Agent) -> bool) -> Vec<Arc<Agent>> {
        let inner = self.inner();
        let mut found: Vec<(u64, Arc<Agent>)> =
            inner.sessions.values().filter(|s| which(&s.agent)).map(|s| (s.order, s.agent.clone())).collect();
        found.sort_by_key(|(order, _)| *order);
        found.into_iter().map(|(_, a)| a).collect()
    }

    fn reply(&self, agent: &AgentId, account: &str, order: &str) -> Reply {
        let script = self.inner().scripts.get(agent).cloned();
        script.map_or_else(|| Reply::Reach(cluster("c")), |script| script(account, order))
    }

    fn note(&self, session: &SessionId, order: &Order, ulid: Ulid) {
        let mut inner = self.inner();
        if !inner.ids.insert(ulid) {
            inner.reused.push(ulid);
        }
        let who = &session.agent;
        match order {
            Order::Add(accounts) => {
                inner.orders.push((ulid, accounts.len()));
                for a in accounts {
                    inner.asked.push(format!("{who} add {}{}", a.name, if a.watch { " watch" } else { "" }));
                }
            }
            Order::Delete(accounts) => accounts.iter().for_each(|(name, _)| inner.asked.push(format!("{who} delete {name}"))),
            Order::Roles(roles) => {
                roles.iter().for_each(|(name, watch)| inner.asked.push(format!("{who} role {name}{}", if *watch { " watch" } else { "" })));
            }
        }
    }

    async fn act(&self, session: &SessionId, order: Order, mut released: watch::Receiver<u64>) -> Result<Vec<Outcome>, Unanswered> {
        let mut outcomes = Vec::new();
        let failure = |message: String| Failure { reason: Reason::Unreachable, message, host: Some("https://there:6443".into()) };
        let no_turn = || Failure { reason: Reason::Busy, message: "its turn did not come".into(), host: None };
        let (word, names): (_, Vec<Arc<str>>) = match &order {
            Order::Add(accounts) => ("add", accounts.iter().map(|a| a.name.clone()).collect()),
            Order::Delete(accounts) => ("delete", accounts.iter().map(|(n, _)| n.clone()).collect()),
            Order::Roles(roles) => ("role", roles.iter().map(|(n, _)| n.clone()).collect()),
        };
        let replies: Vec<Reply> = names.iter().map(|n| self.reply(&session.agent, n, word)).collect();
        if replies.iter().any(|r| matches!(r, Reply::Busy)) {
            return Err(Unanswered::Busy);
        }
        if replies.iter().any(|r| matches!(r, Reply::Hang(_))) {
            let _ = released.changed().await;
        }
        let gone = self.inner().sessions.get(&session.agent).is_none_or(|s| s.agent.session != *session);
        if gone {
            return Ok(vec![]);
        }
        self.edit(&session.agent, |accounts| {
            for (i, name) in names.iter().enumerate() {
                let facts = match &replies[i] {
                    Reply::Fail(_) | Reply::NoTurn => {
                        let result = Err(if let Reply::Fail(why) = &replies[i] { failure(why.clone()) } else { no_turn() });
                        outcomes.push(Outcome { name: name.clone(), generation: generation_of(&order, i), result });
                        continue;
                    }
                    Reply::Reach(facts) | Reply::Hang(facts) => Arc::new(facts.clone()),
                    Reply::Busy => continue,
                };
                match &order {
                    Order::Add(all) => {
                        let state = if all[i].watch { HeldState::Watching } else { HeldState::Standby };
                        let held = Held { generation: all[i].generation, properties: None, state, facts: Some(facts.clone()) };
                        accounts.insert(name.clone(), held);
                    }
                    Order::Delete(all) => {
                        let (_, generation) = all[i];
                        if accounts.get(name).is_some_and(|h| h.properties.is_none() && (generation == 0 || h.generation == generation)) {
                            accounts.remove(name);
                        }
                    }
                    Order::Roles(all) => {
                        if let Some(h) = accounts.get_mut(name) {
                            h.state = if all[i].1 { HeldState::Watching } else { HeldState::Standby };
                        }
                    }
                }
                let result = if let Order::Add(_) = order { Ok(Some(facts)) } else { Ok(None) };
                outcomes.push(Outcome { name: name.clone(), generation: generation_of(&order, i), result });
            }
            names.clone()
        });
        Ok(outcomes)
    }
}

fn generation_of(order: &Order, i: usize) -> i64 {
    match order {
        Order::Add(all) => all[i].generation,
        Order::Delete(all) => all[i].1,
        Order::Roles(_) => 0,
    }
}

/// What the trait wants is `'static`, so this is a handle of its own.
#[derive(Clone)]
pub struct Handle(pub Arc<Scripted>);

impl Agents for Handle {
    fn get(&self, agent: &AgentId) -> Option<Arc<Agent>> {
        self.0.all_where(|a| a.session.agent == *agent).pop()
    }

    fn all(&self) -> Vec<Arc<Agent>> {
        self.0.all_where(|_| true)
    }

    fn of_zone(&self, zone: &ZoneId) -> Vec<Arc<Agent>> {
        self.0.all_where(|a| a.zone == *zone)
    }

    fn zones(&self) -> Vec<ZoneId> {
        let mut zones: Vec<ZoneId> = self.all().iter().map(|a| a.zone.clone()).collect();
        zones.sort();
        zones.dedup();
        zones
    }

    fn holders(&self, account: &str) -> Vec<Arc<Agent>> {
        self.0.all_where(|a| a.accounts.contains_key(account))
    }

    fn changed(&self) -> BoxFuture<'_, Vec<AgentChange>> {
        Box::pin(async {
            loop {
                let changes = std::mem::take(&mut self.0.inner().changes);
                if !changes.is_empty() {
                    return changes;
                }
                self.0.bell.notified().await;
            }
        })
    }

    fn execute(
        &self,
        session: &SessionId,
        ulid: Ulid,
        order: Order,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Vec<Outcome>, Unanswered>> {
        let (this, session) = (self.0.clone(), session.clone());
        let gone = this.inner().sessions.get(&session.agent).filter(|s| s.agent.session == session).map(|s| s.gone.subscribe());
        let Some(mut gone) = gone else { return Box::pin(async { Err(Unanswered::Lost) }) };
        this.note(&session, &order, ulid);
        let released = this.release.subscribe();
        // The agent goes on though nobody waits for it any more.
        let work = tokio::spawn(async move { this.act(&session, order, released).await });
        Box::pin(async move {
            tokio::select! {
                outcomes = work => outcomes.unwrap_or(Err(Unanswered::Lost)),
                _ = gone.wait_for(|g| *g) => Err(Unanswered::Lost),
                () = tokio::time::sleep(deadline) => Err(Unanswered::TimedOut(deadline)),
            }
        })
    }

    fn disconnect(&self, session: &SessionId, _reason: &str) -> bool {
        self.0.disconnect(&session.agent.0);
        true
    }
}
