//! What the documents say of the code is so.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn files_below(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files_below(&path, ending, found);
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
}

/// The texts between single backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_test_that_the_reliability_page_names_exists() {
    let mut missing = Vec::new();
    let page = read("docs/reliability.md");
    for name in quoted(&page).filter(|q| q.contains("::") && q.contains('/')) {
        let (file, test) = name.rsplit_once("::").unwrap();
        let text = ["tests", "src"].iter().find_map(|top| {
            [format!("{file}.rs"), format!("{file}/mod.rs")].iter().find_map(|f| fs::read_to_string(root().join(top).join(f)).ok())
        });
        match text {
            Some(text) if text.contains(&format!("fn {test}(")) || text.contains(&format!("\"{test}\"")) => {}
            _ => missing.push(name.to_owned()),
        }
    }
    assert!(missing.is_empty(), "no such test: {missing:#?}");
}

#[test]
fn every_link_from_one_document_to_another_leads_somewhere() {
    let mut pages = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    for folder in ["docs", "deploy", "proto"] {
        files_below(&root().join(folder), ".md", &mut pages);
    }
    let mut dead = Vec::new();
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !page.parent().unwrap().join(target).exists() {
                dead.push(format!("{}: {link}", page.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(dead.is_empty(), "dead links: {dead:#?}");
}
