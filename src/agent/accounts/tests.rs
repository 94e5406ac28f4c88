//! The table under operations in all orders, with clusters that do as they are told and a clock that stands still.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use tokio::sync::watch;
use tokio::time::sleep;

use super::keeper::Keeper;
use super::operations::{NewAccount, Order, Outcome, Receipt};
use super::reach::{BoxFuture, Reach, Way};
use super::table::Standing;
use crate::agent::cluster::{Definition, Facts};
use crate::agent::failure::{Failure, Reason};
use crate::agent::metrics::Metrics;
use crate::config::agent::load_text;

/// Clusters that do as they are told: a definition's context is `N` where the cluster is reached, `xN` where it is not, `hN` where it hangs
/// until the time-out.
#[derive(Clone, Default)]
struct Fake(Arc<World>);

#[derive(Default)]
struct World {
    learned: AtomicUsize,
    now: AtomicUsize,
    most: AtomicUsize,
    broken_off: AtomicUsize,
    checked: AtomicUsize,
    revoked: AtomicBool,
    /// How long learning takes.
    takes: Mutex<Duration>,
}

impl Reach for Fake {
    fn open(&self, definition: Arc<Definition>) -> BoxFuture<'_, Result<Box<dyn Way>, Failure>> {
        let context = definition.account.context.clone().unwrap_or_default();
        let world = Arc::clone(&self.0);
        Box::pin(async move { Ok(Box::new(Open { context, world }) as Box<dyn Way>) })
    }
}

struct Open {
    context: String,
    world: Arc<World>,
}

/// Counts what is under way, also where it is dropped.
struct UnderWay(Arc<World>, bool);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
        if !self.1 {
            self.0.broken_off.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Open {
    fn refusal(&self) -> Option<Failure> {
        (self.context.starts_with('x') || self.world.revoked.load(Ordering::SeqCst))
            .then(|| Failure::at(Reason::Unauthenticated, "https://c", "401"))
    }
}

impl Way for Open {
    fn learn(&self) -> BoxFuture<'_, Result<Facts, Failure>> {
        Box::pin(async {
            self.world.learned.fetch_add(1, Ordering::SeqCst);
            let now = self.world.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.world.most.fetch_max(now, Ordering::SeqCst);
            let mut under_way = UnderWay(Arc::clone(&self.world), false);
            let takes = *self.world.takes.lock().unwrap();
            let hangs = self.context.starts_with('h');
            sleep(if hangs { Duration::from_secs(10) } else { takes }).await;
            under_way.1 = true;
            if hangs {
                return Err(Failure::at(Reason::Timeout, "https://c", "no answer"));
            }
            match self.refusal() {
                Some(failure) => Err(failure),
                None => Ok(Facts { version: self.context.clone(), ..Facts::default() }),
            }
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<String, Failure>> {
        Box::pin(async {
            self.world.checked.fetch_add(1, Ordering::SeqCst);
            self.refusal().map_or_else(|| Ok(self.context.clone()), Err)
        })
    }
}

struct Rig {
    keeper: Keeper,
    fake: Fake,
    _settings: watch::Sender<Arc<crate::config::agent::Settings>>,
}

fn rig(yaml: &str, takes: Duration) -> Rig {
    let fake = Fake::default();
    *fake.0.takes.lock().unwrap() = takes;
    let (sender, settings) = watch::channel(Arc::new(load_text(yaml, &[]).unwrap().settings));
    let keeper = Keeper::new(settings, Box::new(fake.clone()), Metrics::default());
    Rig { keeper, fake, _settings: sender }
}

fn new(name: &str, generation: i64, reached: bool) -> NewAccount {
    in_context(name, generation, if reached { format!("{generation}") } else { format!("x{generation}") })
}

fn in_context(name: &str, generation: i64, context: String) -> NewAccount {
    let definition = serde_json::json!({ "context": context }).to_string().into_bytes();
    NewAccount { name: name.into(), generation, definition, watch: false }
}

impl Rig {
    fn add(&self, id: &str, accounts: Vec<NewAccount>) -> Receipt {
        self.keeper.perform(id, Some(Duration::from_secs(30)), Order::Add(accounts))
    }

    async fn added(&self, id: &str, name: &str, generation: i64, reached: bool) -> Arc<Outcome> {
        self.add(id, vec![new(name, generation, reached)]).outcome().await.unwrap()
    }

    fn held(&self) -> BTreeMap<String, i64> {
        self.keeper.all().iter().map(|s| (s.name.to_string(), s.generation)).collect()
    }

    fn learned(&self) -> usize {
        self.fake.0.learned.load(Ordering::SeqCst)
    }

    /// Names of what there is to report.
    fn news(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.keeper.news(|shown| {
            out.push(shown.name.to_string());
            true
        });
        out
    }
}

#[derive(Clone, Debug)]
enum Op {
    Add(u8, i64),
    Delete(u8, i64),
    Role(u8, bool),
    /// The same id as the n-th of those before.
    Again(usize),
    Pause(u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (0..4_u8, 1..5_i64).prop_map(|(n, g)| Op::Add(n, g)),
        2 => (0..4_u8, 0..5_i64).prop_map(|(n, g)| Op::Delete(n, g)),
        1 => (0..4_u8, any::<bool>()).prop_map(|(n, w)| Op::Role(n, w)),
        3 => (0..40_usize).prop_map(Op::Again),
        2 => (0..30_u64).prop_map(Op::Pause),
    ];
    proptest::collection::vec(op, 1..40)
}

/// Odd generations are reached, even ones are not.
fn is_reached(generation: i64) -> bool {
    generation % 2 == 1
}

fn order(op: &Op) -> Order {
    let name = |n: u8| -> Arc<str> { format!("account-{n}").into() };
    match op {
        Op::Add(n, g) => Order::Add(vec![new(&name(*n), *g, is_reached(*g))]),
        Op::Delete(n, g) => Order::Delete(vec![(name(*n), *g)]),
        Op::Role(n, w) => Order::Roles(vec![(name(*n), *w)]),
        Op::Again(_) | Op::Pause(_) => Order::Unknown,
    }
}

proptest! {
    /// Row 73 of the faults: delivered twice, late and in any order, each operation is done once, in the order of its first arrival.
    #[test]
    fn operations_are_done_once_and_in_their_order_however_often_they_come(ops in ops(), takes in 0..20_u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let rig = rig("kubernetes.maxConcurrentConnects: 2", Duration::from_millis(takes));
            let mut model: BTreeMap<String, i64> = BTreeMap::new();
            let (mut firsts, mut repeats, mut adds) = (Vec::<(Op, Receipt)>::new(), Vec::new(), 0);
            for op in ops {
                match op {
                    Op::Pause(ms) => sleep(Duration::from_millis(ms)).await,
                    Op::Again(_) if firsts.is_empty() => {}
                    Op::Again(n) => {
                        let n = n % firsts.len();
                        repeats.push((n, rig.keeper.perform(&n.to_string(), None, order(&firsts[n].0))));
                    }
                    op => {
                        match &op {
                            Op::Add(n, g) => {
                                adds += 1;
                                model.insert(format!("account-{n}"), *g);
                            }
                            Op::Delete(n, g) => {
                                let name = format!("account-{n}");
                                if *g == 0 || model.get(&name) == Some(g) {
                                    model.remove(&name);
                                }
                            }
                            _ => {}
                        }
                        let receipt = rig.keeper.perform(&firsts.len().to_string(), None, order(&op));
                        firsts.push((op, receipt));
                    }
                }
            }
            let mut outcomes = HashMap::new();
            for (i, (op, receipt)) in firsts.into_iter().enumerate() {
                let outcome = receipt.outcome().await.unwrap();
                if let Op::Add(_, g) = op {
                    let one = &outcome.accounts[0];
                    prop_assert_eq!(one.generation, g);
                    if let Ok(facts) = &one.result {
                        // Nobody's answer but that of this definition.
                        prop_assert_eq!(&facts.as_ref().unwrap().version, &g.to_string());
                        prop_assert!(is_reached(g));
                    }
                }
                outcomes.insert(i, outcome);
            }
            for (n, receipt) in repeats {
                prop_assert_eq!(&receipt.outcome().await.unwrap(), &outcomes[&n]);
            }
            sleep(Duration::from_millis(100)).await;
            model.retain(|_, g| is_reached(*g));
            prop_assert_eq!(rig.held(), model);
            prop_assert!(rig.learned() <= adds, "{} > {adds}", rig.learned());
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_there_is_not_reached_again_and_another_generation_replaces_it() {
    let rig = rig("", Duration::from_millis(5));
    let first = rig.added("1", "a", 7, true).await;
    assert_eq!(rig.added("2", "a", 7, true).await.accounts, first.accounts);
    assert_eq!(rig.learned(), 1);
    rig.added("3", "a", 5, true).await;
    assert_eq!((rig.learned(), rig.held()), (2, BTreeMap::from([("a".to_owned(), 5)])));
}

#[tokio::test(start_paused = true)]
async fn a_failure_leaves_nothing_and_its_retry_is_begun_anew() {
    let rig = rig("", Duration::from_millis(5));
    let failed = rig.added("1", "a", 8, false).await;
    assert_eq!(failed.accounts[0].result.as_ref().unwrap_err().reason, Reason::Unauthenticated);
    assert_eq!((rig.held(), rig.learned()), (BTreeMap::new(), 1));
    rig.added("2", "a", 8, false).await;
    assert_eq!(rig.learned(), 2);
    // The first operation again is still the first operation.
    rig.added("1", "a", 8, false).await;
    assert_eq!(rig.learned(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_outcome_is_kept_for_ten_minutes_after_it_is_known() {
    let rig = rig("kubernetes.checkFrequencySeconds: 86400", Duration::ZERO);
    rig.added("1", "a", 8, false).await;
    sleep(Duration::from_secs(590)).await;
    rig.added("1", "a", 8, false).await;
    assert_eq!(rig.learned(), 1);
    sleep(Duration::from_secs(20)).await;
    rig.added("2", "b", 7, true).await;
    rig.added("1", "a", 8, false).await;
    assert_eq!(rig.learned(), 3, "forgotten by now, so it is a new operation");
}

/// So many that hang, and after them some that do not, each with an operation of its own.
fn hanging_and_quick(rig: &Rig, hang: usize) -> (Vec<Receipt>, Vec<Receipt>) {
    let one = |name: String, context: &str| rig.add(&name, vec![in_context(&name, 1, context.into())]);
    let hanging = (0..hang).map(|i| one(format!("h{i}"), "h1")).collect();
    (hanging, (0..20).map(|i| one(format!("q{i}"), "1")).collect())
}

#[tokio::test(start_paused = true)]
async fn clusters_that_hang_leave_their_places_to_others() {
    let rig = rig("kubernetes.maxConcurrentConnects: 4", Duration::from_millis(5));
    let (hanging, quick) = hanging_and_quick(&rig, 12);
    for receipt in quick {
        assert!(receipt.outcome().await.unwrap().accounts[0].result.is_ok());
    }
    assert_eq!(rig.fake.0.now.load(Ordering::SeqCst), 12, "all that hang still do");
    for receipt in hanging {
        assert_eq!(receipt.outcome().await.unwrap().accounts[0].result.as_ref().unwrap_err().reason, Reason::Timeout);
    }
}

#[tokio::test(start_paused = true)]
async fn however_many_hang_nothing_is_begun_that_could_not_end_in_time_and_that_is_said() {
    let rig = rig("kubernetes.maxConcurrentConnects: 4", Duration::from_millis(5));
    let (hanging, quick) = hanging_and_quick(&rig, 200);
    let before = tokio::time::Instant::now();
    let mut begun = 0;
    for receipt in hanging {
        let outcome = receipt.outcome().await.unwrap();
        let failure = outcome.accounts[0].result.as_ref().unwrap_err();
        assert!(before.elapsed() <= Duration::from_millis(30_010), "every outcome is there by its deadline");
        match failure.reason {
            Reason::Timeout => begun += 1,
            _ => assert!(failure.reason == Reason::Busy && failure.message.contains("maxConcurrentConnects"), "{failure:?}"),
        }
    }
    // 4 and 16 slow ones, each for 10 s of the 20 in which one may begin.
    assert_eq!(rig.fake.0.most.load(Ordering::SeqCst), 20);
    assert!((36..=50).contains(&begun), "{begun}");
    for receipt in quick {
        let outcome = receipt.outcome().await.unwrap();
        assert!(outcome.accounts[0].result.as_ref().is_err_and(|f| f.reason == Reason::Busy), "{outcome:?}");
    }
    assert_eq!((rig.learned(), rig.held().len()), (begun, 0));
}

#[tokio::test(start_paused = true)]
async fn letting_go_breaks_off_what_is_under_way() {
    let rig = rig("", Duration::from_secs(10));
    let adding = rig.add("1", vec![new("a", 7, true)]);
    sleep(Duration::from_secs(1)).await;
    let gone = rig.keeper.perform("2", None, Order::Delete(vec![("a".into(), 7)])).outcome().await.unwrap();
    assert!(gone.accounts[0].result.is_ok());
    let outcome = adding.outcome().await.unwrap();
    assert!(outcome.accounts[0].result.as_ref().unwrap_err().message.contains("deleted or replaced"), "{outcome:?}");
    assert_eq!(rig.fake.0.broken_off.load(Ordering::SeqCst), 1);
    assert_eq!(rig.held(), BTreeMap::new());
}

#[tokio::test(start_paused = true)]
async fn a_revoked_account_fails_after_the_retries_and_comes_back_by_itself() {
    let rig = rig("kubernetes: { retries: { maxRetries: 2, backOffMs: 1000 } }", Duration::ZERO);
    rig.added("1", "a", 7, true).await;
    assert_eq!(rig.news(), Vec::<String>::new(), "the outcome has said it");
    sleep(Duration::from_secs(100)).await;
    assert_eq!((rig.news(), rig.learned()), (Vec::new(), 1), "nothing new, and only cheap requests");
    assert!((2..=5).contains(&rig.fake.0.checked.load(Ordering::SeqCst)));
    rig.fake.0.revoked.store(true, Ordering::SeqCst);
    rig.keeper.has_news().await;
    assert_eq!(rig.news(), ["a"]);
    assert!(matches!(rig.keeper.get("a").unwrap().standing, Standing::Failed(f) if f.reason == Reason::Unauthenticated));
    sleep(Duration::from_secs(200)).await;
    assert_eq!(rig.news(), Vec::<String>::new(), "the same failure is not said again");
    rig.fake.0.revoked.store(false, Ordering::SeqCst);
    rig.keeper.has_news().await;
    assert_eq!(rig.news(), ["a"]);
    assert_eq!(rig.keeper.get("a").unwrap().standing, Standing::Reached);
    // One bad answer among good ones is nothing.
    let before = rig.fake.0.checked.load(Ordering::SeqCst);
    rig.fake.0.revoked.store(true, Ordering::SeqCst);
    while rig.fake.0.checked.load(Ordering::SeqCst) == before {
        sleep(Duration::from_millis(100)).await;
    }
    rig.fake.0.revoked.store(false, Ordering::SeqCst);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(rig.news(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_role_is_kept_and_reported() {
    let rig = rig("", Duration::ZERO);
    rig.added("1", "a", 7, true).await;
    let roles = |id: &str, name: &str| rig.keeper.perform(id, None, Order::Roles(vec![(name.into(), true)]));
    assert!(roles("2", "a").outcome().await.unwrap().accounts[0].result.is_ok());
    assert_eq!((rig.news(), rig.keeper.get("a").unwrap().watch), (vec!["a".to_owned()], true));
    assert!(roles("3", "b").outcome().await.unwrap().accounts[0].result.is_err());
    // The same definition with another role: no cluster is asked.
    rig.added("4", "a", 7, true).await;
    assert_eq!((rig.news(), rig.keeper.get("a").unwrap().watch, rig.learned()), (vec!["a".to_owned()], false, 1));
}

#[tokio::test(start_paused = true)]
async fn an_account_that_was_registered_while_it_was_reached_is_told_of_by_itself() {
    let rig = rig("", Duration::from_secs(1));
    let mut listed = rig.keeper.listed();
    let (good, bad) = (rig.add("1", vec![new("good", 7, true)]), rig.add("2", vec![new("bad", 8, false)]));
    // A session of which the operations are not: it knows both as being reached.
    assert_eq!(rig.keeper.register().len(), 2);
    good.outcome().await.unwrap();
    bad.outcome().await.unwrap();
    assert_eq!(rig.news(), ["good"]);
    assert!(listed.has_changed().unwrap(), "the list is to be registered again, without the bad one");
    listed.mark_unchanged();
    assert_eq!(rig.keeper.register().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn static_accounts_are_the_files_and_stay_when_they_fail() {
    let rig = rig("", Duration::ZERO);
    let accounts = |names: &[&str]| -> Vec<_> {
        names
            .iter()
            .map(|n| crate::config::agent::StaticAccount { name: (*n).into(), context: Some((*n).into()), ..Default::default() })
            .collect()
    };
    assert!(rig.keeper.set_static(&accounts(&["1", "x2"])));
    sleep(Duration::from_secs(1)).await;
    assert!(matches!(rig.keeper.get("x2").unwrap().standing, Standing::Failed(_)));
    assert_eq!((rig.keeper.get("1").unwrap().standing, rig.news()), (Standing::Reached, vec!["1".to_owned(), "x2".to_owned()]));
    assert!(!rig.keeper.set_static(&accounts(&["1", "x2"])), "the same file again changes nothing");
    let taken = rig.added("1", "1", 7, true).await;
    assert!(taken.accounts[0].result.as_ref().unwrap_err().message.contains("static"), "{taken:?}");
    let gone = rig.keeper.perform("2", None, Order::Delete(vec![("1".into(), 0)])).outcome().await.unwrap();
    assert_eq!(gone.accounts[0].result.as_ref().unwrap_err().reason, Reason::Unsupported);
    rig.added("3", "dynamic", 7, true).await;
    assert!(rig.keeper.set_static(&accounts(&["3"])));
    assert_eq!(rig.held().into_keys().collect::<Vec<_>>(), ["3", "dynamic"]);
}
