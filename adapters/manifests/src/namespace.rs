//! Namespaces: their labels decide which routes a gateway allows.

use bowline_mesh::Object;
use serde::Deserialize;

use crate::{Metadata, convert::Scope, report::Report};

/// Fields that mean nothing here.
pub(crate) const IGNORED: &[&str] = &["spec"];

/// A Namespace, as far as it is read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Namespace {
    pub(crate) metadata: Metadata,
}

/// It becomes nothing by itself.
pub(crate) fn objects(_: &Namespace, _: &Scope<'_>, _: &mut Report<'_>) -> Vec<Object> {
    Vec::new()
}
