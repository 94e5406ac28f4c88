//! Which key a name in a file or in the environment means, and which one it may have meant.

use std::collections::BTreeMap;

use super::env::is_service_link;
use super::keys::{KEYS, Key, UNUSED, Unused};
use super::layers::{Properties, Property, canonical, canonical_key};
use super::remark::{Findings, Origin, Remark};

/// Segment of a documented key.
enum Segment<'a> {
    Name(&'a str),
    /// `*`: a name of the operator's.
    Any,
    /// `[]`
    Index,
}

fn segments(template: &str, list: bool) -> Vec<Segment<'_>> {
    let mut out = Vec::new();
    for part in template.split('.') {
        match (part, part.strip_suffix("[]")) {
            ("*", _) => out.push(Segment::Any),
            (_, Some(name)) => out.extend([Segment::Name(name), Segment::Index]),
            (name, None) => out.push(Segment::Name(name)),
        }
    }
    if list {
        out.push(Segment::Index);
    }
    out
}

/// `dynamicAccounts` to `dynamic`, `accounts`.
fn words(name: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    for c in name.chars() {
        if c.is_ascii_uppercase() && out.last().is_some_and(|w| !w.is_empty()) {
            out.push(String::new());
        }
        if let Some(word) = out.last_mut() {
            word.push(c.to_ascii_lowercase());
        }
    }
    out
}

/// The canonical key that the words of a variable's name spell, if they spell this template: each name either in one
/// (`MAXWAIT`) or word by word (`MAX_WAIT`), which are Spring's two ways.
fn spell(segments: &[Segment<'_>], tokens: &[&str]) -> Option<String> {
    let Some((segment, rest)) = segments.split_first() else { return tokens.is_empty().then(String::new) };
    let dotted = |head: &str, tail: String| match tail.chars().next() {
        None | Some('[') => format!("{head}{tail}"),
        Some(_) => format!("{head}.{tail}"),
    };
    match segment {
        Segment::Name(name) => {
            let words = words(name);
            let whole = words.concat();
            if tokens.first().is_some_and(|t| *t == whole) {
                return spell(rest, &tokens[1..]).map(|tail| dotted(&whole, tail));
            }
            let split = tokens.get(..words.len())?;
            if split.iter().zip(&words).all(|(t, w)| t == w) { Some(dotted(&whole, spell(rest, &tokens[words.len()..])?)) } else { None }
        }
        Segment::Any => (1..=tokens.len()).find_map(|n| spell(rest, &tokens[n..]).map(|tail| dotted(&tokens[..n].concat(), tail))),
        Segment::Index => {
            let index: usize = tokens.first()?.parse().ok()?;
            Some(dotted(&format!("[{index}]"), spell(rest, &tokens[1..])?))
        }
    }
}

fn spell_key(key: &Key, tokens: &[&str]) -> Option<String> {
    spell(&segments(key.name, false), tokens).or_else(|| if key.list { spell(&segments(key.name, true), tokens) } else { None })
}

/// The layer that the environment lays over all files.
pub(super) fn environment(variables: &BTreeMap<String, String>, findings: &mut Findings) -> Properties {
    let mut out = Properties::new();
    for (name, value) in variables {
        let lower = name.to_ascii_lowercase().replace('-', "");
        let tokens: Vec<&str> = lower.split(['_', '.']).filter(|t| !t.is_empty()).collect();
        let armory = tokens.first() == Some(&"armory");
        let tokens = if armory { &tokens[1..] } else { &tokens[..] };
        let kubesvc = tokens.first() == Some(&"kubesvc");
        if armory && !kubesvc {
            continue;
        }
        let origin = Origin::Env(name.as_str().into());
        let Some(key) = KEYS.iter().find_map(|key| spell_key(key, tokens)) else {
            unknown_variable(name, value, tokens, findings);
            continue;
        };
        if is_service_link(name, value) {
            let text =
                "looks like what Kubernetes sets for a Service of that name, and is passed over (enableServiceLinks: false takes it away)";
            findings.warnings.push(Remark::new(&origin, "", text));
            continue;
        }
        let prefix = if armory { "armory." } else { "" };
        let property = Property { written: format!("{prefix}{key}"), text: value.clone(), plain: false, origin };
        out.insert(format!("{prefix}{key}"), property);
    }
    out
}

/// A variable that begins like one of ours but means nothing. Those of other programs pass in silence.
fn unknown_variable(name: &str, value: &str, tokens: &[&str], findings: &mut Findings) {
    let ours = matches!(tokens.first(), Some(&"kubesvc" | &"fairlead"));
    let tests = tokens.starts_with(&["fairlead", "test"]) || tokens.starts_with(&["fairlead", "e2e"]);
    if !ours || tests || tokens.len() < 2 || is_service_link(name, value) {
        return;
    }
    let origin = Origin::Env(name.into());
    let joined = tokens.concat();
    let unused = UNUSED.iter().find(|u| {
        let plain = canonical_key(u.name.trim_end_matches(".**")).replace('.', "");
        joined.strip_prefix("kubesvc").is_some_and(|j| if u.name.ends_with(".**") { j.starts_with(&plain) } else { j == plain })
    });
    let text = match unused {
        Some(unused) => format!("has no effect: {}", unused.why),
        None => {
            let near = nearest(known_forms().map(|(name, form)| (name, form.replace(['.', '[', ']'], ""))), &joined);
            format!("is not a known key{}", did_you_mean(near.map(|n| format!("{n} ({})", variable(&n)))))
        }
    };
    findings.warnings.push(Remark::new(&origin, "", text));
}

/// The variable that sets a key.
pub(super) fn variable(key: &str) -> String {
    key.replace("[]", ".0").replace('*', "NAME").replace('.', "_").replace('-', "").to_ascii_uppercase()
}

pub(super) fn did_you_mean(name: Option<String>) -> String {
    name.map_or_else(String::new, |n| format!(": did you mean {n}?"))
}

/// The known name that is the fewest slips away, if they are few.
pub(super) fn nearest(names: impl Iterator<Item = (String, String)>, given: &str) -> Option<String> {
    // A distance costs the product of both lengths, and no key of ours is longer.
    if given.chars().count() > 120 {
        return None;
    }
    let last = |key: &str| key.rsplit('.').next().map(str::to_owned);
    names
        .map(|(name, form)| {
            // The right last name below the wrong parent counts as near.
            let misplaced = given.contains('.') && last(&form) == last(given);
            (if misplaced { 3 } else { strsim::damerau_levenshtein(&form, given) }, name)
        })
        .min()
        .filter(|(distance, _)| *distance <= 3.max(given.len() / 8))
        .map(|(_, name)| name)
}

/// Whether a canonical key of the properties is this documented one. An index stands for itself in both.
pub(super) fn is_key(key: &Key, given: &str) -> bool {
    fn same(template: &[Segment<'_>], mut given: &str) -> bool {
        for (i, segment) in template.iter().enumerate() {
            if i > 0 && !matches!(segment, Segment::Index) {
                let Some(rest) = given.strip_prefix('.') else { return false };
                given = rest;
            }
            let end = given.find(['.', '[']).unwrap_or(given.len());
            given = match segment {
                Segment::Name(name) if given[..end] == canonical(name) => &given[end..],
                Segment::Any if end > 0 => &given[end..],
                Segment::Index => match given.strip_prefix('[').and_then(|g| g.split_once(']')) {
                    Some((index, rest)) if index.parse::<usize>().is_ok() => rest,
                    _ => return false,
                },
                _ => return false,
            };
        }
        given.is_empty()
    }
    same(&segments(key.name, false), given) || (key.list && same(&segments(key.name, true), given))
}

fn unused_key(given: &str) -> Option<&'static Unused> {
    let below = given.strip_prefix("kubesvc.")?;
    UNUSED.iter().find(|u| match u.name.strip_suffix(".**") {
        Some(group) => {
            let group = canonical_key(group);
            below.strip_prefix(&group).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        }
        None => canonical_key(u.name) == below,
    })
}

/// Warns of keys below our prefixes that mean nothing, with the reason or the nearest known key.
pub(super) fn judge(properties: &Properties, findings: &mut Findings) {
    let mut told = std::collections::BTreeSet::new();
    for (key, property) in properties {
        let (ours, theirs) = (key.starts_with("fairlead."), key.starts_with("kubesvc."));
        if !(ours || theirs || key == "fairlead" || key == "kubesvc") || KEYS.iter().any(|k| is_key(k, key)) {
            continue;
        }
        // An empty group, such as `kubesvc:` with all its keys commented out.
        let group = format!("{key}.");
        let is_group = KEYS.iter().any(|k| canonical_key(k.name).starts_with(&group)) || key == "fairlead.seal.keys";
        if is_group && property.text.is_empty() {
            continue;
        }
        if let Some(unused) = unused_key(key) {
            // One line for a whole group: its keys share the reason.
            if told.insert((unused.name, property.origin_file())) {
                let shown = property.written.split('[').next().unwrap_or(&property.written);
                findings.warnings.push(Remark::new(&property.origin, shown, format!("has no effect: {}", unused.why)));
            }
            continue;
        }
        let parent = KEYS.iter().find(|k| key.strip_prefix(&canonical_key(k.name)).is_some_and(|rest| rest.starts_with(['.', '['])));
        let text = match parent {
            _ if is_group => "is a group of keys and takes no value itself".to_owned(),
            Some(parent) => format!("is not a known key: {} takes one value, no keys below it", parent.name),
            None => format!("is not a known key{}", did_you_mean(nearest(known_forms(), key))),
        };
        findings.warnings.push(Remark::new(&property.origin, &property.written, text));
    }
}

/// Names that a mistyped one may have meant, and their canonical forms.
fn known_forms() -> impl Iterator<Item = (String, String)> {
    let unused = UNUSED.iter().map(|u| format!("kubesvc.{}", u.name.trim_end_matches(".**")));
    KEYS.iter().map(|k| k.name.to_owned()).chain(unused).map(|name| (name.clone(), canonical_key(&name)))
}

impl Property {
    fn origin_file(&self) -> String {
        match &self.origin {
            Origin::File { file, .. } => file.to_string(),
            other => other.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env_keys(pairs: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let mut findings = Findings::default();
        let variables = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let layer = environment(&variables, &mut findings);
        (layer.keys().cloned().collect(), findings.warnings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn variables_spell_keys_in_springs_two_ways() {
        for (name, key) in [
            ("KUBESVC_DYNAMICACCOUNTS_INTERCEPTOR_MAXWAIT", "kubesvc.dynamicaccounts.interceptor.maxwait"),
            ("KUBESVC_DYNAMIC_ACCOUNTS_INTERCEPTOR_MAX_WAIT", "kubesvc.dynamicaccounts.interceptor.maxwait"),
            ("ARMORY_KUBESVC_DYNAMICACCOUNTS_ENABLED", "armory.kubesvc.dynamicaccounts.enabled"),
            ("SERVER_PORT", "server.port"),
            ("SQL_CONNECTIONPOOLS_DEFAULT_JDBCURL", "sql.connectionpools.default.jdbcurl"),
            ("SQL_CONNECTION_POOLS_CACHE_WRITER_JDBC_URL", "sql.connectionpools.cachewriter.jdbcurl"),
            ("FAIRLEAD_SEAL_KEYS_0_KEY", "fairlead.seal.keys[0].key"),
            ("KUBESVC_DYNAMICACCOUNTS_INTERCEPTOR_DENY_FIELDS_1", "kubesvc.dynamicaccounts.interceptor.deny.fields[1]"),
            ("KUBESVC_DYNAMICACCOUNTS_INTERCEPTOR_DENY_FIELDS", "kubesvc.dynamicaccounts.interceptor.deny.fields"),
        ] {
            assert_eq!(env_keys(&[(name, "x")]), (vec![key.to_owned()], vec![]), "{name}");
        }
    }

    #[test]
    fn variables_of_other_programs_pass_in_silence_and_slips_of_ours_do_not() {
        let quiet = [("PATH", "x"), ("FAIRLEAD_SERVICE_HOST", "10.0.0.1"), ("FAIRLEAD_PORT", "tcp://10.0.0.1:7002"), ("SERVER_NAME", "x")];
        assert_eq!(env_keys(&quiet), (vec![], vec![]));
        let (keys, warnings) = env_keys(&[("FAIRLEAD_ADMIN_PROT", "1")]);
        assert_eq!(keys, Vec::<String>::new());
        assert!(warnings[0].contains("did you mean fairlead.admin.port (FAIRLEAD_ADMIN_PORT)?"), "{warnings:?}");
    }

    #[test]
    fn a_port_that_kubernetes_set_for_a_service_is_passed_over() {
        let (keys, warnings) = env_keys(&[("FAIRLEAD_ADMIN_PORT", "tcp://10.0.0.1:7003")]);
        assert_eq!(keys, Vec::<String>::new());
        assert!(warnings[0].contains("enableServiceLinks"), "{warnings:?}");
    }
}
