//! Objects of a large cluster, made one after the other: never all of them at the same time.

use bowline_harness::kubernetes::objects;
use serde_json::Value;

/// How much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Scale {
    /// How many services.
    pub services: usize,
    /// How many endpoints each has; a slice has all of them.
    pub endpoints: usize,
}

/// Whether there are pods behind the endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Pods {
    /// Each endpoint is a pod
    With,
    /// Slices name pods that are not there
    Without,
}

/// The port of every service.
pub const PORT: u16 = 80;
pub(super) const TARGET_PORT: u16 = 8080;
pub(super) const PORT_NAME: &str = "http";
const NAMESPACES: usize = 50;
const NODES: usize = 100;
const ZONES: usize = 3;

impl Scale {
    /// Everything, in an order in which an API server takes it: slices before their pods.
    pub fn objects(self, pods: Pods) -> impl Iterator<Item = Value> {
        let namespaces = (0..NAMESPACES).map(|number| objects::namespace(&namespace(number)));
        let nodes = (0..NODES).map(|number| {
            let zone = zone(number);
            objects::node(&node(number), "region-1", &zone)
        });
        let services = (0..self.services).map(|service| {
            let address = address(10, 100, service);
            let ports = [(PORT_NAME, PORT, TARGET_PORT)];
            objects::service(&namespace(service), &name(service), &address, &ports)
        });
        let slices = (0..self.services).map(move |service| self.slice(service, None));
        let pods = match pods {
            Pods::With => self.services,
            Pods::Without => 0,
        };
        let pods = (0..pods).flat_map(move |service| {
            (0..self.endpoints).map(move |endpoint| self.pod(service, endpoint))
        });
        namespaces
            .chain(nodes)
            .chain(services)
            .chain(slices)
            .chain(pods)
    }

    /// A service's slice. With a marker, its first endpoint has the address that stands for it.
    pub fn slice(self, service: usize, marker: Option<u16>) -> Value {
        let endpoints = (0..self.endpoints).map(|endpoint| {
            let number = self.number(service, endpoint);
            let address = match marker {
                Some(marker) if endpoint == 0 => marked_address(marker),
                _ => pod_address(number),
            };
            let pod = pod_name(service, endpoint);
            objects::endpoint(&address, &pod, &node(number), &zone(number))
        });
        objects::endpoint_slice(
            &namespace(service),
            &name(service),
            "x7k2p",
            &[(PORT_NAME, TARGET_PORT)],
            endpoints.collect(),
        )
    }

    fn pod(self, service: usize, endpoint: usize) -> Value {
        let number = self.number(service, endpoint);
        objects::pod(
            &namespace(service),
            &pod_name(service, endpoint),
            &name(service),
            &pod_address(number),
            &node(number),
        )
    }

    fn number(self, service: usize, endpoint: usize) -> usize {
        service * self.endpoints + endpoint
    }
}

/// The cluster of a service as sidecars name it.
pub fn cluster(service: usize) -> String {
    cluster_named(&name(service), &namespace(service))
}

pub(super) fn cluster_named(name: &str, namespace: &str) -> String {
    format!("outbound|{PORT}||{name}.{namespace}.svc.cluster.local")
}

/// The namespace of a service.
pub fn namespace(service: usize) -> String {
    format!("team-{}", service % NAMESPACES)
}

/// What the addresses of markers begin with.
pub const MARKED: &str = "10.255.";

pub(super) fn marked_address(marker: u16) -> String {
    let [high, low] = marker.to_be_bytes();
    format!("{MARKED}{high}.{low}")
}

fn name(service: usize) -> String {
    format!("service-{service:05}")
}

fn pod_name(service: usize, endpoint: usize) -> String {
    format!("{}-7d9c5b8f6d-{endpoint:05}", name(service))
}

pub(super) fn node(number: usize) -> String {
    format!("node-{:03}", number % NODES)
}

/// The zone of a node.
pub(super) fn zone(number: usize) -> String {
    format!("zone-{}", number % NODES % ZONES)
}

/// The address of a pod.
pub(super) fn pod_address(number: usize) -> String {
    address(10, 128, number)
}

/// An address that begins with two bytes, the second of which counts up too.
fn address(first: u8, second: u8, number: usize) -> String {
    let number = u32::try_from(number + 1).unwrap_or(u32::MAX);
    let [_, more, third, fourth] = number.to_be_bytes();
    format!("{first}.{}.{third}.{fourth}", second.wrapping_add(more))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_endpoint_has_an_address_and_a_pod_of_its_own() {
        let scale = Scale {
            services: 30,
            endpoints: 10,
        };
        let objects: Vec<Value> = scale.objects(Pods::With).collect();
        let of_kind = |kind: &str| {
            objects
                .iter()
                .filter(|object| object["kind"] == kind)
                .count()
        };
        assert_eq!(of_kind("Service"), 30);
        assert_eq!(of_kind("EndpointSlice"), 30);
        assert_eq!(of_kind("Pod"), 300);
        let mut addresses = BTreeSet::new();
        let mut pods = BTreeSet::new();
        for object in &objects {
            for endpoint in object["endpoints"].as_array().into_iter().flatten() {
                addresses.insert(endpoint["addresses"][0].to_string());
                pods.insert(endpoint["targetRef"]["name"].to_string());
            }
        }
        assert_eq!((addresses.len(), pods.len()), (300, 300));
        for pod in objects.iter().filter(|object| object["kind"] == "Pod") {
            assert!(pods.contains(&pod["metadata"]["name"].to_string()));
            assert!(addresses.contains(&pod["status"]["podIP"].to_string()));
        }
    }

    #[test]
    fn a_marker_is_an_address() {
        let scale = Scale {
            services: 1,
            endpoints: 2,
        };
        let slice = scale.slice(0, Some(0x0102));
        assert_eq!(slice["endpoints"][0]["addresses"][0], "10.255.1.2");
        assert_eq!(slice["endpoints"][1]["addresses"][0], "10.128.0.2");
    }
}
