//! Addresses for services that have none, so that a captured connection can be told apart.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::Ipv4Addr,
};

use ipnet::Ipv4Net;
use xxhash_rust::xxh3::xxh3_64;

use crate::Hostname;

/// How many places are looked at before the range counts as full. A range that is half full has a free place within so many with a
/// probability of nearly one.
const PROBES_MAX: u32 = 1024;

/// Which hostname has which virtual address.
///
/// The address is a function of the hostname, except where two want the same one: then the earlier keeps it. What was given stays
/// given, also while the service is away; it is kept in the state store, so that a restart and another replica agree.
#[derive(Debug, Clone)]
pub(crate) struct VirtualAddresses {
    range: Ipv4Net,
    by_hostname: BTreeMap<Hostname, Ipv4Addr>,
    by_address: BTreeMap<Ipv4Addr, Hostname>,
}

impl VirtualAddresses {
    /// With what was given before. What lies outside of the range is forgotten.
    pub(crate) fn new(
        range: Ipv4Net,
        given: impl IntoIterator<Item = (Hostname, Ipv4Addr)>,
    ) -> Self {
        let mut addresses = Self {
            range,
            by_hostname: BTreeMap::new(),
            by_address: BTreeMap::new(),
        };
        for (hostname, address) in given {
            if range.contains(&address) {
                addresses.give(hostname, address);
            }
        }
        addresses
    }

    /// The address of a hostname, and whether it is new; `None` where the range is full.
    pub(crate) fn address(&mut self, hostname: &Hostname) -> Option<(Ipv4Addr, bool)> {
        if let Some(address) = self.by_hostname.get(hostname) {
            return Some((*address, false));
        }
        // Network and broadcast address are never given.
        let first = u32::from(self.range.network()) + 1;
        let places = u32::from(self.range.broadcast())
            .checked_sub(first)
            .filter(|count| *count > 0)?;
        let wanted =
            u32::try_from(xxh3_64(hostname.as_str().as_bytes()) % u64::from(places)).ok()?;
        let free = (0..places.min(PROBES_MAX))
            .map(|probe| Ipv4Addr::from(first + (wanted + probe) % places))
            .find(|address| !self.by_address.contains_key(address))?;
        self.give(hostname.clone(), free);
        Some((free, true))
    }

    /// All that are given.
    pub(crate) fn given(&self) -> impl Iterator<Item = (&Hostname, Ipv4Addr)> {
        self.by_hostname
            .iter()
            .map(|(hostname, address)| (hostname, *address))
    }

    fn give(&mut self, hostname: Hostname, address: Ipv4Addr) {
        if let Entry::Vacant(place) = self.by_address.entry(address) {
            place.insert(hostname.clone());
            self.by_hostname.insert(hostname, address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hostname(number: usize) -> Hostname {
        format!("service-{number}.shop.svc.cluster.local")
            .parse()
            .unwrap()
    }

    #[test]
    fn an_address_depends_on_the_hostname_and_stays() {
        let range = "240.0.0.0/8".parse().unwrap();
        let mut one = VirtualAddresses::new(range, []);
        let mut other = VirtualAddresses::new(range, []);
        for number in 0..100 {
            one.address(&hostname(number));
        }
        for number in (0..100).rev() {
            let (address, is_new) = other.address(&hostname(number)).unwrap();
            assert!(is_new && range.contains(&address));
            assert_eq!(one.address(&hostname(number)), Some((address, false)));
        }
    }

    #[test]
    fn two_that_want_the_same_address_get_different_ones_that_outlive_a_restart() {
        let range = "240.0.0.0/29".parse().unwrap();
        let mut addresses = VirtualAddresses::new(range, []);
        let given: Vec<_> = (0..5)
            .map(|number| addresses.address(&hostname(number)).unwrap().0)
            .collect();
        let distinct: std::collections::BTreeSet<_> = given.iter().collect();
        assert_eq!(distinct.len(), 5);
        let saved: Vec<_> = addresses
            .given()
            .map(|(name, address)| (name.clone(), address))
            .collect();
        let mut restarted = VirtualAddresses::new(range, saved);
        for (number, address) in given.iter().enumerate().rev() {
            assert_eq!(
                restarted.address(&hostname(number)),
                Some((*address, false))
            );
        }
    }

    #[test]
    fn a_full_range_gives_none() {
        let mut addresses = VirtualAddresses::new("240.0.0.0/30".parse().unwrap(), []);
        assert!(addresses.address(&hostname(0)).is_some());
        assert!(addresses.address(&hostname(1)).is_some());
        assert!(addresses.address(&hostname(2)).is_none());
        let mut tiny = VirtualAddresses::new("240.0.0.0/32".parse().unwrap(), []);
        assert!(tiny.address(&hostname(0)).is_none());
    }
}
