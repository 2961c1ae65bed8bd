//! Names: parsed once, valid from then on.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// Why a text is not the name that it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a {what}: {reason}")]
pub struct NameError {
    text: String,
    what: &'static str,
    reason: &'static str,
}

/// A DNS name in lower case, such as `cart.shop.svc.cluster.local`.
///
/// Labels have 1 to 63 letters, digits, `-` or `_` (which SRV names and Consul use); the whole has at most 253 bytes; no
/// trailing dot. An IP address is not a hostname.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hostname(Arc<str>);

impl FromStr for Hostname {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let error = |reason| NameError {
            text: shortened(text),
            what: "hostname",
            reason,
        };
        if text.len() > 253 {
            return Err(error("it is longer than 253 bytes"));
        }
        if text.parse::<std::net::IpAddr>().is_ok() {
            return Err(error("it is an IP address"));
        }
        for label in text.split('.') {
            match label.len() {
                0 => return Err(error("it has an empty label")),
                1..=63 => {}
                _ => return Err(error("a label is longer than 63 bytes")),
            }
            if label.starts_with('-') || label.ends_with('-') {
                return Err(error("a label begins or ends with '-'"));
            }
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if !label.bytes().all(allowed) {
                return Err(error("only letters, digits, '-', '_' and '.' are allowed"));
            }
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}

/// Which hostnames something is about: all, those below a name, or one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HostPattern {
    /// One hostname.
    Exact(Hostname),
    /// All hostnames that end in a dot and this name: written `*.example.com`.
    Below(Hostname),
    /// All: written `*`.
    Any,
}

impl HostPattern {
    /// Whether a hostname is meant.
    pub fn matches(&self, hostname: &Hostname) -> bool {
        match self {
            Self::Exact(exact) => exact == hostname,
            Self::Below(suffix) => is_below(hostname, suffix),
            Self::Any => true,
        }
    }

    /// What both patterns mean, if anything: the more specific one.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let wider_contains = |wider: &Self, narrower: &Self| match narrower {
            Self::Exact(hostname) => wider.matches(hostname),
            Self::Below(suffix) => match wider {
                Self::Below(wider) => wider == suffix || is_below(suffix, wider),
                Self::Any => true,
                Self::Exact(_) => false,
            },
            Self::Any => matches!(wider, Self::Any),
        };
        if wider_contains(self, other) {
            Some(other.clone())
        } else if wider_contains(other, self) {
            Some(self.clone())
        } else {
            None
        }
    }
}

fn is_below(hostname: &Hostname, suffix: &Hostname) -> bool {
    hostname
        .as_str()
        .strip_suffix(suffix.as_str())
        .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

impl FromStr for HostPattern {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.strip_prefix("*.") {
            Some(suffix) => Ok(Self::Below(suffix.parse()?)),
            None if text == "*" => Ok(Self::Any),
            None => Ok(Self::Exact(text.parse()?)),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(hostname) => write!(f, "{hostname}"),
            Self::Below(suffix) => write!(f, "*.{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

impl TryFrom<String> for HostPattern {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.to_string()
    }
}

/// A namespace: one DNS label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Namespace(Arc<str>);

/// The name of a registry, as the configuration gives it: one DNS label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RegistryId(Arc<str>);

impl RegistryId {
    /// The registry that the `manifests` of the configuration belong to. No entry of `registries` may have this name.
    pub fn manifests() -> Self {
        Self("manifests".into())
    }
}

/// The name of a network: addresses reach each other within one. The empty name is the default network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(Option<Arc<str>>);

impl Network {
    /// The name as text; empty for the default network.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

impl FromStr for Network {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text {
            "" => Ok(Self(None)),
            name => dns_label(name, "network name").map(|name| Self(Some(name))),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<String> for Network {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

fn dns_label(text: &str, what: &'static str) -> Result<Arc<str>, NameError> {
    let error = |reason| {
        Err(NameError {
            text: shortened(text),
            what,
            reason,
        })
    };
    if text.is_empty() || text.len() > 63 {
        return error("it must have 1 to 63 characters");
    }
    if !text
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    {
        return error("only lower-case letters, digits and '-' are allowed");
    }
    if text.starts_with('-') || text.ends_with('-') {
        return error("it begins or ends with '-'");
    }
    Ok(text.into())
}

/// Texts from outside can be of any length; messages are for people.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

macro_rules! text_name {
    ($($name:ident)*) => {$(
        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }
    )*};
}

text_name!(Hostname Namespace RegistryId);

impl FromStr for Namespace {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        dns_label(text, "namespace").map(Self)
    }
}

impl FromStr for RegistryId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        dns_label(text, "registry name").map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostnames_are_validated_and_lower_cased() {
        let parse = |text: &str| text.parse::<Hostname>();
        assert_eq!(parse("Cart.Shop").unwrap().as_str(), "cart.shop");
        assert!(parse("_sip._tcp.example").is_ok());
        let long = format!("{}.example", "a".repeat(64));
        let longer = "a.".repeat(127) + "a";
        for text in [
            "",
            ".",
            "a..b",
            "a.",
            "-a",
            "a-.b",
            "a b",
            "ä.example",
            "*.a",
            "10.0.0.1",
            "::1",
            &long,
            &longer,
        ] {
            assert!(parse(text).is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn patterns_match_below_and_never_the_name_itself() {
        let pattern: HostPattern = "*.example.com".parse().unwrap();
        let matches = |text: &str| pattern.matches(&text.parse().unwrap());
        assert!(matches("a.example.com") && matches("a.b.example.com"));
        assert!(!matches("example.com") && !matches("anexample.com"));
    }

    #[test]
    fn the_intersection_of_patterns_is_the_more_specific_one() {
        let cases = [
            ("*", "*", Some("*")),
            ("*", "*.a", Some("*.a")),
            ("*.a", "b.a", Some("b.a")),
            ("*.a", "*.b.a", Some("*.b.a")),
            ("b.a", "b.a", Some("b.a")),
            ("*.a", "a", None),
            ("*.a", "*.b", None),
            ("b.a", "c.a", None),
        ];
        for (one, other, expected) in cases {
            let [one, other]: [HostPattern; 2] = [one, other].map(|text| text.parse().unwrap());
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!(one.intersection(&other), expected, "{one} and {other}");
            assert_eq!(other.intersection(&one), expected, "{other} and {one}");
        }
    }
}
