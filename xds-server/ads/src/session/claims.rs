//! What a client that comes back says it holds.

use bytes::Bytes;
use prost::Message;

use super::received::RequestError;

/// A name, and the version that the client has of it: an entry of `initial_resource_versions` (`DeltaDiscoveryRequest`).
///
/// Both are parts of the request as it came. A fleet that comes back names millions, each to be looked at once.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Claim {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) name: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) version: Bytes,
}

/// Claims in order of names, each of which is taken as soon as it is answered.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    entries: Vec<Entry>,
    /// How many are not taken.
    left: usize,
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    claim: Claim,
    is_taken: bool,
}

impl Claims {
    /// The claims of a request. Where a name is there twice the later one counts, as in every map of a message.
    ///
    /// # Errors
    /// When something is no text.
    pub(crate) fn new(claims: Vec<Claim>) -> Result<Self, RequestError> {
        let is_text = |bytes: &Bytes| std::str::from_utf8(bytes).is_ok();
        if !claims
            .iter()
            .all(|claim| is_text(&claim.name) && is_text(&claim.version))
        {
            return Err(RequestError::NoText);
        }
        let entries = claims.into_iter().map(|claim| Entry {
            claim,
            is_taken: false,
        });
        let mut entries: Vec<Entry> = entries.collect();
        entries.sort_by(|one, other| one.claim.name.cmp(&other.claim.name));
        entries.dedup_by(|later, earlier| {
            let is_same = later.claim.name == earlier.claim.name;
            if is_same {
                std::mem::swap(later, earlier);
            }
            is_same
        });
        Ok(Self {
            left: entries.len(),
            entries,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// The version that is claimed of a name.
    pub(crate) fn version(&self, name: &str) -> Option<&[u8]> {
        let entry = self.entries.get(self.find(name)?)?;
        (!entry.is_taken).then_some(&*entry.claim.version)
    }

    /// Takes the claim about a name.
    pub(crate) fn take(&mut self, name: &str) -> Option<Bytes> {
        let at = self.find(name)?;
        let entry = self.entries.get_mut(at)?;
        entry.take(&mut self.left)
    }

    /// Drops the claims about other names than these.
    pub(crate) fn retain(&mut self, mut is_kept: impl FnMut(&str) -> bool) {
        for entry in self.entries.iter_mut().filter(|entry| !entry.is_taken) {
            if !std::str::from_utf8(&entry.claim.name).is_ok_and(&mut is_kept) {
                entry.take(&mut self.left);
            }
        }
    }

    /// Takes claims about names that are asked for in order.
    pub(crate) fn in_order(&mut self) -> InOrder<'_> {
        InOrder {
            claims: self,
            at: 0,
        }
    }

    /// What is not taken, in order.
    pub(crate) fn left(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let left = self.entries.iter().filter(|entry| !entry.is_taken);
        left.filter_map(|entry| {
            let name = std::str::from_utf8(&entry.claim.name).ok()?;
            Some((name, &*entry.claim.version))
        })
    }

    fn find(&self, name: &str) -> Option<usize> {
        let name = name.as_bytes();
        let found = self
            .entries
            .binary_search_by(|entry| (*entry.claim.name).cmp(name));
        found.ok()
    }
}

impl Entry {
    fn take(&mut self, left: &mut usize) -> Option<Bytes> {
        if self.is_taken {
            return None;
        }
        self.is_taken = true;
        *left -= 1;
        Some(std::mem::take(&mut self.claim.version))
    }
}

/// A way through claims that never goes back.
pub(crate) struct InOrder<'c> {
    claims: &'c mut Claims,
    at: usize,
}

impl InOrder<'_> {
    /// Takes the claim about a name, which must not come before those that were asked for earlier.
    pub(crate) fn take(&mut self, name: &str) -> Option<Bytes> {
        let name = name.as_bytes();
        while let Some(entry) = self.claims.entries.get_mut(self.at) {
            if *entry.claim.name > *name {
                return None;
            }
            self.at += 1;
            if *entry.claim.name == *name {
                return entry.take(&mut self.claims.left);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn claims(list: &[(u8, u8)]) -> Claims {
        let text = |byte: u8| Bytes::from(byte.to_string());
        let claim = |&(name, version): &(u8, u8)| Claim {
            name: text(name),
            version: text(version),
        };
        Claims::new(list.iter().map(claim).collect()).unwrap()
    }

    fn left(claims: &Claims) -> BTreeMap<String, String> {
        let text = |version: &[u8]| String::from_utf8(version.to_vec()).unwrap();
        let left = claims.left();
        left.map(|(name, version)| (name.to_owned(), text(version)))
            .collect()
    }

    proptest! {
        #[test]
        fn claims_are_a_map_of_which_each_entry_is_taken_once(
            list in prop::collection::vec((0_u8..30, any::<u8>()), 0..40),
            asked in prop::collection::vec(0_u8..30, 0..40),
        ) {
            let mut map: BTreeMap<String, String> = list
                .iter()
                .map(|(name, version)| (name.to_string(), version.to_string()))
                .collect();
            let mut one_by_one = claims(&list);
            prop_assert_eq!(&left(&one_by_one), &map);
            for name in &asked {
                let name = name.to_string();
                let expected = map.remove(&name);
                let expected = expected.as_ref().map(String::as_bytes);
                prop_assert_eq!(one_by_one.version(&name), expected);
                let taken = one_by_one.take(&name);
                prop_assert_eq!(taken.as_deref(), expected);
                prop_assert_eq!(one_by_one.is_empty(), map.is_empty());
            }
            prop_assert_eq!(&left(&one_by_one), &map);

            let mut retained = claims(&list);
            retained.retain(|name| !asked.iter().any(|asked| asked.to_string() == name));
            prop_assert_eq!(&left(&retained), &map);
            prop_assert_eq!(retained.is_empty(), map.is_empty());

            let mut side_by_side = claims(&list);
            let mut in_order: Vec<String> = asked.iter().map(u8::to_string).collect();
            in_order.sort();
            let mut walk = side_by_side.in_order();
            for name in &in_order {
                walk.take(name);
            }
            prop_assert_eq!(&left(&side_by_side), &map);
        }
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let claim = Claim {
            name: Bytes::from_static(b"\xff"),
            version: Bytes::new(),
        };
        assert_eq!(Claims::new(vec![claim]), Err(RequestError::NoText));
    }
}
