//! What of objects a client wants to see, by its header `Accept`.

use http::{header, request::Parts};

use super::{failure::Failure, store::Shape};

/// What is shown to a client. The first of what it takes that can be had counts.
pub(super) fn shape(parts: &Parts, verb: &str) -> Result<Shape, Failure> {
    let accept = parts.headers.get(header::ACCEPT);
    let accept = accept.and_then(|accept| accept.to_str().ok());
    let mut taken = accept.unwrap_or("*/*").split(',').filter_map(Taken::parse);
    match (taken.next(), verb) {
        (Some(Taken::Object), _) => Ok(Shape::Whole),
        (Some(Taken::Metadata { of: Of::List }), "list" | "watch")
        | (
            Some(Taken::Metadata { of: Of::One }),
            "get" | "create" | "update" | "patch" | "delete" | "watch",
        ) => Ok(Shape::Metadata),
        (Some(Taken::Metadata { of: Of::One }), _) => Err(Failure::not_acceptable(
            "you requested PartialObjectMetadata, but the requested object is a list",
        )),
        (Some(Taken::Metadata { of: Of::List }), _) => Err(Failure::not_acceptable(
            "you requested PartialObjectMetadataList, but the requested object is not a list",
        )),
        (None, _) => Err(Failure::not_acceptable(
            "only the following media types are accepted: application/json, application/yaml, \
             application/vnd.kubernetes.protobuf",
        )),
    }
}

/// Something that a client takes and that can be had.
enum Taken {
    Object,
    Metadata { of: Of },
}

enum Of {
    One,
    List,
}

impl Taken {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let is_json = matches!(
            parts.next(),
            Some("application/json" | "application/*" | "*/*")
        );
        let parameters: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
        let parameter = |name: &str| {
            let mut parameters = parameters.iter();
            parameters.find_map(|(each, value)| (*each == name).then_some(*value))
        };
        let is_known = parameter("g") == Some("meta.k8s.io") && parameter("v") == Some("v1");
        match parameter("as") {
            _ if !is_json => None,
            None => Some(Self::Object),
            Some("PartialObjectMetadata") if is_known => Some(Self::Metadata { of: Of::One }),
            Some("PartialObjectMetadataList") if is_known => Some(Self::Metadata { of: Of::List }),
            Some(_) => None,
        }
    }
}
