//! Which Secrets with certificates are known, and who refers to which of them.
//!
//! They can be looked at from two sides: all that a registry has, and more closely those of some namespaces. Each side says for itself
//! what it sees, and where both see a namespace the closer look counts.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bowline_mesh::Namespace;

use crate::{Certificate, ManifestName};

/// A Secret's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretName {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name.
    pub name: Arc<str>,
}

/// From where Secrets are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight<'n> {
    /// All of the registry.
    Everywhere,
    /// Those of one namespace, more closely.
    Within(&'n Namespace),
}

/// What is known of Secrets, kept up to date by the registry that reads them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Secrets {
    everywhere: Seen,
    within: BTreeMap<Namespace, Seen>,
    /// The Secrets to which objects refer.
    references: BTreeMap<ManifestName, BTreeSet<SecretName>>,
    /// The same the other way round.
    referrers: BTreeMap<SecretName, BTreeSet<ManifestName>>,
}

/// What becomes of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretChange {
    /// How many Secrets are new, different, or gone.
    pub different: usize,
    /// Who may mean something else now.
    pub concerned: BTreeSet<ManifestName>,
}

/// What is seen from one side.
#[derive(Debug, Clone, PartialEq, Default)]
enum Seen {
    /// Nobody looks, or nothing was seen yet.
    #[default]
    Nothing,
    /// Nobody may look.
    Denied,
    /// All that there are.
    All(BTreeMap<SecretName, Certificate>),
}

/// What is known of one Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// It is there.
    Found(Certificate),
    /// It is not.
    Missing,
    /// Whether it is there may not be known.
    Denied,
    /// Whether it is there is not known.
    Unknown,
}

impl Seen {
    /// How many would not be as they were seen.
    fn differ(&self, now: &BTreeMap<SecretName, Certificate>) -> usize {
        let Self::All(before) = self else {
            return now.len();
        };
        let gone = before.keys().filter(|name| !now.contains_key(name));
        let different = now
            .iter()
            .filter(|(name, now)| before.get(name) != Some(now));
        gone.count() + different.count()
    }
}

impl Secrets {
    /// Notes that a namespace is looked at by itself.
    pub fn watch(&mut self, namespace: Namespace) {
        self.within.entry(namespace).or_default();
    }

    /// Notes all Secrets that are seen from one side.
    pub fn list(
        &mut self,
        sight: Sight<'_>,
        secrets: BTreeMap<SecretName, Certificate>,
    ) -> SecretChange {
        self.noting(None, |all| {
            let seen = all.seen_mut(sight);
            let different = seen.differ(&secrets);
            *seen = Seen::All(secrets);
            different
        })
    }

    /// Notes one that is new or different. Who tells of one tells of all that there are.
    pub fn put(
        &mut self,
        sight: Sight<'_>,
        name: SecretName,
        certificate: Certificate,
    ) -> SecretChange {
        self.noting(Some(&name.clone()), |all| match all.seen_mut(sight) {
            Seen::All(secrets) => {
                let before = secrets.insert(name, certificate);
                usize::from(before != Some(certificate))
            }
            seen @ (Seen::Nothing | Seen::Denied) => {
                *seen = Seen::All([(name, certificate)].into());
                1
            }
        })
    }

    /// Notes that one is gone.
    pub fn remove(&mut self, sight: Sight<'_>, name: &SecretName) -> SecretChange {
        self.noting(Some(name), |all| match all.seen_mut(sight) {
            Seen::All(secrets) => usize::from(secrets.remove(name).is_some()),
            Seen::Nothing | Seen::Denied => 0,
        })
    }

    /// Notes that one may not look from a side. What was seen before may be wrong by now, so it is forgotten.
    pub fn deny(&mut self, sight: Sight<'_>) -> SecretChange {
        self.noting(None, |all| {
            let seen = all.seen_mut(sight);
            let different = seen.differ(&BTreeMap::new());
            *seen = Seen::Denied;
            different
        })
    }

    /// How many are seen from one side.
    pub fn count(&self, sight: Sight<'_>) -> usize {
        let seen = match sight {
            Sight::Everywhere => Some(&self.everywhere),
            Sight::Within(namespace) => self.within.get(namespace),
        };
        match seen {
            Some(Seen::All(secrets)) => secrets.len(),
            Some(Seen::Nothing | Seen::Denied) | None => 0,
        }
    }

    /// Notes to which Secrets an object refers from now on.
    pub(crate) fn refer(&mut self, from: &ManifestName, to: BTreeSet<SecretName>) {
        for secret in self.references.remove(from).unwrap_or_default() {
            if let Some(referrers) = self.referrers.get_mut(&secret) {
                referrers.remove(from);
                if referrers.is_empty() {
                    self.referrers.remove(&secret);
                }
            }
        }
        for secret in &to {
            let referrers = self.referrers.entry(secret.clone()).or_default();
            referrers.insert(from.clone());
        }
        if !to.is_empty() {
            self.references.insert(from.clone(), to);
        }
    }

    /// What is known of a Secret.
    pub(crate) fn look_up(&self, name: &SecretName) -> Lookup {
        let found = |secrets: &BTreeMap<SecretName, Certificate>| {
            let certificate = secrets.get(name).copied();
            certificate.map_or(Lookup::Missing, Lookup::Found)
        };
        match (self.within.get(&name.namespace), &self.everywhere) {
            (Some(Seen::All(secrets)), _) | (_, Seen::All(secrets)) => found(secrets),
            (Some(Seen::Denied), _) | (None, Seen::Denied) => Lookup::Denied,
            (Some(Seen::Nothing), _) | (None, Seen::Nothing) => Lookup::Unknown,
        }
    }

    /// Who means something else with these than with others.
    pub(crate) fn differ(&self, other: &Self) -> BTreeSet<ManifestName> {
        let differing = self.referrers.iter();
        let differing = differing.filter(|(name, _)| self.look_up(name) != other.look_up(name));
        differing.flat_map(|(_, from)| from).cloned().collect()
    }

    /// Changes what is known of one Secret or, without a name, of many.
    fn noting(
        &mut self,
        name: Option<&SecretName>,
        change: impl FnOnce(&mut Self) -> usize,
    ) -> SecretChange {
        // Nearly all Secrets are nobody's certificate: what is looked at are those to which somebody refers.
        let referred: Vec<SecretName> = match name {
            Some(name) if self.referrers.contains_key(name) => vec![name.clone()],
            Some(_) => Vec::new(),
            None => self.referrers.keys().cloned().collect(),
        };
        let before: Vec<Lookup> = referred.iter().map(|name| self.look_up(name)).collect();
        let different = change(self);
        let differing = referred.iter().zip(before);
        let differing = differing.filter(|(name, before)| self.look_up(name) != *before);
        let referrers = differing.filter_map(|(name, _)| self.referrers.get(name));
        SecretChange {
            different,
            concerned: referrers.flatten().cloned().collect(),
        }
    }

    fn seen_mut(&mut self, sight: Sight<'_>) -> &mut Seen {
        match sight {
            Sight::Everywhere => &mut self.everywhere,
            Sight::Within(namespace) => self.within.entry(namespace.clone()).or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ManifestKind;

    fn namespace(name: &str) -> Namespace {
        name.parse().unwrap()
    }

    fn secret(name: &str) -> SecretName {
        SecretName {
            namespace: namespace("edge"),
            name: name.into(),
        }
    }

    fn gateway(name: &str) -> ManifestName {
        ManifestName {
            kind: ManifestKind::Gateway,
            namespace: Some(namespace("edge")),
            name: name.into(),
        }
    }

    fn listed<const N: usize>(
        names: [&str; N],
        certificate: Certificate,
    ) -> BTreeMap<SecretName, Certificate> {
        names.map(|name| (secret(name), certificate)).into()
    }

    #[test]
    fn the_closer_look_counts_and_neither_side_confuses_the_other() {
        let edge = namespace("edge");
        let within = Sight::Within(&edge);
        let mut secrets = Secrets::default();
        secrets.watch(edge.clone());
        let look_up = |secrets: &Secrets| secrets.look_up(&secret("a"));
        assert_eq!(look_up(&secrets), Lookup::Unknown);
        secrets.deny(Sight::Everywhere);
        assert_eq!(look_up(&secrets), Lookup::Unknown);
        secrets.list(within, listed(["a"], Certificate::Usable));
        assert_eq!(look_up(&secrets), Lookup::Found(Certificate::Usable));
        // Nobody looks at other namespaces than this one.
        let other = SecretName {
            namespace: namespace("other"),
            ..secret("a")
        };
        assert_eq!(secrets.look_up(&other), Lookup::Denied);
        secrets.list(Sight::Everywhere, listed(["a", "b"], Certificate::Unseen));
        assert_eq!(look_up(&secrets), Lookup::Found(Certificate::Usable));
        assert_eq!(secrets.look_up(&secret("b")), Lookup::Missing);
        assert_eq!(secrets.look_up(&other), Lookup::Missing);
        secrets.remove(Sight::Everywhere, &secret("a"));
        assert_eq!(look_up(&secrets), Lookup::Found(Certificate::Usable));
        secrets.put(Sight::Everywhere, secret("a"), Certificate::Unseen);
        secrets.remove(within, &secret("a"));
        assert_eq!(look_up(&secrets), Lookup::Missing);
        secrets.deny(within);
        assert_eq!(look_up(&secrets), Lookup::Found(Certificate::Unseen));
        secrets.deny(Sight::Everywhere);
        assert_eq!(look_up(&secrets), Lookup::Denied);
        assert_eq!(
            [within, Sight::Everywhere].map(|sight| secrets.count(sight)),
            [0, 0]
        );
    }

    #[test]
    fn only_who_refers_to_what_differs_is_concerned() {
        const SIGHT: Sight<'_> = Sight::Everywhere;
        let mut secrets = Secrets::default();
        secrets.refer(&gateway("one"), [secret("a"), secret("b")].into());
        secrets.refer(&gateway("two"), [secret("b")].into());
        let both = [gateway("one"), gateway("two")];
        let change = secrets.list(SIGHT, listed(["a", "x"], Certificate::Unseen));
        assert_eq!(change.concerned, both.clone().into());
        let put = |secrets: &mut Secrets, name| {
            let change = secrets.put(SIGHT, secret(name), Certificate::Unseen);
            (change.different, change.concerned)
        };
        assert_eq!(put(&mut secrets, "y"), (1, [].into()));
        assert_eq!(put(&mut secrets, "a"), (0, [].into()));
        let gone = secrets.remove(SIGHT, &secret("x"));
        assert_eq!((gone.different, gone.concerned), (1, [].into()));
        let gone = secrets.remove(SIGHT, &secret("a"));
        assert_eq!(gone.concerned, [gateway("one")].into());
        let change = secrets.list(SIGHT, listed(["b", "z"], Certificate::Unseen));
        assert_eq!((change.different, change.concerned), (3, both.into()));
        secrets.refer(&gateway("one"), [].into());
        assert_eq!(secrets.deny(SIGHT).concerned, [gateway("two")].into());
        secrets.refer(&gateway("two"), [].into());
        assert!(secrets.references.is_empty() && secrets.referrers.is_empty());
    }
}
