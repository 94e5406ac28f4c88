//! An agent that does what a test says, over the real protocol. Pings are answered by itself unless it is told to be silent.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::time::Duration;

use fairlead::wire::agent_service_client::AgentServiceClient;
use fairlead::wire::operate_request::Message as Said;
use fairlead::wire::operate_response::Message as Heard;
use fairlead::wire::operation::Kind;
use fairlead::wire::{
    Account, AccountOutcome, AccountState, Done, Failure, Farewell, OperateRequest, OperateResponse, Operation, Outcome, Pong, Register,
    Registered, account_outcome,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

/// Longer than anything that is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// A registration with nothing out of the ordinary.
pub fn register(agent: &str, zone: &str, accounts: &[&str]) -> Register {
    Register {
        agent_id: agent.to_owned(),
        zone_id: zone.to_owned(),
        version: "scripted".to_owned(),
        features: vec![1, 2, 3],
        accounts: accounts.iter().map(|name| static_account(name)).collect(),
        instance_id: format!("{agent}-instance"),
        ..Register::default()
    }
}

/// An account of the agent's own configuration, reached.
pub fn static_account(name: &str) -> Account {
    Account {
        name: name.to_owned(),
        r#static: true,
        state: AccountState::Watching.into(),
        properties_json: "{}".to_owned(),
        ..Account::default()
    }
}

/// A connection to the port, without TLS.
pub async fn connect(address: SocketAddr) -> AgentServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    AgentServiceClient::new(endpoint.connect().await.unwrap_or_else(|e| panic!("{address}: {e:?}")))
}

/// One stream of operations.
pub struct ScriptedAgent {
    /// The answer to the registration; as it was made before one.
    pub registered: Registered,
    pub silent: bool,
    /// How long to wait for a message; a test that fails takes so long.
    pub patience: Duration,
    pub client: AgentServiceClient<Channel>,
    say: Option<mpsc::Sender<OperateRequest>>,
    hear: Streaming<OperateResponse>,
}

impl ScriptedAgent {
    /// Opens the stream and says nothing.
    pub async fn open(mut client: AgentServiceClient<Channel>) -> Self {
        let (say, said) = mpsc::channel(10_000);
        let hear = client.operate(ReceiverStream::new(said)).await.expect("a stream").into_inner();
        Self { registered: Registered::default(), silent: false, patience: PATIENCE, client, say: Some(say), hear }
    }

    /// Connects and registers.
    pub async fn start(address: SocketAddr, register: Register) -> Self {
        Self::with(connect(address).await, register).await
    }

    /// Registers on a connection.
    pub async fn with(client: AgentServiceClient<Channel>, register: Register) -> Self {
        let mut agent = Self::open(client).await;
        agent.say(Said::Register(register)).await;
        match agent.hear().await {
            Some(Heard::Registered(registered)) => agent.registered = registered,
            other => panic!("not registered: {other:?}"),
        }
        agent
    }

    pub async fn say(&self, message: Said) {
        let say = self.say.as_ref().expect("it has not closed its side");
        let _ = say.send(OperateRequest { message: Some(message) }).await;
    }

    /// The next message but pings; `None`: Fairlead has ended the stream.
    pub async fn hear(&mut self) -> Option<Heard> {
        let until = tokio::time::Instant::now() + self.patience;
        loop {
            let heard = tokio::time::timeout_at(until, self.hear.message()).await.expect("nothing but pings was said for long");
            let message = heard.ok()??.message?;
            match message {
                Heard::Ping(_) if self.silent => {}
                Heard::Ping(ping) => self.say(Said::Pong(Pong { number: ping.number })).await,
                message => return Some(message),
            }
        }
    }

    /// The next message, which is an operation.
    pub async fn order(&mut self) -> Operation {
        match self.hear().await {
            Some(Heard::Operation(operation)) => operation,
            other => panic!("no operation: {other:?}"),
        }
    }

    /// The next message, which is the last word.
    pub async fn farewell(&mut self) -> Farewell {
        match self.hear().await {
            Some(Heard::Farewell(farewell)) => farewell,
            other => panic!("no farewell: {other:?}"),
        }
    }

    /// Says of all accounts of an operation that it was done.
    pub async fn done(&self, operation: &Operation) {
        self.answer(operation, |_| account_outcome::Result::Done(Done::default())).await;
    }

    /// Says of all accounts of an operation that it failed.
    pub async fn failed(&self, operation: &Operation, failure: Failure) {
        self.answer(operation, |_| account_outcome::Result::Failure(failure.clone())).await;
    }

    /// Says what became of each account of an operation.
    pub async fn answer(&self, operation: &Operation, result: impl Fn(&str) -> account_outcome::Result) {
        let accounts = accounts_of(operation).into_iter().map(|(name, generation)| {
            let result = Some(result(&name));
            AccountOutcome { name, generation, result }
        });
        self.say(Said::Outcome(self.outcome(&operation.id, accounts.collect()))).await;
    }

    /// An outcome of this session.
    pub fn outcome(&self, id: &str, accounts: Vec<AccountOutcome>) -> Outcome {
        Outcome { operation_id: id.to_owned(), epoch: self.registered.epoch, accounts, failure: None }
    }

    /// Closes its side; Fairlead then closes the other.
    pub fn close(&mut self) {
        self.say = None;
    }
}

/// Names and generations of an operation.
pub fn accounts_of(operation: &Operation) -> Vec<(String, i64)> {
    match operation.kind.as_ref().expect("a kind") {
        Kind::AddAccounts(add) => add.accounts.iter().map(|a| (a.name.clone(), a.generation)).collect(),
        Kind::DeleteAccounts(delete) => delete.accounts.iter().map(|a| (a.name.clone(), a.generation)).collect(),
        Kind::SetRoles(roles) => roles.roles.iter().map(|r| (r.name.clone(), 0)).collect(),
    }
}
