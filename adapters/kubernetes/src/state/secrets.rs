//! Secrets with certificates: which of them are there, for what refers to them.

use std::collections::BTreeMap;

use bowline_manifests::{Certificate, References, SecretChange, SecretName, Sight};

use super::ClusterState;
use crate::{Item, Watched};

impl ClusterState {
    /// Whether every look at Secrets had an answer. Until then, what would be said of whom refers to them may be taken back at once.
    pub(crate) fn knows_secrets(&self) -> bool {
        let mut kinds = self.kinds.iter();
        kinds.all(|(watched, kind)| {
            watched.is_required() || kind.is_listed || kind.failing.is_some()
        })
    }

    /// Notes who may mean something else now. Says how many Secrets differ.
    pub(super) fn secrets_changed(&mut self, change: SecretChange) -> u64 {
        let SecretChange {
            different,
            concerned,
        } = change;
        self.doubted.extend(concerned.iter().cloned());
        self.dirty.extend(concerned);
        different as u64
    }
}

/// References in which nothing is known, but where Secrets are looked at.
pub(super) fn references(watched: &[Watched]) -> References {
    let mut references = References::default();
    for watched in watched {
        if let Some(Sight::Within(namespace)) = watched.sight() {
            references.secrets.watch(namespace.clone());
        }
    }
    references
}

/// All Secrets of a list, which has nothing else.
pub(super) fn by_name(items: Vec<Item>) -> BTreeMap<SecretName, Certificate> {
    let secrets = items.into_iter().filter_map(|item| match item {
        Item::SecretName(name) => Some((name, Certificate::Unseen)),
        Item::Secret(name, certificate) => Some((name, certificate)),
        Item::Manifest(..) | Item::Pod(..) | Item::Node(..) => None,
    });
    secrets.collect()
}
