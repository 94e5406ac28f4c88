//! What a list and a history prove together. Pure.
//!
//! The list was asked for one row from the name on. Clouddriver takes the first row of its table whose id is not below
//! the name, and only then leaves out what it cannot resolve; so a row under another name proves that this name has none
//! of this type, and an empty list may be a row left out. The history (newest first) fails as a whole where a secret does
//! not resolve.

use serde_json::Value;

use super::{Reading, SourceRow};
use crate::account::Incarnation;

/// Why nothing is said after all attempts.
pub(super) const NO_ANSWER: &str =
    "Clouddriver's list and its history of the account do not agree: it is being changed, or its secret cannot be resolved";

/// A definition of the list or of a history.
#[derive(Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) name: String,
    kind: String,
    value: Value,
}

impl Entry {
    pub(super) fn read(value: Value) -> Option<Self> {
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        Some(Self { name: text("name")?, kind: text("type")?, value })
    }

    pub(super) fn row(&self, incarnation: Incarnation, modified: Option<i64>) -> SourceRow {
        SourceRow { id: self.name.clone(), kind: self.kind.clone(), body: self.value.to_string(), incarnation, modified }
    }
}

/// The first row of the list.
pub(super) enum Listed {
    Row(Entry),
    Nothing,
}

/// A name's revisions, newest first.
#[derive(Clone, PartialEq)]
pub(super) struct History {
    revisions: Vec<(i64, i64, bool)>,
    newest: Option<Entry>,
}

impl History {
    pub(super) fn read(entries: Vec<Value>) -> Option<Self> {
        let (mut revisions, mut newest) = (Vec::with_capacity(entries.len()), None);
        for mut entry in entries {
            let (version, time) = (entry.get("version")?.as_i64()?, entry.get("timestamp")?.as_i64()?);
            let account = entry.get_mut("account").map(Value::take).filter(|a| !a.is_null());
            let alive = account.is_some();
            if let (true, Some(account)) = (revisions.is_empty(), account) {
                newest = Some(Entry::read(account)?);
            }
            revisions.push((version, time, alive));
        }
        Some(Self { revisions, newest })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.revisions.is_empty()
    }

    /// Whether the last change was no deletion.
    pub(super) fn is_alive(&self) -> bool {
        self.newest.is_some()
    }

    /// The definition after the last change.
    pub(super) fn newest(&self) -> Option<&Entry> {
        self.newest.as_ref()
    }

    /// When the last change was.
    pub(super) fn changed(&self) -> Option<i64> {
        self.revisions.first().map(|r| r.1)
    }

    /// When this life began: the time of the first revision after the newest deletion.
    pub(super) fn incarnation(&self) -> Option<i64> {
        self.revisions.iter().take_while(|r| r.2).last().map(|r| r.1)
    }
}

/// What is proven about `name`; `None`: nothing yet, ask again.
///
/// `neighbour_is_another`: a row listed under another spelling is known not to be this name. `steady`: the history was the same before
/// the list was asked for and after it, so that both are of one moment.
pub(super) fn judge(name: &str, listed: &Listed, history: &History, neighbour_is_another: bool, steady: bool) -> Option<Reading> {
    let present = |entry: &Entry| {
        let born = history.incarnation()?;
        Some(Reading::Present(entry.row(Incarnation(born), history.changed())))
    };
    match (listed, history.newest()) {
        (Listed::Nothing, None) => Some(Reading::Absent),
        (Listed::Row(row), None) => (row.name != name && neighbour_is_another).then_some(Reading::Absent),
        // Of another type: the list of Kubernetes accounts leaves it out, and the history says what it is.
        (Listed::Nothing, Some(newest)) => {
            if newest.kind == "kubernetes" {
                None
            } else {
                present(newest)
            }
        }
        (Listed::Row(row), Some(newest)) => {
            // Equal as values, so the list's row is the history's, by whatever spelling it was asked for.
            if row == newest || (steady && row.name == newest.name) {
                present(row)
            } else if newest.kind != "kubernetes" && row.name != name {
                present(newest)
            } else {
                None
            }
        }
    }
}

/// Whether a database may take both for one name. `false` is certain: no collation of MySQL takes two different letters,
/// digits or signs of ASCII for one, but for case. `true` means only that it is not known here.
pub(super) fn may_be_one(a: &str, b: &str) -> bool {
    let plain = |s: &str| s.bytes().all(|b| b.is_ascii_graphic());
    !(plain(a) && plain(b)) || a.eq_ignore_ascii_case(b)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(name: &str, n: i64) -> Value {
        json!({"type": "kubernetes", "name": name, "n": n})
    }

    fn row(name: &str, n: i64) -> Listed {
        Listed::Row(Entry::read(entry(name, n)).expect("an entry"))
    }

    /// Oldest first, for the reader.
    fn history(revisions: &[Option<Value>]) -> History {
        let mut entries: Vec<Value> = (1_i64..)
            .zip(revisions)
            .map(|(i, account)| match account {
                Some(a) => json!({"version": i, "timestamp": i * 100, "account": a}),
                None => json!({"version": i, "timestamp": i * 100}),
            })
            .collect();
        entries.reverse();
        History::read(entries).expect("a history")
    }

    fn said(reading: Option<Reading>) -> String {
        match reading {
            Some(Reading::Present(r)) => format!("{} {}", r.id, r.incarnation.0),
            Some(Reading::Absent) => "absent".into(),
            Some(Reading::Unknown(_)) => "unknown".into(),
            None => "ask again".into(),
        }
    }

    #[test]
    fn a_life_begins_after_the_newest_deletion() {
        let h = history(&[Some(entry("a", 1)), None, Some(entry("a", 2)), Some(entry("a", 3))]);
        assert_eq!((h.incarnation(), h.changed()), (Some(300), Some(400)));
        assert_eq!(history(&[Some(entry("a", 1)), None]).incarnation(), None);
        assert_eq!(history(&[]).incarnation(), None);
    }

    #[test]
    fn list_and_history_that_agree_prove_presence() {
        let h = history(&[Some(entry("a", 1)), Some(entry("a", 2))]);
        assert_eq!(said(judge("a", &row("a", 2), &h, true, false)), "a 100");
        // By another spelling the value itself says that the row is the history's.
        assert_eq!(said(judge("A ", &row("a", 2), &h, true, false)), "a 100");
    }

    #[test]
    fn a_list_older_than_the_history_waits_for_a_steady_one() {
        let h = history(&[Some(entry("a", 1)), None, Some(entry("a", 2))]);
        assert_eq!(said(judge("a", &row("a", 1), &h, true, false)), "ask again", "it would give the new life the old definition");
        assert_eq!(said(judge("a", &row("a", 1), &h, true, true)), "a 300");
    }

    #[test]
    fn absence_needs_the_list_and_the_history() {
        let gone = history(&[Some(entry("a", 1)), None]);
        let never = history(&[]);
        let there = history(&[Some(entry("a", 1))]);
        assert_eq!(said(judge("a", &row("b", 1), &gone, true, false)), "absent");
        assert_eq!(said(judge("a", &row("b", 1), &never, true, false)), "absent");
        assert_eq!(said(judge("a", &Listed::Nothing, &gone, true, false)), "absent");
        assert_eq!(said(judge("a", &Listed::Nothing, &never, true, false)), "absent");
        // Left out of the list, its history alive: a secret that does not resolve.
        assert_eq!(said(judge("a", &row("b", 1), &there, true, true)), "ask again");
        assert_eq!(said(judge("a", &Listed::Nothing, &there, true, true)), "ask again");
        // Listed although its history says deleted, or has nothing: which life it is cannot be said.
        assert_eq!(said(judge("a", &row("a", 1), &gone, true, true)), "ask again");
        assert_eq!(said(judge("a", &row("a", 1), &never, true, true)), "ask again");
    }

    #[test]
    fn a_neighbour_that_may_be_the_same_name_proves_nothing() {
        assert_eq!(said(judge("ACC", &row("acc", 1), &history(&[]), false, true)), "ask again");
        assert!(may_be_one("ACC", "acc") && may_be_one("acc ", "acc") && may_be_one("áćc", "acc") && may_be_one("a\u{1}", "a"));
        assert!(!may_be_one("acc", "acc-2") && !may_be_one("a-b", "a_b"));
    }

    #[test]
    fn an_account_of_another_type_is_there_with_its_type() {
        let aws = json!({"type": "aws", "name": "a"});
        let h = history(&[Some(aws)]);
        for listed in [Listed::Nothing, row("b", 1)] {
            match judge("a", &listed, &h, true, false) {
                Some(Reading::Present(r)) => assert_eq!(r.kind, "aws"),
                other => panic!("{}", said(other)),
            }
        }
    }

    #[test]
    fn shapes_that_are_not_known_are_refused() {
        assert!(History::read(vec![json!({"timestamp": 1})]).is_none());
        assert!(History::read(vec![json!({"version": 1, "timestamp": 1, "account": {"type": "kubernetes"}})]).is_none());
        assert!(Entry::read(json!([])).is_none());
    }
}
