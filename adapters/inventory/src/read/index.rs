//! Who writes about what, in all files.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::{entry::Identity, problem::duplicate};
use bowline_mesh::{Object, ObjectKey, Problem};

use super::known::{Known, Taken};

/// All entries of all files, by what they are about. A change costs the entries of the files that changed.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    claims: OrdMap<Identity, Claims>,
    /// Where two entries are about the same.
    contested: OrdSet<Identity>,
}

/// The entries about one thing, the one that counts first.
type Claims = Vec<Claim>;

/// An entry, ordered by how much it counts: what a file has now before what it may still have, then by place.
#[derive(Debug, Clone)]
struct Claim {
    is_kept: bool,
    place: Arc<str>,
    number: usize,
    taken: Arc<Taken>,
}

impl Claim {
    fn rank(&self) -> (bool, &str, usize) {
        (self.is_kept, &self.place, self.number)
    }
}

impl Index {
    /// Takes note that a file has become another, or is gone. Returns what the file was or is about.
    pub(super) fn replace(
        &mut self,
        place: &Arc<str>,
        before: Option<&Known>,
        after: Option<&Known>,
    ) -> Vec<Identity> {
        let before = before.into_iter().flat_map(Known::all);
        let mut touched: Vec<Identity> = before
            .filter_map(|taken| taken.identity().cloned())
            .collect();
        touched.sort_unstable();
        touched.dedup();
        for identity in &touched {
            let mut claims = self.claims.remove(identity).unwrap_or_default();
            claims.retain(|claim| claim.place != *place);
            if !claims.is_empty() {
                self.claims.insert(identity.clone(), claims);
            }
        }
        let fresh = after.into_iter().flat_map(|known| &known.entries);
        let kept = after.into_iter().flat_map(|known| &known.kept);
        let entries = fresh
            .map(|taken| (false, taken))
            .chain(kept.map(|taken| (true, taken)));
        for (number, (is_kept, taken)) in entries.enumerate() {
            let Some(identity) = taken.identity() else {
                continue;
            };
            let claim = Claim {
                is_kept,
                place: place.clone(),
                number,
                taken: taken.clone(),
            };
            let claims = self.claims.entry(identity.clone()).or_default();
            let at = claims.partition_point(|other| other.rank() < claim.rank());
            claims.insert(at, claim);
            touched.push(identity.clone());
        }
        touched.sort_unstable();
        touched.dedup();
        for identity in &touched {
            let is_contested = |claims: &Claims| {
                let fresh = claims.iter().filter(|claim| !claim.is_kept);
                fresh.count() > 1
            };
            if self.claims.get(identity).is_some_and(is_contested) {
                self.contested.insert(identity.clone());
            } else {
                self.contested.remove(identity);
            }
        }
        touched
    }

    /// What is used of the entry that counts.
    pub(super) fn objects(&self, identity: &Identity) -> &[Object] {
        let claims = self.claims.get(identity);
        claims
            .and_then(|claims| claims.first())
            .map_or(&[], |claim| &claim.taken.objects)
    }

    /// The first entry that has something to use.
    pub(super) fn in_use(&self, identity: &Identity) -> Option<&Taken> {
        let claims = self.claims.get(identity)?;
        let mut all = claims.iter().map(|claim| &*claim.taken);
        all.find(|taken| !taken.objects.is_empty())
    }

    /// All that is used, by key.
    pub(super) fn all(&self) -> OrdMap<ObjectKey, Object> {
        let counting = self.claims.values().filter_map(|claims| claims.first());
        counting
            .flat_map(|claim| &claim.taken.objects)
            .map(|object| (object.key().clone(), object.clone()))
            .collect()
    }

    /// Entries about what an earlier one is about.
    pub(super) fn duplicates(&self) -> impl Iterator<Item = Problem> {
        let contested = self.contested.iter();
        let claims = contested.filter_map(|identity| self.claims.get(identity));
        claims.flat_map(|claims| {
            let first = claims.first();
            let later = claims.iter().skip(1).filter(|claim| !claim.is_kept);
            later.filter_map(move |claim| {
                let first = first?;
                let subject = claim.taken.subject.as_ref()?;
                Some(duplicate(
                    &subject.identity,
                    &subject.key,
                    &claim.place,
                    claim.taken.line,
                    &format!("{}:{}", first.place, first.taken.line),
                ))
            })
        })
    }
}
