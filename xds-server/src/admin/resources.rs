//! A snapshot as a listing.

use std::collections::BTreeMap;
use std::str::FromStr;

use bowline_proto::{Any, print};
use bowline_snapshot::{Resource, ResourceType, Snapshot};
use serde::Serialize;
use serde_json::Value;

/// Which resources of a snapshot are listed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// Of which type; all if `None`.
    pub resource_type: Option<ResourceType>,
    /// With which name; all if `None`.
    pub name: Option<String>,
}

/// A type of resources, as people write it: `cds`, `LDS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeName(pub ResourceType);

/// Why a text names no type of resources.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a type of resources: it is one of rtds, sds, ecds, cds, eds, lds, srds, rds, vhds"
)]
pub struct TypeNameError(String);

impl FromStr for TypeName {
    type Err = TypeNameError;

    fn from_str(text: &str) -> Result<Self, TypeNameError> {
        ResourceType::ALL
            .into_iter()
            .find(|resource_type| resource_type.short_name().eq_ignore_ascii_case(text))
            .map(Self)
            .ok_or_else(|| TypeNameError(text.to_owned()))
    }
}

/// One resource as it is shown. Secrets in it are redacted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Listed {
    /// The name by which proxies subscribe to it.
    pub name: String,
    /// Its version, as proxies see it.
    pub version: String,
    /// The objects that it was made from.
    pub origins: Vec<String>,
    /// The resource.
    pub resource: Value,
}

/// The resources of a snapshot by the short name of their type, in the order of their names. What is made for those who ask for it by name is
/// among them where it is selected by its name.
pub fn list(snapshot: &Snapshot, selection: &Selection) -> BTreeMap<&'static str, Vec<Listed>> {
    let Selection {
        resource_type,
        name,
    } = selection;
    ResourceType::ALL
        .into_iter()
        .filter(|candidate| resource_type.is_none_or(|wanted| wanted == *candidate))
        .map(|resource_type| {
            let made = name
                .as_deref()
                .and_then(|name| snapshot.make(resource_type, name));
            let mut listed: Vec<_> = snapshot
                .members(resource_type)
                .chain(snapshot.on_demand(resource_type))
                .filter(|resource| {
                    name.as_deref()
                        .is_none_or(|name| name == &**resource.name())
                })
                .chain(&made)
                .map(|resource| self::listed(snapshot, resource_type, resource))
                .collect();
            listed.sort_by(|one, other| one.name.cmp(&other.name));
            (resource_type.short_name(), listed)
        })
        .collect()
}

fn listed(snapshot: &Snapshot, resource_type: ResourceType, resource: &Resource) -> Listed {
    let any = Any {
        type_url: resource_type.url().to_owned(),
        value: resource.body().to_bytes(),
    };
    Listed {
        name: resource.name().to_string(),
        version: snapshot.wire_version(resource_type, resource).to_string(),
        origins: resource.origins().iter().map(ToString::to_string).collect(),
        resource: print::to_json(&any),
    }
}
