//! What the configuration says about the mesh as a whole and about one registry's place in it.

use std::{fmt, str::FromStr, sync::Arc};

use bowline_identity::{SpiffeId, SpiffeIdError, TrustDomain};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::{
    GuardSettings, HostPattern, Hostname, Locality, NameError, Namespace, Network, RegistryId,
    TrafficSettings,
};

/// Settings of the mesh as a whole. They influence every proxy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MeshSettings {
    /// The realm of our certificates.
    pub trust_domain: TrustDomain,
    /// What the hostnames of services end in, such as `cluster.local`.
    pub domain: Hostname,
    /// What happens to traffic for destinations that no registry has.
    pub outbound: OutboundMode,
    /// From where services without an address of their own get a virtual one.
    pub virtual_addresses: Ipv4Net,
    /// The port on which a sidecar with explicit listeners takes HTTP requests, on loopback.
    pub explicit_http_port: u16,
    /// The port on which an east-west gateway takes connections from other networks.
    pub east_west_port: u16,
    /// Whether workloads speak mutual TLS with each other. Nothing else crosses networks.
    pub mutual_tls: MutualTls,
    /// What no policy says.
    pub traffic: TrafficSettings,
}

/// What happens to traffic for destinations that no registry has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutboundMode {
    /// It goes where it wanted to go.
    PassThrough,
    /// It is refused.
    Refuse,
}

/// Whether workloads speak mutual TLS with each other, with certificates of the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MutualTls {
    /// They do not.
    Absent,
    /// Those with an identity do, behind a name that says which service is called.
    Spoken,
}

/// One registry's place in the mesh, as its entry in the configuration has it. What an adapter needs to name things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrySettings {
    /// Its name.
    pub id: RegistryId,
    /// The realm of its workloads' identities.
    pub trust_domain: TrustDomain,
    /// What its hostnames end in.
    pub domain: Hostname,
    /// The namespace of objects that name none.
    pub namespace: Namespace,
    /// How a service's name becomes a hostname.
    pub hostname_template: HostnameTemplate,
    /// The network of endpoints that name none.
    pub network: Network,
    /// The locality of endpoints that name none.
    pub locality: Locality,
    /// To which namespaces it may contribute; `None` means all.
    pub allowed_namespaces: Option<Vec<Namespace>>,
    /// To which hostnames it may contribute; `None` means all.
    pub allowed_hostnames: Option<Vec<HostPattern>>,
    /// Its policies act on the proxies of all registries, not of its own only.
    pub policies_for_mesh: bool,
    /// When a sudden loss of its endpoints is not believed at once.
    pub guard: GuardSettings,
}

impl RegistrySettings {
    /// Settings with everything at its default and everything allowed.
    pub fn new(
        id: RegistryId,
        trust_domain: TrustDomain,
        domain: Hostname,
        namespace: Namespace,
    ) -> Self {
        Self {
            id,
            trust_domain,
            domain,
            namespace,
            hostname_template: HostnameTemplate::default(),
            network: Network::default(),
            locality: Locality::default(),
            allowed_namespaces: None,
            allowed_hostnames: None,
            policies_for_mesh: false,
            guard: GuardSettings::default(),
        }
    }

    /// The hostname of a service.
    ///
    /// # Errors
    /// When the names do not make a valid hostname.
    pub fn hostname(&self, name: &str, namespace: &Namespace) -> Result<Hostname, NameError> {
        self.hostname_template
            .hostname(name, namespace, &self.domain)
    }

    /// The identity of a workload with a service account.
    ///
    /// # Errors
    /// When the names do not make a valid SPIFFE id.
    pub fn identity(
        &self,
        namespace: &Namespace,
        service_account: &str,
    ) -> Result<SpiffeId, SpiffeIdError> {
        SpiffeId::workload(&self.trust_domain, namespace.as_str(), service_account)
    }
}

/// How a service's name, its namespace and the domain become a hostname: `{name}.{namespace}.svc.{domain}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostnameTemplate(Arc<str>);

/// Why a text is not a hostname template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Without the name, all services would be one.
    #[error(
        "hostname template '{0}' does not contain {{name}}, so all services would have the same hostname"
    )]
    NoName(String),
    /// Something else in braces.
    #[error(
        "hostname template '{0}' has a placeholder other than {{name}}, {{namespace}} and {{domain}}"
    )]
    UnknownPlaceholder(String),
    /// What it makes is not a hostname.
    #[error("hostname template '{0}' does not make a hostname: {1}")]
    NotAHostname(String, NameError),
}

impl HostnameTemplate {
    /// The hostname that it makes.
    ///
    /// # Errors
    /// When the result is not a hostname.
    pub fn hostname(
        &self,
        name: &str,
        namespace: &Namespace,
        domain: &Hostname,
    ) -> Result<Hostname, NameError> {
        self.0
            .replace("{namespace}", namespace.as_str())
            .replace("{domain}", domain.as_str())
            .replace("{name}", name)
            .parse()
    }
}

impl Default for HostnameTemplate {
    fn default() -> Self {
        Self("{name}.{namespace}.svc.{domain}".into())
    }
}

impl FromStr for HostnameTemplate {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        if !text.contains("{name}") {
            return Err(TemplateError::NoName(text.to_owned()));
        }
        let sample = text
            .replace("{name}", "n")
            .replace("{namespace}", "n")
            .replace("{domain}", "d");
        if sample.contains(['{', '}']) {
            return Err(TemplateError::UnknownPlaceholder(text.to_owned()));
        }
        sample
            .parse::<Hostname>()
            .map_err(|error| TemplateError::NotAHostname(text.to_owned(), error))?;
        Ok(Self(text.into()))
    }
}

impl fmt::Display for HostnameTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for HostnameTemplate {
    type Error = TemplateError;

    fn try_from(text: String) -> Result<Self, TemplateError> {
        text.parse()
    }
}

impl From<HostnameTemplate> for String {
    fn from(template: HostnameTemplate) -> Self {
        template.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_names_services_and_must_contain_the_name() {
        let parse = |text: &str| text.parse::<HostnameTemplate>();
        let namespace = "shop".parse().unwrap();
        let domain = "cluster.local".parse().unwrap();
        let hostname = |text: &str| {
            parse(text)
                .unwrap()
                .hostname("cart", &namespace, &domain)
                .unwrap()
        };
        assert_eq!(
            HostnameTemplate::default()
                .hostname("cart", &namespace, &domain)
                .unwrap()
                .as_str(),
            "cart.shop.svc.cluster.local"
        );
        assert_eq!(
            hostname("{name}.service.consul").as_str(),
            "cart.service.consul"
        );
        for text in ["{namespace}.svc", "{name}.{zone}", "{name}..x", "{name", ""] {
            assert!(parse(text).is_err(), "{text} was accepted");
        }
    }
}
