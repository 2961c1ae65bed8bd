//! SPIFFE ids and trust domains (SPIFFE-ID specification, sections 2.1 to 2.3).

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// Longest SPIFFE id that an implementation must accept (SPIFFE-ID, section 2.3); longer ones are refused.
const SPIFFE_ID_BYTES_MAX: usize = 2048;
/// Longest trust domain name (SPIFFE-ID, section 2.1).
const TRUST_DOMAIN_BYTES_MAX: usize = 255;

/// The name of an authority's realm, such as `mesh.example`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a workload: `spiffe://{trust domain}/{path}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpiffeId {
    trust_domain: TrustDomain,
    /// With its leading slash; empty for the trust domain itself.
    path: Arc<str>,
}

impl SpiffeId {
    /// The id that every kind of workload has in a mesh: `spiffe://{trust domain}/ns/{namespace}/sa/{service account}`.
    ///
    /// # Errors
    /// When namespace or service account is not a valid path segment.
    pub fn workload(
        trust_domain: &TrustDomain,
        namespace: &str,
        service_account: &str,
    ) -> Result<Self, SpiffeIdError> {
        let id = Self::with_path(
            trust_domain.clone(),
            &format!("/ns/{namespace}/sa/{service_account}"),
        )?;
        match id.namespace_and_service_account() {
            Some((ns, sa)) if (ns, sa) == (namespace, service_account) => Ok(id),
            _ => Err(SpiffeIdError {
                text: id.to_string(),
                reason: "has a '/' in its namespace or service account",
            }),
        }
    }

    /// The realm of the authority that vouches for the id.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The path with its leading slash; empty where the id names the trust domain itself.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Namespace and service account, where the path has the form of a mesh workload.
    pub fn namespace_and_service_account(&self) -> Option<(&str, &str)> {
        let (namespace, service_account) = self.path.strip_prefix("/ns/")?.split_once("/sa/")?;
        let is_segment = |text: &str| !text.is_empty() && !text.contains('/');
        (is_segment(namespace) && is_segment(service_account))
            .then_some((namespace, service_account))
    }

    fn with_path(trust_domain: TrustDomain, path: &str) -> Result<Self, SpiffeIdError> {
        let error = |reason| SpiffeIdError {
            text: format!("spiffe://{trust_domain}{path}"),
            reason,
        };
        if "spiffe://".len() + trust_domain.as_str().len() + path.len() > SPIFFE_ID_BYTES_MAX {
            return Err(error("is longer than 2048 bytes"));
        }
        for segment in path.split('/').skip(1) {
            match segment {
                "" => return Err(error("has an empty path segment or a trailing slash")),
                "." | ".." => return Err(error("has a relative path segment")),
                _ => {}
            }
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            if !segment.bytes().all(allowed) {
                return Err(error(
                    "has a character in its path that is not a letter, digit, '-', '_' or '.'",
                ));
            }
        }
        Ok(Self {
            trust_domain,
            path: path.into(),
        })
    }
}

/// Why a text is not a SPIFFE id or trust domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' {reason}")]
pub struct SpiffeIdError {
    text: String,
    reason: &'static str,
}

impl FromStr for TrustDomain {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |reason| {
            Err(SpiffeIdError {
                text: text.to_owned(),
                reason,
            })
        };
        if text.is_empty() {
            return error("is not a trust domain: it is empty");
        }
        if text.len() > TRUST_DOMAIN_BYTES_MAX {
            return error("is longer than 255 bytes");
        }
        let allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        if !text.bytes().all(allowed) {
            return error(
                "is not a trust domain: it may have lower-case letters, digits, '-', '_' and '.' only",
            );
        }
        Ok(Self(text.into()))
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some(rest) = text.strip_prefix("spiffe://") else {
            return Err(SpiffeIdError {
                text: text.to_owned(),
                reason: "is not a SPIFFE id: it must begin with 'spiffe://'",
            });
        };
        let authority = rest.split('/').next().unwrap_or_default();
        let path = rest.strip_prefix(authority).unwrap_or_default();
        Self::with_path(authority.parse()?, path)
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}{}", self.trust_domain, self.path)
    }
}

impl TryFrom<String> for TrustDomain {
    type Error = SpiffeIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TrustDomain> for String {
    fn from(trust_domain: TrustDomain) -> Self {
        trust_domain.to_string()
    }
}

impl TryFrom<String> for SpiffeId {
    type Error = SpiffeIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SpiffeId> for String {
    fn from(id: SpiffeId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_id_round_trips_and_names_its_parts() {
        let id = SpiffeId::workload(&"mesh.example".parse().unwrap(), "shop", "cart").unwrap();
        assert_eq!(id.to_string(), "spiffe://mesh.example/ns/shop/sa/cart");
        assert_eq!(id.to_string().parse::<SpiffeId>().unwrap(), id);
        assert_eq!(id.namespace_and_service_account(), Some(("shop", "cart")));
    }

    #[test]
    fn texts_that_are_no_spiffe_ids_are_refused() {
        for text in [
            "",
            "mesh.example/ns/a/sa/b",
            "http://mesh.example/ns/a",
            "spiffe://",
            "spiffe:///ns/a",
            "spiffe://Mesh.Example/ns/a",
            "spiffe://mesh.example:443/ns/a",
            "spiffe://mesh.example/",
            "spiffe://mesh.example/ns//sa/b",
            "spiffe://mesh.example/ns/a/",
            "spiffe://mesh.example/ns/../sa",
            "spiffe://mesh.example/ns/a?b",
            "spiffe://mesh.example/ns/ä",
        ] {
            assert!(text.parse::<SpiffeId>().is_err(), "{text} was accepted");
        }
        assert!(
            format!("spiffe://a/{}", "x".repeat(3000))
                .parse::<SpiffeId>()
                .is_err()
        );
        let trust_domain = "a".parse().unwrap();
        assert!(SpiffeId::workload(&trust_domain, "a/b", "c").is_err());
        assert!(SpiffeId::workload(&trust_domain, "", "c").is_err());
    }

    #[test]
    fn other_paths_have_no_namespace() {
        for text in [
            "spiffe://a",
            "spiffe://a/vm/x",
            "spiffe://a/ns/x/sa/y/z",
            "spiffe://a/ns/x",
        ] {
            let id: SpiffeId = text.parse().unwrap();
            assert_eq!(id.namespace_and_service_account(), None, "{text}");
        }
    }
}
