//! The ports of a Service.

use std::{collections::BTreeSet, sync::Arc};

use bowline_mesh::{Code, Protocol, ServicePort as MeshPort};
use serde::Deserialize;

use crate::{
    metadata::shortened,
    report::{Field, Report},
};

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServicePort {
    #[serde(default)]
    pub(super) name: Arc<str>,
    pub(super) port: u16,
    #[serde(default)]
    protocol: Transport,
    app_protocol: Option<String>,
}

/// What carries a port's traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Transport {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

impl Transport {
    fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

pub(super) fn ports(
    ports: &[ServicePort],
    field: &Field<'_>,
    report: &mut Report<'_>,
) -> Vec<MeshPort> {
    let mut names = BTreeSet::new();
    let mut numbers = BTreeSet::new();
    let mut result = Vec::with_capacity(ports.len());
    for (index, port) in ports.iter().enumerate() {
        let field = field.index(index);
        if port.port == 0 {
            report.invalid(
                &field.key("port"),
                "0 is not a port",
                "give a number from 1 to 65535",
            );
        }
        if port.name.is_empty() && ports.len() > 1 {
            report.invalid(
                &field.key("name"),
                "a service with several ports needs a name for each",
                "name the port by what is spoken on it: http, grpc, tcp-orders…",
            );
        } else if !names.insert(&port.name) {
            report.invalid(
                &field.key("name"),
                format!("another port has the name '{}' too", shortened(&port.name)),
                "give each port a name of its own",
            );
        }
        if !numbers.insert((port.port, port.protocol)) {
            report.invalid(
                &field.key("port"),
                format!("{} {} is given twice", port.protocol.as_str(), port.port),
                "give each port a number of its own",
            );
        }
        match port.protocol {
            Transport::Tcp => result.push(MeshPort {
                number: port.port,
                name: port.name.clone(),
                protocol: protocol(port, &field, report),
                local_port: None,
            }),
            Transport::Udp | Transport::Sctp => report.unsupported(
                &field.key("protocol"),
                format!("{} is not carried", port.protocol.as_str()),
                "the port is left out; the others act",
                "call it without the mesh",
            ),
        }
    }
    result
}

fn protocol(port: &ServicePort, field: &Field<'_>, report: &mut Report<'_>) -> Protocol {
    let by_name = Protocol::from_name(&port.name).unwrap_or(Protocol::Auto);
    let Some(app_protocol) = port.app_protocol.as_deref().filter(|text| !text.is_empty()) else {
        return by_name;
    };
    Protocol::from_name(app_protocol).unwrap_or_else(|| {
        report.warning(
            Code::UnsupportedField,
            &field.key("appProtocol"),
            format!("'{}' is not a protocol that is known here", shortened(app_protocol)),
            "the protocol is told from the port's name or, if that says nothing, from the first bytes",
            "write http, http2, grpc, tls, tcp, or one of kubernetes.io/h2c, kubernetes.io/ws, kubernetes.io/wss",
        );
        by_name
    })
}
