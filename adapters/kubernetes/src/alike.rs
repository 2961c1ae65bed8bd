//! What many objects have alike: labels, accounts, nodes. Each is in memory once.

use std::{collections::HashSet, hash::Hash, sync::Arc};

use bowline_mesh::{Labels, Namespace};

/// Values of which all who have one alike get the same.
///
/// What nobody has asked for while [`GENERATION`] others came is forgotten: whoever has it keeps it, and the next gets another.
#[derive(Debug)]
pub(crate) struct Alike<T> {
    young: HashSet<T>,
    old: HashSet<T>,
}

/// More than large clusters have, and little enough to keep when nobody has them any more.
const GENERATION: usize = 65_536;

impl<T: Hash + Eq + Clone> Alike<T> {
    /// The value that others have who asked for one that is equal.
    pub(crate) fn get(&mut self, value: T) -> T {
        if let Some(known) = self.young.get(&value) {
            return known.clone();
        }
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        let value = self.old.take(&value).unwrap_or(value);
        self.young.insert(value.clone());
        value
    }
}

impl<T> Default for Alike<T> {
    fn default() -> Self {
        Self {
            young: HashSet::new(),
            old: HashSet::new(),
        }
    }
}

/// What objects of one kind have alike.
#[derive(Debug, Default)]
pub struct Shared {
    texts: Alike<Arc<str>>,
    labels: Alike<Labels>,
    namespaces: Alike<Namespace>,
}

impl Shared {
    pub(crate) fn text(&mut self, text: Arc<str>) -> Arc<str> {
        self.texts.get(text)
    }

    pub(crate) fn namespace(&mut self, namespace: Namespace) -> Namespace {
        self.namespaces.get(namespace)
    }

    /// Labels of which some differ from object to object share their keys and the other values.
    pub(crate) fn labels(&mut self, labels: Labels) -> Labels {
        let labels = labels.iter().map(|(key, value)| {
            let [key, value] = [key, value].map(|text| self.texts.get(text.clone()));
            (key, value)
        });
        let labels = labels.collect();
        self.labels.get(labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(number: usize) -> Arc<str> {
        number.to_string().into()
    }

    #[test]
    fn who_has_the_same_shares_it() {
        let mut shared = Shared::default();
        let labels =
            |pod: &str| Labels::from([("app".into(), "a".into()), ("pod".into(), pod.into())]);
        let value = |labels: &Labels, key: &str| labels.get(key).unwrap().as_ptr();
        let [one, same, other] = ["1", "1", "2"].map(|pod| shared.labels(labels(pod)));
        assert_eq!([&one, &other], [&labels("1"), &labels("2")]);
        assert_eq!(value(&one, "pod"), value(&same, "pod"));
        assert_eq!(value(&one, "app"), value(&other, "app"));
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_is_forgotten() {
        let mut alike = Alike::default();
        let first = alike.get(text(0));
        for number in 1..5 * GENERATION {
            alike.get(text(number));
            if number % GENERATION == 7 {
                assert!(Arc::ptr_eq(&first, &alike.get(text(0))));
            }
        }
        assert!(alike.young.len() + alike.old.len() <= 2 * GENERATION);
    }
}
