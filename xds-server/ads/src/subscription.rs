//! What a stream subscribes to, of one type.

use std::{borrow::Cow, sync::Arc};

use bowline_snapshot::{
    Resource, ResourceType,
    name::{collection_of, collection_prefix, namespace_of, normalized},
};

use crate::names::{NameTable, Names};

/// The name that subscribes to every member of a type.
pub(crate) const WILDCARD: &str = "*";

/// The names and wildcard of one type on one stream.
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    resource_type: ResourceType,
    names: Names,
    has_wildcard: bool,
    /// Whether a request without names still means everything. It does so until the first explicit name or `*` (xDS protocol,
    /// "How the client specifies what resources to return").
    empty_means_all: bool,
}

/// How a request changed a subscription.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Names that the client asks for now.
    pub(crate) added: Names,
    /// Names that it asked for before and no longer does.
    pub(crate) dropped: Vec<Arc<str>>,
    pub(crate) wildcard: WildcardChange,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WildcardChange {
    Same,
    Added,
    Dropped,
}

impl Subscription {
    /// The subscription before the first request.
    pub(crate) fn new(resource_type: ResourceType, empty_means_all: bool) -> Self {
        Self {
            resource_type,
            names: Names::default(),
            has_wildcard: false,
            empty_means_all,
        }
    }

    /// Whether the client wants to hear of the resource with this name, given that it is one that a wildcard gets.
    pub(crate) fn covers(&self, name: &str) -> bool {
        self.has_wildcard || self.asks_for(name)
    }

    /// Whether a name is asked for: by itself, by its collection, or by what it belongs to.
    pub(crate) fn asks_for(&self, name: &str) -> bool {
        if self.names.is_empty() {
            return false;
        }
        let has_namespace = || {
            let namespace = namespace_of(name).filter(|_| self.resource_type.has_namespaces());
            namespace.is_some_and(|namespace| self.names.contains(namespace))
        };
        let has_collection = || collection_of(name).is_some_and(|name| self.names.contains(&name));
        self.names.contains(name) || has_namespace() || has_collection()
    }

    /// Whether a resource is asked for, by its name or an alias.
    pub(crate) fn asks_for_resource(&self, resource: &Resource) -> bool {
        let mut aliases = resource.aliases().iter();
        self.asks_for(resource.name()) || aliases.any(|alias| self.names.contains(alias))
    }

    /// What the names begin with that a name subscribes to, where it is one of a collection or of a parent.
    pub(crate) fn prefix_of(&self, name: &str) -> Option<String> {
        match collection_prefix(name) {
            Some(prefix) => Some(prefix.to_owned()),
            None => self
                .resource_type
                .has_namespaces()
                .then(|| format!("{name}/")),
        }
    }

    /// Whether a name subscribes to the resource with the other one, because of what that belongs to.
    pub(crate) fn includes(&self, name: &str, other: &str) -> bool {
        match collection_prefix(name) {
            Some(_) => collection_of(other).as_deref() == Some(name),
            None => namespace_of(other) == Some(name),
        }
    }

    pub(crate) fn resource_type(&self) -> ResourceType {
        self.resource_type
    }

    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    pub(crate) fn has_wildcard(&self) -> bool {
        self.has_wildcard
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.has_wildcard && self.names.is_empty()
    }

    /// A state-of-the-world request: the list takes the place of the one before.
    pub(crate) fn replace(&mut self, requested: Vec<String>, table: &NameTable) -> Change {
        let had_wildcard = self.has_wildcard;
        if requested.is_empty() && self.empty_means_all {
            self.has_wildcard = true;
            return Change {
                added: Names::default(),
                dropped: Vec::new(),
                wildcard: wildcard_change(had_wildcard, true),
            };
        }
        self.empty_means_all = false;
        self.has_wildcard = requested.iter().any(|name| name == WILDCARD);
        let requested = match named(&requested, table) {
            // Every acknowledgement repeats the whole list.
            Named::Known(names) if names.is(&self.names) => {
                return Change {
                    added: Names::default(),
                    dropped: Vec::new(),
                    wildcard: wildcard_change(had_wildcard, self.has_wildcard),
                };
            }
            requested => requested,
        };
        let added: Names = requested
            .names()
            .iter()
            .filter(|name| !self.names.contains(name))
            .cloned()
            .collect();
        // Where nothing is new and none is missing, the shared set stays.
        let before = (!added.is_empty() || requested.names().len() != self.names.len())
            .then(|| std::mem::replace(&mut self.names, requested.into_shared(table)));
        let dropped = before.map_or_else(Vec::new, |before| {
            before
                .iter()
                .filter(|name| !self.names.contains(name))
                .cloned()
                .collect()
        });
        Change {
            added,
            dropped,
            wildcard: wildcard_change(had_wildcard, self.has_wildcard),
        }
    }

    /// A delta request: first what is subscribed, then what is unsubscribed (clients that want nothing say both of `*` at once).
    ///
    /// Every name in `subscribe` counts as added, also one that was there: the client wants to be told again.
    pub(crate) fn update(
        &mut self,
        subscribe: Vec<String>,
        unsubscribe: Vec<String>,
        table: &NameTable,
    ) -> Change {
        let had_wildcard = self.has_wildcard;
        if !subscribe.is_empty() {
            self.empty_means_all = false;
        }
        let drops_wildcard = unsubscribe.iter().any(|name| name == WILDCARD);
        self.has_wildcard =
            (had_wildcard || subscribe.iter().any(|name| name == WILDCARD)) && !drops_wildcard;
        let unsubscribed = named(&unsubscribe, table).into_names();
        let subscribed = named(&subscribe, table);
        let added = if unsubscribed.is_empty() {
            if self.names.is_empty() {
                // The usual beginning. Many streams subscribe to the same names, so nothing is done name by name.
                self.names = subscribed.into_shared(table);
                return Change {
                    added: self.names.clone(),
                    dropped: Vec::new(),
                    wildcard: wildcard_change(had_wildcard, self.has_wildcard),
                };
            }
            subscribed.into_names()
        } else {
            let subscribed = subscribed.into_names();
            let stay = subscribed
                .iter()
                .filter(|name| !unsubscribed.contains(name));
            stay.cloned().collect()
        };
        let dropped: Vec<_> = unsubscribed
            .iter()
            .filter(|name| self.names.contains(name))
            .cloned()
            .collect();
        if !dropped.is_empty() || added.iter().any(|name| !self.names.contains(name)) {
            let kept = self
                .names
                .iter()
                .filter(|name| !unsubscribed.contains(name));
            self.names = table.intern(kept.chain(added.iter()).cloned().collect());
        }
        Change {
            added,
            dropped,
            wildcard: wildcard_change(had_wildcard, self.has_wildcard),
        }
    }

    /// A first delta request without any name: everything, for the types where that is so.
    pub(crate) fn imply_wildcard(&mut self) -> Change {
        let had_wildcard = self.has_wildcard;
        self.has_wildcard |= self.empty_means_all;
        Change {
            added: Names::default(),
            dropped: Vec::new(),
            wildcard: wildcard_change(had_wildcard, self.has_wildcard),
        }
    }
}

/// The explicit names of a list, normalized, in order and once.
enum Named {
    /// Those of a set that some stream holds.
    Known(Names),
    New(Names),
}

/// Shorter lists are not looked for.
const KNOWN_MIN: usize = 16;

fn named(list: &[String], table: &NameTable) -> Named {
    let mut names: Vec<Cow<'_, str>> = list
        .iter()
        .filter(|name| *name != WILDCARD)
        .map(|name| normalized(name))
        .collect();
    names.sort_unstable();
    names.dedup();
    let known = (names.len() >= KNOWN_MIN)
        .then(|| table.find(&names))
        .flatten();
    known.map_or_else(
        || Named::New(names.iter().map(|name| Arc::from(&**name)).collect()),
        Named::Known,
    )
}

impl Named {
    fn names(&self) -> &Names {
        match self {
            Self::Known(names) | Self::New(names) => names,
        }
    }

    fn into_names(self) -> Names {
        match self {
            Self::Known(names) | Self::New(names) => names,
        }
    }

    /// The set that all streams share.
    fn into_shared(self, table: &NameTable) -> Names {
        match self {
            Self::Known(names) => names,
            Self::New(names) => table.intern(names.iter().cloned().collect()),
        }
    }
}

fn wildcard_change(before: bool, after: bool) -> WildcardChange {
    match (before, after) {
        (false, true) => WildcardChange::Added,
        (true, false) => WildcardChange::Dropped,
        (true, true) | (false, false) => WildcardChange::Same,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn text(subscription: &Subscription) -> String {
        let wildcard = subscription.has_wildcard().then_some(WILDCARD);
        let names = subscription.names().iter().map(|name| &**name);
        wildcard
            .into_iter()
            .chain(names)
            .collect::<Vec<_>>()
            .join(",")
    }

    /// After each request in turn, the subscription must read as given.
    fn check_replace(empty_means_all: bool, requests: &[(&[&str], &str)]) {
        let table = NameTable::default();
        let mut subscription = Subscription::new(ResourceType::CLUSTER, empty_means_all);
        for (number, (request, expected)) in requests.iter().enumerate() {
            subscription.replace(owned(request), &table);
            assert_eq!(text(&subscription), *expected, "after request {number}");
        }
    }

    type DeltaRequest<'a> = (&'a [&'a str], &'a [&'a str], &'a str);

    fn check_update(requests: &[DeltaRequest]) {
        let table = NameTable::default();
        let mut subscription = Subscription::new(ResourceType::CLUSTER, true);
        for (number, (subscribe, unsubscribe, expected)) in requests.iter().enumerate() {
            if number == 0 && subscribe.is_empty() && unsubscribe.is_empty() {
                subscription.imply_wildcard();
            } else {
                subscription.update(owned(subscribe), owned(unsubscribe), &table);
            }
            assert_eq!(text(&subscription), *expected, "after request {number}");
        }
    }

    #[test]
    fn an_empty_list_means_everything_until_a_name_was_given() {
        check_replace(
            true,
            &[
                (&[], "*"),
                (&[], "*"),
                (&["a"], "a"),
                (&[], ""),
                (&["*"], "*"),
                (&[], ""),
            ],
        );
    }

    #[test]
    fn an_empty_list_means_nothing_for_types_without_implied_wildcard() {
        check_replace(false, &[(&[], ""), (&["*"], "*"), (&["a"], "a"), (&[], "")]);
    }

    #[test]
    fn names_stand_beside_the_wildcard() {
        check_replace(
            true,
            &[
                (&["*", "a"], "*,a"),
                (&["a"], "a"),
                (&["b", "*", "b"], "*,b"),
            ],
        );
    }

    #[test]
    fn a_delta_wildcard_lasts_until_it_is_unsubscribed() {
        check_update(&[
            (&[], &[], "*"),
            (&["a"], &[], "*,a"),
            (&[], &["*"], "a"),
            (&[], &["a"], ""),
            (&[], &[], ""),
        ]);
    }

    #[test]
    fn delta_subscribes_before_it_unsubscribes() {
        check_update(&[(&["*"], &["*"], ""), (&["a", "b"], &["a"], "b")]);
    }

    #[test]
    fn a_name_is_asked_for_by_its_collection_and_by_its_parent_too() {
        let table = NameTable::default();
        let asks = |resource_type, subscribed: &[&str], name: &str| {
            let mut subscription = Subscription::new(resource_type, false);
            subscription.replace(owned(subscribed), &table);
            subscription.asks_for(name)
        };
        let collection = ["xdstp://a/t/d/*?b=2&a=1"];
        for (name, expected) in [
            ("xdstp://a/t/d/x?a=1&b=2", true),
            ("xdstp://a/t/d/x", false),
            ("xdstp://a/t/d/e/x?a=1&b=2", false),
        ] {
            let asked = asks(ResourceType::CLUSTER, &collection, name);
            assert_eq!(asked, expected, "{name}");
        }
        assert!(asks(ResourceType::VIRTUAL_HOST, &["r"], "r/x"));
        assert!(!asks(ResourceType::VIRTUAL_HOST, &["r"], "r/s/x"));
        assert!(!asks(ResourceType::ROUTE, &["r"], "r/x"));
    }

    #[test]
    fn a_change_tells_what_was_added_and_dropped() {
        let table = NameTable::default();
        let mut subscription = Subscription::new(ResourceType::CLUSTER, true);
        subscription.replace(owned(&["a", "b"]), &table);
        assert_eq!(
            subscription.replace(owned(&["c", "b"]), &table),
            Change {
                added: Names::from_iter(["c".into()]),
                dropped: vec!["a".into()],
                wildcard: WildcardChange::Same,
            }
        );
        assert_eq!(
            subscription.update(owned(&["b", "*"]), owned(&["c", "never"]), &table),
            Change {
                added: Names::from_iter(["b".into()]),
                dropped: vec!["c".into()],
                wildcard: WildcardChange::Added,
            }
        );
    }
}
