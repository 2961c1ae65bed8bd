//! References to Secrets with certificates, and what can be wrong with them.

use std::sync::Arc;

use bowline_mesh::{Code, Namespace};
use serde::Deserialize;

use crate::{
    Certificate, ManifestKind, SecretName,
    convert::Scope,
    metadata::shortened,
    parent::described,
    references::Reference,
    report::{Field, Report},
    secret::TLS,
    secrets::Lookup,
};

/// A reference of a listener to its certificate.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct CertificateRef {
    group: Option<Arc<str>>,
    kind: Option<Arc<str>>,
    namespace: Option<Arc<str>>,
    name: Arc<str>,
}

/// Why a reference leads to no certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unresolved {
    /// It names something else than a Secret.
    OtherKind(String),
    /// What it gives is the name of no namespace.
    NoNamespace(String),
    /// Nobody allows it to lead into another namespace.
    NotGranted(Namespace),
    /// There is no such Secret.
    Missing(SecretName),
    /// The Secret is there, and is no certificate for this reason.
    Unusable(SecretName, &'static str),
    /// Whether there is such a Secret may not be known.
    Hidden(SecretName),
}

impl CertificateRef {
    /// The Secret that is meant by a reference of an object in a namespace.
    pub(crate) fn secret(&self, own: &Namespace) -> Option<SecretName> {
        self.is_secret().then_some(())?;
        Some(SecretName {
            namespace: self.namespace(own).ok()?,
            name: self.name.clone(),
        })
    }

    /// What is wrong with it, as far as that is known.
    pub(crate) fn unresolved(&self, scope: &Scope<'_>) -> Option<Unresolved> {
        if !self.is_secret() {
            let (group, kind) = self.kind();
            return Some(Unresolved::OtherKind(described(group, kind)));
        }
        let namespace = match self.namespace(scope.namespace) {
            Ok(namespace) => namespace,
            Err(error) => return Some(Unresolved::NoNamespace(error.to_string())),
        };
        let reference = Reference {
            from_kind: scope.kind,
            from_namespace: scope.namespace,
            to_kind: ManifestKind::Secret,
            to_namespace: &namespace,
            to_name: &self.name,
        };
        // Before it is allowed, nobody is told whether the Secret is there.
        if !scope.context.references.allow(&reference) {
            return Some(Unresolved::NotGranted(namespace));
        }
        unresolved(&self.name, &namespace, scope)
    }

    fn is_secret(&self) -> bool {
        self.kind() == (ManifestKind::Secret.group(), ManifestKind::Secret.as_str())
    }

    fn kind(&self) -> (&str, &str) {
        let kind = self.kind.as_deref();
        (
            self.group.as_deref().unwrap_or_default(),
            kind.unwrap_or(ManifestKind::Secret.as_str()),
        )
    }

    fn namespace(&self, own: &Namespace) -> Result<Namespace, bowline_mesh::NameError> {
        match self.namespace.as_deref() {
            None | Some("") => Ok(own.clone()),
            Some(text) => text.parse(),
        }
    }
}

/// What is wrong with a Secret as a certificate, as far as that is known.
pub(crate) fn unresolved(
    name: &Arc<str>,
    namespace: &Namespace,
    scope: &Scope<'_>,
) -> Option<Unresolved> {
    let name = SecretName {
        namespace: namespace.clone(),
        name: name.clone(),
    };
    match scope.context.references.secrets.look_up(&name) {
        Lookup::Found(certificate) => {
            let flaw = Certificate::flaw(certificate)?;
            Some(Unresolved::Unusable(name, flaw))
        }
        Lookup::Missing => Some(Unresolved::Missing(name)),
        Lookup::Denied => Some(Unresolved::Hidden(name)),
        Lookup::Unknown => None,
    }
}

impl Unresolved {
    /// Why a reference of a Gateway is not resolved, as its status has it; `None` where it may well be.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        match self {
            Self::OtherKind(_) | Self::NoNamespace(_) | Self::Missing(_) | Self::Unusable(..) => {
                Some("InvalidCertificateRef")
            }
            Self::NotGranted(_) => Some("RefNotPermitted"),
            Self::Hidden(_) => None,
        }
    }

    /// The field of a reference that is wrong.
    pub(crate) fn field(&self) -> &'static str {
        match self {
            Self::OtherKind(_) => "kind",
            Self::NoNamespace(_) | Self::NotGranted(_) => "namespace",
            Self::Missing(_) | Self::Unusable(..) | Self::Hidden(_) => "name",
        }
    }

    /// What is wrong, for people.
    pub(crate) fn message(&self, scope: &Scope<'_>) -> String {
        match self {
            Self::OtherKind(kind) => format!("a certificate is in a Secret, not in a {kind}"),
            Self::NoNamespace(error) => error.clone(),
            Self::NotGranted(namespace) => format!(
                "namespace {namespace} does not allow references from {}",
                scope.namespace
            ),
            Self::Missing(secret) => {
                format!("there is no Secret {} of the type {TLS}", written(secret))
            }
            Self::Unusable(secret, flaw) => format!("the Secret {} {flaw}", written(secret)),
            Self::Hidden(secret) => format!(
                "whether there is a Secret {} cannot be looked up: Secrets may not be listed there",
                written(secret)
            ),
        }
    }

    /// Reports it.
    pub(crate) fn tell(
        &self,
        field: &Field<'_>,
        meanwhile: &str,
        scope: &Scope<'_>,
        report: &mut Report<'_>,
    ) {
        let message = self.message(scope);
        match self {
            Self::OtherKind(_) => report.error(
                Code::UnsupportedKind,
                field,
                message,
                meanwhile,
                "refer to a Secret",
            ),
            Self::NoNamespace(_) => report.invalid(field, message, "give the name of a namespace"),
            Self::NotGranted(namespace) => report.error(
                Code::UnresolvedReference,
                field,
                message,
                meanwhile,
                &format!(
                    "put a ReferenceGrant into {namespace}: from {} of {}, to Secret",
                    scope.kind, scope.namespace
                ),
            ),
            Self::Missing(_) => report.error(
                Code::UnresolvedReference,
                field,
                message,
                meanwhile,
                "correct the name, or make the Secret",
            ),
            Self::Unusable(..) => report.error(
                Code::UnresolvedReference,
                field,
                message,
                meanwhile,
                "make the Secret anew, with `kubectl create secret tls`",
            ),
            Self::Hidden(_) => report.warning(
                Code::Hidden,
                field,
                message,
                "the reference is taken to be right",
                "grant list and watch of secrets (docs/kubernetes.md says how), for all namespaces or for this one and name it in \
                 `secrets.namespaces`",
            ),
        }
    }
}

fn written(secret: &SecretName) -> String {
    format!("{}/{}", secret.namespace, shortened(&secret.name))
}
