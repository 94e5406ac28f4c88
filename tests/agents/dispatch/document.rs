//! `docs/lifecycle.md` is what the table of states says, written by this test (`FAIRLEAD_WRITE_DOCS=1`) and compared by it.

use std::fmt::Write as _;

use fairlead::account::Status;
use fairlead::lifecycle::{Attempts, Event, State, Step, Wanted, is_transient, may_be_held, next};

const WANTED: [Wanted; 3] = [Wanted::Active, Wanted::Inactive, Wanted::Deleted];

fn words(event: Event) -> &'static str {
    match event {
        Event::Activate => "a user, the scanner or `interceptor.activate` wants it managed",
        Event::Deactivate => "a user wants it let go of",
        Event::Delete => "a user, or Clouddriver, wants it gone",
        Event::Changed => "its definition, zone or reference has changed",
        Event::Offered => "what it asks for is about to be sent to an agent",
        Event::Accepted => "an agent has reached its cluster",
        Event::Rejected => "no agent could, or nothing could be sent",
        Event::AgentLost => "its agent, or the replica that asked, is gone before an answer",
        Event::Expired => "an agent that is there did not answer in time",
        Event::LetGo => "each agent that may have had it has let go",
        Event::NotLetGo => "an agent could not let go",
        Event::NoAgentLeft => "no agent that may have it is connected (ACTIVE: beyond the grace period)",
        Event::Back => "an agent that may have it has it",
        Event::ZoneGone => "the zone that was found for it is gone beyond the grace period",
        Event::ClusterLost => "its cluster no longer lets its agents in",
        Event::RetryDue => "it is time to try again",
        Event::Abandoned => "no agent has had it for `cache.accountCleanupFrequencySeconds`",
    }
}

/// The outcome in words; what does not change is not said.
fn outcome(state: &State, event: Event) -> Option<String> {
    let mut text = String::new();
    match next(state, event) {
        Step::Ignore => return None,
        Step::Refuse(why) => write!(text, "refused: {why}").ok()?,
        Step::Leave { tombstone } => write!(text, "the row goes{}", if tombstone { ", a tombstone stays" } else { "" }).ok()?,
        Step::Go { to, wanted, attempts, tombstone } => {
            write!(text, "{to}").ok()?;
            if wanted != state.wanted {
                write!(text, ", wanted {}", wanted.as_str()).ok()?;
            }
            match attempts {
                Attempts::Keep => {}
                Attempts::Reset => text.push_str(", count 0"),
                Attempts::Failed => text.push_str(", count + 1"),
            }
            if tombstone {
                text.push_str(", a tombstone stays");
            }
        }
    }
    Some(text)
}

/// One line for each event that means something, with what it depends on.
fn lines(status: Status, event: Event, dynamic: bool) -> Vec<(String, String)> {
    let state = |wanted, sent| State { status, wanted, sent, dynamic };
    let all: Vec<((Wanted, bool), Option<String>)> =
        WANTED.iter().flat_map(|w| [true, false].map(|s| ((*w, s), outcome(&state(*w, s), event)))).collect();
    // A wish is said of a row of which something else is wanted, so that the text says what it changes.
    let other = |wish: Event| if wish == Event::Delete { Wanted::of(None, status) } else { Wanted::Deleted };
    let told = |((wanted, _), _): &&((Wanted, bool), Option<String>)| {
        if !dynamic {
            return *wanted == Wanted::Active;
        }
        !matches!(event, Event::Activate | Event::Deactivate | Event::Delete) || *wanted == other(event)
    };
    let all: Vec<_> = all.iter().filter(told).collect();
    let first = &all[0].1;
    if all.iter().all(|(_, o)| o == first) {
        return first.iter().map(|o| (String::new(), o.clone())).collect();
    }
    let by_sent = |sent: bool| all.iter().filter(|((_, s), _)| *s == sent).map(|(_, o)| o).collect::<Vec<_>>();
    let by_wanted = |wanted: Wanted| all.iter().filter(|((w, _), _)| *w == wanted).map(|(_, o)| o).collect::<Vec<_>>();
    let same = |list: &[&Option<String>]| list.windows(2).all(|w| w[0] == w[1]);
    let mut out = Vec::new();
    if [true, false].iter().all(|s| same(&by_sent(*s))) {
        for (sent, when) in [(true, "sent to an agent before"), (false, "never sent to an agent")] {
            if let Some(Some(o)) = by_sent(sent).first() {
                out.push((when.to_owned(), o.clone()));
            }
        }
    } else {
        for wanted in WANTED {
            let outcomes = by_wanted(wanted);
            assert!(same(&outcomes), "{status} {event:?} depends on more than one thing");
            if let Some(Some(o)) = outcomes.first() {
                out.push((format!("{} is wanted", wanted.as_str()), o.clone()));
            }
        }
    }
    out
}

fn page() -> String {
    let mut p = String::from(
        "# The states of an account\n\n\
         Written from `lifecycle::next` by a test (`FAIRLEAD_WRITE_DOCS=1 cargo test --test agents lifecycle_page`), and compared by it: do not edit it.\n\n\
         What *is* (the status) and what is *wanted* are two columns. A wish that comes while a transition is under way is noted and followed when that is over: an \
         INACTIVE account that is wanted ACTIVE is activated, an ACTIVE one that is wanted INACTIVE is taken back. Each change is written by compare-and-set on the \
         row's revision, so of two writers that saw the same row one changes nothing. An event that is not listed for a state means nothing there.\n\n\
         A *tombstone* is a note of name and generation: an agent that registers with it is told to let go. *Count* is `failed_count`; with count 0 goes the message.\n\n\
         | State | An agent may have it | Somebody has to act in bounded time |\n|---|---|---|\n",
    );
    for status in Status::ALL {
        let yes = |b: bool| if b { "yes" } else { "no" };
        let _ = writeln!(p, "| {status} | {} | {} |", yes(may_be_held(status)), yes(is_transient(status)));
    }
    for (dynamic, title) in
        [(true, "## Accounts of Clouddriver and of the API"), (false, "## Accounts of an agent's own configuration (static)")]
    {
        let _ = write!(p, "\n{title}\n\n| From | When | If | Becomes |\n|---|---|---|---|\n");
        for status in Status::ALL {
            if !dynamic && !matches!(status, Status::Active | Status::Failed | Status::Orphaned) {
                continue;
            }
            for event in Event::ALL {
                for (condition, becomes) in lines(status, event, dynamic) {
                    let _ = writeln!(p, "| {status} | {} | {condition} | {becomes} |", words(event));
                }
            }
        }
    }
    p
}

#[test]
fn the_lifecycle_page_is_what_the_table_says() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/lifecycle.md");
    let page = page();
    if std::env::var_os("FAIRLEAD_WRITE_DOCS").is_some() {
        std::fs::write(&path, &page).expect("written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    for (i, (line, says)) in page.lines().zip(written.lines()).enumerate() {
        assert_eq!(says, line, "docs/lifecycle.md, line {}", i + 1);
    }
    assert_eq!(written.lines().count(), page.lines().count(), "docs/lifecycle.md");
}
