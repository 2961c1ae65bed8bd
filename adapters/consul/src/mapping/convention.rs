//! Conventions of metadata and tags: what an instance says beyond what Consul has fields for. docs/consul.md is their reference.

use std::{collections::BTreeMap, sync::Arc};

use bowline_identity::SpiffeId;
use bowline_mesh::{Labels, Namespace, Network, Protocol, RegistrySettings};

use super::{Finding, shortened};
use crate::wire::Entry;

/// Consul's own limits, which its catalogue API does not enforce.
const PAIRS_MAX: usize = 64;
const KEY_BYTES_MAX: usize = 128;
const VALUE_BYTES_MAX: usize = 512;
/// Ports of one instance.
const PORTS_MAX: usize = 16;
/// The name of the port that Consul itself knows.
const MAIN: &str = "main";

/// A port as one instance has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CalledPort {
    /// Its name.
    pub(crate) name: Arc<str>,
    /// Where the instance serves it.
    pub(crate) instance: u16,
    /// The number that callers use, where the instance says one.
    pub(crate) called: Option<u16>,
    /// What is spoken on it, where the instance says so.
    pub(crate) protocol: Option<Protocol>,
}

/// Metadata of an instance, and those of its tags that are written as `key=value`. Metadata wins.
pub(crate) struct Conventions(BTreeMap<String, String>);

impl Conventions {
    /// Of an instance; what is out of all proportion is ignored and reported.
    pub(crate) fn of(entry: &Entry, findings: &mut Vec<Finding>) -> Self {
        let mut pairs = BTreeMap::new();
        let mut ignored = 0_usize;
        let meta = entry.service.meta.iter().flatten();
        let meta = meta.map(|(key, value)| (key.as_str(), value.as_str()));
        let tags = entry.service.tags.iter().flatten();
        let tags = tags.filter_map(|tag| tag.split_once('='));
        for (key, value) in meta.chain(tags) {
            if pairs.contains_key(key) {
                continue;
            }
            let fits = !key.is_empty()
                && key.len() <= KEY_BYTES_MAX
                && value.len() <= VALUE_BYTES_MAX
                && pairs.len() < PAIRS_MAX;
            match fits {
                true => {
                    pairs.insert(key.to_owned(), value.to_owned());
                }
                false => ignored += 1,
            }
        }
        if ignored > 0 {
            findings.push(Finding::new(
                "Service.Meta",
                format!(
                    "{ignored} of its pairs are not read: there may be {PAIRS_MAX} with keys of up to {KEY_BYTES_MAX} and values \
                     of up to {VALUE_BYTES_MAX} bytes"
                ),
            ));
        }
        Self(pairs)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Who answers there: `spiffe-id`, or `service-account` in the namespace.
    pub(crate) fn identity(
        &self,
        settings: &RegistrySettings,
        namespace: &Namespace,
    ) -> Result<Option<SpiffeId>, Finding> {
        let wrong = |key: &str, error: bowline_identity::SpiffeIdError| {
            Finding::new(format!("Service.Meta.{key}"), error.to_string())
        };
        match (self.get("spiffe-id"), self.get("service-account")) {
            (Some(id), _) => id
                .parse()
                .map(Some)
                .map_err(|error| wrong("spiffe-id", error)),
            (None, Some(account)) => settings
                .identity(namespace, account)
                .map(Some)
                .map_err(|error| wrong("service-account", error)),
            (None, None) => Ok(None),
        }
    }

    /// From where it can be reached, where that is not where the others of the registry are.
    pub(crate) fn network(&self) -> Result<Option<Network>, Finding> {
        let network = self.get("network").map(str::parse).transpose();
        network.map_err(|error: bowline_mesh::NameError| {
            Finding::new("Service.Meta.network", error.to_string())
        })
    }

    /// What subsets select by.
    pub(crate) fn labels(&self) -> Labels {
        let pairs = self.0.iter();
        pairs
            .map(|(key, value)| (key.as_str().into(), value.as_str().into()))
            .collect()
    }

    fn protocol(&self, key: &str) -> Result<Option<Protocol>, Finding> {
        let Some(text) = self.get(key) else {
            return Ok(None);
        };
        match Protocol::from_name(text) {
            Some(protocol) => Ok(Some(protocol)),
            None => Err(Finding::new(
                format!("Service.Meta.{key}"),
                format!(
                    "'{}' is no known protocol: http, http2, grpc, tls, tcp",
                    shortened(text)
                ),
            )),
        }
    }

    fn port(&self, key: &str) -> Result<Option<u16>, Finding> {
        let Some(text) = self.get(key) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(port @ 1..) => Ok(Some(port)),
            _ => Err(Finding::new(
                format!("Service.Meta.{key}"),
                format!("'{}' is no port from 1 to 65535", shortened(text)),
            )),
        }
    }
}

/// The ports of an instance: the one that Consul knows, and those that `port-{name}` adds.
pub(crate) fn ports(
    conventions: &Conventions,
    main: Option<u16>,
) -> Result<Vec<CalledPort>, Finding> {
    let mut ports = Vec::new();
    if let Some(instance) = main {
        ports.push(CalledPort {
            name: MAIN.into(),
            instance,
            called: conventions.port("service-port")?,
            protocol: conventions.protocol("protocol")?,
        });
    }
    for key in conventions.0.keys() {
        let Some(name) = key.strip_prefix("port-").filter(|name| !name.is_empty()) else {
            continue;
        };
        let Some(instance) = conventions.port(key)? else {
            continue;
        };
        if name == MAIN {
            return Err(Finding::new(
                format!("Service.Meta.{key}"),
                format!("'{MAIN}' is the name of the port that Consul itself knows"),
            ));
        }
        ports.push(CalledPort {
            name: name.into(),
            instance,
            called: conventions.port(&format!("service-port-{name}"))?,
            protocol: conventions.protocol(&format!("protocol-{name}"))?,
        });
    }
    match ports.len() {
        0 => Err(Finding::new(
            "Service.Port",
            "it has no port, so nobody can call it through the mesh",
        )),
        1..=PORTS_MAX => Ok(ports),
        count => Err(Finding::new(
            "Service.Meta",
            format!("it has {count} ports, and {PORTS_MAX} are the most"),
        )),
    }
}
