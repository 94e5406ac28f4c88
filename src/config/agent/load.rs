//! Files and environment in, settings or all mistakes out.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::build;
use super::keys::{KEYS, UNUSED};
use super::settings::Settings;
use crate::config::keys::Key;
use crate::config::layers::{self, Properties, canonical_key};
use crate::config::names::{did_you_mean, is_key, nearest};
use crate::config::places::{self, Texts};
use crate::config::reader::Reader;
use crate::config::remark::{Findings, Mistakes, Origin, Remark};
use crate::config::yaml;

/// Where a configuration is to be found.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Files named by the operator, later ones laid over earlier ones. Empty: the usual places.
    pub files: Vec<PathBuf>,
    /// The usual place: a folder in which `armory-agent.yml` and `armory-agent-local.yml` are looked for.
    pub folder: PathBuf,
    /// For placeholders, and `LOG_LEVEL`.
    pub variables: BTreeMap<String, String>,
}

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// What the operator should know: keys with no effect, keys that were passed over.
    pub warnings: Vec<Remark>,
    /// The files that were read, in the order of laying over.
    pub files: Vec<String>,
}

impl Sources {
    /// These files, or else `/opt/armory/config`.
    pub fn new(files: Vec<PathBuf>, variables: BTreeMap<String, String>) -> Self {
        Self { files, folder: PathBuf::from("/opt/armory/config"), variables }
    }

    fn read(&self) -> (Texts, Vec<(String, String)>) {
        if self.files.is_empty() { usual(&self.folder) } else { places::named(&self.files) }
    }

    /// Tells one content of the files from another, and a file that is there from one that is not.
    pub fn digest(&self) -> [u8; 32] {
        let (texts, unreadable) = self.read();
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        for (name, text) in texts.iter().chain(&unreadable) {
            context.update(&(name.len() as u64).to_le_bytes());
            context.update(name.as_bytes());
            context.update(&(text.len() as u64).to_le_bytes());
            context.update(text.as_bytes());
        }
        let mut out = [0; 32];
        out.copy_from_slice(context.finish().as_ref());
        out
    }
}

/// Reads the files. None at the usual place: defaults.
///
/// # Errors
/// All mistakes at once.
pub fn load(sources: &Sources) -> Result<Loaded, Mistakes> {
    let (texts, unreadable) = sources.read();
    let mut findings = Findings::default();
    findings.mistakes.extend(unreadable.into_iter().map(|(file, why)| Remark::file(&file, 0, why)));
    assemble(&texts, &sources.variables, findings)
}

/// Reads one YAML text as if it were the only file, with these variables and no others.
///
/// # Errors
/// All mistakes at once.
///
/// ```
/// let loaded = fairlead::config::agent::load_text("clouddriver.grpc: fairlead:9091", &[]).unwrap();
/// assert_eq!(&*loaded.settings.control.host, "fairlead");
/// ```
pub fn load_text(yaml: &str, variables: &[(&str, &str)]) -> Result<Loaded, Mistakes> {
    let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    assemble(&vec![("armory-agent.yml".to_owned(), yaml.to_owned())], &variables, Findings::default())
}

fn usual(folder: &std::path::Path) -> (Texts, Vec<(String, String)>) {
    let names = ["armory-agent.yaml", "armory-agent.yml", "armory-agent-local.yaml", "armory-agent-local.yml"];
    let there: Vec<PathBuf> = names.iter().map(|n| folder.join(n)).filter(|f| std::fs::symlink_metadata(f).is_ok()).collect();
    places::named(&there)
}

fn assemble(texts: &Texts, variables: &BTreeMap<String, String>, mut findings: Findings) -> Result<Loaded, Mistakes> {
    let mut properties = Properties::new();
    for (file, text) in texts {
        let (documents, faults) = yaml::parse(text);
        findings.mistakes.extend(faults.into_iter().map(|f| Remark::file(file, f.line, f.text)));
        for document in &documents {
            let empty = matches!(&document.kind, yaml::Kind::Scalar { text, .. } if text.is_empty());
            if !matches!(document.kind, yaml::Kind::Map(_)) && !empty {
                findings.mistakes.push(Remark::file(file, document.line, "is not a map of keys"));
                continue;
            }
            let (layer, twice) = layers::flatten(document, file);
            for (first, second) in twice {
                let text = format!("is {} ({}) in another spelling: keep one", first.written, first.origin);
                findings.mistakes.push(Remark::new(&second.origin, &second.written, text));
            }
            layers::lay_over(&mut properties, layer);
        }
    }
    judge(&properties, &mut findings);
    let mut reader = Reader::new(KEYS, &properties, variables, findings);
    let settings = build::settings(&mut reader, variables.get("LOG_LEVEL").map(String::as_str));
    let Reader { findings, effective, .. } = reader;
    let Findings { mut mistakes, mut warnings, notes } = findings;
    for remarks in [&mut mistakes, &mut warnings] {
        remarks.sort_by(|a, b| a.origin.cmp(&b.origin));
        remarks.dedup();
    }
    if mistakes.is_empty() {
        Ok(Loaded { settings, warnings, files: texts.iter().map(|(file, _)| file.clone()).collect() })
    } else {
        Err(Mistakes { mistakes, warnings, notes, effective })
    }
}

/// Warns of keys that mean nothing, with the reason or the nearest known key; one line for a whole group.
fn judge(properties: &Properties, findings: &mut Findings) {
    let mut told = std::collections::BTreeSet::new();
    for (key, property) in properties {
        let is_group = || {
            let group = format!("{}.", without_indexes(key));
            KEYS.iter().any(|k| canonical_key(&k.name.replace("[]", "")).starts_with(&group))
        };
        if KEYS.iter().any(|k| is_key(k, key)) || (property.text.is_empty() && is_group()) {
            continue;
        }
        if let Some(unused) = UNUSED.iter().find(|u| is_unused(u.name, key)) {
            let file = match &property.origin {
                Origin::File { file, .. } => file.to_string(),
                other => other.to_string(),
            };
            if told.insert((unused.name, file)) {
                findings.warnings.push(Remark::new(&property.origin, &property.written, format!("has no effect: {}", unused.why)));
            }
            continue;
        }
        let known = KEYS.iter().map(|k: &Key| k.name).chain(UNUSED.iter().map(|u| u.name.trim_end_matches(".**")));
        let near = nearest(known.map(|n| (n.to_owned(), canonical_key(&n.replace("[]", "")))), &without_indexes(key));
        findings.warnings.push(Remark::new(&property.origin, &property.written, format!("is not a known key{}", did_you_mean(near))));
    }
}

fn is_unused(name: &str, key: &str) -> bool {
    let given = without_indexes(key);
    let canonical = canonical_key(&name.replace("[]", ""));
    match canonical.strip_suffix(".**") {
        Some(group) => given.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')),
        None => canonical == given,
    }
}

/// `accounts[0].name` to `accounts.name`.
fn without_indexes(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    let mut inside = false;
    for c in key.chars() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            c if !inside => out.push(c),
            _ => {}
        }
    }
    out
}

/// A whole file as text, of at most so many bytes.
///
/// # Errors
/// Why it cannot be read, to follow its name.
pub(crate) fn read_text(path: &std::path::Path, most: u64) -> Result<String, String> {
    places::read_text(path, most)
}
