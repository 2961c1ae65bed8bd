//! Server-side apply, as far as writing a status or a whole object of one's own needs it.
//!
//! Fields that are given replace what is there; lists that Kubernetes keys (conditions,
//! listeners, ports of a Service) are merged by their key. Nobody's fields are taken away and
//! there are no conflicts between managers: every apply is forced.

use serde_json::{Value, json};

use super::{Part, metadata, now};
use crate::kubernetes::json::{field, set};

/// Lists that are merged by a field of their elements.
const KEYED: [(&str, &str); 2] = [("conditions", "type"), ("listeners", "name")];

/// Applies what is given.
pub(super) fn apply(value: &mut Value, wanted: &Value) {
    let Some(wanted) = wanted.as_object() else {
        *value = wanted.clone();
        return;
    };
    for (name, wanted) in wanted {
        let here = field(value, name);
        let key = KEYED.iter().find(|(list, _)| list == name);
        match (key, here.as_array_mut(), wanted.as_array()) {
            (Some((_, key)), Some(here), Some(wanted)) => apply_keyed(here, wanted, key),
            _ => apply(here, wanted),
        }
    }
}

fn apply_keyed(here: &mut Vec<Value>, wanted: &[Value], key: &str) {
    for wanted in wanted {
        match here
            .iter_mut()
            .find(|here| here.get(key) == wanted.get(key))
        {
            Some(here) => apply(here, wanted),
            None => here.push(wanted.clone()),
        }
    }
}

/// Notes in `managedFields` who applied.
pub(super) fn sign(value: &mut Value, manager: &str, part: Part) {
    let api_version = value.get("apiVersion").cloned().unwrap_or_default();
    let mut entry = json!({
        "manager": manager,
        "operation": "Apply",
        "apiVersion": api_version.clone(),
        "time": now(),
        "fieldsType": "FieldsV1",
        "fieldsV1": {},
    });
    if part == Part::Status {
        set(&mut entry, &["subresource"], "status");
    }
    let fields = metadata(value)
        .entry("managedFields")
        .or_insert_with(|| json!([]));
    let Some(entries) = fields.as_array_mut() else {
        return;
    };
    let same = |other: &&mut Value| {
        other.get("manager") == entry.get("manager")
            && other.get("operation") == entry.get("operation")
            && other.get("subresource") == entry.get("subresource")
    };
    match entries.iter_mut().find(same) {
        // A time alone is no change.
        Some(known) => {
            set(known, &["apiVersion"], api_version);
        }
        None => entries.push(entry),
    }
}
