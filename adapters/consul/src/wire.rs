//! What Consul's HTTP API answers, trimmed to what is used. Everything in it is untrusted.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One instance of a service, as `/v1/health/service/:name` has it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Entry {
    pub(crate) node: Node,
    pub(crate) service: Service,
    pub(crate) checks: Option<Vec<Check>>,
}

/// The machine on which an instance runs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Node {
    pub(crate) node: String,
    pub(crate) address: String,
    pub(crate) datacenter: String,
    pub(crate) tagged_addresses: Option<BTreeMap<String, String>>,
    pub(crate) meta: Option<BTreeMap<String, String>>,
    pub(crate) locality: Option<Place>,
}

/// The instance itself.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Service {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    pub(crate) kind: Option<String>,
    pub(crate) address: String,
    pub(crate) tagged_addresses: Option<BTreeMap<String, TaggedAddress>>,
    pub(crate) port: i64,
    pub(crate) socket_path: Option<String>,
    pub(crate) tags: Option<Vec<String>>,
    pub(crate) meta: Option<BTreeMap<String, String>>,
    pub(crate) weights: Option<Weights>,
    pub(crate) locality: Option<Place>,
}

/// An address for callers of a certain kind.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct TaggedAddress {
    pub(crate) address: String,
    pub(crate) port: i64,
}

/// Shares of the traffic by health.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Weights {
    pub(crate) passing: i64,
    pub(crate) warning: i64,
}

/// Where something runs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Place {
    pub(crate) region: String,
    pub(crate) zone: String,
}

/// A health check; also one row of `/v1/health/state/any`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Check {
    pub(crate) node: String,
    #[serde(rename = "CheckID")]
    pub(crate) check_id: String,
    pub(crate) status: String,
    #[serde(rename = "ServiceID")]
    pub(crate) service_id: String,
    pub(crate) service_name: String,
}

/// What is used of `/v1/agent/self`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AgentSelf {
    pub(crate) config: AgentConfig,
}

/// What is used of an agent's configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AgentConfig {
    pub(crate) datacenter: String,
}

/// A list of which single items may be wrong: those are counted out, and the others are taken.
///
/// # Errors
/// When it is no list at all.
pub(crate) fn list<T: for<'de> Deserialize<'de>>(
    body: &[u8],
) -> Result<(Vec<T>, Vec<String>), serde_json::Error> {
    // Nearly always all of it is as it should be, and read in one pass.
    if let Ok(items) = serde_json::from_slice::<Option<Vec<T>>>(body) {
        return Ok((items.unwrap_or_default(), Vec::new()));
    }
    let values: Vec<serde_json::Value> = serde_json::from_slice(body)?;
    let (mut items, mut errors) = (Vec::new(), Vec::new());
    for (place, value) in values.into_iter().enumerate() {
        match T::deserialize(value) {
            Ok(item) => items.push(item),
            Err(error) => errors.push(format!("item {place}: {error}")),
        }
    }
    Ok((items, errors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_item_that_is_wrong_does_not_hide_the_others() {
        let body = br#"[{"Service":{"ID":"a","Port":1}},{"Service":{"ID":7}},{"Service":null},{"Service":{"ID":"b"}}]"#;
        let (entries, errors) = list::<Entry>(body).unwrap();
        let ids: Vec<_> = entries.iter().map(|entry| &*entry.service.id).collect();
        assert_eq!(ids, ["a", "b"]);
        assert_eq!(errors.len(), 2);
    }

    #[test]
    fn no_list_is_an_error_and_null_is_an_empty_list() {
        assert!(list::<Entry>(b"{}").is_err());
        assert!(list::<Entry>(br#"[{"Service":"#).is_err());
        assert!(list::<Entry>(b"").is_err());
        assert!(list::<Entry>(b"null").unwrap().0.is_empty());
    }
}
