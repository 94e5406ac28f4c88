//! JDBC URLs: whatever stands in one is either used or refused with its place, and what is secret in it is said nowhere.

#![no_main]

use fairlead::config::{Loaded, Mistakes, Origin, load_text};
use libfuzzer_sys::fuzz_target;

/// Stands for a password. Letters only, so that no decoder changes it.
const CANARY: &str = "zqCANARYzq";
const DRIVERS: [&str; 4] = ["mysql", "mariadb", "postgresql", "mysql:replication"];

fuzz_target!(|data: &[u8]| {
    let [choice, text @ ..] = data else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    // An environment variable cannot hold it.
    if text.contains('\0') {
        return;
    }
    let driver = DRIVERS[usize::from(choice >> 4) % DRIVERS.len()];
    let (before, after) = text.split_once('\n').unwrap_or((text, ""));
    // The user's part ends at the first of these, and what follows is no password any more.
    let in_user_part: String = before.chars().filter(|c| !matches!(c, '/' | '?' | '#')).collect();
    let url = match choice % 4 {
        0 => text.to_owned(),
        1 => format!("jdbc:{driver}://{text}"),
        2 => format!("jdbc:{driver}://u:{in_user_part}{CANARY}@{after}"),
        _ => format!("jdbc:{driver}://h/db?{before}&password={CANARY}{after}"),
    };
    let variables = [
        ("SQL_CONNECTIONPOOLS_DEFAULT_JDBCURL", url.as_str()),
        ("SQL_CONNECTIONPOOLS_DEFAULT_USER", "u"),
        ("SQL_CONNECTIONPOOLS_DEFAULT_PASSWORD", "zqCANARYzq of the pool"),
    ];
    let loaded = load_text("", &variables);
    let (told, remarks) = match &loaded {
        Ok(Loaded { warnings, notes, effective, .. }) => (format!("{loaded:?}{effective:?}"), [warnings.clone(), notes.clone()].concat()),
        Err(mistakes) => {
            let Mistakes { mistakes: all, warnings, notes, .. } = mistakes;
            assert!(!all.is_empty());
            (format!("{mistakes}{mistakes:?}"), [all.clone(), warnings.clone(), notes.clone()].concat())
        }
    };
    for remark in remarks {
        assert!(
            matches!(&remark.origin, Origin::Env(name) if name.starts_with("SQL_CONNECTIONPOOLS_DEFAULT_"))
                || remark.origin == Origin::Default,
            "{remark}"
        );
        assert!(!remark.key.is_empty() && !remark.to_string().contains(char::is_control), "{remark:?}");
        assert!(!remark.to_string().contains(CANARY), "said: {remark}");
    }
    if choice % 4 >= 2 {
        assert!(!told.contains(CANARY), "shown: {told}");
    }
});
