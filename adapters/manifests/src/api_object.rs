//! One object as an API server sends it.

use std::sync::Arc;

use bowline_mesh::{Code, Problem, RegistrySettings, Severity, Source};
use serde::Deserialize;

use crate::{
    Manifest, ManifestKind, ManifestName, Metadata, convert::object_key, json::JsonError,
    report::LAST_GOOD,
};

/// An object with a usable name.
///
/// Two of them are equal if nothing differs that is used here.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiObject {
    /// What tells it from others.
    pub name: ManifestName,
    /// Where it is, for messages: `prod Service default/cart`.
    pub source: Source,
    /// What it says; `None` if it cannot be taken as it is, and its last good version should stay.
    pub manifest: Option<Arc<Manifest>>,
    /// What is understood of one that is not taken because of what is not. It does not act; it only tells whose status says so.
    pub half_read: Option<Arc<Manifest>>,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
}

/// The part of an object that must be right for it to have a last good version.
#[derive(Deserialize)]
struct Identified {
    metadata: Identity,
}

#[derive(Deserialize)]
struct Identity {
    name: Option<Arc<str>>,
    namespace: Option<String>,
}

impl ApiObject {
    /// Reads an object of a kind.
    ///
    /// A field that is not known has been accepted by an API server that is newer than this program. Where it is about routing, acting
    /// without it could send requests elsewhere, so such an object is not taken; for Services and the like it is a warning.
    ///
    /// # Errors
    /// When it has no usable name. The Problem is the only trace of it.
    pub fn read(
        kind: ManifestKind,
        json: &str,
        settings: &RegistrySettings,
    ) -> Result<Self, Box<Problem>> {
        match kind.decode_json(json) {
            Ok((manifest, unknown)) => {
                let name = named(kind, manifest.metadata(), settings)?;
                let source = source(&name, settings);
                let problem = |field: String| unknown_field(field, &name, &source, settings);
                let is_taken = unknown.is_empty() || !kind.is_about_routing();
                let manifest = Some(Arc::new(manifest));
                let (manifest, half_read) = match is_taken {
                    true => (manifest, None),
                    false => (None, manifest),
                };
                Ok(Self {
                    problems: unknown.into_iter().map(problem).collect(),
                    manifest,
                    half_read,
                    name,
                    source,
                })
            }
            Err(error) => {
                let name = Self::name(kind, json, settings)?;
                let source = source(&name, settings);
                Ok(Self {
                    manifest: None,
                    half_read: None,
                    problems: vec![wrong_field(error, &name, &source, settings)],
                    name,
                    source,
                })
            }
        }
    }

    /// Reads only the name of an object: all that counts of one that was deleted.
    ///
    /// # Errors
    /// When it has none that is usable.
    pub fn name(
        kind: ManifestKind,
        json: &str,
        settings: &RegistrySettings,
    ) -> Result<ManifestName, Box<Problem>> {
        let Identity { name, namespace } = match serde_json::from_str(json) {
            Ok(Identified { metadata }) => metadata,
            Err(_) => Identity {
                name: None,
                namespace: None,
            },
        };
        let metadata = Metadata {
            name,
            namespace,
            ..Metadata::default()
        };
        named(kind, &metadata, settings)
    }
}

fn named(
    kind: ManifestKind,
    metadata: &Metadata,
    settings: &RegistrySettings,
) -> Result<ManifestName, Box<Problem>> {
    ManifestName::new(kind, metadata, settings).map_err(|error| {
        Box::new(Problem {
            code: Code::InvalidField,
            severity: Severity::Error,
            object: None,
            source: Some(Source {
                place: format!("{} {kind}", settings.id).into(),
                line: None,
            }),
            field: error.field().into(),
            message: error.to_string().into(),
            meanwhile: "it is left out; the other objects act".into(),
            hint: "delete the object, and make it anew with a name that Kubernetes accepts".into(),
        })
    })
}

fn source(name: &ManifestName, settings: &RegistrySettings) -> Source {
    Source {
        place: format!("{} {name}", settings.id).into(),
        line: None,
    }
}

fn unknown_field(
    field: String,
    name: &ManifestName,
    source: &Source,
    settings: &RegistrySettings,
) -> Problem {
    let (severity, meanwhile) = if name.kind.is_about_routing() {
        (Severity::Error, LAST_GOOD)
    } else {
        (Severity::Warning, "the object acts without it")
    };
    Problem {
        code: Code::UnknownField,
        severity,
        object: object_key(name, settings),
        source: Some(source.clone()),
        field: field.into(),
        message: format!("{name}: the field is not known here").into(),
        meanwhile: meanwhile.into(),
        hint: "take the field out, or use a version of Bowline that knows it".into(),
    }
}

fn wrong_field(
    error: JsonError,
    name: &ManifestName,
    source: &Source,
    settings: &RegistrySettings,
) -> Problem {
    let JsonError { path, message } = error;
    let object = object_key(name, settings);
    Problem {
        code: Code::InvalidField,
        severity: Severity::Error,
        source: Some(source.clone()),
        field: path.into(),
        message: match &object {
            Some(_) => message.into(),
            None => format!("{name}: {message}").into(),
        },
        object,
        meanwhile: LAST_GOOD.into(),
        hint: "correct the field".into(),
    }
}
