//! A simulated agent: keeps to the protocol, takes its time, and likes to repeat itself when it comes back.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fairlead::wire::agent_service_client::AgentServiceClient;
use fairlead::wire::operate_request::Message as Said;
use fairlead::wire::operate_response::Message as Heard;
use fairlead::wire::operation::Kind;
use fairlead::wire::{
    Account, AccountOutcome, AccountState, ClusterFacts, Done, Failure, FailureReason, Farewell, FarewellReason, OperateRequest, Operation,
    Outcome, Ping, Pong, Register, Registered, account_outcome,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_stream::wrappers::ReceiverStream;

use super::link;

/// What an outcome that belongs to the past says. Nobody may ever believe it.
pub const STALE: &str = "stale";
pub const PORT: u16 = 9091;

/// How an agent behaves.
#[derive(Clone, Debug)]
pub struct Character {
    pub name: String,
    pub zone: String,
    /// An operation takes up to so long.
    pub slowness: Duration,
    /// A pause before a connection is up to so long.
    pub pause: Duration,
    /// A connection or a registration that comes to nothing is given up after so long.
    pub patience: Duration,
}

/// What an agent's process has in mind, to be looked at from outside.
#[derive(Default)]
pub struct Mind {
    /// Name, generation, and whether it watches.
    pub accounts: BTreeMap<String, (i64, bool)>,
    /// The session that it believes to have.
    pub epoch: Option<u64>,
    /// When it lost the last one, in its own time.
    pub lost: Option<Instant>,
    /// Accounts whose clusters do not answer it now.
    pub unreachable: Vec<String>,
    /// What Fairlead said that it did against the protocol. It does nothing of the kind.
    pub accused: Vec<String>,
    /// Operations of former sessions.
    past: Vec<Past>,
    /// Outcomes that were given: a repeat gets the same.
    given: HashMap<String, Vec<AccountOutcome>>,
    /// Where to speak now.
    say: Option<mpsc::Sender<OperateRequest>>,
}

/// An operation of a former session: its id, that session's epoch, its accounts with their generations.
type Past = (String, u64, Vec<(String, i64)>);

pub type Shared = Arc<Mutex<Mind>>;

pub fn look(mind: &Shared) -> MutexGuard<'_, Mind> {
    mind.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The process: it begins with nothing and ends with the simulation, or by a crash.
pub async fn live(who: Character, mind: Shared, seed: u64) -> turmoil::Result {
    {
        let mut mind = look(&mind);
        let (unreachable, accused) = (std::mem::take(&mut mind.unreachable), std::mem::take(&mut mind.accused));
        *mind = Mind { unreachable, accused, ..Mind::default() };
    }
    let mut chance = fastrand::Rng::with_seed(seed);
    // Work goes on while sessions come and go, one operation after the other.
    let (queue, mut queued) = mpsc::channel::<(Operation, u64, Instant)>(10_000);
    let worker = (who.clone(), mind.clone(), chance.fork());
    tokio::spawn(async move {
        let (who, mind, mut chance) = worker;
        while let Some((operation, epoch, due)) = queued.recv().await {
            sleep(who.slowness.mul_f64(chance.f64())).await;
            if Instant::now() < due {
                work(&who, &mind, operation, epoch);
            }
        }
    });
    loop {
        let _ = session(&who, &mind, &queue, &mut chance).await;
        {
            let mut mind = look(&mind);
            if mind.epoch.take().is_some() {
                mind.lost = Some(Instant::now());
            }
            mind.say = None;
        }
        sleep(who.pause.mul_f64(chance.f64())).await;
    }
}

async fn session(
    who: &Character,
    mind: &Shared,
    queue: &mpsc::Sender<(Operation, u64, Instant)>,
    chance: &mut fastrand::Rng,
) -> Option<()> {
    let (link, _carrier) = link::connect("fairlead", PORT, who.patience).await.ok()?;
    let (say, said) = mpsc::channel(1_000);
    say.try_send(request(Said::Register(register(who, mind)))).ok()?;
    let patience = who.patience;
    let mut client = AgentServiceClient::with_origin(link, http::Uri::from_static("http://fairlead"));
    let mut hear = tokio::time::timeout(patience, client.operate(ReceiverStream::new(said))).await.ok()?.ok()?.into_inner();
    let registered: Registered = loop {
        match tokio::time::timeout(patience, hear.message()).await.ok()?.ok()??.message? {
            Heard::Registered(registered) => break registered,
            Heard::Farewell(farewell) => return farewelled(mind, &farewell),
            _ => {}
        }
    };
    let epoch = registered.epoch;
    let past: Vec<_> = {
        let mut mind = look(mind);
        (mind.epoch, mind.say) = (Some(epoch), Some(say.clone()));
        std::mem::take(&mut mind.past)
    };
    for (operation_id, old, accounts) in past {
        if chance.bool() {
            // As of that session, and as of this one: neither is an answer to anything now.
            let epoch = if chance.bool() { old } else { epoch };
            let outcome =
                Outcome { operation_id, epoch, accounts: accounts.into_iter().map(|a| stale(a, chance.bool())).collect(), failure: None };
            say.send(request(Said::Outcome(outcome))).await.ok()?;
        }
    }
    let every = Duration::from_millis(registered.ping_interval_ms.into());
    let dead = Duration::from_millis(registered.dead_after_ms.into());
    let (mut heard, mut spoken, mut number) = (Instant::now(), Instant::now(), 0);
    loop {
        let message = tokio::select! {
            message = hear.message() => message.ok()??.message,
            () = sleep_until((heard + dead).min(spoken + every)) => {
                if heard.elapsed() >= dead {
                    return None;
                }
                (number, spoken) = (number + 1, Instant::now());
                let _ = say.try_send(request(Said::Ping(Ping { number })));
                continue;
            }
        };
        heard = Instant::now();
        match message {
            Some(Heard::Operation(operation)) => {
                let due = Instant::now() + Duration::from_millis(operation.deadline_ms.into());
                look(mind).past.push((operation.id.clone(), epoch, names(&operation)));
                queue.try_send((operation, epoch, due)).ok()?;
            }
            Some(Heard::Ping(ping)) => say.send(request(Said::Pong(Pong { number: ping.number }))).await.ok()?,
            Some(Heard::Farewell(farewell)) => return farewelled(mind, &farewell),
            _ => {}
        }
    }
}

fn farewelled(mind: &Shared, farewell: &Farewell) -> Option<()> {
    if matches!(farewell.reason(), FarewellReason::Protocol | FarewellReason::Refused) {
        look(mind).accused.push(farewell.message.clone());
    }
    None
}

fn names(operation: &Operation) -> Vec<(String, i64)> {
    match &operation.kind {
        Some(Kind::AddAccounts(add)) => add.accounts.iter().map(|a| (a.name.clone(), a.generation)).collect(),
        Some(Kind::DeleteAccounts(delete)) => delete.accounts.iter().map(|a| (a.name.clone(), a.generation)).collect(),
        Some(Kind::SetRoles(roles)) => roles.roles.iter().map(|r| (r.name.clone(), 0)).collect(),
        None => Vec::new(),
    }
}

/// An outcome that would be believed if it were in time.
fn stale((name, generation): (String, i64), good: bool) -> AccountOutcome {
    let facts = ClusterFacts { host: format!("https://{STALE}"), identity: STALE.to_owned(), ..ClusterFacts::default() };
    let failure = Failure { reason: FailureReason::Unreachable.into(), message: STALE.to_owned(), host: String::new() };
    let result = if good { account_outcome::Result::Done(Done { facts: Some(facts) }) } else { account_outcome::Result::Failure(failure) };
    AccountOutcome { name, generation, result: Some(result) }
}

/// Does it, and says so to whoever listens now.
fn work(who: &Character, mind: &Shared, operation: Operation, epoch: u64) {
    let mut mind = look(mind);
    let accounts = match mind.given.get(&operation.id) {
        Some(given) => given.clone(),
        None => {
            let done = perform(who, &mut mind, operation.kind);
            mind.given.insert(operation.id.clone(), done.clone());
            done
        }
    };
    let outcome = Outcome { operation_id: operation.id, epoch, accounts, failure: None };
    let Some(say) = mind.say.clone() else { return };
    let _ = say.try_send(request(Said::Outcome(outcome)));
    if mind.epoch != Some(epoch) {
        // Nobody takes that for an outcome any more: what it has now is said in full.
        let _ = say.try_send(request(Said::Register(registration(who, &mind))));
    }
}

fn perform(who: &Character, mind: &mut Mind, kind: Option<Kind>) -> Vec<AccountOutcome> {
    let done = |name, generation, facts| AccountOutcome { name, generation, result: Some(account_outcome::Result::Done(Done { facts })) };
    match kind {
        Some(Kind::AddAccounts(add)) => add
            .accounts
            .into_iter()
            .map(|account| {
                if !reaches(&who.zone, &account.name) || mind.unreachable.contains(&account.name) {
                    mind.accounts.remove(&account.name);
                    let message = format!("{}: nobody listens there", account.name);
                    let failure = Failure { reason: FailureReason::Unreachable.into(), message, host: String::new() };
                    let result = Some(account_outcome::Result::Failure(failure));
                    return AccountOutcome { name: account.name, generation: account.generation, result };
                }
                mind.accounts.insert(account.name.clone(), (account.generation, account.watch));
                let facts = facts(who, &account.name, account.generation);
                done(account.name, account.generation, Some(facts))
            })
            .collect(),
        Some(Kind::DeleteAccounts(delete)) => delete
            .accounts
            .into_iter()
            .map(|account| {
                if mind
                    .accounts
                    .get(&account.name)
                    .is_some_and(|(generation, _)| account.generation == 0 || account.generation == *generation)
                {
                    mind.accounts.remove(&account.name);
                }
                done(account.name, account.generation, None)
            })
            .collect(),
        Some(Kind::SetRoles(roles)) => roles
            .roles
            .into_iter()
            .map(|role| {
                let generation = mind.accounts.get_mut(&role.name).map_or(0, |account| {
                    account.1 = role.watch;
                    account.0
                });
                done(role.name, generation, None)
            })
            .collect(),
        None => Vec::new(),
    }
}

/// An account whose name begins with a zone can be reached from there only.
pub fn reaches(zone: &str, account: &str) -> bool {
    account.split('-').next() == Some(zone)
}

/// Each account is a cluster of its own; who learned it, and with which definition, shows in its version.
pub fn facts(who: &Character, account: &str, generation: i64) -> ClusterFacts {
    ClusterFacts {
        host: format!("https://{account}.example:6443"),
        version: format!("{generation}-by-{}", who.name),
        identity: format!("uid-of-{account}"),
        ..ClusterFacts::default()
    }
}

fn register(who: &Character, mind: &Shared) -> Register {
    registration(who, &look(mind))
}

fn registration(who: &Character, mind: &Mind) -> Register {
    let account = |(name, (generation, watch)): (&String, &(i64, bool))| {
        let state = if *watch { AccountState::Watching } else { AccountState::Standby };
        let facts = Some(facts(who, name, *generation));
        Account { name: name.clone(), generation: *generation, state: state.into(), facts, ..Account::default() }
    };
    Register {
        agent_id: who.name.clone(),
        zone_id: who.zone.clone(),
        version: "simulated".to_owned(),
        features: vec![1, 2, 3],
        accounts: mind.accounts.iter().map(account).collect(),
        instance_id: who.name.clone(),
        ..Register::default()
    }
}

fn request(message: Said) -> OperateRequest {
    OperateRequest { message: Some(message) }
}
