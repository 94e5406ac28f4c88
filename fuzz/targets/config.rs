//! Configuration: any text is either settings or a list of mistakes, each with its place; and no value is ever repeated in words.

#![no_main]

use fairlead::config::{Loaded, Mistakes, Origin, Remark, documented, load_text};
use libfuzzer_sys::fuzz_target;

/// Stands for a secret.
const CANARY: &str = "zqCANARYzq";

fuzz_target!(|data: &[u8]| {
    let [choice, text @ ..] = data else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    if choice % 2 == 0 { any_text(text) } else { a_secret_in_a_key(usize::from(choice / 2), text) }
});

fn any_text(text: &str) {
    let lines = text.matches(['\n', '\r']).count() + 2;
    for remark in remarks(&load_text(text, &[])) {
        match &remark.origin {
            Origin::File { file, line } => assert!(&**file == "fairlead.yml" && (1..=lines).contains(line), "{remark:?}"),
            origin => panic!("{origin:?} is no place in the file: {remark}"),
        }
        let of_the_whole = ["not YAML", "is not a map", "the key ", "a key must", "more than", "an alias", "`<<`"];
        assert!(!remark.key.is_empty() || of_the_whole.iter().any(|w| remark.text.starts_with(w)), "no key: {remark:?}");
        assert!(!remark.to_string().contains(char::is_control), "{remark:?}");
    }
}

/// A value that holds the canary, for one of the keys that are read.
fn a_secret_in_a_key(which: usize, text: &str) {
    let (before, after) = text.split_once('\n').unwrap_or((text, ""));
    let Some((key, _)) = documented().nth(which % documented().count()) else { return };
    let written = key.replace('*', "default").replace("[]", "[0]");
    let secret = written.ends_with("password") || written.ends_with(".key");
    let value = format!("{before}{CANARY}{after}");
    // The name of a placeholder is said, or nobody could tell which one is meant; in a secret only where it is all that stands there.
    let named = if secret { value.starts_with("${") && value.find('}') == Some(value.len() - 1) } else { before.contains("${") };
    if named {
        return;
    }
    let yaml = format!("{written}: {}\n", serde_json::to_string(&value).expect("a text"));
    let loaded = load_text(&yaml, &[]);
    for remark in remarks(&loaded) {
        // A path is named, or nobody finds the file.
        assert!(key == "fairlead.seal.keyFile" || !remark.to_string().contains(CANARY), "said: {remark}");
    }
    if secret {
        assert!(!format!("{loaded:?}").contains(CANARY), "shown");
    }
}

fn remarks(loaded: &Result<Loaded, Mistakes>) -> Vec<Remark> {
    match loaded {
        Ok(Loaded { warnings, notes, .. }) => [&warnings[..], notes].concat().into_iter().filter(|r| r.origin != Origin::Default).collect(),
        Err(Mistakes { mistakes, warnings, notes, .. }) => {
            assert!(!mistakes.is_empty(), "refused without a reason");
            let others = [&warnings[..], notes].concat().into_iter().filter(|r| r.origin != Origin::Default);
            mistakes.iter().cloned().chain(others).collect()
        }
    }
}
