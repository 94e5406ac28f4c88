//! The same requests straight, through Fairlead, and through nginx and HAProxy: what the origin sees of them, and what comes back.
//!
//! In what Fairlead may differ from nobody is [`requests`]' list, and it has to differ just so. The other two are counted, not judged.

mod requests;
mod scripted;

use std::collections::BTreeMap;
use std::time::Duration;

use super::report::Report;
use super::world::World;
use crate::support::http::{Answer, Connection, Request, call, whole};
use crate::support::process::{Fairlead, Setup};
use crate::support::proxies::Other;
use requests::{Case, Difference, framing, to_an_origin, to_clouddriver};
use scripted::Scripted;

const OTHERS: [Other; 2] = [Other::Nginx, Other::HaProxy];
/// How long the others may take to answer what they may not answer at all. Fairlead is waited for.
const IMPATIENCE: Duration = Duration::from_millis(700);

pub async fn run(report: &Report, world: &World) {
    let others: Vec<Other> = OTHERS.into_iter().filter(|other| other.program().is_some()).collect();
    for other in OTHERS.iter().filter(|other| !others.contains(other)) {
        report.left_out(&format!("{}: it is not installed (scripts/install.sh proxies)", other.name()));
    }
    report
        .case(&world.title("beside: a scripted origin sees what was sent, and its answers come back"), async {
            let (origin, fairlead) = before_a_script("beside").await;
            let bare = Scripted::start().await;
            let mut wrong = Vec::new();
            let mut table = Table::default();
            // Each has a script of its own: what one sends late is not put down to another.
            let mut started = Vec::new();
            for other in &others {
                let origin = Scripted::start().await;
                started.push((other.start(&format!("beside-{}", other.name()), &[origin.port]).await, origin));
            }
            for case in to_an_origin() {
                let straight = straight(&bare, &case).await;
                let through = exchange(fairlead.setup.port, &origin, &case, None).await;
                judge(&case, &straight, &through, "Fairlead", &mut table, Some(&mut wrong));
                for (other, (proxy, origin)) in others.iter().zip(&started) {
                    let through = exchange(proxy.port, origin, &case, Some(IMPATIENCE)).await;
                    judge(&case, &straight, &through, other.name(), &mut table, None);
                }
            }
            table.print("a scripted origin");
            assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        })
        .await;
    report
        .case(&world.title("beside: Clouddriver's answers are those that it gives straight"), async {
            let fairlead = world.fresh_fairlead("beside").await;
            let (mut wrong, mut table) = (Vec::new(), Table::default());
            let mut started = Vec::new();
            for other in &others {
                started.push(other.start(&format!("{}-beside-{}", fairlead.setup.name, other.name()), &[world.cd.port]).await);
            }
            for case in to_clouddriver() {
                let straight = to_the_real_one(world.cd.port, &case).await;
                judge(&case, &straight, &to_the_real_one(fairlead.setup.port, &case).await, "Fairlead", &mut table, Some(&mut wrong));
                for (other, proxy) in others.iter().zip(&started) {
                    judge(&case, &straight, &to_the_real_one(proxy.port, &case).await, other.name(), &mut table, None);
                }
            }
            table.print("Clouddriver");
            assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        })
        .await;
    for other in others {
        let name = other.name();
        report
            .case(&world.title(&format!("beside: behind {name}, no more requests arrive than {name} sends")), async {
                let (origin, fairlead) = before_a_script(&format!("behind-{name}")).await;
                let front = other.start(&format!("front-{name}"), &[fairlead.setup.port]).await;
                let bare = Scripted::start().await;
                let alone = other.start(&format!("alone-{name}"), &[bare.port]).await;
                let cases = framing();
                for (number, case) in cases.iter().enumerate() {
                    chain(alone.port, case, number).await;
                    chain(front.port, case, number).await;
                }
                // What was on its way before this is there, or never will be.
                for port in [alone.port, front.port] {
                    call(port, &Request::new("GET", "/last")).await.expect("an answer");
                }
                let (sent, arrived) = (bare.requests(), origin.requests());
                let count =
                    |requests: &[Vec<u8>], path: &str| requests.iter().filter(|r| r.starts_with(format!("GET {path} ").as_bytes())).count();
                let mut wrong = Vec::new();
                for (number, case) in cases.iter().enumerate() {
                    // The other has a reading of its own of some of these, and sends what hides in them as the request that it takes it for.
                    for path in [format!("/hid{number:03}"), format!("/sec{number:03}")] {
                        let (sent, arrived) = (count(&sent, &path), count(&arrived, &path));
                        if arrived > sent {
                            wrong.push(format!("{}: {path} was sent {sent} times and arrived {arrived} times", case.label));
                        }
                    }
                }
                assert!(wrong.is_empty(), "{}", wrong.join("\n"));
                let good = cases.iter().position(|case| case.label == "a request in a body").expect("a good one");
                assert_eq!(count(&arrived, &format!("/sec{good:03}")), 1, "nothing arrives at all");
            })
            .await;
    }
}

/// A Fairlead that looks into nothing (its reading of accounts would be seen as requests), before a scripted origin.
async fn before_a_script(name: &str) -> (Scripted, Fairlead) {
    let origin = Scripted::start().await;
    let settings = "kubesvc.dynamicAccounts.interceptor.enabled: false\nfairlead.proxy.threads: 1";
    let setup = Setup::new(name, origin.port).embedded().with(settings);
    (origin, Fairlead::start(setup).await)
}

/// What was seen of one request.
struct Exchange {
    arrived: Vec<u8>,
    answer: Option<Answer>,
}

/// With nobody in between. What the script makes nothing of gets no answer, but the end of the connection.
async fn straight(origin: &Scripted, case: &Case) -> Exchange {
    origin.take();
    let mut connection = Connection::open(origin.port).await.expect("it takes connections");
    connection.send(&case.bytes).await.expect("it reads");
    connection.end_sending().await.expect("it reads");
    let answer = connection.answer(case.method).await.ok();
    Exchange { answer, arrived: origin.take() }
}

async fn exchange(port: u16, origin: &Scripted, case: &Case, patience: Option<Duration>) -> Exchange {
    const LAST: &str = "GET /last HTTP/1.1\r\nHost: h\r\n\r\n";
    origin.take();
    let answer = tokio::time::timeout(patience.unwrap_or(Duration::from_secs(60)), call(port, &request(case))).await;
    let answer = answer.ok().and_then(Result::ok);
    if patience.is_none() {
        // Behind this, nothing of a request that broke off half-way is on its way any more: it has one thread.
        call(port, &Request { exact: Some(LAST.into()), ..Request::new("GET", "") }).await.expect("an answer");
    }
    let mut arrived = origin.take();
    if let Some(at) = arrived.windows(LAST.len()).position(|w| w == LAST.as_bytes()) {
        arrived.drain(at..at + LAST.len());
    }
    Exchange { answer, arrived }
}

/// As it comes from the real one, less what is another with each answer.
async fn to_the_real_one(port: u16, case: &Case) -> Exchange {
    let answer = tokio::time::timeout(Duration::from_secs(60), call(port, &request(case))).await.ok().and_then(Result::ok);
    let answer = answer.map(|mut answer| {
        answer.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("date"));
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let times = |t: &str| {
            t.split("\"timestamp\":")
                .enumerate()
                .map(|(i, part)| if i == 0 { part } else { part.trim_start_matches(|c: char| c != ',' && c != '}') })
                .collect::<String>()
        };
        answer.body = times(&text).into_bytes();
        answer
    });
    Exchange { answer, arrived: Vec::new() }
}

fn request(case: &Case) -> Request {
    Request { exact: Some(case.bytes.clone()), ..Request::new(case.method, "") }
}

/// Sends a request with another behind it; what hides in it and what follows carry the number in their paths.
async fn chain(port: u16, case: &Case, number: usize) {
    let hidden = format!("/hid{number:03}");
    let mut bytes = case.bytes.clone();
    while let Some(at) = bytes.windows(7).position(|w| w == b"/hidden") {
        bytes[at..at + 7].copy_from_slice(hidden.as_bytes());
    }
    bytes.extend_from_slice(format!("GET /sec{number:03} HTTP/1.1\r\nHost: clouddriver:7002\r\nConnection: close\r\n\r\n").as_bytes());
    let mut connection = Connection::open(port).await.expect("it takes connections");
    let _ = connection.send(&bytes).await;
    while let Ok(Ok(answer)) = tokio::time::timeout(IMPATIENCE, connection.answer(case.method)).await {
        if answer.closes {
            break;
        }
    }
}

/// How many cases differ in what, by who was in between.
#[derive(Default)]
struct Table {
    cases: usize,
    counts: BTreeMap<&'static str, BTreeMap<Difference, usize>>,
    differing: BTreeMap<&'static str, usize>,
}

impl Table {
    fn print(&self, origin: &str) {
        println!("        of {} requests to {origin}, differing from the same one sent straight:", self.cases);
        for (who, counts) in &self.counts {
            println!("        {who:9} {:4} in all; {counts:?}", self.differing[who]);
        }
    }
}

fn judge(case: &Case, straight: &Exchange, through: &Exchange, who: &'static str, table: &mut Table, wrong: Option<&mut Vec<String>>) {
    let found = differences(straight, through);
    let counts = table.counts.entry(who).or_default();
    for difference in &found {
        *counts.entry(*difference).or_default() += 1;
    }
    *table.differing.entry(who).or_default() += usize::from(!found.is_empty());
    let Some(wrong) = wrong else { return };
    table.cases += 1;
    if found != case.allowed {
        let told = |e: &Exchange| {
            let answer = e.answer.as_ref().map(|a| format!("{} {:?} {:.200}", a.status, a.headers, a.text()));
            format!("arrived: {:.300}\n      answer: {answer:?}", e.arrived.escape_ascii().to_string())
        };
        wrong.push(format!(
            "{}: differs in {found:?}, allowed is {:?}\n    straight: {}\n    through: {}",
            case.label,
            case.allowed,
            told(straight),
            told(through)
        ));
    }
}

fn differences(straight: &Exchange, through: &Exchange) -> Vec<Difference> {
    let mut found = Vec::new();
    let (sent, got) = (&straight.arrived[..], &through.arrived[..]);
    if sent != got {
        if got.is_empty() || (whole(got).is_none() && sent.starts_with(got)) {
            found.push(Difference::NotForwarded);
        } else {
            found.extend(between(&Message::of(sent), &Message::of(got)));
        }
    }
    match (&straight.answer, &through.answer) {
        (None, None) => {}
        (Some(a), Some(b)) => {
            if a.status != b.status {
                found.push(Difference::Status);
            }
            let of = |answer: &Answer| {
                // The connection is each one's own.
                let own = |name: &str| ["connection", "keep-alive"].iter().any(|own| name.eq_ignore_ascii_case(own));
                answer.headers.iter().filter(|(name, _)| !own(name)).map(|(n, v)| format!("{n}: {v}")).collect::<Vec<_>>()
            };
            found.extend(headers(&of(a), &of(b), Difference::Headers, Difference::Spelling));
            if a.body != b.body {
                found.push(Difference::Body);
            }
        }
        _ => found.push(Difference::Status),
    }
    found
}

/// A request as it arrived, its chunks put together.
struct Message {
    line: String,
    headers: Vec<String>,
    body: Vec<u8>,
    more: Vec<u8>,
}

impl Message {
    fn of(bytes: &[u8]) -> Self {
        let (first, more) = bytes.split_at(whole(bytes).unwrap_or(bytes.len()));
        let head = first.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(first.len());
        let text = String::from_utf8_lossy(&first[..head]).into_owned();
        let mut lines = text.split("\r\n").map(str::to_owned);
        let line = lines.next().unwrap_or_default();
        let headers: Vec<String> = lines.collect();
        let rest = first.get(head + 4..).unwrap_or_default();
        let chunked = headers.iter().any(|h| h.to_ascii_lowercase().starts_with("transfer-encoding:"));
        let body = if chunked { unchunked(rest) } else { rest.to_vec() };
        Self { line, headers, body, more: more.to_vec() }
    }
}

/// Data and trailers.
fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(line) = bytes.windows(2).position(|w| w == b"\r\n") {
        let size = String::from_utf8_lossy(&bytes[..line]).split(';').next().and_then(|s| usize::from_str_radix(s, 16).ok());
        bytes = &bytes[line + 2..];
        match size {
            Some(size @ 1..) if bytes.len() >= size + 2 => {
                body.extend_from_slice(&bytes[..size]);
                bytes = &bytes[size + 2..];
            }
            _ => break,
        }
    }
    body.extend_from_slice(bytes);
    body
}

fn between(sent: &Message, got: &Message) -> Vec<Difference> {
    let mut found = Vec::new();
    if sent.more != got.more {
        found.push(Difference::Count);
    }
    if sent.line != got.line {
        found.push(Difference::Line);
    }
    found.extend(headers(&sent.headers, &got.headers, Difference::RequestHeaders, Difference::RequestSpelling));
    if sent.body != got.body {
        found.push(Difference::RequestBody);
    }
    found
}

/// Whether they say something else, or the same in another way.
fn headers(a: &[String], b: &[String], other: Difference, spelled: Difference) -> Option<Difference> {
    let meant = |lines: &[String]| {
        let mut meant: Vec<String> = lines
            .iter()
            .map(|line| match line.split_once(':') {
                Some((name, value)) => format!("{}:{}", name.to_ascii_lowercase(), value.trim()),
                None => line.clone(),
            })
            .collect();
        meant.sort();
        meant
    };
    if meant(a) != meant(b) {
        Some(other)
    } else if a != b {
        Some(spelled)
    } else {
        None
    }
}
