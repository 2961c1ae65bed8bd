//! What requests, watches and the test's handle have in common.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use super::{
    fault::{Confined, Faults},
    store::Store,
};

/// The server's state. Whoever has changed it wakes the watches.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    pulse: watch::Sender<()>,
    /// How many watches of a resource are open.
    watches: Arc<Mutex<BTreeMap<String, usize>>>,
}

/// An open watch, as long as this value lives.
#[derive(Debug)]
pub(super) struct Counted {
    resource: String,
    watches: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(open) = self.watches.lock().get_mut(&self.resource) {
            *open = open.saturating_sub(1);
        }
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) store: Store,
    pub(super) faults: Vec<Confined>,
    pub(super) asked: Vec<Asked>,
    /// What was said to watches, in order; each remembers how much of it it has heard.
    pub(super) orders: Vec<Order>,
    pub(super) credentials: Credentials,
    /// The server says that it is Kubernetes 1.{minor}.
    pub(super) minor: u32,
}

/// Who is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    Everybody,
    /// Whoever has this bearer token.
    Token(String),
    /// Whoever came with a certificate of our authority.
    Certificate,
}

/// Something that open watches are told.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) resource: Option<String>,
    pub(super) what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Bookmark,
    /// An `ERROR` event with 410, and the end.
    Expire,
    End,
}

/// A request that the server got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, as in permissions; empty
    /// for what is not about a resource.
    pub verb: String,
    /// `services`, `endpointslices.discovery.k8s.io`; empty for what is not about a resource.
    pub resource: String,
    /// Empty for all namespaces, and for objects of the cluster.
    pub namespace: String,
    /// Empty for a collection.
    pub name: String,
    /// `status`, or empty.
    pub subresource: String,
    /// Path and query as they came.
    pub path: String,
    /// The header `Accept`.
    pub accept: String,
}

impl Asked {
    /// Whether only metadata was asked for.
    pub fn only_metadata(&self) -> bool {
        self.accept.contains("as=PartialObjectMetadata")
    }
}

impl Shared {
    pub(super) fn new(credentials: Credentials, minor: u32) -> Self {
        Self {
            state: Mutex::new(State {
                store: Store::default(),
                faults: Vec::new(),
                asked: Vec::new(),
                orders: Vec::new(),
                credentials,
                minor,
            }),
            pulse: watch::Sender::new(()),
            watches: Arc::default(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Changes something that watches must see.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state());
        self.pulse.send_replace(());
        result
    }

    /// Counts a watch of a resource.
    pub(super) fn count(&self, resource: &str) -> Counted {
        *self.watches.lock().entry(resource.to_owned()).or_default() += 1;
        Counted {
            resource: resource.to_owned(),
            watches: Arc::clone(&self.watches),
        }
    }

    /// How many watches of a resource are open.
    pub(super) fn watches(&self, resource: &str) -> usize {
        self.watches.lock().get(resource).copied().unwrap_or(0)
    }

    pub(super) fn pulse(&self) -> watch::Receiver<()> {
        self.pulse.subscribe()
    }
}

impl State {
    pub(super) fn faults_for(&self, resource: &str) -> Faults {
        Faults::of(&self.faults, resource)
    }

    /// Whether lists can be streamed by a watch.
    pub(super) fn streams_lists(&self) -> bool {
        // On by default in 1.32, off in 1.33, on from 1.34.
        self.minor == 32 || self.minor >= 34
    }
}
