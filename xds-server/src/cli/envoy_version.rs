//! Which Envoy something is for: an Envoy refuses to start with a field that it does not know, and takes routes as its version can.

use std::{fmt, str::FromStr};

use bowline_mesh::RouteDelivery;

use crate::node;

/// A minor version of Envoy: fields come with minor versions only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EnvoyVersion {
    major: u32,
    minor: u32,
}

/// Why a text names no version that there is a bootstrap for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum EnvoyVersionError {
    #[error("write it as `1.38` or `1.38.2`")]
    Form,
    #[error(
        "Envoy {0} is older than {oldest}, the oldest that is supported: take a newer Envoy",
        oldest = EnvoyVersion::OLDEST
    )]
    TooOld(EnvoyVersion),
}

impl EnvoyVersion {
    /// The oldest that this was tried with.
    const OLDEST: Self = Self::new(1, 36);
    /// The one that every change is tested with.
    pub(super) const NEWEST: Self = Self::new(1, 40);
    const TAG_OVERRIDES_SINCE: Self = Self::new(1, 39);

    const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// How routes come to it, on the stream that a bootstrap makes.
    pub(super) fn route_delivery(self) -> RouteDelivery {
        node::route_delivery_of(self.major, self.minor)
    }

    /// Whether a tag of our own may stand in the place of one of Envoy's (`stats_config.allow_default_tag_overrides`).
    pub(super) fn has_tag_overrides(self) -> bool {
        self >= Self::TAG_OVERRIDES_SINCE
    }
}

impl FromStr for EnvoyVersion {
    type Err = EnvoyVersionError;

    fn from_str(text: &str) -> Result<Self, EnvoyVersionError> {
        let numbers: Result<Vec<u32>, _> = text.split('.').map(str::parse).collect();
        let version = match numbers.as_deref() {
            Ok([major, minor] | [major, minor, _]) => Self::new(*major, *minor),
            Ok(_) | Err(_) => return Err(EnvoyVersionError::Form),
        };
        match version < Self::OLDEST {
            true => Err(EnvoyVersionError::TooOld(version)),
            false => Ok(version),
        }
    }
}

impl fmt::Display for EnvoyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { major, minor } = self;
        write!(f, "{major}.{minor}")
    }
}
