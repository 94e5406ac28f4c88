//! Reads keys one by one: fills in placeholders, parses, notes what went wrong and what counts in the end.

use std::collections::BTreeMap;

use super::keys::Key;
use super::layers::{Properties, Property, below, canonical, canonical_key};
use super::placeholders;
use super::references::{self, Resolved};
use super::remark::{Effective, Findings, Origin, Remark};

/// Items of one list.
const MAX_ITEMS: usize = 1_000;

pub(super) struct Reader<'a> {
    /// All keys that may be read.
    keys: &'static [Key],
    properties: &'a Properties,
    variables: &'a BTreeMap<String, String>,
    pub(super) findings: Findings,
    pub(super) effective: Vec<Effective>,
}

/// A value with its placeholders and references filled in, and where it came from.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) text: String,
    pub(super) origin: Origin,
    pub(super) written: String,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        keys: &'static [Key],
        properties: &'a Properties,
        variables: &'a BTreeMap<String, String>,
        findings: Findings,
    ) -> Self {
        Self { keys, properties, variables, findings, effective: Vec::new() }
    }

    pub(super) fn mistake(&mut self, at: &Given, text: impl Into<String>) {
        self.findings.mistakes.push(Remark::new(&at.origin, &at.written, text));
    }

    pub(super) fn warn(&mut self, at: &Given, text: impl Into<String>) {
        self.findings.warnings.push(Remark::new(&at.origin, &at.written, text));
    }

    pub(super) fn note(&mut self, at: &Given, text: impl Into<String>) {
        self.findings.notes.push(Remark::new(&at.origin, &at.written, text));
    }

    /// The names below a group, canonical and as written: `sql.connectionPools` to `default`, `accounts`.
    pub(super) fn names_below(&self, group: &str) -> Vec<(String, String)> {
        let prefix = format!("{}.", canonical_key(group));
        let depth = prefix.matches('.').count();
        let mut out: Vec<(String, String)> = Vec::new();
        for (key, property) in below(self.properties, &prefix) {
            let name = key[prefix.len()..].split(['.', '[']).next().unwrap_or_default();
            if out.last().is_none_or(|(last, _)| last != name) && !name.is_empty() {
                let written = property.written.split('.').nth(depth).unwrap_or(name);
                out.push((name.to_owned(), written.to_owned()));
            }
        }
        out
    }

    /// Whether any property begins so.
    pub(super) fn first_below(&self, prefix: &str) -> Option<&'a Property> {
        let prefix = canonical_key(prefix);
        self.properties.range(prefix.clone()..).next().filter(|(k, _)| k.starts_with(&prefix)).map(|(_, p)| p)
    }

    /// How many items a list has.
    pub(super) fn items_of(&self, list: &str) -> usize {
        let prefix = format!("{}[", canonical_key(list));
        let indexes: std::collections::BTreeSet<&str> =
            below(self.properties, &prefix).filter_map(|(k, _)| k[prefix.len()..].split(']').next()).collect();
        indexes.len()
    }

    /// A value as it stands, or `None` if it is absent, empty or unusable (which is then noted).
    pub(super) fn given(&mut self, name: &str) -> Option<Given> {
        let property = self.properties.get(&canonical_key(name))?;
        // A URL holds a password behind its user, or as a parameter.
        let in_url = |text: &str| text.contains('@') || text.to_ascii_lowercase().contains("password");
        let secret = named(self.keys, name).is_some_and(|key| key.secret) || (name.ends_with("jdbcUrl") && in_url(&property.text));
        self.resolve(property, secret)
    }

    /// Whether a value stood in YAML without quotes and Clouddriver's reader sees a number or a boolean in it.
    pub(super) fn is_read_otherwise(&self, name: &str) -> bool {
        self.properties.get(&canonical_key(name)).is_some_and(|p| p.plain && super::values::is_read_otherwise(&p.text))
    }

    /// The place of the first property below a group, for a message about the group.
    pub(super) fn place_of(&self, group: &str) -> Given {
        let origin = self.first_below(group).map_or(Origin::Default, |p| p.origin.clone());
        Given { text: String::new(), origin, written: group.trim_end_matches(['.', '[']).to_owned() }
    }

    fn resolve(&mut self, property: &Property, secret: bool) -> Option<Given> {
        let at = Given { text: String::new(), origin: property.origin.clone(), written: property.written.clone() };
        let filled = match placeholders::fill(&property.text, &|name| self.lookup(name)) {
            Ok(filled) => filled,
            Err(text) => {
                // Where more than one placeholder stands there, a part of the secret could look like one.
                let whole = property.text.starts_with("${") && property.text.find('}') == Some(property.text.len() - 1);
                let hidden = "holds a placeholder that cannot be filled in (which one is not said, for it stands in a secret)";
                self.mistake(&at, if secret && !whole { hidden.to_owned() } else { text });
                return None;
            }
        };
        let text = match references::resolve(&filled) {
            Ok(Resolved::Literal) => filled,
            Ok(Resolved::Value(value)) => value,
            Err(text) => {
                self.mistake(&at, text);
                return None;
            }
        };
        if text.is_empty() { None } else { Some(Given { text, ..at }) }
    }

    /// What a placeholder's name stands for: a variable, a variable in Spring's spelling of a key, another key.
    fn lookup(&self, name: &str) -> Option<String> {
        let spelled =
            || name.chars().filter(|c| *c != '-').map(|c| if c == '.' { '_' } else { c.to_ascii_uppercase() }).collect::<String>();
        self.variables
            .get(name)
            .or_else(|| self.variables.get(&spelled()))
            .cloned()
            .or_else(|| self.properties.get(&canonical_key(name)).map(|p| p.text.clone()))
    }

    /// Reads one key. `None` where it is neither given nor has a default.
    pub(super) fn optional<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        self.located(name, parse).map(|(value, _)| value)
    }

    /// As [`Reader::optional`], with the place.
    pub(super) fn located<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<(T, Given)> {
        let key = self.known(name);
        let before = self.findings.mistakes.len();
        if let Some(given) = self.given(name) {
            match parse(given.text.trim()) {
                Ok(value) => {
                    self.show(key, name, given.text.trim(), &given.origin);
                    return Some((value, given));
                }
                Err(text) => self.mistake(&given, text),
            }
        }
        let broken = self.findings.mistakes.len() > before;
        let default = self.default_of(key, name);
        if broken {
            self.effective.push(Effective { key: name.to_owned(), value: "(not usable)".into(), origin: default.origin.clone() });
        } else {
            self.show(key, name, &default.text, &default.origin);
        }
        if default.text.is_empty() {
            return None;
        }
        match parse(&default.text) {
            Ok(value) => Some((value, default)),
            Err(text) => {
                // Only a default with placeholders can be wrong: the environment has a part in it.
                self.mistake(&default, text);
                None
            }
        }
    }

    fn default_of(&mut self, key: &Key, name: &str) -> Given {
        let mut at = Given { text: String::new(), origin: Origin::Default, written: name.to_owned() };
        match placeholders::fill(key.default, &|name| self.variables.get(name).filter(|v| !v.is_empty()).cloned()) {
            Ok(text) => at.text = text,
            Err(text) => self.mistake(&at, text),
        }
        at
    }

    /// Reads a key that has a default. Where it is wrong the mistake is noted and the default stands in, so that
    /// parsing goes on and finds the others.
    pub(super) fn required<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> T {
        self.required_located(name, parse).0
    }

    /// As [`Reader::required`], with the place.
    pub(super) fn required_located<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> (T, Given) {
        self.located(name, parse)
            .expect("keys read by `required` have a default without placeholders that their parser takes (held by a test)")
    }

    /// Reads a path that has a default.
    pub(super) fn required_path(&mut self, name: &str, check: impl Fn(&str) -> Result<(), String>) -> std::path::PathBuf {
        // Its default holds placeholders, so that the environment can make it unusable; that mistake is noted.
        let parse = |text: &str| check(text).and_then(|()| super::values::text(4_096)(text));
        self.optional(name, parse).unwrap_or_default().into()
    }

    /// Reads a list: its items, or one text with commas.
    pub(super) fn list(&mut self, name: &str) -> Vec<String> {
        self.listed(name).into_iter().map(|given| given.text).collect()
    }

    /// As [`Reader::list`], each with its place.
    pub(super) fn listed(&mut self, name: &str) -> Vec<Given> {
        let key = self.known(name);
        let canonical = canonical_key(name);
        let prefix = format!("{canonical}[");
        let mut items: Vec<(Option<usize>, &Property)> =
            below(self.properties, &prefix).map(|(k, p)| (k[prefix.len()..].strip_suffix(']').and_then(|i| i.parse().ok()), p)).collect();
        items.sort_by_key(|(i, _)| *i);
        if let Some((_, first)) = items.first() {
            let at = Given { text: String::new(), origin: first.origin.clone(), written: name.to_owned() };
            if items.iter().enumerate().any(|(i, (index, _))| *index != Some(i)) || items.len() > MAX_ITEMS {
                self.mistake(&at, format!("is not a list of at most {MAX_ITEMS} texts, counted from 0 with none left out"));
                return Vec::new();
            }
            let given: Vec<Given> = items.into_iter().filter_map(|(_, p)| self.resolve(p, key.secret)).collect();
            self.show(key, name, &given.iter().map(|g| g.text.as_str()).collect::<Vec<_>>().join(","), &at.origin);
            return given;
        }
        let comma = |at: &Given| {
            let texts = at.text.split(',').map(str::trim).filter(|t| !t.is_empty());
            texts.map(|text| Given { text: text.to_owned(), ..at.clone() }).collect::<Vec<_>>()
        };
        // Given and empty is an empty list, not the default.
        if let Some(property) = self.properties.get(&canonical) {
            let given = self.resolve(property, key.secret);
            let text = given.as_ref().map_or("", |g| g.text.as_str());
            self.show(key, name, text, &property.origin);
            return given.as_ref().map(comma).unwrap_or_default();
        }
        self.show(key, name, key.default, &Origin::Default);
        comma(&Given { text: key.default.to_owned(), origin: Origin::Default, written: name.to_owned() })
    }

    fn known(&self, name: &str) -> &'static Key {
        named(self.keys, name).expect("a key that is read stands in the table of keys")
    }

    /// Notes what counts for a key.
    fn show(&mut self, key: &Key, name: &str, text: &str, origin: &Origin) {
        let value = if text.is_empty() {
            "(none)".to_owned()
        } else if key.secret || name.ends_with("jdbcUrl") {
            // The pool's own line shows what a JDBC URL says, without what is secret in it.
            "(hidden)".to_owned()
        } else {
            text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
        };
        self.effective.push(Effective { key: name.to_owned(), value, origin: origin.clone() });
    }

    /// Replaces what the last line of a key shows.
    pub(super) fn show_instead(&mut self, name: &str, value: String) {
        if let Some(line) = self.effective.iter_mut().rev().find(|e| e.key == name) {
            line.value = value;
        }
    }
}

/// The documented key that a concrete name is one of.
fn named(keys: &'static [Key], name: &str) -> Option<&'static Key> {
    let same = |key: &&Key| {
        let (mut given, mut template) = (name.split('.'), key.name.split('.'));
        loop {
            match (given.next(), template.next()) {
                (None, None) => return true,
                (Some(_), Some("*")) => {}
                (Some(g), Some(t)) => {
                    let (g, t) = (g.split('[').next().unwrap_or(g), t.split('[').next().unwrap_or(t));
                    if canonical(g) != canonical(t) {
                        return false;
                    }
                }
                _ => return false,
            }
        }
    };
    keys.iter().find(same)
}

#[cfg(test)]
mod tests {
    use crate::config::load_text;

    #[test]
    fn a_placeholder_in_a_url_with_a_password_is_not_named_for_it_may_be_a_part_of_it() {
        let said = |url: &str| load_text("", &[("SQL_CONNECTIONPOOLS_DEFAULT_JDBCURL", url)]).unwrap_err().to_string();
        for url in
            ["jdbc:mysql://u:pa${ssw}ord@h/db", "jdbc:mysql://h/db?user=u&password=pa${ssw}ord", "jdbc:mysql://h/db?${x&PASSWORD=ssw}"]
        {
            let said = said(url);
            assert!(said.contains("placeholder") && !said.contains("ssw}") && !said.contains("is missing"), "{said}");
        }
        assert!(said("jdbc:mysql://${DB_HOST}/db").contains("${DB_HOST}"));
    }
}
