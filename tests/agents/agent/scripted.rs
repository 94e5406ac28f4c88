//! The other end of the channel, by script: each session is handed to the test, which says what Fairlead says.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use fairlead::wire::agent_service_server::{AgentService, AgentServiceServer};
use fairlead::wire::operate_request::Message as Ask;
use fairlead::wire::operate_response::Message as Say;
use fairlead::wire::operation::Kind;
use fairlead::wire::{
    Account, AccountRef, AddAccounts, DeleteAccounts, Feature, NewAccount, OperateRequest, OperateResponse, Operation, Outcome, Register,
    Registered, ReportRequest, ReportResponse,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::metadata::MetadataMap;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

/// What a test waits for at most: far above what is needed, so that it is never the clock that decides.
pub const PATIENCE: Duration = Duration::from_secs(60);

type Outbound<T> = Pin<Box<dyn futures_util::Stream<Item = Result<T, Status>> + Send>>;

/// A listening Fairlead.
pub struct Scripted {
    pub address: SocketAddr,
    sessions: mpsc::Receiver<Session>,
    reports: Option<mpsc::Receiver<Reports>>,
    server: tokio::task::JoinHandle<()>,
}

/// One session, registered or not yet.
pub struct Session {
    pub headers: MetadataMap,
    inbound: mpsc::Receiver<OperateRequest>,
    outbound: mpsc::Sender<Result<OperateResponse, Status>>,
}

/// One stream of reports.
pub struct Reports {
    pub inbound: mpsc::Receiver<ReportRequest>,
    pub outbound: mpsc::Sender<Result<ReportResponse, Status>>,
}

struct Service {
    sessions: mpsc::Sender<Session>,
    reports: mpsc::Sender<Reports>,
}

/// Copies a stream of the agent's to a channel.
fn drained<T: Send + 'static>(mut stream: Streaming<T>) -> mpsc::Receiver<T> {
    let (sender, receiver) = mpsc::channel(1_000);
    tokio::spawn(async move {
        while let Ok(Some(message)) = stream.message().await {
            if sender.send(message).await.is_err() {
                break;
            }
        }
    });
    receiver
}

#[tonic::async_trait]
impl AgentService for Service {
    type OperateStream = Outbound<OperateResponse>;
    type ReportStream = Outbound<ReportResponse>;

    async fn operate(&self, request: Request<Streaming<OperateRequest>>) -> Result<Response<Self::OperateStream>, Status> {
        let headers = request.metadata().clone();
        let (outbound, stream) = mpsc::channel(100);
        let session = Session { headers, inbound: drained(request.into_inner()), outbound };
        let _ = self.sessions.send(session).await;
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn report(&self, request: Request<Streaming<ReportRequest>>) -> Result<Response<Self::ReportStream>, Status> {
        let (outbound, stream) = mpsc::channel(100);
        let _ = self.reports.send(Reports { inbound: drained(request.into_inner()), outbound }).await;
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

impl Scripted {
    /// On a free port, without TLS.
    pub async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), None).await
    }

    /// On a free port, with this certificate; `clients`: PEM of the CA that agents need a certificate of.
    pub async fn with_tls(pair: &super::api_server::Pair, clients: Option<String>) -> Self {
        let mut tls = ServerTlsConfig::new().identity(Identity::from_pem(&pair.certificate, &pair.key));
        if let Some(ca) = clients {
            tls = tls.client_ca_root(tonic::transport::Certificate::from_pem(ca));
        }
        Self::at("127.0.0.1:0".parse().unwrap(), Some(tls)).await
    }

    pub async fn at(address: SocketAddr, tls: Option<ServerTlsConfig>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sessions, receiver) = mpsc::channel(10);
        let (reports, report_receiver) = mpsc::channel(10);
        let mut builder = Server::builder();
        if let Some(tls) = tls {
            builder = builder.tls_config(tls).unwrap();
        }
        let router = builder.add_service(AgentServiceServer::new(Service { sessions, reports }));
        let server = tokio::spawn(async move {
            let _ = router.serve_with_incoming(TcpListenerStream::new(listener)).await;
        });
        Self { address, sessions: receiver, reports: Some(report_receiver), server }
    }

    /// The next session that an agent opens.
    pub async fn session(&mut self) -> Session {
        soon(self.sessions.recv()).await.expect("the server runs")
    }

    /// The next session, registered with this epoch and nothing special. Also what it registered.
    pub async fn registered(&mut self, epoch: u64) -> (Session, Register) {
        let mut session = self.session().await;
        let register = session.register().await;
        session.say(Say::Registered(registered(epoch))).await;
        (session, register)
    }

    /// The next stream of reports, after its first message.
    pub async fn reports(&mut self) -> (Reports, u64) {
        let mut reports = soon(self.reports.as_mut().unwrap().recv()).await.expect("the server runs");
        let first = soon(reports.inbound.recv()).await.expect("a first message");
        assert_eq!(first.accounts, [], "the first message names the epoch and nothing else");
        (reports, first.epoch)
    }

    /// No session has come, which does not say that none will.
    pub fn is_quiet(&mut self) -> bool {
        self.sessions.try_recv().is_err()
    }

    /// Ends at once, connections included.
    pub fn kill(self) {
        self.server.abort();
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// What a server says that has all features.
pub fn registered(epoch: u64) -> Registered {
    Registered {
        epoch,
        replica_id: "fairlead-0".into(),
        features: vec![Feature::Chunks as i32, Feature::Roles as i32, Feature::Credits as i32],
        ping_interval_ms: 10_000,
        dead_after_ms: 25_000,
        max_message_bytes: 4 << 20,
        ..Registered::default()
    }
}

impl Session {
    pub async fn say(&self, message: Say) {
        let _ = self.outbound.send(Ok(OperateResponse { message: Some(message) })).await;
    }

    /// Ends the stream with a status.
    pub async fn break_with(self, status: Status) {
        let _ = self.outbound.send(Err(status)).await;
    }

    /// The next message; `None`: the agent ended the stream, or broke it.
    pub async fn next(&mut self) -> Option<Ask> {
        soon(self.inbound.recv()).await.map(|m| m.message.expect("agents send nothing empty"))
    }

    pub async fn register(&mut self) -> Register {
        loop {
            match self.next().await {
                Some(Ask::Register(register)) => return register,
                Some(Ask::Ping(_) | Ask::Pong(_)) => {}
                other => panic!("not a registration: {other:?}"),
            }
        }
    }

    /// The next outcome, of whichever operation.
    pub async fn outcome(&mut self) -> Outcome {
        loop {
            match self.next().await {
                Some(Ask::Outcome(outcome)) => return outcome,
                // The list again, after an account went otherwise than by an outcome.
                Some(Ask::Ping(_) | Ask::Pong(_) | Ask::Register(_)) => {}
                other => panic!("not an outcome: {other:?}"),
            }
        }
    }

    pub async fn operation(&self, id: &str, kind: Kind) {
        self.say(Say::Operation(Operation { id: id.into(), deadline_ms: 30_000, kind: Some(kind) })).await;
    }

    /// Adds accounts and waits for the outcome.
    pub async fn add(&mut self, id: &str, accounts: Vec<NewAccount>) -> Outcome {
        self.operation(id, Kind::AddAccounts(AddAccounts { accounts })).await;
        let outcome = self.outcome().await;
        assert_eq!(outcome.operation_id, id);
        outcome
    }

    /// Deletes one account of whichever generation and waits for the outcome.
    pub async fn delete(&mut self, id: &str, name: &str, generation: i64) -> Outcome {
        let accounts = vec![AccountRef { name: name.into(), generation }];
        self.operation(id, Kind::DeleteAccounts(DeleteAccounts { accounts })).await;
        let outcome = self.outcome().await;
        assert_eq!(outcome.operation_id, id);
        outcome
    }
}

impl Reports {
    pub async fn grant(&self, bytes: u64) {
        let _ = self.outbound.send(Ok(ReportResponse { credit_bytes: bytes })).await;
    }

    /// The next account that fits.
    pub async fn account(&mut self, fits: impl Fn(&Account) -> bool) -> Account {
        loop {
            let report = soon(self.inbound.recv()).await.expect("the stream is open");
            if let Some(found) = report.accounts.into_iter().find(|a| fits(a)) {
                return found;
            }
        }
    }
}

/// Waits with patience.
pub async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it comes within a minute")
}
