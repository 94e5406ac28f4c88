//! Texts and environment in, settings or all mistakes out.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::build;
use super::env::{Environment, ProcessEnvironment};
use super::layers::{self, Properties};
use super::names;
use super::places::{self, Texts};
use super::profiles;
use super::reader::Reader;
use super::remark::{Effective, Findings, Mistakes, Origin, Remark};
use super::settings::Settings;
use super::yaml;

/// Where a configuration is to be found.
pub struct Sources {
    /// Files named by the operator, later ones laid over earlier ones. Empty: the usual places.
    pub files: Vec<PathBuf>,
    /// The usual places: folders in which `spinnaker.yml`, `clouddriver.yml` and `fairlead.yml` are looked for.
    pub folders: Vec<PathBuf>,
    /// The environment, laid over all files.
    pub environment: Box<dyn Environment>,
}

impl Sources {
    /// The process's own: these files, or else `/opt/spinnaker/config` and `~/.spinnaker`.
    pub fn of_process(files: Vec<PathBuf>) -> Self {
        let mut folders = vec![PathBuf::from("/opt/spinnaker/config")];
        folders.extend(std::env::home_dir().map(|home| home.join(".spinnaker")));
        Self { files, folders, environment: Box::new(ProcessEnvironment) }
    }
}

/// A configuration that can be used.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// What the operator should know: keys with no effect, keys that were passed over.
    pub warnings: Vec<Remark>,
    /// What only [`super::check`] tells.
    pub notes: Vec<Remark>,
    /// Every key that counts, with its value (secrets hidden) and where it came from.
    pub effective: Vec<Effective>,
    /// The files that were read, in the order of laying over.
    pub files: Vec<String>,
}

/// Reads files and environment.
///
/// # Errors
/// All mistakes at once; nothing is connected to or written before.
pub fn load(sources: &Sources) -> Result<Loaded, Mistakes> {
    let variables = sources.environment.variables();
    let active = active_profiles(&variables);
    let (texts, unreadable) =
        if sources.files.is_empty() { places::usual(&sources.folders, &active) } else { places::named(&sources.files) };
    let mut findings = Findings::default();
    findings.mistakes.extend(unreadable.into_iter().map(|(file, why)| Remark::file(&file, 0, why)));
    assemble(&texts, &variables, sources.environment.host_name(), findings)
}

/// Reads one YAML text as if it were the only file, with these environment variables and no others. For tests, which
/// so go through the real parser.
///
/// # Errors
/// All mistakes at once.
///
/// ```
/// let loaded = fairlead::config::load_text("server.port: 0", &[("FAIRLEAD_ADMIN_PORT", "0")]).unwrap();
/// assert_eq!(loaded.settings.listen.port(), 0);
/// ```
pub fn load_text(yaml: &str, env: &[(&str, &str)]) -> Result<Loaded, Mistakes> {
    let variables = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    assemble(&vec![("fairlead.yml".to_owned(), yaml.to_owned())], &variables, None, Findings::default())
}

fn active_profiles(variables: &BTreeMap<String, String>) -> Vec<String> {
    profiles::active(variables.get("SPRING_PROFILES_ACTIVE").map(String::as_str))
}

fn assemble(
    texts: &Texts,
    variables: &BTreeMap<String, String>,
    host_name: Option<String>,
    mut findings: Findings,
) -> Result<Loaded, Mistakes> {
    let active = active_profiles(variables);
    let mut properties = Properties::new();
    for (file, text) in texts {
        let (documents, faults) = yaml::parse(text);
        findings.mistakes.extend(faults.into_iter().map(|f| Remark::file(file, f.line, f.text)));
        for document in &documents {
            if !matches!(document.kind, yaml::Kind::Map(_)) && !is_empty(document) {
                findings.mistakes.push(Remark::file(file, document.line, "is not a map of keys"));
                continue;
            }
            let (layer, twice) = layers::flatten(document, file);
            if !counts(&layer, &active, &mut findings) {
                continue;
            }
            for (first, second) in twice {
                let text = format!("is {} ({}) in another spelling: keep one", first.written, first.origin);
                let ours = ["kubesvc", "armory.kubesvc", "fairlead", "server", "services.clouddriver", "sql"];
                if ours.iter().any(|o| layers::canonical_key(&second.written).starts_with(o)) {
                    findings.mistakes.push(Remark::new(&second.origin, &second.written, text));
                }
            }
            let layer = one_prefix(layer, &properties, &mut findings);
            layers::lay_over(&mut properties, layer);
        }
    }
    for name in ["SPRING_APPLICATION_JSON", "SPRING_CONFIG_IMPORT", "SPRING_CONFIG_LOCATION", "SPRING_CONFIG_ADDITIONAL_LOCATION"] {
        if variables.contains_key(name) {
            let text = "is not followed: name the files with --config";
            findings.warnings.push(Remark::new(&Origin::Env(name.into()), "", text));
        }
    }
    let layer = names::environment(variables, &mut findings);
    let layer = one_prefix(layer, &properties, &mut findings);
    layers::lay_over(&mut properties, layer);
    names::judge(&properties, &mut findings);

    let mut reader = Reader::new(super::keys::KEYS, &properties, variables, findings);
    let host_name = variables.get("HOSTNAME").filter(|h| !h.is_empty()).cloned().or(host_name);
    let settings = build::settings(&mut reader, host_name);
    let Reader { findings, effective, .. } = reader;
    let Findings { mut mistakes, mut warnings, mut notes } = findings;
    for remarks in [&mut mistakes, &mut warnings, &mut notes] {
        // By file and line; a value that is looked at twice is told of once.
        remarks.sort_by(|a, b| a.origin.cmp(&b.origin));
        remarks.dedup();
    }
    match settings {
        Some(settings) if mistakes.is_empty() => {
            Ok(Loaded { settings, warnings, notes, effective, files: texts.iter().map(|(file, _)| file.clone()).collect() })
        }
        _ => Err(Mistakes { mistakes, warnings, notes, effective }),
    }
}

fn is_empty(document: &yaml::Node) -> bool {
    matches!(&document.kind, yaml::Kind::Scalar { text, .. } if text.is_empty())
}

/// Whether a document's profile is active.
fn counts(layer: &Properties, active: &[String], findings: &mut Findings) -> bool {
    // `spring.profiles` is what it was called before Spring Boot 2.4.
    for name in ["spring.config.activate.onprofile", "spring.profiles"] {
        let items = layers::below(layer, name).filter(|(k, _)| *k == name || k[name.len()..].starts_with('['));
        let conditions: Vec<_> = items.map(|(_, p)| p).collect();
        let Some(first) = conditions.first() else { continue };
        let verdicts: Vec<_> = conditions.iter().map(|c| profiles::matches(&c.text, active)).collect();
        if verdicts.contains(&None) {
            let text = "is an expression with parentheses, which is not understood here: write it without";
            findings.mistakes.push(Remark::new(&first.origin, &first.written, text));
        }
        if !verdicts.contains(&Some(true)) {
            let text = format!("the document is passed over: the active profiles are {}", active.join(", "));
            findings.notes.push(Remark::new(&first.origin, &first.written, text));
            return false;
        }
    }
    true
}

/// Folds `armory.kubesvc.*` into `kubesvc.*`. Where one layer has both, the newer prefix (with `armory`) wins; where an
/// earlier layer has the other, the later layer wins as always. Both are told.
fn one_prefix(layer: Properties, below_it: &Properties, findings: &mut Findings) -> Properties {
    let list = |key: &str| key.split('[').next().unwrap_or(key).to_owned();
    let newer: std::collections::BTreeSet<String> =
        layers::below(&layer, "armory.kubesvc").filter_map(|(k, _)| k.strip_prefix("armory.")).map(list).collect();
    let mut out = Properties::new();
    for (key, property) in layer {
        if let Some(folded) = key.strip_prefix("armory.").filter(|k| *k == "kubesvc" || k.starts_with("kubesvc.")) {
            out.insert(folded.to_owned(), property);
        } else if key.starts_with("kubesvc") && newer.contains(&list(&key)) {
            let text = format!("is given as armory.{} too, which is the newer prefix and counts", property.written);
            findings.warnings.push(Remark::new(&property.origin, &property.written, text));
        } else {
            out.insert(key, property);
        }
    }
    let armory = |written: &str| written.to_ascii_lowercase().starts_with("armory");
    for (key, property) in layers::below(&out, "kubesvc") {
        if let Some(earlier) = below_it.get(key)
            && armory(&earlier.written) != armory(&property.written)
            && earlier.origin != Origin::Default
        {
            let text = format!("replaces {} ({}), which is the same key by another prefix", earlier.written, earlier.origin);
            findings.warnings.push(Remark::new(&property.origin, &property.written, text));
        }
    }
    out
}
