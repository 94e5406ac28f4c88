//! Moving rows along the table of states.

use fairlead::account::{Origin, Status};
use fairlead::lifecycle::{Event, Step, Wanted, next};
use fairlead::store::Store;
use fairlead::store::states::{self, Applied, Changed, Due, Extra, Hand, Learned, Message, NewState, Work, Zone};
use fairlead::store::{hand, tombstones};
use serde_json::json;

use super::places;

pub async fn enter(store: &Store, name: &str, status: Status) -> bool {
    let definition = store.seal_definition(name, &json!({"name": name, "kubeconfigContents": "canary"})).expect("sealed");
    let mut tx = store.main().begin().await.expect("begun");
    let new = NewState {
        name,
        origin: Origin::Created,
        status,
        wanted: Wanted::of(None, status),
        zone: None,
        definition: Some(definition),
        overlay: None,
        props: None,
        learned: None,
    };
    let entered = states::insert(store, &mut tx, &new).await.expect("inserted");
    tx.commit().await.expect("committed");
    entered
}

#[tokio::test]
async fn of_two_writers_that_read_the_same_row_one_wins_and_the_other_changes_nothing() {
    for place in places::all("cas").await {
        let store = place.ready().await;
        assert!(enter(&store, "a", Status::Inactive).await);
        assert!(!enter(&store, "a", Status::Inactive).await, "{}: the name is taken", place.word());
        let row = states::load(&store, "a").await.expect("read").expect("there");
        let step = next(&row.state, Event::Activate);
        assert_eq!(states::apply(&store, &row, step, &Extra::default()).await.expect("written"), Applied::Won);
        let late = Extra { message: Message::Set("too late".into()), ..Extra::default() };
        assert_eq!(states::apply(&store, &row, step, &late).await.expect("asked"), Applied::Lost, "{}", place.word());
        let now = states::load(&store, "a").await.expect("read").expect("there");
        assert_eq!((now.state.status, now.rev, now.error_message), (Status::ToMigrate, row.rev + 1, None), "{}", place.word());
        store.close().await;
        place.done().await;
    }
}

#[tokio::test]
async fn a_step_is_written_with_all_that_goes_with_it_and_read_back_as_it_was() {
    for place in places::all("extra").await {
        let store = place.ready().await;
        enter(&store, "a", Status::ToMigrate).await;
        let row = states::load(&store, "a").await.expect("read").expect("there");
        assert!(row.due.is_some_and(|d| d <= row.now), "{}: dispatch has to look at it", place.word());
        let offered = Extra {
            due: Due::In(std::time::Duration::from_secs(60)),
            work: Work::Begin { operation: "01OPERATION".into(), owner: "01LIFE".into() },
            sent: Some(true),
            ..Extra::default()
        };
        assert_eq!(states::apply(&store, &row, next(&row.state, Event::Offered), &offered).await.expect("written"), Applied::Won);
        let row = states::load(&store, "a").await.expect("read").expect("there");
        assert_eq!((row.operation.as_deref(), row.owner.as_deref(), row.state.sent), (Some("01OPERATION"), Some("01LIFE"), true));
        assert!(row.due.is_some_and(|d| d > row.now), "{}", place.word());
        let learned = Learned {
            host: "https://k8s.example:6443".into(),
            version: "v1.34.4".into(),
            fingerprint: "00ff10".into(),
            identity: "uid:7".into(),
        };
        let accepted = Extra {
            due: Due::Never,
            zone: Zone::Found("z1".into()),
            learned: Some(learned.clone()),
            connections: Some(2),
            props: Some("{\"a\":1}".into()),
            ..Extra::default()
        };
        assert_eq!(states::apply(&store, &row, next(&row.state, Event::Accepted), &accepted).await.expect("written"), Applied::Won);
        let row = states::load(&store, "a").await.expect("read").expect("there");
        assert_eq!((row.state.status, row.due, row.operation.as_deref(), row.owner.as_deref()), (Status::Active, None, None, None));
        assert_eq!((row.zone.as_deref(), row.zone_found, row.learned.clone(), row.connections), (Some("z1"), true, learned, 2));
        // Another definition, with the layer of Fairlead's over it.
        let overlay = store.seal_overlay("a", &json!({"kubeconfigAgent": "canary"})).expect("sealed");
        let changed = Extra { changed: true, overlay: Some(Some(overlay)), zone: Zone::Forget, ..Extra::default() };
        assert_eq!(states::apply(&store, &row, next(&row.state, Event::Changed), &changed).await.expect("written"), Applied::Won);
        let other = states::load(&store, "a").await.expect("read").expect("there");
        assert_ne!(other.generation, row.generation, "{}", place.word());
        assert_eq!((other.zone.as_deref(), other.zone_found, other.learned.identity.as_str()), (None, false, ""));
        assert_eq!(other.overlay(&store).expect("opens"), json!({"kubeconfigAgent": "canary"}));
        assert!(!format!("{other:?}").contains("canary"), "{}", place.word());
        // What failed is counted, and told in full.
        let why = "x".repeat(20_000);
        let failed = Extra { message: Message::Set(why.clone()), due: Due::In(std::time::Duration::ZERO), ..Extra::default() };
        assert_eq!(states::apply(&store, &other, next(&other.state, Event::Rejected), &failed).await.expect("written"), Applied::Won);
        let due = states::due(&store, 10).await.expect("read");
        assert_eq!(due.iter().map(|r| (r.name.as_str(), r.failed_count, r.state.status)).collect::<Vec<_>>(), [("a", 1, Status::Failed)]);
        assert_eq!(due[0].error_message.as_deref(), Some(why.as_str()), "{}", place.word());
        store.close().await;
        place.done().await;
    }
}

#[tokio::test]
async fn a_row_that_goes_leaves_its_tombstone_and_what_was_done_by_hand_in_the_same_transaction() {
    for place in places::all("leave").await {
        let store = place.ready().await;
        enter(&store, "a", Status::DeleteFailed).await;
        let by_hand = Extra { hand: Some(Hand::Note(Wanted::Deleted)), ..Extra::default() };
        let changed = states::change(&store, "a", |_| Some((Some(Event::NoAgentLeft), by_hand.clone()))).await.expect("written");
        let Changed::Done { before, step: Step::Leave { tombstone: true } } = changed else { panic!("{}: {changed:?}", place.word()) };
        assert!(states::load(&store, "a").await.expect("read").is_none());
        let stones = tombstones::of(&store, &["a", "b"]).await.expect("read");
        assert_eq!(stones.iter().map(|t| (t.name.as_str(), t.generation)).collect::<Vec<_>>(), [("a", before.generation)]);
        let noted = hand::of(&store, &["a", "b"]).await.expect("read");
        assert_eq!(noted.iter().map(|h| (h.name.as_str(), h.wanted)).collect::<Vec<_>>(), [("a", Wanted::Deleted)]);
        assert_eq!(tombstones::clear(&store, 3_600_000).await.expect("cleared"), 0, "{}: not old enough", place.word());
        assert_eq!(tombstones::clear(&store, -1_000).await.expect("cleared"), 1, "{}", place.word());
        assert!(matches!(states::change(&store, "a", |_| Some((None, Extra::default()))).await, Ok(Changed::Absent)));
        store.close().await;
        place.done().await;
    }
}

#[tokio::test]
async fn twenty_wishes_at_once_are_all_followed_by_the_table_and_none_is_written_over() {
    for place in places::all("wishes").await {
        let store = place.ready().await;
        enter(&store, "a", Status::Inactive).await;
        let wishes = (0..20).map(|i| {
            let store = store.clone();
            let event = if i % 2 == 0 { Event::Activate } else { Event::Deactivate };
            tokio::spawn(async move { states::change(&store, "a", |_| Some((Some(event), Extra::default()))).await.expect("written") })
        });
        let mut done = 0;
        for wish in wishes.collect::<Vec<_>>() {
            done += i64::from(matches!(wish.await.expect("no panic"), Changed::Done { .. }));
        }
        let row = states::load(&store, "a").await.expect("read").expect("there");
        assert_eq!(row.rev, done, "{}: each write is counted", place.word());
        assert!(done >= 1, "{}", place.word());
        store.close().await;
        place.done().await;
    }
}

#[tokio::test]
async fn many_rows_with_values_of_their_own_are_written_together_and_each_gets_its_own() {
    for place in places::all("own").await {
        let store = place.ready().await;
        let names: Vec<String> = (0..70).map(|i| format!("x'{i:02}")).collect();
        for name in &names {
            enter(&store, name, Status::ToMigrate).await;
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut rows = states::load_many(&store, &names).await.expect("read");
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        // Somebody is faster with one of them.
        states::apply(&store, &rows[40], rows[40].stay(), &Extra::default()).await.expect("written");
        let own = |i: usize| Extra {
            work: Work::Begin { operation: format!("01OPERATION{i}"), owner: "01LIFE".into() },
            message: if i.is_multiple_of(3) { Message::Clear } else { Message::Set(format!("it is {i}, isn't it?")) },
            learned: i.is_multiple_of(2).then(|| Learned {
                host: format!("https://{i}:6443"),
                version: "v1.34.4".into(),
                fingerprint: format!("{i:032x}"),
                identity: format!("uid:{i}"),
            }),
            connections: Some(i as i64),
            due: Due::In(std::time::Duration::from_secs(1_000 + i as u64)),
            ..Extra::default()
        };
        let writes: Vec<_> = rows.iter().enumerate().map(|(i, row)| (row, next(&row.state, Event::Offered), own(i))).collect();
        let applied = states::apply_all(&store, &writes).await.unwrap_or_else(|e| panic!("{}: {e}", place.word()));
        for (i, before) in rows.iter().enumerate() {
            let now = states::load(&store, &before.name).await.expect("read").expect("there");
            if i == 40 {
                assert_eq!((applied[i], now.state.status, now.operation), (Applied::Lost, Status::ToMigrate, None), "{}", place.word());
                continue;
            }
            let extra = own(i);
            assert_eq!((applied[i], now.state.status, now.rev), (Applied::Won, Status::Activating, before.rev + 1), "{}", place.word());
            assert_eq!((now.operation, now.owner), (Some(format!("01OPERATION{i}")), Some("01LIFE".into())), "{}", place.word());
            let told = if let Message::Set(text) = extra.message { Some(text) } else { None };
            assert_eq!((now.error_message, now.connections), (told, i as i64), "{}", place.word());
            assert_eq!(now.learned, extra.learned.unwrap_or_default(), "{}", place.word());
            let due = now.due.expect("due") - before.now;
            assert!(due >= 1_000_000 + 1_000 * i as i64 && due < 2_000_000 + 1_000 * i as i64, "{}: {due}", place.word());
        }
        store.close().await;
        place.done().await;
    }
}
