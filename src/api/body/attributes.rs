//! Definitions of `/armory/accounts/dynamic`: a name and attributes of an agent's account.

use serde_json::{Map, Value};

use super::Entry;
use super::fault::{Faults, Pointer};
use super::fields::{Fields, Kind};
use crate::dispatch::{Ask, Zone};
use crate::store::overlay::credentials;
use crate::store::secrets::mask;

/// What an agent's account can have, besides name, type and zone.
const ATTRIBUTES: [(&str, Kind); 20] = [
    ("kubeconfigFile", Kind::Text),
    ("kubeconfigContents", Kind::Text),
    ("kubeconfigAgent", Kind::Text),
    ("serviceAccount", Kind::Flag),
    ("serviceAccountName", Kind::Text),
    ("context", Kind::Text),
    ("insecure", Kind::Flag),
    ("noProxy", Kind::Flag),
    ("oAuthScopes", Kind::Texts),
    ("permissions", Kind::Permissions),
    ("namespaces", Kind::Texts),
    ("omitNamespaces", Kind::Texts),
    ("onlyNamespacedResources", Kind::Flag),
    ("customResourceDefinitions", Kind::Resources),
    ("kinds", Kind::Texts),
    ("omitKinds", Kind::Texts),
    ("metrics", Kind::Flag),
    ("onlySpinnakerManaged", Kind::Flag),
    ("maxResumableResourceAgeMs", Kind::Whole),
    ("skipServerSideApply", Kind::Flag),
];

/// A new account: exactly one way to its cluster.
pub(super) fn created(at: &Pointer, map: Map<String, Value>, faults: &mut Faults) -> Option<Entry> {
    read(at, map, true, faults)
}

/// A change: what is null is taken away again.
pub(super) fn updated(at: &Pointer, map: Map<String, Value>, faults: &mut Faults) -> Option<Entry> {
    read(at, map, false, faults)
}

fn read(at: &Pointer, map: Map<String, Value>, new: bool, faults: &mut Faults) -> Option<Entry> {
    let Value::Object(shown) = mask(&Value::Object(map.clone())) else { return None };
    let mut fields = Fields::new(at, map, faults);
    fields.merge_spelling("kubeConfigFile", "kubeconfigFile");
    let name = fields.name();
    if new && name.as_deref().is_some_and(|n| n.chars().any(char::is_control) || n.trim() != n) {
        fields.fault("name", "must not begin or end with a blank, nor hold a control character");
    }
    if fields.given("type").is_some_and(|v| v != "kubernetes") {
        fields.fault("type", "must be kubernetes");
    }
    let zone = match fields.present("zoneId") {
        None => Zone::Keep,
        Some(Value::Null) => Zone::Any,
        Some(value) => fields.zone(value).map_or(Zone::Keep, Zone::Only),
    };
    let (mut properties, mut refused) = (Map::new(), false);
    for (field, kind) in ATTRIBUTES {
        match fields.present(field) {
            Some(Value::Null) if !new => drop(properties.insert(field.to_owned(), Value::Null)),
            Some(Value::Null) | None => {}
            Some(value) => match fields.checked(field, value, kind) {
                Some(value) => drop(properties.insert(field.to_owned(), value)),
                None => refused = true,
            },
        }
    }
    match credentials(&properties) {
        // Said once is enough.
        0 if new && !refused => fields.fault_here("must have one of kubeconfigFile, kubeconfigContents and serviceAccount"),
        0 | 1 => {}
        _ => fields.fault_here("has more than one of kubeconfigFile, kubeconfigContents and serviceAccount"),
    }
    let mut known = ATTRIBUTES.map(|(name, _)| name).to_vec();
    known.extend(["name", "type", "zoneId"]);
    fields.rest(&known);
    Some(Entry { ask: Ask { name: name?, zone, properties }, wanted: None, shown })
}
