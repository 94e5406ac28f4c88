//! The mirror at rest.

use std::time::{Duration, Instant};

use crate::support::databases::Sql;
use crate::support::process::Fairlead;

/// How long the mirror may take to come to rest after the last fault; longer than the window for unknown outcomes.
pub const REST: Duration = Duration::from_secs(90);

/// Waits until nothing is open: no intent, no gap, no replica that is gone and not yet accounted for.
pub async fn rest(sql: &Sql, fairleads: &[&Fairlead]) {
    let start = Instant::now();
    let mut calm = 0;
    let mut why;
    loop {
        why = unrest(sql, fairleads).await;
        if why.is_empty() {
            calm += 1;
            // A change whose answer was just sent is settled in the background: look twice.
            if calm == 2 {
                return;
            }
        } else {
            calm = 0;
        }
        assert!(
            start.elapsed() < REST,
            "the mirror does not come to rest within {REST:?}: {why}\n{}",
            fairleads.iter().map(|f| f.log_tail()).collect::<Vec<_>>().join("\n----\n")
        );
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
}

async fn unrest(sql: &Sql, fairleads: &[&Fairlead]) -> String {
    let sqlite = matches!(sql, Sql::Sqlite(_));
    let count =
        |from: &str| if sqlite { format!("select cast(count(*) as text) from {from}") } else { format!("select count(*) from {from}") };
    let intents = sql.number(&count("fairlead_intents")).await;
    if intents != 0 {
        return format!("{intents} intents are open");
    }
    let gaps = sql.number(&count("fairlead_epochs where state <> 'open'")).await;
    let open = sql.number(&count("fairlead_epochs where state = 'open'")).await;
    if gaps != 0 {
        return format!("{gaps} gaps");
    }
    if open != i64::try_from(fairleads.len()).expect("few") {
        return format!("{open} open epochs for {} replicas", fairleads.len());
    }
    for fairlead in fairleads {
        for level in ["openChanges", "unjournalled", "settling", "sweepDue"] {
            match fairlead.level(level).await {
                Some(0) => {}
                other => return format!("{} says {level} {other:?}", fairlead.setup.name),
            }
        }
        match fairlead.metric("fairlead_mirror_intents_open").await {
            Some(0.0) => {}
            other => return format!("{} says fairlead_mirror_intents_open {other:?}", fairlead.setup.name),
        }
    }
    String::new()
}
