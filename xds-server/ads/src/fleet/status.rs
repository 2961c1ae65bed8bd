//! A stream's state as listings show it.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use bowline_proto::envoy::config::core::v3::{Node, node::UserAgentVersionType};
use bowline_snapshot::{Origin, Resource, ResourceType, Version};
use serde::{Serialize, Serializer};
use time::OffsetDateTime;

use crate::{
    response::Response,
    session::{Variant, Verdict},
    source::{Peer, ProxyDescription},
};

/// One connected stream. A proxy that reconnects before its old stream has ended appears twice.
#[derive(Debug, Clone, Serialize)]
pub struct ProxyStatus {
    /// The id of the proxy's Node.
    pub id: Arc<str>,
    /// What kind of proxy it is.
    pub role: Arc<str>,
    /// Who it is, and whether that was proven.
    pub identity: String,
    /// Whether a certificate proved the identity.
    pub is_identity_proven: bool,
    /// The cluster that its Node names.
    pub cluster: String,
    /// Name and version of the program that the Node names.
    pub user_agent: String,
    /// Where it connects from.
    pub address: SocketAddr,
    /// The variant of the protocol.
    pub protocol: Variant,
    /// Number of the stream, in the order of connection.
    pub stream: u64,
    /// When the stream was let in.
    #[serde(with = "time::serde::rfc3339")]
    pub connected_at: OffsetDateTime,
    /// Whether anything is ready for it. What it holds is up to date where it is and nothing was sent.
    pub has_snapshot: bool,
    /// What happened to each type, by its short name. In boxes, because a map has room for eleven and proxies ask for four or five.
    pub types: BTreeMap<&'static str, Box<TypeStatus>>,
}

/// What happened to one type on one stream.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TypeStatus {
    /// Names that the proxy subscribes to.
    pub subscribed: usize,
    /// Whether it subscribes to everything, besides.
    pub has_wildcard: bool,
    /// The last response.
    pub sent: Option<Sent>,
    /// The last response that it acknowledged.
    pub acknowledged: Option<Acknowledged>,
    /// The last response that it rejected; stays after a later one was acknowledged. In a box, because it is rare.
    pub rejected: Option<Box<Rejected>>,
    /// What it has rejected and is not sent before its content changes.
    pub quarantined: Vec<Suspect>,
    /// Sums since the stream was let in.
    pub counters: Counters,
}

/// A response that went out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sent {
    /// Of the whole type.
    #[serde(serialize_with = "as_text")]
    pub version: Version,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Resources in it.
    pub resources: usize,
    /// Names of resources in it that are gone.
    pub removed: usize,
}

/// A response that the proxy took over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Acknowledged {
    /// Of the whole type.
    #[serde(serialize_with = "as_text")]
    pub version: Version,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// A response that the proxy did not take over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// Of the whole type.
    #[serde(serialize_with = "as_text")]
    pub version: Version,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The proxy's reason.
    pub message: String,
    /// What the reason may be about: the resources that it names; where it names none, some of those that were new.
    pub suspects: Vec<Suspect>,
}

/// A resource that a rejection may be about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Suspect {
    /// Its name.
    pub name: Arc<str>,
    /// The objects that it was made from.
    pub origins: Arc<[Origin]>,
}

/// Sums over the life of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Responses sent.
    pub messages: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Responses acknowledged.
    pub acknowledged: u64,
    /// Responses rejected.
    pub rejected: u64,
    /// Requests about a response that was not the last one.
    pub stale: u64,
}

impl ProxyStatus {
    pub(super) fn new(
        stream: u64,
        variant: Variant,
        node: &Node,
        peer: &Peer,
        proxy: ProxyDescription,
        now: OffsetDateTime,
    ) -> Self {
        let ProxyDescription { id, role, identity } = proxy;
        Self {
            id,
            role,
            is_identity_proven: identity.proven().is_some(),
            identity: identity.to_string(),
            cluster: node.cluster.clone(),
            user_agent: user_agent(node),
            address: peer.address,
            protocol: variant,
            stream,
            connected_at: now,
            has_snapshot: false,
            types: BTreeMap::new(),
        }
    }

    /// Takes over another description. What has happened on the stream stays.
    pub(super) fn redescribe(&mut self, node: &Node, peer: &Peer, proxy: ProxyDescription) {
        let described = Self::new(
            self.stream,
            self.protocol,
            node,
            peer,
            proxy,
            self.connected_at,
        );
        *self = Self {
            has_snapshot: self.has_snapshot,
            types: std::mem::take(&mut self.types),
            ..described
        };
    }

    pub(super) fn of_type(&mut self, resource_type: ResourceType) -> &mut TypeStatus {
        self.types.entry(resource_type.short_name()).or_default()
    }
}

impl TypeStatus {
    pub(super) fn note_subscription(&mut self, names: usize, has_wildcard: bool) {
        self.subscribed = names;
        self.has_wildcard = has_wildcard;
    }

    pub(super) fn note_quarantined(&mut self, quarantined: &[Resource]) {
        // Nearly always both are empty.
        let is_same = quarantined.len() == self.quarantined.len()
            && quarantined
                .iter()
                .zip(&self.quarantined)
                .all(|(new, old)| new.name() == &old.name && new.origins() == &old.origins);
        if !is_same {
            self.quarantined = quarantined.iter().map(Suspect::of).collect();
        }
    }

    pub(super) fn note_sent(&mut self, response: &Response, bytes: usize, now: OffsetDateTime) {
        self.sent = Some(Sent {
            version: response.version,
            at: now,
            resources: response.resources.len(),
            removed: response.removed.len(),
        });
        self.note_quarantined(&response.quarantined);
        self.counters.messages += 1;
        self.counters.bytes += bytes as u64;
    }

    pub(super) fn note_verdict(&mut self, verdict: &Verdict, now: OffsetDateTime) {
        match verdict {
            Verdict::Acknowledged {
                version,
                generation: _,
                waited: _,
            } => {
                self.counters.acknowledged += 1;
                self.acknowledged = Some(Acknowledged {
                    version: *version,
                    at: now,
                });
            }
            Verdict::Rejected {
                version,
                message,
                suspects,
            } => {
                self.counters.rejected += 1;
                self.rejected = Some(Box::new(Rejected {
                    version: *version,
                    at: now,
                    message: message.clone(),
                    suspects: suspects.iter().map(Suspect::of).collect(),
                }));
            }
        }
    }

    pub(super) fn note_stale(&mut self) {
        self.counters.stale += 1;
    }
}

impl Suspect {
    fn of(resource: &Resource) -> Self {
        Self {
            name: resource.name().clone(),
            origins: resource.origins().clone(),
        }
    }
}

/// Such as `envoy 1.40.0`.
fn user_agent(node: &Node) -> String {
    let version = match &node.user_agent_version_type {
        Some(UserAgentVersionType::UserAgentVersion(text)) => text.clone(),
        Some(UserAgentVersionType::UserAgentBuildVersion(build)) => build
            .version
            .as_ref()
            .map(|version| {
                format!(
                    "{}.{}.{}",
                    version.major_number, version.minor_number, version.patch
                )
            })
            .unwrap_or_default(),
        None => String::new(),
    };
    format!("{} {version}", node.user_agent_name)
        .trim()
        .to_owned()
}

fn as_text<S: Serializer>(version: &Version, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(version)
}
