//! GatewayClasses: they say which gateways are ours.

use bowline_mesh::Object;
use serde::Deserialize;

use crate::{
    Metadata,
    convert::Scope,
    metadata::Present,
    report::{Field, Report},
};

/// Fields that mean nothing here.
pub(crate) const IGNORED: &[&str] = &["spec.description"];

/// A GatewayClass, as far as it is read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct GatewayClass {
    pub(crate) metadata: Metadata,
    spec: GatewayClassSpec,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GatewayClassSpec {
    controller_name: String,
    parameters_ref: Option<Present>,
}

impl GatewayClass {
    pub(crate) fn has_parameters(&self) -> bool {
        self.spec.parameters_ref.is_some()
    }

    pub(crate) fn controller(&self) -> &str {
        &self.spec.controller_name
    }
}

/// It becomes nothing by itself.
pub(crate) fn objects(
    class: &GatewayClass,
    scope: &Scope<'_>,
    report: &mut Report<'_>,
) -> Vec<Object> {
    if class.has_parameters() && scope.context.references.is_our_class(scope.name) {
        report.unsupported(
            &Field::root("spec").key("parametersRef"),
            "parameters of a class are not read",
            "gateways of the class have no parameters",
            "leave it out",
        );
    }
    Vec::new()
}
