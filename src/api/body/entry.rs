//! The contract's `AddAgentAccountRequest`, of POST and PATCH `/armory/accounts`, and its `DisconnectRequest`.

use serde_json::{Map, Value};

use super::Entry;
use super::fault::{Faults, Pointer};
use super::fields::{Fields, Kind};
use crate::dispatch::{Ask, Zone};
use crate::lifecycle::Wanted;
use crate::store::overlay::credentials;
use crate::store::secrets::mask;

const FIELDS: [&str; 6] = ["name", "zoneId", "kubeconfigFile", "kubeconfigContents", "serviceAccount", "state"];
const KUBECONFIGS: [(&str, Kind); 3] = [("kubeconfigFile", Kind::Text), ("kubeconfigContents", Kind::Text), ("serviceAccount", Kind::Flag)];

/// An entry of POST. Its `state` means nothing.
pub(super) fn taken(at: &Pointer, map: Map<String, Value>, faults: &mut Faults) -> Option<Entry> {
    read(at, map, false, faults)
}

/// An entry of PATCH. Its `state` is what is wanted.
pub(super) fn changed(at: &Pointer, map: Map<String, Value>, faults: &mut Faults) -> Option<Entry> {
    read(at, map, true, faults)
}

fn read(at: &Pointer, map: Map<String, Value>, stateful: bool, faults: &mut Faults) -> Option<Entry> {
    let Value::Object(shown) = mask(&Value::Object(map.clone())) else { return None };
    let mut fields = Fields::new(at, map, faults);
    fields.merge_spelling("kubeConfigFile", "kubeconfigFile");
    let name = fields.name();
    let zone = fields.given("zoneId").and_then(|v| fields.zone(v)).map_or(Zone::Keep, Zone::Only);
    let mut properties = Map::new();
    for (field, kind) in KUBECONFIGS {
        if let Some(value) = fields.given(field).and_then(|v| fields.checked(field, v, kind)) {
            properties.insert(field.to_owned(), value);
        }
    }
    if credentials(&properties) > 1 {
        fields.fault_here("has more than one of kubeconfigFile, kubeconfigContents and serviceAccount");
    }
    let wanted = match fields.given("state") {
        None if stateful => {
            fields.fault("state", "is missing: ACTIVE or INACTIVE");
            None
        }
        Some(Value::String(s)) if s == "ACTIVE" => Some(Wanted::Active),
        Some(Value::String(s)) if s == "INACTIVE" => Some(Wanted::Inactive),
        Some(Value::String(_)) | None if !stateful => None,
        Some(_) => {
            fields.fault("state", "must be ACTIVE or INACTIVE");
            None
        }
        None => None,
    };
    fields.rest(&FIELDS);
    Some(Entry { ask: Ask { name: name?, zone, properties }, wanted: wanted.filter(|_| stateful), shown })
}

/// All of its fields are for the plugin's own replicas.
pub(super) fn disconnect(map: Map<String, Value>, faults: &mut Faults) {
    let at = Pointer::root();
    let mut fields = Fields::new(&at, map, faults);
    for (field, kind) in [("clusterDriven", Kind::Flag), ("timestamp", Kind::Whole)] {
        if let Some(value) = fields.given(field) {
            fields.checked(field, value, kind);
        }
    }
    if let Some(value) = fields.given("origin").filter(|v| !v.is_string()) {
        fields.checked("origin", value, Kind::Text);
    }
    fields.rest(&["clusterDriven", "origin", "timestamp"]);
}
