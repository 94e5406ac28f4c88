//! Documents flattened to properties and laid over one another.
//!
//! A property's key is compared in a form of its own in which `maxWait`, `max-wait`, `max_wait` and `MAXWAIT` are the same
//! (Spring's relaxed binding); the spelling of the operator is kept for messages. Maps are merged, lists replaced whole.

use std::collections::BTreeMap;

use super::remark::Origin;
use super::yaml::{Kind, Node};

/// One value of the operator's, before placeholders.
#[derive(Clone, Debug)]
pub(super) struct Property {
    /// The key as written, parents joined by dots.
    pub(super) written: String,
    /// The text; empty for null, and for a list or map without entries.
    pub(super) text: String,
    /// It stood in YAML without quotes, so that another reader may see a number or a boolean in it.
    pub(super) plain: bool,
    pub(super) origin: Origin,
}

/// All properties by their canonical key: `kubesvc.dynamicaccounts.namepatterns[0]`.
pub(super) type Properties = BTreeMap<String, Property>;

/// A segment of a key without what relaxed binding does not look at.
pub(super) fn canonical(segment: &str) -> String {
    segment.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect()
}

/// The same for a whole key, dots and indexes kept.
pub(super) fn canonical_key(key: &str) -> String {
    canonical(key)
}

/// The properties of one document, and the pairs of places that give the same key in two spellings.
pub(super) fn flatten(document: &Node, file: &str) -> (Properties, Vec<(Property, Property)>) {
    let (mut out, mut twice) = (Properties::new(), Vec::new());
    walk(document, "", "", document.line, file, &mut out, &mut twice);
    (out, twice)
}

fn walk(node: &Node, key: &str, written: &str, line: usize, file: &str, out: &mut Properties, twice: &mut Vec<(Property, Property)>) {
    match &node.kind {
        Kind::Map(entries) if !entries.is_empty() => {
            for entry in entries {
                // `"[a.b]"` is Spring's way to write a name that holds dots.
                let bracketed = entry.key.strip_prefix('[').and_then(|k| k.strip_suffix(']'));
                let (segment, shown) = match bracketed {
                    Some(name) if name.parse::<usize>().is_err() => (canonical(&name.replace('.', "\u{1}")), name.to_owned()),
                    _ => (canonical_key(&entry.key), entry.key.clone()),
                };
                let dot = if key.is_empty() || segment.starts_with('[') { "" } else { "." };
                walk(&entry.value, &format!("{key}{dot}{segment}"), &format!("{written}{dot}{shown}"), entry.line, file, out, twice);
            }
        }
        Kind::List(items) if !items.is_empty() => {
            for (i, item) in items.iter().enumerate() {
                walk(item, &format!("{key}[{i}]"), &format!("{written}[{i}]"), item.line, file, out, twice);
            }
        }
        kind => {
            let (text, plain) = match kind {
                Kind::Scalar { text, plain } => (text.clone(), *plain),
                _ => (String::new(), false),
            };
            let origin = Origin::File { file: file.into(), line };
            let property = Property { written: written.to_owned(), text, plain, origin };
            if let Some(first) = out.insert(key.to_owned(), property.clone()) {
                twice.push((first, property));
            }
        }
    }
}

/// Lays one layer over what is there.
pub(super) fn lay_over(base: &mut Properties, layer: Properties) {
    let mut replaced = std::collections::BTreeSet::new();
    for key in layer.keys() {
        // The list (the part before the first index), or the plain value that may be a list in one text.
        replaced.insert(key.split('[').next().unwrap_or(key).to_owned());
    }
    for list in replaced {
        let indexed = format!("{list}[");
        let stale: Vec<String> = below(base, &indexed).map(|(k, _)| k.clone()).collect();
        for key in stale {
            base.remove(&key);
        }
        if below(&layer, &indexed).next().is_some() {
            base.remove(&list);
        }
    }
    base.extend(layer);
}

/// All properties whose key begins with a text.
pub(super) fn below<'a>(properties: &'a Properties, prefix: &'a str) -> impl Iterator<Item = (&'a String, &'a Property)> {
    properties.range(prefix.to_owned()..).take_while(move |(k, _)| k.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml;

    fn flat(text: &str) -> Properties {
        flatten(&yaml::parse(text).0[0], "f").0
    }

    fn show(properties: &Properties) -> String {
        properties.iter().map(|(k, p)| format!("{k}={}", p.text)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn dots_in_keys_and_nested_maps_are_the_same() {
        assert_eq!(show(&flat("a.b: 1\nc:\n  d.e: {f: 2}\n")), "a.b=1 c.d.e.f=2");
    }

    #[test]
    fn spellings_are_one_and_two_of_them_in_one_document_are_seen() {
        let (properties, twice) = flatten(&yaml::parse("a:\n  max-wait: 1\n  maxWait: 2\n").0[0], "f");
        assert_eq!(show(&properties), "a.maxwait=2");
        assert_eq!((twice[0].0.written.as_str(), twice[0].1.written.as_str()), ("a.max-wait", "a.maxWait"));
    }

    #[test]
    fn maps_merge_and_lists_are_replaced_whole() {
        let mut base = flat("a: {b: 1, c: 2}\nl: [x, y, z]\nm: [x]\nn: 'p,q'\n");
        lay_over(&mut base, flat("a: {c: 3}\nl: [w]\nm: []\nn: [r]\n"));
        assert_eq!(show(&base), "a.b=1 a.c=3 l[0]=w m= n[0]=r");
    }
}
