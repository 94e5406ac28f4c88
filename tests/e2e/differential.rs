//! The same request through Fairlead and straight to Clouddriver: the answers have the same status, and the mirror shows what
//! Clouddriver did with the first and nothing of the second.

use std::sync::atomic::{AtomicU32, Ordering};

use super::world::{Ledger, World, definition, expect, send};
use crate::support::http::Request;
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
    /// Not compared, for a reason that the case gives; the mirror has to show what was done all the same.
    Differ,
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

    /// The reason is in the label.
    pub fn answers_differ(mut self) -> Self {
        self.answers = Answers::Differ;
        self
    }

    pub fn refused_here(mut self) -> Self {
        self.answers = Answers::RefusedHere;
        self
    }
}

/// Runs the cases one after another and compares at the end.
pub async fn run(world: &World, fairlead: &Fairlead, cases: &[Case]) {
    let (through, straight) = (fairlead.setup.port, world.cd.port);
    let mut ledger = Ledger::default();
    let mut live = Vec::new();
    // What an earlier run made is gone from the table but may still be in Clouddriver's memory: other names.
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let tag = |i: usize, side: &str| format!("c{run}x{i:03}{side}");
    for (i, case) in cases.iter().enumerate() {
        if case.needs == Needs::Nothing {
            continue;
        }
        for (side, port) in [("p", through), ("d", straight)] {
            let name = (case.account)(&tag(i, side));
            let create = Request::new("POST", "/credentials").json(definition(&name, "before").to_string());
            expect(port, &create, 200).await;
            ledger.note(world, &format!("preparing {}", case.label), side == "p").await;
            if case.needs == Needs::Live {
                live.push(name);
            }
        }
    }
    world.live(&live).await;
    ledger.check(world, fairlead, "after preparing").await;

    let mut wrong = Vec::new();
    let mut answers = Vec::new();
    for (i, case) in cases.iter().enumerate() {
        let request = (case.request)(&tag(i, "p"));
        let ours = send(through, &request).await;
        let made = ledger.note(world, &case.label, request.method == "POST").await;
        if case.answers == Answers::RefusedHere && (!(400..500).contains(&ours.status) || !made.is_empty()) {
            wrong.push(format!("{}: must be refused, was {} and made {made:?}", case.label, ours.status));
        }
        answers.push(ours);
    }
    // The others wait until no change is open: a row that another writer makes while a POST of unknown outcome and unknown name is
    // looked after may enter the mirror, which is documented.
    world.rest(&[fairlead]).await;
    wrong.extend(ledger.differences(&world.cd.accounts().await, &world.mirror().await));
    for (i, (case, ours)) in cases.iter().zip(&answers).enumerate().filter(|(_, (case, _))| case.answers != Answers::RefusedHere) {
        let theirs = send(straight, &(case.request)(&tag(i, "d"))).await;
        ledger.note(world, &format!("straight: {}", case.label), false).await;
        if case.answers == Answers::Differ {
            continue;
        }
        if ours.status != theirs.status {
            wrong.push(format!("{}: {} through Fairlead, {} straight", case.label, ours.status, theirs.status));
        }
        // What both servers refuse before they know what it is, each refuses with a page of its own.
        let unread = ours.status == 400 && ours.header("content-type").is_none();
        if !unread && ours.header("content-type") != theirs.header("content-type") {
            wrong.push(format!("{}: content types {:?} and {:?}", case.label, ours.header("content-type"), theirs.header("content-type")));
        }
    }
    world.rest(&[fairlead]).await;
    let known = wrong.len();
    let after = ledger.differences(&world.cd.accounts().await, &world.mirror().await);
    wrong.extend(after.into_iter().filter(|d| d.contains("straight: ") || known == 0));
    assert!(wrong.is_empty(), "{} of {} requests:\n  {}", wrong.len(), cases.len(), wrong.join("\n  "));
}
