//! YAML text to a tree whose every node knows its line.
//!
//! The tree keeps scalars as text, as Spring's flattened properties do; what a text means is decided by the key that it
//! belongs to. Aliases and merge keys are followed within a budget, so that a small file cannot become a large tree.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, options};

/// A node and the line where it begins.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// The text; `plain` when it stood without quotes, so that other readers may see a number or a boolean in it.
    Scalar {
        text: String,
        plain: bool,
    },
    Map(Vec<Entry>),
    List(Vec<Node>),
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: usize,
    pub(super) value: Node,
    /// Came by `<<`, so that an entry of the map itself replaces it.
    merged: bool,
}

/// A line and what is wrong there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) text: String,
}

/// Nodes in one file, aliases followed; a long text counts as several. Some twenty thousand accounts of Clouddriver's own.
const MAX_NODES: usize = 500_000;
/// Bytes of a text that count as one node.
const NODE_TEXT: usize = 32;
/// Bytes of one key.
const MAX_KEY: usize = 1_000;
/// Levels, aliases followed. The tree is walked by recursion, so this is what keeps the stack small.
const MAX_DEPTH: usize = 64;

/// Reads all documents of a text. What can be read is returned together with everything that is wrong.
pub(super) fn parse(text: &str) -> (Vec<Node>, Vec<Fault>) {
    let mut builder = Builder::default();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let options = options! { emit_comments: false, flow_nesting_limit: 100, block_nesting_limit: 100 };
    for next in Parser::new_from_str_with_options(text, options) {
        match next {
            Ok((event, span)) => {
                if builder.event(event, span.start.line()).is_break() {
                    break;
                }
            }
            Err(e) => {
                builder.faults.push(Fault { line: e.marker().line(), text: format!("not YAML: {}", e.info()) });
                break;
            }
        }
    }
    (builder.documents, builder.faults)
}

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    faults: Vec<Fault>,
    open: Vec<Open>,
    anchors: HashMap<usize, Sized>,
    nodes: usize,
}

/// A finished node with its measure, so that copies of it can be counted beforehand.
#[derive(Clone)]
struct Sized {
    node: Node,
    nodes: usize,
    depth: usize,
}

struct Open {
    line: usize,
    anchor: usize,
    nodes: usize,
    depth: usize,
    what: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, places: HashMap<String, usize>, key: Option<(Option<String>, usize, bool)> },
}

impl Builder {
    fn event(&mut self, event: Event<'_>, line: usize) -> std::ops::ControlFlow<()> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                let text = if plain && matches!(&*text, "~" | "null" | "Null" | "NULL") { String::new() } else { text.into_owned() };
                let nodes = 1 + text.len() / NODE_TEXT;
                let node = Node { line, kind: Kind::Scalar { text, plain } };
                self.nodes += nodes;
                return self.finish(Sized { node, nodes, depth: 1 }, anchor);
            }
            Event::SequenceStart(_, anchor, _) => self.start(line, anchor, OpenKind::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => {
                self.start(line, anchor, OpenKind::Map { entries: Vec::new(), places: HashMap::new(), key: None });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    let kind = match open.what {
                        OpenKind::List(items) => Kind::List(items),
                        OpenKind::Map { entries, .. } => Kind::Map(entries),
                    };
                    let node = Node { line: open.line, kind };
                    return self.finish(Sized { node, nodes: open.nodes, depth: open.depth + 1 }, open.anchor);
                }
            }
            Event::Alias(id) => match self.anchors.get(&id).cloned() {
                Some(copy) => {
                    self.nodes += copy.nodes;
                    return self.finish(copy, 0);
                }
                None => self.faults.push(Fault { line, text: "an alias inside the node that it names".into() }),
            },
            Event::DocumentStart(..) => self.anchors.clear(),
            _ => {}
        }
        if self.nodes > MAX_NODES { self.too_large(line) } else { std::ops::ControlFlow::Continue(()) }
    }

    fn too_large(&mut self, line: usize) -> std::ops::ControlFlow<()> {
        self.faults.push(Fault { line, text: format!("more than {MAX_NODES} nodes, aliases followed: not a configuration") });
        std::ops::ControlFlow::Break(())
    }

    fn start(&mut self, line: usize, anchor: usize, what: OpenKind) {
        self.nodes += 1;
        self.open.push(Open { line, anchor, nodes: 1, depth: 0, what });
    }

    fn finish(&mut self, done: Sized, anchor: usize) -> std::ops::ControlFlow<()> {
        let line = done.node.line;
        if self.nodes > MAX_NODES {
            return self.too_large(line);
        }
        if done.depth > MAX_DEPTH {
            self.faults.push(Fault { line, text: format!("more than {MAX_DEPTH} levels: not a configuration") });
            return std::ops::ControlFlow::Break(());
        }
        if anchor != 0 {
            self.anchors.insert(anchor, done.clone());
        }
        let Some(parent) = self.open.last_mut() else {
            self.documents.push(done.node);
            return std::ops::ControlFlow::Continue(());
        };
        parent.nodes += done.nodes;
        parent.depth = parent.depth.max(done.depth);
        match &mut parent.what {
            OpenKind::List(items) => items.push(done.node),
            OpenKind::Map { entries, places, key } => match key.take() {
                None => *key = Some(key_of(done.node, &mut self.faults)),
                Some((None, ..)) => {}
                Some((Some(name), at, true)) if name == "<<" => merge(entries, places, done.node, at, &mut self.faults),
                Some((Some(name), at, _)) => {
                    let entry = Entry { key: name, line: at, value: done.node, merged: false };
                    match places.get(&entry.key).and_then(|&i| entries.get_mut(i)) {
                        Some(own) if !own.merged => {
                            let text = format!("the key {:?} is here and in line {}: keep one", entry.key, own.line);
                            self.faults.push(Fault { line: at, text });
                        }
                        Some(merged) => *merged = entry,
                        None => {
                            places.insert(entry.key.clone(), entries.len());
                            entries.push(entry);
                        }
                    }
                }
            },
        }
        std::ops::ControlFlow::Continue(())
    }
}

fn key_of(node: Node, faults: &mut Vec<Fault>) -> (Option<String>, usize, bool) {
    match node.kind {
        Kind::Scalar { text, plain } if text.len() <= MAX_KEY => (Some(text), node.line, plain),
        _ => {
            faults.push(Fault { line: node.line, text: format!("a key must be a text of at most {MAX_KEY} bytes") });
            (None, node.line, false)
        }
    }
}

/// `<<: *other`: the entries of the other map, where the map itself has none of that name.
fn merge(entries: &mut Vec<Entry>, places: &mut HashMap<String, usize>, from: Node, line: usize, faults: &mut Vec<Fault>) {
    let maps = match from.kind {
        Kind::List(items) => items,
        _ => vec![from],
    };
    for map in maps {
        match map.kind {
            Kind::Map(others) => {
                for other in others {
                    if !places.contains_key(&other.key) {
                        places.insert(other.key.clone(), entries.len());
                        entries.push(Entry { merged: true, ..other });
                    }
                }
            }
            _ => faults.push(Fault { line, text: "`<<` takes a map, or a list of maps".into() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(node: &Node) -> String {
        match &node.kind {
            Kind::Scalar { text, .. } => text.clone(),
            Kind::List(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(",")),
            Kind::Map(entries) => {
                format!("{{{}}}", entries.iter().map(|e| format!("{}@{}={}", e.key, e.line, show(&e.value))).collect::<Vec<_>>().join(","))
            }
        }
    }

    fn one(text: &str) -> String {
        let (documents, faults) = parse(text);
        assert_eq!(faults, []);
        documents.iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_key_knows_its_line() {
        assert_eq!(one("a: 1\nb:\n  c: [x, y]\n  d: ''\n"), "{a@1=1,b@2={c@3=[x,y],d@4=}}");
    }

    #[test]
    fn documents_come_one_after_the_other_and_null_is_empty() {
        assert_eq!(one("a: ~\n---\nb: null\n"), "{a@1=} {b@3=}");
    }

    #[test]
    fn a_key_given_twice_is_a_fault_with_both_lines() {
        let (_, faults) = parse("a: 1\nb: 2\na: 3\n");
        assert_eq!(faults, [Fault { line: 3, text: "the key \"a\" is here and in line 1: keep one".into() }]);
    }

    #[test]
    fn merge_keys_give_way_to_the_maps_own() {
        assert_eq!(one("x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3\n"), "{x@1={a@1=1,b@1=2},y@2={a@1=1,b@4=3}}");
        assert_eq!(one("x: &x {a: 1, b: 2}\ny:\n  b: 3\n  <<: *x\n"), "{x@1={a@1=1,b@1=2},y@2={b@3=3,a@1=1}}");
    }

    #[test]
    fn a_text_that_is_not_yaml_is_a_fault_with_its_line() {
        let (_, faults) = parse("a: 1\nb: [1, 2\n");
        assert_eq!(faults.len(), 1);
        assert!(faults[0].line >= 2, "{faults:?}");
    }

    #[test]
    fn aliases_cannot_blow_up_a_small_file() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..12 {
            let prior = i - 1;
            text += &format!("a{i}: &a{i} [{}]\n", vec![format!("*a{prior}"); 10].join(", "));
        }
        assert!(parse(&text).1[0].text.contains("nodes"));
        let text = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 1_000].join(", "));
        assert!(parse(&text).1[0].text.contains("nodes"));
        let mut text = String::from("a0: &a0 [x]\n");
        for i in 1..5_000 {
            text += &format!("a{i}: &a{i} [*a{}]\n", i - 1);
        }
        assert!(parse(&text).1[0].text.contains("levels"));
    }
}
