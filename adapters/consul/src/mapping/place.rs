//! Where an instance is: its address, and its locality.

use std::{net::IpAddr, sync::Arc};

use bowline_mesh::{Address, Locality, RegistrySettings};

use super::{Finding, convention::Conventions, shortened};
use crate::{scope::Scope, wire::Entry};

/// The longest path of a unix socket that systems know.
const SOCKET_BYTES_MAX: usize = 107;
const LOCALITY_BYTES_MAX: usize = 128;

/// The address, and the port where it has one.
///
/// An instance without an address of its own has its machine's. From another datacenter the addresses for other datacenters count, as
/// Consul's own DNS does it.
pub(crate) fn address(entry: &Entry, scope: &Scope) -> Result<(Address, Option<u16>), Finding> {
    let Entry { node, service, .. } = entry;
    if let Some(path) = service
        .socket_path
        .as_deref()
        .filter(|path| !path.is_empty())
    {
        let is_path = path.starts_with('/') && path.len() <= SOCKET_BYTES_MAX;
        return match is_path && !path.contains('\0') {
            // Nobody looks at the number, but a service has one.
            true => Ok((Address::Unix(path.into()), Some(1))),
            false => Err(Finding::new(
                "Service.SocketPath",
                format!(
                    "'{}' is no absolute path of up to {SOCKET_BYTES_MAX} bytes",
                    shortened(path)
                ),
            )),
        };
    }
    let tagged = service.tagged_addresses.as_ref();
    let is_far = !scope.is_own && scope.peer.is_none();
    let (service_wan, node_wan) = match is_far {
        true => {
            let node = node.tagged_addresses.as_ref();
            (
                tagged.and_then(|addresses| addresses.get("wan")),
                node.and_then(|addresses| addresses.get("wan")),
            )
        }
        false => (None, None),
    };
    let own = (!service.address.is_empty()).then_some((
        "Service.Address",
        service.address.as_str(),
        service.port,
    ));
    let candidates = [
        service_wan.map(|wan| {
            (
                "Service.TaggedAddresses.wan",
                wan.address.as_str(),
                wan.port,
            )
        }),
        // An address of the instance's own says more than one of its machine.
        own,
        node_wan.map(|wan| ("Node.TaggedAddresses.wan", wan.as_str(), service.port)),
    ];
    let named = candidates
        .into_iter()
        .flatten()
        .find(|(_, address, _)| !address.is_empty());
    let (field, text, number) =
        named.unwrap_or(("Node.Address", node.address.as_str(), service.port));
    let port = match u16::try_from(number) {
        Ok(0) => None,
        Ok(port) => Some(port),
        Err(_) => {
            return Err(Finding::new(
                "Service.Port",
                format!("{number} is no port from 1 to 65535"),
            ));
        }
    };
    Ok((parsed(field, text)?, port))
}

fn parsed(field: &str, text: &str) -> Result<Address, Finding> {
    let wrong = |reason: String| Err(Finding::new(field, reason));
    match text.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() => {
            wrong(format!("{ip} is the address of no machine in particular"))
        }
        Ok(ip) if ip.is_multicast() => wrong(format!("{ip} is a multicast address")),
        Ok(ip) => Ok(Address::Ip(ip)),
        Err(_) => match text.trim_end_matches('.').parse() {
            Ok(hostname) => Ok(Address::Dns(hostname)),
            Err(error) => wrong(format!("neither an IP address nor a DNS name: {error}")),
        },
    }
}

/// The locality: what the instance says, its machine, the registry's entry, and at last the datacenter as region.
pub(crate) fn locality(
    entry: &Entry,
    conventions: &Conventions,
    settings: &RegistrySettings,
    scope: &Scope,
) -> Locality {
    let fits = |text: &&str| !text.is_empty() && text.len() <= LOCALITY_BYTES_MAX;
    let node_meta = |key: &str| {
        let meta = entry.node.meta.as_ref()?;
        meta.get(key).map(String::as_str)
    };
    let places = [&entry.service.locality, &entry.node.locality];
    for place in places.into_iter().flatten() {
        if fits(&&*place.region) {
            return Locality::new(&place.region, &place.zone, "");
        }
    }
    let said = |key: &str| conventions.get(key).or_else(|| node_meta(key)).filter(fits);
    let region = said("region");
    let zone = said("zone");
    let subzone = said("subzone");
    let default = &settings.locality;
    let is_said = region.is_some() || zone.is_some();
    match is_said || default.region.is_empty() {
        true => {
            // A narrower place has no meaning without the wider.
            let subzone = zone.and(subzone).unwrap_or_default();
            Locality::new(
                region.unwrap_or(default_region(settings, scope)),
                zone.unwrap_or_default(),
                subzone,
            )
        }
        false => default.clone(),
    }
}

/// The region of instances that say none.
pub(super) fn default_region<'a>(settings: &'a RegistrySettings, scope: &'a Scope) -> &'a Arc<str> {
    match settings.locality.region.is_empty() {
        true => &scope.datacenter,
        false => &settings.locality.region,
    }
}
