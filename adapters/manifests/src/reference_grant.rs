//! ReferenceGrants: who may refer to objects of another namespace.

use std::sync::Arc;

use bowline_mesh::Object;
use serde::Deserialize;

use crate::{ManifestKind, Metadata, convert::Scope, references::Reference, report::Report};

/// Fields that mean nothing here.
pub(crate) const IGNORED: &[&str] = &[];

/// A ReferenceGrant, as far as it is read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ReferenceGrant {
    pub(crate) metadata: Metadata,
    spec: ReferenceGrantSpec,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct ReferenceGrantSpec {
    from: Vec<GrantFrom>,
    to: Vec<GrantTo>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct GrantFrom {
    group: Arc<str>,
    kind: Arc<str>,
    namespace: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct GrantTo {
    group: Arc<str>,
    kind: Arc<str>,
    name: Option<Arc<str>>,
}

impl ReferenceGrant {
    /// Whether it allows a reference into its own namespace. Grants about kinds that are not read allow nothing here.
    pub(crate) fn allows(&self, reference: &Reference<'_>) -> bool {
        let ReferenceGrantSpec { from, to } = &self.spec;
        let is = |group: &str, kind: &str, expected: ManifestKind| {
            group == expected.group() && kind == expected.as_str()
        };
        from.iter().any(|from| {
            is(&from.group, &from.kind, reference.from_kind)
                && *from.namespace == *reference.from_namespace.as_str()
        }) && to.iter().any(|to| {
            is(&to.group, &to.kind, reference.to_kind)
                && to
                    .name
                    .as_deref()
                    .is_none_or(|name| name == reference.to_name)
        })
    }
}

/// It becomes nothing by itself.
pub(crate) fn objects(_: &ReferenceGrant, _: &Scope<'_>, _: &mut Report<'_>) -> Vec<Object> {
    Vec::new()
}
