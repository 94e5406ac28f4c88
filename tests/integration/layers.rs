//! Which part of `src/` uses which, as `docs/life-of-a-request.md` has it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::docs::{files_below, quoted, read, root};

/// What follows `start` outside of comments: the parts that a text uses.
fn used(text: &str, start: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for (at, _) in line.match_indices(start) {
            let rest = &line[at + start.len()..];
            let groups = rest.strip_prefix('{').and_then(|inside| inside.split('}').next());
            for name in groups.map_or_else(|| vec![rest], |inside| inside.split(',').map(str::trim).collect()) {
                let end = name.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(name.len());
                found.insert(name[..end].to_owned());
            }
        }
    }
    found
}

/// Macros stand at the root of the crate, whichever part they are of.
fn part_of(name: &str) -> &str {
    match name {
        "args" => "store",
        "crash_point" => "failpoint",
        name => name,
    }
}

#[test]
fn each_part_uses_the_parts_that_the_document_names_and_only_parts_below_it() {
    let mut code: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut files = Vec::new();
    files_below(&root().join("src"), ".rs", &mut files);
    for file in files {
        let within = file.strip_prefix(root().join("src")).unwrap();
        let part = within.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if part == "lib" {
            continue;
        }
        let uses = used(&fs::read_to_string(&file).unwrap(), if part == "bin" { "fairlead::" } else { "crate::" });
        let uses = uses.iter().map(|name| part_of(name).to_owned()).filter(|other| *other != part);
        code.entry(part.clone()).or_default().extend(uses);
    }
    let page = read("docs/life-of-a-request.md");
    let table = page.split("## Which part looks at which").nth(1).expect("the section").split("\n## ").next().unwrap();
    let rows: Vec<(&str, BTreeSet<String>)> = table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<&str> = line.split(" |").collect();
            (quoted(cells[0]).next().unwrap(), quoted(cells[2]).map(str::to_owned).collect())
        })
        .collect();
    let mut wrong = Vec::new();
    for (at, (part, said)) in rows.iter().enumerate() {
        let Some(does) = code.remove(*part) else {
            wrong.push(format!("{part}: no such part"));
            continue;
        };
        let below: BTreeSet<&str> = rows[at + 1..].iter().map(|(part, _)| *part).collect();
        wrong.extend(does.iter().filter(|other| !below.contains(other.as_str())).map(|other| format!("{part} looks up at {other}")));
        wrong.extend(does.difference(said).map(|other| format!("{part} uses {other}, which is not in the table")));
        wrong.extend(said.difference(&does).map(|other| format!("{part} does not use {other}, as the table has it")));
    }
    wrong.extend(code.keys().map(|part| format!("{part} is not in the table")));
    assert!(wrong.is_empty(), "{wrong:#?}");
}
