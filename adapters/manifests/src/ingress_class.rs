//! IngressClasses: they say which Ingresses are ours, and at which gateway those come in.

use std::sync::Arc;

use bowline_mesh::{
    AllowedRoutes, Code, Gateway as MeshGateway, GatewayListener, GatewayName, GatewayProtocol,
    HostPattern, Namespace, Object, Spec,
};
use serde::Deserialize;

use crate::{
    ManifestKind, Metadata,
    convert::Scope,
    parent::described,
    report::{Field, Report},
};

/// Fields that mean nothing here.
pub(crate) const IGNORED: &[&str] = &[];

/// The controller of the IngressClasses that are ours.
const CONTROLLER: &str = "bowline.dev/ingress-controller";
/// The port of a class that names no gateway.
const PORT: u16 = 80;

/// An IngressClass, as far as it is read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct IngressClass {
    pub(crate) metadata: Metadata,
    #[serde(default)]
    spec: IngressClassSpec,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
struct IngressClassSpec {
    #[serde(default)]
    controller: Arc<str>,
    parameters: Option<Parameters>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parameters {
    api_group: Option<Arc<str>>,
    kind: Arc<str>,
    name: Arc<str>,
    namespace: Option<String>,
    scope: Option<Arc<str>>,
}

/// What Ingresses must know of a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClassFacts {
    pub(crate) is_ours: bool,
    /// Whether Ingresses that name no class are of it.
    pub(crate) is_default: bool,
    /// The Gateway that its parameters name.
    gateway: Option<GatewayName>,
}

impl ClassFacts {
    /// Where its Ingresses come in.
    pub(crate) fn gateway(&self, class: &str, namespace: &Namespace) -> GatewayName {
        match &self.gateway {
            Some(gateway) => gateway.clone(),
            None => own_gateway(class, namespace),
        }
    }
}

/// The gateway of a class that names none. `_` is in no name of Kubernetes, so it is never a Gateway's.
pub(crate) fn own_gateway(class: &str, namespace: &Namespace) -> GatewayName {
    GatewayName {
        namespace: namespace.clone(),
        name: object_name(class),
    }
}

/// The name of a class' own gateway.
pub(crate) fn object_name(class: &str) -> Arc<str> {
    format!("ingress_{class}").into()
}

impl IngressClass {
    pub(crate) fn facts(&self) -> ClassFacts {
        let is_default = self.metadata.annotations.is_default_class.as_deref() == Some("true");
        ClassFacts {
            is_ours: self.is_ours(),
            is_default,
            gateway: self.gateway(),
        }
    }

    fn is_ours(&self) -> bool {
        *self.spec.controller == *CONTROLLER
    }

    fn gateway(&self) -> Option<GatewayName> {
        let parameters = self.spec.parameters.as_ref()?;
        let is_gateway = parameters.api_group.as_deref() == Some(ManifestKind::Gateway.group())
            && *parameters.kind == *ManifestKind::Gateway.as_str();
        let namespace = parameters.namespace.as_deref()?.parse().ok()?;
        is_gateway.then(|| GatewayName {
            namespace,
            name: parameters.name.clone(),
        })
    }
}

/// A gateway of its own, unless it names one.
pub(crate) fn objects(
    class: &IngressClass,
    scope: &Scope<'_>,
    report: &mut Report<'_>,
) -> Vec<Object> {
    if !class.is_ours() || class.gateway().is_some() {
        return Vec::new();
    }
    if let Some(parameters) = &class.spec.parameters {
        let group = parameters.api_group.as_deref().unwrap_or_default();
        let field = Field::root("spec");
        let field = field.key("parameters");
        report.error(
            Code::UnsupportedKind,
            &field,
            match parameters.namespace {
                None => "a Gateway is in a namespace, and the parameters name none".to_owned(),
                Some(_) => format!(
                    "Ingresses do not come in at a {}",
                    described(group, &parameters.kind)
                ),
            },
            "the class has a gateway of its own",
            "name a Gateway of gateway.networking.k8s.io with `scope: Namespace`, or leave the parameters out",
        );
    }
    let listener = GatewayListener {
        name: "http".into(),
        port: PORT,
        protocol: GatewayProtocol::Http,
        hostname: HostPattern::Any,
        allowed_routes: AllowedRoutes::All,
    };
    let gateway = MeshGateway {
        listeners: vec![listener],
    };
    vec![scope.object(Spec::Gateway(Arc::new(gateway)))]
}
