//! The mesh as files that Bowline reads: one a service, so that one change is one small file.

use std::fmt::Write;

use super::{
    Change, ENDPOINTS, HTTP_PORT, LARGE, PROXIES, REPLACEMENTS, SERVICES, World, address,
    namespace, port, service_name, workload,
};
use crate::proxy::memo::MARKER;

/// A file below the server's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where it is, relative to the folder.
    pub path: String,
    /// What is in it.
    pub content: String,
}

/// Where most services and all workloads are.
const INVENTORY: &str = "inventory";
/// Where services are that change: a registry of its own, because the latency of reading a large folder is not what is measured.
const CHANGING: &str = "changing";
/// Where the large service is.
const LARGE_FOLDER: &str = "large";
/// Where the manifests are.
pub const MANIFESTS: &str = "manifests";

/// A service with its endpoints.
struct Described<'a> {
    folder: &'static str,
    file: String,
    name: &'a str,
    number: usize,
    namespace: usize,
    port: (u16, &'static str),
    prefers_zone: bool,
    /// The address of an endpoint by network and number.
    endpoint: &'a dyn Fn(usize, usize) -> std::net::Ipv4Addr,
    endpoints: usize,
    /// The weight of the first endpoint of each network; of all others it is 1.
    marker: u64,
}

impl World {
    /// The folders of inventories.
    pub fn inventories(&self) -> Vec<&'static str> {
        let large = (self.large > 0).then_some(LARGE_FOLDER);
        [INVENTORY, CHANGING].into_iter().chain(large).collect()
    }

    /// Everything that is there in the beginning.
    pub fn files(&self) -> Vec<File> {
        let services = (0..self.services).map(|service| self.service(service, 1));
        let large = (self.large > 0).then(|| self.large_service(0, 1));
        let workloads = (0..self.workloads).map(|kind| self.instances(kind));
        let mut files: Vec<File> = services.chain(large).chain(workloads).collect();
        files.push(self.route(1));
        files
    }

    /// The file that makes a change.
    pub fn changed_file(&self, change: Change) -> File {
        match change {
            Change::Endpoint { service, marker } => self.service(service, marker),
            Change::Route { marker } => self.route(marker),
            Change::Replacement { replaced, marker } => self.large_service(replaced, marker),
            Change::Service { marker } => self.added_service(marker),
        }
    }

    fn service(&self, service: usize, marker: u64) -> File {
        let stride = self.networks * self.endpoints;
        self.file(&Described {
            folder: if service < self.changing() {
                CHANGING
            } else {
                INVENTORY
            },
            file: format!("{}.yaml", service_name(service)),
            name: &service_name(service),
            number: service,
            namespace: service % self.namespaces,
            port: port(service),
            prefers_zone: service % 10 == 1,
            endpoint: &|network, endpoint| {
                address(
                    ENDPOINTS,
                    service * stride + network * self.endpoints + endpoint,
                )
            },
            endpoints: self.endpoints,
            marker,
        })
    }

    /// The first endpoint stays, those after it are replaced one after the other, again and again.
    fn large_service(&self, replaced: usize, marker: u64) -> File {
        let others = self.large.saturating_sub(1).max(1);
        self.file(&Described {
            folder: LARGE_FOLDER,
            file: format!("{LARGE}.yaml"),
            name: LARGE,
            number: self.services,
            namespace: 0,
            port: (HTTP_PORT, "http"),
            prefers_zone: false,
            endpoint: &|network, endpoint| {
                let generation = match endpoint.checked_sub(1) {
                    Some(place) => replaced / others + usize::from(replaced % others > place),
                    None => 0,
                };
                address(
                    REPLACEMENTS,
                    (generation * self.networks + network) * self.large + endpoint,
                )
            },
            endpoints: self.large,
            marker,
        })
    }

    fn added_service(&self, marker: u64) -> File {
        let name = format!("{MARKER}{marker}");
        let number = self.services + 1 + usize::try_from(marker).unwrap_or(usize::MAX);
        let stride = self.networks * self.endpoints;
        self.file(&Described {
            folder: CHANGING,
            file: format!("added-{marker}.yaml"),
            name: &name,
            number,
            namespace: 0,
            port: (HTTP_PORT, "http"),
            prefers_zone: false,
            endpoint: &|network, endpoint| {
                address(
                    ENDPOINTS,
                    number * stride + network * self.endpoints + endpoint,
                )
            },
            endpoints: self.endpoints,
            marker: 1,
        })
    }

    fn file(&self, described: &Described<'_>) -> File {
        let Described {
            folder,
            file,
            name,
            number,
            namespace: in_namespace,
            port: (port, protocol),
            prefers_zone,
            endpoint,
            endpoints,
            marker,
        } = described;
        let prefer = if *prefers_zone { ", prefer: zone" } else { "" };
        let mut content = format!(
            "namespace: {}\nservices:\n- {{name: {name}, addresses: [{}], ports: [{{number: {port}, protocol: {protocol}}}]{prefer}}}\nworkloads:\n",
            namespace(*in_namespace),
            address(SERVICES, *number),
        );
        for network in 0..self.networks {
            for index in 0..*endpoints {
                let weight = if index == 0 { *marker } else { 1 };
                let zone = index % self.zones;
                let line = format_args!(
                    "- {{name: {name}-{network}-{index}, address: {}, services: [{name}], ports: {{{protocol}: {}}}, \
                     weight: {weight}, locality: eu/eu-{zone}, network: network-{network}}}\n",
                    endpoint(network, index),
                    port + 8000,
                );
                content
                    .write_fmt(line)
                    .expect("a text takes all that is written");
            }
        }
        File {
            path: format!("{folder}/{file}"),
            content,
        }
    }

    /// The workloads of one kind, beside which the proxies stand.
    fn instances(&self, kind: usize) -> File {
        let mut content = format!(
            "namespace: {}\nworkloads:\n",
            namespace(kind % self.namespaces)
        );
        let mut is_empty = true;
        for proxy in (kind..self.proxies).step_by(self.workloads) {
            is_empty = false;
            let (zone, network) = self.zone_and_network(self.group(proxy).place);
            let line = format_args!(
                "- {{name: {}, address: {}, ports: {{http: {}}}, locality: eu/eu-{zone}, network: network-{network}}}\n",
                workload(kind, proxy),
                address(PROXIES, proxy),
                20_000 + kind,
            );
            content
                .write_fmt(line)
                .expect("a text takes all that is written");
        }
        if is_empty {
            content = "workloads: []\n".to_owned();
        }
        File {
            path: format!("{INVENTORY}/workload-{kind}.yaml"),
            content,
        }
    }

    /// A route of all callers of the first service.
    fn route(&self, marker: u64) -> File {
        let content = format!(
            "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: route, namespace: {}}}
spec:
  parentRefs: [{{group: '', kind: Service, name: {service}}}]
  rules:
  - filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: {{set: [{{name: x-fleet, value: '{MARKER}{marker:09}'}}]}}
    backendRefs: [{{name: {service}, port: {HTTP_PORT}}}]
",
            namespace(0),
            service = service_name(0),
        );
        File {
            path: format!("{MANIFESTS}/route.yaml"),
            content,
        }
    }
}
