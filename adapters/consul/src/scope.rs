//! Scopes: the parts of Consul that are watched by themselves.

use std::{fmt, sync::Arc};

use bowline_mesh::{Namespace, RegistrySettings};

use crate::settings::ConsulSettings;

/// A datacenter, and in it a partition and namespace, or what a peer exports. Each has its own watches, readiness and breaker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Scope {
    pub(crate) datacenter: Arc<str>,
    /// Whether it is the agents' own, so that what is said of it has its own addresses.
    pub(crate) is_own: bool,
    pub(crate) partition: Option<Arc<str>>,
    /// `None` is Consul's `default`.
    pub(crate) namespace: Option<Arc<str>>,
    pub(crate) peer: Option<Arc<str>>,
}

impl Scope {
    /// What is watched of a Consul whose agents are in a datacenter, in the order of the entry.
    pub(crate) fn all(consul: &ConsulSettings, own: &Arc<str>) -> Vec<Self> {
        let own_only = [own.clone()];
        let datacenters = match consul.datacenters.is_empty() {
            true => own_only.as_slice(),
            false => &consul.datacenters,
        };
        let mut namespaces: Vec<Option<Arc<str>>> =
            consul.namespaces.iter().cloned().map(Some).collect();
        if namespaces.is_empty() {
            namespaces.push(None);
        }
        let mut peers: Vec<Option<Arc<str>>> = vec![None];
        peers.extend(consul.peers.iter().cloned().map(Some));
        let mut scopes = Vec::new();
        for datacenter in datacenters {
            for peer in &peers {
                for namespace in &namespaces {
                    scopes.push(Self {
                        datacenter: datacenter.clone(),
                        is_own: datacenter == own,
                        partition: consul.partition.clone(),
                        namespace: namespace.clone().filter(|name| **name != *"default"),
                        peer: peer.clone(),
                    });
                }
            }
        }
        scopes
    }

    /// The partition in the keys of its objects.
    pub(crate) fn key_partition(&self) -> Option<Arc<str>> {
        match (&self.peer, &self.partition) {
            (Some(peer), _) => Some(format!("peer {peer}").into()),
            (None, Some(partition)) => Some(partition.clone()),
            (None, None) => None,
        }
    }

    /// The namespace in the mesh of what names none; `None` where Consul's is no DNS label.
    pub(crate) fn mesh_namespace(&self, settings: &RegistrySettings) -> Option<Namespace> {
        match &self.namespace {
            Some(namespace) => super::mapping::label(namespace)?.parse().ok(),
            None => Some(settings.namespace.clone()),
        }
    }

    /// The query parameters that every request about it has, with a leading `&` each.
    pub(crate) fn query(&self) -> String {
        let mut query = String::new();
        let mut parameter = |name: &str, value: Option<&Arc<str>>| {
            if let Some(value) = value {
                query.push('&');
                query.push_str(name);
                query.push('=');
                query.push_str(&percent_encoded(value));
            }
        };
        parameter("dc", (!self.is_own).then_some(&self.datacenter));
        parameter("partition", self.partition.as_ref());
        parameter("ns", self.namespace.as_ref());
        parameter("peer", self.peer.as_ref());
        query
    }
}

/// As it is called in messages, listings and keys: `dc1`, `dc1 namespace team`.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.datacenter)?;
        if let Some(peer) = &self.peer {
            write!(f, " peer {peer}")?;
        }
        if let Some(partition) = &self.partition {
            write!(f, " partition {partition}")?;
        }
        if let Some(namespace) = &self.namespace {
            write!(f, " namespace {namespace}")?;
        }
        Ok(())
    }
}

/// A text as a part of a path or query.
pub(crate) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_name_what_they_are_about_and_nothing_else() {
        let own = Scope {
            datacenter: "dc1".into(),
            is_own: true,
            partition: None,
            namespace: None,
            peer: None,
        };
        assert_eq!(
            (own.query(), own.to_string()),
            (String::new(), "dc1".to_owned())
        );
        let other = Scope {
            datacenter: "dc 2".into(),
            is_own: false,
            partition: Some("p".into()),
            namespace: Some("team".into()),
            peer: None,
        };
        assert_eq!(other.query(), "&dc=dc%202&partition=p&ns=team");
        assert_eq!(other.to_string(), "dc 2 partition p namespace team");
        assert_eq!(percent_encoded("a/b?c&ä"), "a%2Fb%3Fc%26%C3%A4");
    }
}
