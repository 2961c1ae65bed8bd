//! What a stream subscribes to, of one type.

use std::sync::Arc;

use crate::names::{NameTable, Names};

/// The name that subscribes to every member of a type.
pub(crate) const WILDCARD: &str = "*";

/// The names and wildcard of one type on one stream.
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
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
    pub(crate) added: Vec<Arc<str>>,
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
    pub(crate) fn new(empty_means_all: bool) -> Self {
        Self {
            names: Names::default(),
            has_wildcard: false,
            empty_means_all,
        }
    }

    pub(crate) fn covers(&self, name: &str) -> bool {
        self.has_wildcard || self.names.contains(name)
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
                added: Vec::new(),
                dropped: Vec::new(),
                wildcard: wildcard_change(had_wildcard, true),
            };
        }
        self.empty_means_all = false;
        self.has_wildcard = requested.iter().any(|name| name == WILDCARD);
        let requested = named(requested);
        let added: Vec<_> = requested
            .iter()
            .filter(|name| !self.names.contains(name))
            .cloned()
            .collect();
        // Every acknowledgement repeats the whole list: where nothing is new and none is missing, the shared set stays.
        let before = (!added.is_empty() || requested.len() != self.names.len())
            .then(|| std::mem::replace(&mut self.names, table.intern(requested)));
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
        let unsubscribed = named(unsubscribe);
        let is_unsubscribed = |name: &Arc<str>| unsubscribed.binary_search(name).is_ok();
        let mut added = named(subscribe);
        added.retain(|name| !is_unsubscribed(name));
        let dropped: Vec<_> = unsubscribed
            .iter()
            .filter(|name| self.names.contains(name))
            .cloned()
            .collect();
        if !dropped.is_empty() || added.iter().any(|name| !self.names.contains(name)) {
            let kept = self.names.iter().filter(|name| !is_unsubscribed(name));
            self.names = table.intern(kept.chain(&added).cloned().collect());
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
            added: Vec::new(),
            dropped: Vec::new(),
            wildcard: wildcard_change(had_wildcard, self.has_wildcard),
        }
    }
}

/// The explicit names of a list, in order and once.
fn named(list: Vec<String>) -> Vec<Arc<str>> {
    let mut names: Vec<Arc<str>> = list
        .into_iter()
        .filter(|name| name != WILDCARD)
        .map(Arc::from)
        .collect();
    names.sort_unstable();
    names.dedup();
    names
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
        let mut subscription = Subscription::new(empty_means_all);
        for (number, (request, expected)) in requests.iter().enumerate() {
            subscription.replace(owned(request), &table);
            assert_eq!(text(&subscription), *expected, "after request {number}");
        }
    }

    type DeltaRequest<'a> = (&'a [&'a str], &'a [&'a str], &'a str);

    fn check_update(requests: &[DeltaRequest]) {
        let table = NameTable::default();
        let mut subscription = Subscription::new(true);
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
    fn a_change_tells_what_was_added_and_dropped() {
        let table = NameTable::default();
        let mut subscription = Subscription::new(true);
        subscription.replace(owned(&["a", "b"]), &table);
        assert_eq!(
            subscription.replace(owned(&["c", "b"]), &table),
            Change {
                added: vec!["c".into()],
                dropped: vec!["a".into()],
                wildcard: WildcardChange::Same,
            }
        );
        assert_eq!(
            subscription.update(owned(&["b", "*"]), owned(&["c", "never"]), &table),
            Change {
                added: vec!["b".into()],
                dropped: vec!["c".into()],
                wildcard: WildcardChange::Added,
            }
        );
    }
}
