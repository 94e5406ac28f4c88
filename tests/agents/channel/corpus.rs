//! Messages as peers of older and newer versions send them. What is stored here was sent once, and stays readable.

use fairlead::channel::Order;
use fairlead::wire::operate_request::Message as Said;
use fairlead::wire::operate_response::Message as Heard;
use fairlead::wire::*;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Bytes, Frame};
use prost::Message as _;

use super::rig::Rig;
use crate::scripted_agent::register;

fn facts() -> ClusterFacts {
    ClusterFacts {
        host: "https://h:6443".into(),
        version: "v1.34.4".into(),
        certificate_fingerprint: vec![1, 2],
        identity: "uid".into(),
        ca_fingerprint: vec![3],
        namespaces: vec!["n".into()],
        namespaces_unknown: true,
        kinds: vec!["Pod".into()],
        remarks: vec!["r".into()],
    }
}

fn failure() -> Failure {
    Failure { reason: FailureReason::Tls.into(), message: "m".into(), host: "h".into() }
}

/// What an agent of version 1 says, each field set, and its bytes.
fn requests() -> Vec<(Said, &'static str)> {
    let account = Account {
        name: "x".into(),
        generation: -7,
        r#static: true,
        state: AccountState::Failed.into(),
        facts: Some(facts()),
        failure: Some(failure()),
        properties_json: "{}".into(),
    };
    let register = Register {
        agent_id: "a".into(),
        zone_id: "z".into(),
        version: "1".into(),
        features: vec![1, 2, 3],
        accounts: vec![account],
        instance_id: "i".into(),
        replicas: 2,
        max_message_bytes: 4_096,
    };
    let accounts = vec![
        AccountOutcome { name: "x".into(), generation: 7, result: Some(account_outcome::Result::Done(Done { facts: Some(facts()) })) },
        AccountOutcome { name: "y".into(), generation: 8, result: Some(account_outcome::Result::Failure(failure())) },
    ];
    let chunk = Chunk { message_id: 9, index: 1, last: true, total_bytes: 3, data: vec![1, 2, 3] };
    vec![
        (
            Said::Register(register),
            "0a6c0a016112017a1a013122030102032a540a017810f9ffffffffffffffff01180120042a320a0e68747470733a2f2f683a36343433120776312e33342e341a02010222037569642a010332016e38014203506f644a01723208080512016d1a01683a027b7d3201693802408020",
        ),
        (
            Said::Outcome(Outcome { operation_id: "01J".into(), epoch: 5, accounts, failure: Some(failure()) }),
            "125f0a0330314a10051a3b0a017810071a340a320a0e68747470733a2f2f683a36343433120776312e33342e341a02010222037569642a010332016e38014203506f644a01721a0f0a017910082208080512016d1a01682208080512016d1a0168",
        ),
        (Said::Ping(Ping { number: 1 }), "1a020801"),
        (Said::Pong(Pong { number: 300 }), "220308ac02"),
        (Said::Chunk(chunk), "2a0d08091001180120032a03010203"),
        (Said::Leaving(Leaving { reason: "r".into() }), "32030a0172"),
    ]
}

/// What Fairlead of version 1 says.
fn responses() -> Vec<(Heard, &'static str)> {
    let registered = Registered {
        epoch: 1 << 50,
        replica_id: "r".into(),
        features: vec![1, 2, 3],
        cache_kinds: vec!["Pod".into()],
        ping_interval_ms: 10_000,
        dead_after_ms: 25_000,
        max_message_bytes: 4 << 20,
        refusals: vec![Refusal { account: "x".into(), reason: "w".into() }],
    };
    let operation = |kind| Heard::Operation(Operation { id: "01J".into(), deadline_ms: 1_000, kind: Some(kind) });
    let account = NewAccount { name: "x".into(), generation: i64::MIN, definition_json: b"{}".to_vec(), watch: true };
    let farewell = Farewell { reason: FarewellReason::Overloaded.into(), message: "m".into(), retry_after_ms: 5 };
    vec![
        (Heard::Registered(registered), "0a2a0880808080808080021201721a030102032203506f6428904e30a8c301388080800242060a0178120177"),
        (
            operation(operation::Kind::AddAccounts(AddAccounts { accounts: vec![account] })),
            "12200a0330314a10e8071a160a140a017810808080808080808080011a027b7d2001",
        ),
        (
            operation(operation::Kind::DeleteAccounts(DeleteAccounts { accounts: vec![AccountRef { name: "x".into(), generation: 7 }] })),
            "12110a0330314a10e80722070a050a01781007",
        ),
        (
            operation(operation::Kind::SetRoles(SetRoles { roles: vec![Role { name: "x".into(), watch: true }] })),
            "12110a0330314a10e8072a070a050a01781001",
        ),
        (Heard::Farewell(farewell), "3207080612016d1805"),
    ]
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn messages_of_the_first_version_are_read_as_they_were_meant() {
    for (meant, stored) in requests() {
        let now = hex(&OperateRequest { message: Some(meant.clone()) }.encode_to_vec());
        assert_eq!(OperateRequest::decode(&*bytes(stored)).unwrap().message, Some(meant), "stored {stored}, now {now}");
    }
    for (meant, stored) in responses() {
        let now = hex(&OperateResponse { message: Some(meant.clone()) }.encode_to_vec());
        assert_eq!(OperateResponse::decode(&*bytes(stored)).unwrap().message, Some(meant), "stored {stored}, now {now}");
    }
}

/// A stream of operations as bytes: what is said on it, first these messages, and what is answered.
async fn raw(address: std::net::SocketAddr, messages: &[&[u8]]) -> (Saying, hyper::body::Incoming) {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), hyper_util::rt::TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let (say, said) = tokio::sync::mpsc::channel(8);
    for message in messages {
        say.send(Ok(Frame::data(framed(message).into()))).await.unwrap();
    }
    let request = http::Request::post("http://fairlead/fairlead.agent.v1.AgentService/Operate")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(said)))
        .unwrap();
    (say, sender.send_request(request).await.unwrap().into_body())
}

type Saying = tokio::sync::mpsc::Sender<Result<Frame<Bytes>, std::convert::Infallible>>;

/// The next piece of an answer, as HTTP/2 had it.
async fn piece(answer: &mut hyper::body::Incoming) -> Bytes {
    let frame = tokio::time::timeout(std::time::Duration::from_secs(20), answer.frame()).await.expect("an answer");
    frame.expect("the stream goes on").unwrap().into_data().expect("no end of the stream")
}

/// A frame of gRPC's.
fn framed(message: &[u8]) -> Vec<u8> {
    [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

#[tokio::test]
async fn what_a_newer_agent_says_is_passed_over() {
    let rig = Rig::start().await;
    // A field and a feature that nobody knows yet: 200 is a number, 201 a text.
    let unknown = [0xc0, 0x0c, 5, 0xca, 0x0c, 2, b'h', b'i'];
    let mut first = register("a", "z", &["x"]);
    first.features.push(4_711);
    let mut inner = first.encode_to_vec();
    inner.extend(unknown);
    // Register is field 1 of OperateRequest.
    let mut message = vec![0x0a];
    prost::encoding::encode_varint(inner.len() as u64, &mut message);
    message.extend(inner);
    let ping = OperateRequest { message: Some(Said::Ping(Ping { number: 9 })) }.encode_to_vec();
    // After the first a message of a kind that nobody knows yet, and an empty one.
    let (_say, mut answer) = raw(rig.address, &[&message, &unknown, &[], &ping]).await;
    let pong = framed(&OperateResponse { message: Some(Heard::Pong(Pong { number: 9 })) }.encode_to_vec());
    let mut read = Vec::new();
    while !read.ends_with(&pong) {
        read.extend(piece(&mut answer).await);
    }
    assert!(rig.agent("a").unwrap().accounts.contains_key("x"));
}

/// Row 66 of the faults: each is a message of its own, and yet no peer is fed crumbs.
#[tokio::test]
async fn small_operations_that_are_many_travel_together() {
    const MANY: usize = 500;
    let rig = Rig::start().await;
    let first = OperateRequest { message: Some(Said::Register(register("a", "z", &[]))) }.encode_to_vec();
    let (_say, mut answer) = raw(rig.address, &[&first]).await;
    piece(&mut answer).await;
    let order = || Order::Delete(vec![("x".into(), 1)]);
    let session = rig.session("a");
    let waits = std::time::Duration::from_secs(60);
    let _waiting: Vec<_> = (0..MANY).map(|_| rig.agents.execute(&session, ulid::Ulid::generate(), order(), waits)).collect();
    let (mut pieces, mut read) = (0, Vec::new());
    let mut operations = 0;
    while operations < MANY {
        pieces += 1;
        read.extend(piece(&mut answer).await);
        while let Some(length) = read.get(1..5).map(|n| u32::from_be_bytes(n.try_into().unwrap()) as usize)
            && read.len() >= 5 + length
        {
            let message: Vec<u8> = read.drain(..5 + length).skip(5).collect();
            operations += usize::from(matches!(OperateResponse::decode(&*message).unwrap().message, Some(Heard::Operation(_))));
        }
    }
    // 500 messages of 42 bytes; the first may go alone.
    assert!(pieces <= 20, "{pieces}");
}
