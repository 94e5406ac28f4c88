//! The same request through Fairlead and straight to Clouddriver: the answers have the same status, and the mirror shows what
//! Clouddriver did with the first and nothing of the second.

use std::sync::atomic::{AtomicU32, Ordering};

use super::world::{Ledger, World, definition, send};
use crate::support::http::{Connection, Request};
use crate::support::process::Fairlead;

static RUNS: AtomicU32 = AtomicU32::new(0);

/// What has to be there before the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing of that name.
    Nothing,
    /// The account is in Clouddriver's table (and, through Fairlead, in the mirror).
    Stored,
    /// It is in Clouddriver's memory, too: `PUT /credentials/{name}` looks there.
    Live,
}

/// How the two answers have to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// The same status.
    Same,
    /// Fairlead (or the HTTP library it stands on) refuses what Clouddriver's server might take: a 4xx, and nothing is changed.
    RefusedHere,
    /// Straight, Clouddriver goes over to HTTP/2 and answers there. Fairlead passes no such offer on, so it answers by HTTP/1.1.
    UpgradedStraight,
}

/// One request, for any account name.
pub struct Case {
    pub label: String,
    pub needs: Needs,
    pub answers: Answers,
    /// From a tag (letters and digits) to the name of the account that has to be there.
    pub account: Box<dyn Fn(&str) -> String>,
    /// From the same tag to the request.
    pub request: Box<dyn Fn(&str) -> Request>,
}

impl Case {
    pub fn new(label: impl Into<String>, needs: Needs, request: impl Fn(&str) -> Request + 'static) -> Self {
        Self { label: label.into(), needs, answers: Answers::Same, account: Box::new(str::to_owned), request: Box::new(request) }
    }

    /// The account's name, where it is not the tag itself.
    pub fn account(mut self, account: impl Fn(&str) -> String + 'static) -> Self {
        self.account = Box::new(account);
        self
    }

    pub fn refused_here(mut self) -> Self {
        self.answers = Answers::RefusedHere;
        self
    }

    pub fn upgraded_straight(mut self) -> Self {
        self.answers = Answers::UpgradedStraight;
        self
    }
}

/// Runs the cases one after another and compares at the end.
pub async fn run(world: &World, fairlead: &Fairlead, cases: &[Case]) {
    let (through, straight) = (fairlead.setup.port, world.cd.port);
    // What an earlier run made is gone from the table but may still be in Clouddriver's memory: other names.
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let tag = |i: usize, side: &str| format!("c{run}x{i:03}{side}");
    // A row's name tells which request made it.
    let told = |difference: String| match cases.iter().enumerate().find(|(i, _)| difference.contains(&format!("c{run}x{i:03}"))) {
        Some((_, case)) => format!("{difference}: {}", case.label),
        None => difference,
    };
    let mut ledger = Ledger::default();
    let mut live = Vec::new();
    for (side, port) in [("p", through), ("d", straight)] {
        let mut connection = Connection::open(port).await.expect("it takes connections");
        for (i, case) in cases.iter().enumerate().filter(|(_, case)| case.needs != Needs::Nothing) {
            let name = (case.account)(&tag(i, side));
            let create = Request::new("POST", "/credentials").json(definition(&name, "before").to_string());
            let answer = connection.call(&create).await.expect("an answer");
            assert_eq!(answer.status, 200, "preparing {}: {}", case.label, answer.text());
            if answer.closes {
                // Tomcat ends a connection after a hundred requests, and says so.
                connection = Connection::open(port).await.expect("it takes connections");
            }
            if case.needs == Needs::Live {
                live.push(name);
            }
        }
        ledger.note(world, "preparing", side == "p").await;
    }
    world.live(&live).await;
    ledger.check(world, fairlead, "after preparing").await;

    let mut wrong = Vec::new();
    let mut answers = Vec::new();
    // Rows are put down to the requests since the last look; only a POST's belong in the mirror, so there is a look at each change.
    let mut enters = false;
    for (i, case) in cases.iter().enumerate() {
        let request = (case.request)(&tag(i, "p"));
        let refused = case.answers == Answers::RefusedHere;
        if refused || enters != (request.method == "POST") {
            ledger.note(world, "through Fairlead", enters).await;
            enters = request.method == "POST";
        }
        let ours = send(through, &request).await;
        if refused {
            let made = ledger.note(world, &case.label, enters).await;
            if !(400..500).contains(&ours.status) || !made.is_empty() {
                wrong.push(format!("{}: must be refused, was {} and made {made:?}", case.label, ours.status));
            }
        }
        answers.push(ours);
    }
    ledger.note(world, "through Fairlead", enters).await;
    // The others wait until no change is open: a row that another writer makes while a POST of unknown outcome and unknown name is
    // looked after may enter the mirror, which is documented.
    world.rest(&[fairlead]).await;
    wrong.extend(ledger.differences(&world.cd.accounts().await, &world.mirror().await).into_iter().map(told));
    let known = wrong.len();
    for (i, (case, ours)) in cases.iter().zip(&answers).enumerate().filter(|(_, (case, _))| case.answers != Answers::RefusedHere) {
        let theirs = send(straight, &(case.request)(&tag(i, "d"))).await;
        if case.answers == Answers::UpgradedStraight {
            if (ours.status, theirs.status) != (200, 101) {
                wrong.push(format!("{}: {} through Fairlead, {} straight", case.label, ours.status, theirs.status));
            }
            continue;
        }
        if ours.status != theirs.status {
            wrong.push(format!("{}: {} through Fairlead, {} straight", case.label, ours.status, theirs.status));
        }
        // What both servers refuse before they know what it is, each refuses with a page of its own.
        let unread = ours.json()["exception"] == "RequestNotForwardable";
        if !unread && ours.header("content-type") != theirs.header("content-type") {
            wrong.push(format!("{}: content types {:?} and {:?}", case.label, ours.header("content-type"), theirs.header("content-type")));
        }
    }
    ledger.note(world, "straight", false).await;
    world.rest(&[fairlead]).await;
    if known == 0 {
        wrong.extend(ledger.differences(&world.cd.accounts().await, &world.mirror().await).into_iter().map(told));
    }
    assert!(wrong.is_empty(), "{} of {} requests:\n  {}", wrong.len(), cases.len(), wrong.join("\n  "));
}
