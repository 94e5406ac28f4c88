//! What the documents say of the code is so.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::support::http;
use super::support::process::{Fairlead, Setup, folder, free_port};

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

pub fn files_below(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
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
pub fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_test_that_the_reliability_page_names_exists() {
    let mut missing = Vec::new();
    let page = read("docs/reliability.md");
    let source = |file: &str| {
        ["tests", "src"].iter().find_map(|top| {
            [format!("{file}.rs"), format!("{file}/mod.rs")].iter().find_map(|f| fs::read_to_string(root().join(top).join(f)).ok())
        })
    };
    for name in quoted(&page).filter(|q| !q.starts_with("file") && !q.starts_with("e2e/file")) {
        let there = if let Some((file, title)) = name.split_once(": ").filter(|(file, _)| file.starts_with("e2e/")) {
            source(file).is_some_and(|text| text.contains(title))
        } else if let Some((file, test)) = name.rsplit_once("::").filter(|(file, _)| file.contains('/')) {
            // The second form is a line of a macro that makes tests out of a table.
            source(file).is_some_and(|text| {
                text.contains(&format!("fn {test}(")) || text.lines().any(|line| line.trim_start().starts_with(&format!("{test}:")))
            })
        } else {
            continue;
        };
        if !there {
            missing.push(name.to_owned());
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

/// The block of a YAML literal (`key: |`), or of a fence, with its indentation taken off.
pub fn block<'a>(text: &'a str, start: &str, end: impl Fn(&str) -> bool) -> String {
    let lines: Vec<&'a str> = text.lines().skip_while(|l| !l.contains(start)).skip(1).take_while(|l| !end(l)).collect();
    let indent = lines.iter().filter(|l| !l.trim().is_empty()).map(|l| l.len() - l.trim_start().len()).min().unwrap_or(0);
    lines.iter().fold(String::new(), |mut all, line| {
        let _ = writeln!(all, "{}", line.get(indent..).unwrap_or_default());
        all
    })
}

/// What an operator's Secret would put into the environment.
pub const GIVEN: &[(&str, &str)] = &[
    ("DB_URL", "jdbc:mysql://db-host:3306/clouddriver"),
    ("DB_USER", "fairlead"),
    ("DB_PASSWORD", "not-a-real-one"),
    ("SEAL_KEY_ID", "k1"),
    ("SEAL_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    ("POD_NAME", "fairlead-0"),
];

pub fn loads_without_a_remark(what: &str, yaml: &str) {
    assert!(!yaml.is_empty(), "{what}: the example was not found");
    let loaded = fairlead::config::load_text(yaml, GIVEN).unwrap_or_else(|mistakes| panic!("{what}: {mistakes}"));
    let remarks: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert!(remarks.is_empty(), "{what}: {remarks:#?}");
    let facts = fairlead::telemetry::Facts::of(&loaded.settings);
    assert!(facts.warnings.is_empty(), "{what}: {:#?}", facts.warnings);
    let told = serde_json::to_string(&facts).unwrap();
    for (name, secret) in [GIVEN[2], GIVEN[4]] {
        assert!(!told.contains(secret), "{what}: {name} is in /info: {told}");
    }
}

#[test]
fn the_configuration_of_the_readme_loads_without_a_remark() {
    loads_without_a_remark("README.md", &block(&read("README.md"), "```yaml", |line| line.starts_with("```")));
}

#[tokio::test]
async fn every_metric_that_operations_speaks_of_is_served() {
    let name = format!("docs-{}", free_port());
    let database = folder(&name).join("fairlead.db");
    let fairlead = Fairlead::start(Setup::new(&name, free_port()).with(&format!("fairlead.sqlite.path: {}", database.display()))).await;
    let page = http::get(fairlead.setup.admin_port, "/metrics").await.unwrap().text();
    let mut sources = Vec::new();
    files_below(&root().join("src"), ".rs", &mut sources);
    let sources: Vec<String> = sources.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let mut missing = Vec::new();
    let operations = read("docs/operations.md");
    for quoted in quoted(&operations).filter(|q| (q.starts_with("fairlead_") || q.starts_with("process_")) && !q.contains('*')) {
        let (name, labels) = quoted.split_once('{').unwrap_or((quoted, ""));
        let described = name.strip_suffix("_total").unwrap_or(name);
        // A family with labels is on the page once it has counted something; until then its registration has to do.
        let registered = format!("\"{}\"", described.trim_start_matches("fairlead_"));
        if !page.contains(&format!("# HELP {described} ")) && !sources.iter().any(|text| text.contains(&registered)) {
            missing.push(name.to_owned());
        }
        if let Some(line) = page.lines().find(|l| l.starts_with(&format!("{name}{{"))) {
            for label in labels.trim_end_matches('}').split(',').filter(|l| !l.is_empty()) {
                assert!(line.contains(&format!("{label}=\"")), "{quoted}: {line}");
            }
        }
    }
    assert!(missing.is_empty(), "not on the page: {missing:#?}");
}
