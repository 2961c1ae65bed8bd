//! What a request turned out to be.

use bowline_snapshot::{Resource, ResourceType};

use super::verdict::Verdict;

/// What this client means by a first request without names, for the types where that can mean everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EmptyRequests {
    /// Everything, as Envoy does.
    MeanAll,
    /// Nothing, as gRPC does.
    MeanNothing,
}

/// A request, judged.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// For a type that nobody serves.
    Unserved,
    /// For an earlier response, and of no effect.
    Outdated(ResourceType),
    Current(Current),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Current {
    pub(crate) resource_type: ResourceType,
    pub(crate) verdict: Option<Verdict>,
    /// It acknowledges or rejects something that is not the newest response.
    pub(crate) has_stale_nonce: bool,
    pub(crate) names: usize,
    pub(crate) has_wildcard: bool,
    /// What the client has rejected and is not sent any more.
    pub(crate) quarantined: Vec<Resource>,
}

/// A request that ends the stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("a request on an aggregated stream needs a type_url")]
    NoType,
    #[error("a name or version in initial_resource_versions is no UTF-8 text")]
    NoText,
    #[error("this service is about {served}, not '{requested}'")]
    OtherType { served: String, requested: String },
    #[error("more than {max} names of {resource_type} are subscribed on one stream")]
    TooManyNames {
        resource_type: ResourceType,
        max: usize,
    },
}

impl From<RequestError> for tonic::Status {
    fn from(error: RequestError) -> Self {
        match &error {
            RequestError::NoType | RequestError::NoText | RequestError::OtherType { .. } => {
                Self::invalid_argument(error.to_string())
            }
            RequestError::TooManyNames { .. } => Self::resource_exhausted(error.to_string()),
        }
    }
}
