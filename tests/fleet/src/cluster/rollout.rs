//! A rolling restart of one large Deployment: its pods are replaced step by step, and the slices of its service follow as the controllers
//! write them.

use std::ops::Range;

use bowline_harness::kubernetes::objects;
use serde_json::Value;

use super::scale::{self, Pods, pod_address};

/// The Deployment.
#[derive(Debug, Clone, Copy)]
pub struct Rollout {
    /// How many pods it has.
    pub endpoints: usize,
    /// Whether there are pods behind the endpoints.
    pub pods: Pods,
}

/// What a controller or a kubelet writes.
#[derive(Debug)]
pub enum Write {
    /// An object that is new.
    Create(Value),
    /// Another list of endpoints in a slice that is there.
    Endpoints(Value),
    /// An object is gone.
    Delete(Value),
}

impl Write {
    /// Whether it changes endpoints.
    pub fn is_of_a_slice(&self) -> bool {
        let (Self::Create(object) | Self::Endpoints(object) | Self::Delete(object)) = self;
        object
            .get("kind")
            .is_some_and(|kind| kind == "EndpointSlice")
    }
}

/// What the controller of EndpointSlices puts into one at most.
const SLICE_MAX: usize = 100;
/// In how many steps all pods are replaced.
const STEPS: usize = 20;
const NAME: &str = "rollout";
const SERVICE_ADDRESS: &str = "10.101.255.1";
/// Its pods are none of those that other services have.
const FIRST_POD: usize = 4_000_000;

/// The cluster of its service as sidecars name it.
pub fn cluster() -> String {
    scale::cluster_named(NAME, &scale::namespace(0))
}

/// The slices of the service while pods are replaced.
#[derive(Debug)]
pub struct Slices {
    rollout: Rollout,
    /// The endpoints of each slice, which has the name of its place. What is empty is not there.
    slices: Vec<Vec<Endpoint>>,
}

#[derive(Debug, Clone, Copy)]
struct Endpoint {
    pod: usize,
    is_terminating: bool,
}

impl Rollout {
    /// Everything that is there before it, written once.
    pub fn begin(self) -> (Slices, Vec<Write>) {
        let ports = [(scale::PORT_NAME, scale::PORT, scale::TARGET_PORT)];
        let namespace = scale::namespace(0);
        let service = objects::service(&namespace, NAME, SERVICE_ADDRESS, &ports);
        let mut slices = Slices {
            rollout: self,
            slices: Vec::new(),
        };
        let mut writes = vec![Write::Create(service)];
        writes.extend(slices.started(0..self.endpoints));
        (slices, writes)
    }
}

impl Slices {
    /// What is written until all pods are replaced, in order.
    pub fn replace(&mut self) -> Vec<Write> {
        let all = self.rollout.endpoints;
        let step = all.div_ceil(STEPS).max(1);
        let mut writes = Vec::new();
        for first in (0..all).step_by(step) {
            let old = first..(first + step).min(all);
            writes.extend(self.started(all + old.start..all + old.end));
            writes.extend(self.terminating(&old));
            writes.extend(self.stopped(&old));
        }
        writes
    }

    /// How many pods there are.
    pub fn pods(&self) -> usize {
        self.slices.iter().map(Vec::len).sum()
    }

    /// A write after which an endpoint has the address that stands for a marker.
    pub fn mark(&self, marker: u16) -> Option<Write> {
        let number = self.slices.iter().position(|slice| !slice.is_empty())?;
        Some(Write::Endpoints(self.slice(number, Some(marker))))
    }

    /// Pods run, and come into slices that have room for them.
    fn started(&mut self, pods: Range<usize>) -> Vec<Write> {
        let mut writes = Vec::new();
        if self.rollout.pods == Pods::With {
            writes.extend(pods.clone().map(|pod| Write::Create(self.pod(pod))));
        }
        let mut new = pods.map(|pod| Endpoint {
            pod,
            is_terminating: false,
        });
        for number in 0.. {
            if self.slices.len() == number {
                self.slices.push(Vec::new());
            }
            let Some(slice) = self.slices.get_mut(number) else {
                break;
            };
            let (before, room) = (slice.len(), SLICE_MAX.saturating_sub(slice.len()));
            slice.extend(new.by_ref().take(room));
            match (before, slice.len() - before) {
                (_, 0) if room > 0 => break,
                (_, 0) => {}
                (0, _) => writes.push(Write::Create(self.slice(number, None))),
                (_, _) => writes.push(Write::Endpoints(self.slice(number, None))),
            }
        }
        writes
    }

    /// Pods are told to stop, and finish what they have.
    fn terminating(&mut self, pods: &Range<usize>) -> Vec<Write> {
        self.change(|slice| {
            let concerned = slice
                .iter_mut()
                .filter(|endpoint| pods.contains(&endpoint.pod));
            concerned
                .map(|endpoint| endpoint.is_terminating = true)
                .count()
        })
    }

    /// Pods have stopped.
    fn stopped(&mut self, pods: &Range<usize>) -> Vec<Write> {
        let mut writes = self.change(|slice| {
            let before = slice.len();
            slice.retain(|endpoint| !pods.contains(&endpoint.pod));
            before - slice.len()
        });
        if self.rollout.pods == Pods::With {
            writes.extend(pods.clone().map(|pod| Write::Delete(self.pod(pod))));
        }
        writes
    }

    /// Writes the slices in which a change says that it has changed endpoints.
    fn change(&mut self, change: impl Fn(&mut Vec<Endpoint>) -> usize) -> Vec<Write> {
        let changed = self.slices.iter_mut().map(|slice| change(slice) > 0);
        let changed: Vec<bool> = changed.collect();
        let slices = self.slices.iter().zip(changed).enumerate();
        let changed = slices.filter(|(_, (_, is_changed))| *is_changed);
        let written = changed.map(|(number, (slice, _))| match slice.is_empty() {
            true => Write::Delete(self.slice(number, None)),
            false => Write::Endpoints(self.slice(number, None)),
        });
        written.collect()
    }

    fn slice(&self, number: usize, marker: Option<u16>) -> Value {
        let endpoints = self.slices.get(number).into_iter().flatten();
        let endpoints = endpoints.enumerate().map(|(place, endpoint)| {
            let Endpoint {
                pod,
                is_terminating,
            } = *endpoint;
            let address = match marker {
                Some(marker) if place == 0 => scale::marked_address(marker),
                _ => pod_address(FIRST_POD + pod),
            };
            let node = scale::node(pod);
            let mut written = objects::endpoint(&address, &pod_name(pod), &node, &scale::zone(pod));
            if is_terminating && let Some(conditions) = written.get_mut("conditions") {
                *conditions =
                    serde_json::json!({"ready": false, "serving": true, "terminating": true});
            }
            written
        });
        let ports = [(scale::PORT_NAME, scale::TARGET_PORT)];
        let suffix = format!("{number:05}");
        let namespace = scale::namespace(0);
        objects::endpoint_slice(&namespace, NAME, &suffix, &ports, endpoints.collect())
    }

    fn pod(&self, pod: usize) -> Value {
        let address = pod_address(FIRST_POD + pod);
        let namespace = scale::namespace(0);
        objects::pod(
            &namespace,
            &pod_name(pod),
            NAME,
            &address,
            &scale::node(pod),
        )
    }
}

fn pod_name(pod: usize) -> String {
    format!("{NAME}-7d9c5b8f6d-{pod:05}")
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// The objects by kind and name, as an API server would have them.
    fn apply(there: &mut BTreeMap<(String, String), Value>, writes: Vec<Write>) {
        for write in writes {
            let (Write::Create(object) | Write::Endpoints(object) | Write::Delete(object)) = &write;
            let text = |pointer: &str| {
                object
                    .pointer(pointer)
                    .unwrap()
                    .as_str()
                    .unwrap()
                    .to_owned()
            };
            let key = (text("/kind"), text("/metadata/name"));
            let before = match &write {
                Write::Delete(_) => there.remove(&key),
                Write::Create(_) | Write::Endpoints(_) => there.insert(key, object.clone()),
            };
            assert_eq!(before.is_none(), matches!(write, Write::Create(_)));
        }
    }

    /// The addresses that get requests, with all that are there.
    fn endpoints(there: &BTreeMap<(String, String), Value>) -> (BTreeSet<String>, usize) {
        let slices = there
            .iter()
            .filter(|((kind, _), _)| kind == "EndpointSlice");
        let mut ready = BTreeSet::new();
        let mut all = 0;
        for (_, slice) in slices {
            let endpoints = slice["endpoints"].as_array().unwrap();
            assert!((1..=SLICE_MAX).contains(&endpoints.len()));
            all += endpoints.len();
            let of = endpoints
                .iter()
                .filter(|of| of["conditions"]["ready"] == true);
            ready.extend(of.map(|of| of["addresses"][0].to_string()));
        }
        (ready, all)
    }

    #[test]
    fn all_pods_are_replaced_and_enough_are_ready_meanwhile() {
        let rollout = Rollout {
            endpoints: 1_000,
            pods: Pods::With,
        };
        let (mut slices, writes) = rollout.begin();
        let mut there = BTreeMap::new();
        apply(&mut there, writes);
        let (before, all) = endpoints(&there);
        assert_eq!((before.len(), all), (1_000, 1_000));
        for write in slices.replace() {
            apply(&mut there, vec![write]);
            assert!(endpoints(&there).0.len() >= 1_000);
        }
        let (after, all) = endpoints(&there);
        assert_eq!((after.len(), all), (1_000, 1_000));
        assert!(before.is_disjoint(&after));
        let pods = there.keys().filter(|(kind, _)| kind == "Pod");
        assert_eq!(pods.count(), 1_000);
    }
}
