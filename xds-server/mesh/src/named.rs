//! Values by name, such as labels: many objects have the same.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Values by name, in the order of the names. It never changes, and its clones are the same slice.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Named<V>(Arc<[(Arc<str>, V)]>);

impl<V> Named<V> {
    /// No values.
    pub fn new() -> Self {
        Self(Arc::default())
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&V> {
        let place = self.0.binary_search_by(|(other, _)| (**other).cmp(name));
        self.0.get(place.ok()?).map(|(_, value)| value)
    }

    /// Whether a name has a value.
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// All names with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &V)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// All names.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.iter().map(|(name, _)| name)
    }

    /// All values, in the order of their names.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

impl<V> Default for Named<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V: fmt::Debug> fmt::Debug for Named<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<V> From<BTreeMap<Arc<str>, V>> for Named<V> {
    fn from(values: BTreeMap<Arc<str>, V>) -> Self {
        Self(values.into_iter().collect())
    }
}

/// Of a name that is given twice the last value counts.
impl<V> FromIterator<(Arc<str>, V)> for Named<V> {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, V)>>(values: I) -> Self {
        BTreeMap::from_iter(values).into()
    }
}

impl<V, const N: usize> From<[(Arc<str>, V); N]> for Named<V> {
    fn from(values: [(Arc<str>, V); N]) -> Self {
        Self::from_iter(values)
    }
}

impl<V: Serialize> Serialize for Named<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Named<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_name_in_whichever_order_they_were_given() {
        let named = Named::from([("b".into(), 1), ("a".into(), 2), ("b".into(), 3)]);
        let given: BTreeMap<Arc<str>, i32> = [("a".into(), 2), ("b".into(), 3)].into();
        assert!(named.iter().eq(&given) && named.keys().eq(given.keys()));
        assert!(named.values().eq(given.values()));
        assert_eq!((named.get("b"), named.get("c")), (Some(&3), None));
        assert_eq!(named, Named::from(given));
    }

    #[test]
    fn it_is_stored_as_a_map() {
        let named = Named::from([("b".into(), 1), ("a".into(), 2)]);
        let text = serde_json::to_string(&named).unwrap();
        assert_eq!(text, r#"{"a":2,"b":1}"#);
        assert_eq!(serde_json::from_str::<Named<i32>>(&text).unwrap(), named);
    }
}
