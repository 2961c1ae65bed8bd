//! What the distinct resources of a run say: each is read once, however many proxies receive it, and is not kept.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    rc::Rc,
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use memchr::memmem;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    fields::{Field, Fields, bytes_of, descend, text},
    kind::{Kind, PerKind},
    names::NameSet,
    request,
};

/// What is before a marker that is text.
pub const MARKER: &str = "marker-";

/// The name of a resource of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameId(pub u32);

impl NameId {
    /// Where it is in a list with a place for every name.
    pub fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// A resource of one kind with one content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PayloadId(u32);

impl PayloadId {
    /// None: it was not received.
    pub const NONE: Self = Self(0);
    /// The server said that there is none.
    pub const ABSENT: Self = Self(u32::MAX);

    fn index(self) -> Option<usize> {
        match self {
            Self::NONE | Self::ABSENT => None,
            Self(number) => usize::try_from(number).ok()?.checked_sub(1),
        }
    }
}

/// What a resource says, as far as a fleet looks.
#[derive(Debug)]
pub struct Payload {
    /// Its name.
    pub name: NameId,
    /// Its version, in delta.
    pub version: Box<str>,
    /// How new it is: the number that a scenario has put into it.
    pub marker: u64,
    /// What it makes a proxy ask for: assignments or route configurations by name, or the virtual hosts of the name that it has itself.
    pub refers_to: Box<[NameId]>,
    /// The route configuration that a virtual host belongs to.
    pub within: Option<NameId>,
    /// The whole, where it is wanted: as a delta response has it.
    pub kept: Option<Bytes>,
}

/// Whether resources are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// What they say, not they themselves.
    #[default]
    Nothing,
    /// All.
    Payloads,
}

/// All that was received so far.
#[derive(Debug, Default)]
pub struct Memo {
    kinds: PerKind<OfKind>,
    keep: Keep,
}

#[derive(Debug, Default)]
struct OfKind {
    payloads: Vec<Payload>,
    by_content: HashMap<u64, PayloadId, BuildHasherDefault<Hashed>>,
    names: Vec<Rc<str>>,
    by_name: HashMap<Rc<str>, NameId>,
    /// By name: the last response that had it, and which response is being read.
    seen_in: Vec<u64>,
    response: u64,
    encoded: HashMap<u64, Bytes, BuildHasherDefault<Hashed>>,
}

/// Subscriptions that are remembered in their encoding.
const ENCODED_MAX: usize = 256;

/// The hash of a hash.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Memo {
    /// Nothing yet.
    pub fn new(keep: Keep) -> Self {
        Self {
            kinds: PerKind::default(),
            keep,
        }
    }

    /// The resource in an entry of a delta response.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_delta(&mut self, kind: Kind, entry: &[u8]) -> Result<PayloadId> {
        self.remembered(kind, entry, |memo| {
            let (mut version, mut any) = (&[][..], &[][..]);
            for field in Fields::of(entry) {
                match field? {
                    Field::Bytes(1, bytes) => version = bytes,
                    Field::Bytes(2, bytes) => any = bytes,
                    Field::Bytes(_, _) | Field::Number(_, _) => {}
                }
            }
            memo.read(kind, any, version)
        })
    }

    /// The resource in an entry of a response in state of the world.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_state_of_the_world(&mut self, kind: Kind, any: &[u8]) -> Result<PayloadId> {
        self.remembered(kind, any, |memo| memo.read(kind, any, b""))
    }

    fn remembered(
        &mut self,
        kind: Kind,
        content: &[u8],
        read: impl FnOnce(&mut Self) -> Result<Payload>,
    ) -> Result<PayloadId> {
        let hash = xxh3_64(content);
        if let Some(known) = self.kinds.of(kind).by_content.get(&hash) {
            return Ok(*known);
        }
        let mut payload = read(self)?;
        if self.keep == Keep::Payloads {
            payload.kept = Some(Bytes::copy_from_slice(content));
        }
        let of_kind = self.kinds.of_mut(kind);
        of_kind.payloads.push(payload);
        let number = u32::try_from(of_kind.payloads.len()).context("too many resources")?;
        let id = PayloadId(number);
        of_kind.by_content.insert(hash, id);
        Ok(id)
    }

    fn read(&mut self, kind: Kind, any: &[u8], version: &[u8]) -> Result<Payload> {
        let (mut type_url, mut value) = (&[][..], &[][..]);
        for field in Fields::of(any) {
            match field? {
                Field::Bytes(1, bytes) => type_url = bytes,
                Field::Bytes(2, bytes) => value = bytes,
                Field::Bytes(_, _) | Field::Number(_, _) => {}
            }
        }
        if type_url != kind.url().as_bytes() {
            bail!(
                "a response with {kind:?} has a resource of type '{}'",
                String::from_utf8_lossy(type_url)
            );
        }
        // The name has the same number in all of them.
        let name = text(bytes_of(value, 1)?)?;
        if name.is_empty() {
            bail!("one of {kind:?} has no name");
        }
        let (marker, refers_to) = match kind {
            Kind::Clusters => (marker_in(name.as_bytes()), self.assignment(name, value)?),
            Kind::Endpoints => (largest_weight(value)?, Box::default()),
            Kind::Listeners => (0, self.route_configurations(value)?),
            Kind::Routes => (marker_in(value), self.hosts(name, value)?),
            Kind::Hosts => (marker_in(value), Box::default()),
        };
        let within = match kind {
            Kind::Hosts => name.rsplit_once('/').map(|(routes, _)| routes),
            Kind::Clusters | Kind::Endpoints | Kind::Listeners | Kind::Routes => None,
        };
        let within = within.map(|routes| self.name_id(Kind::Routes, routes));
        Ok(Payload {
            name: self.name_id(kind, name),
            version: text(version)?.into(),
            marker,
            refers_to,
            within,
            kept: None,
        })
    }

    /// The assignment that a cluster takes its endpoints from, if it does.
    fn assignment(&mut self, name: &str, cluster: &[u8]) -> Result<Box<[NameId]>> {
        const TYPE: u32 = 2;
        const EDS: u64 = 3;
        const EDS_CONFIG: u32 = 3;
        const SERVICE_NAME: u32 = 2;
        let mut is_eds = false;
        for field in Fields::of(cluster) {
            if let Field::Number(TYPE, discovery) = field? {
                is_eds = discovery == EDS;
            }
        }
        if !is_eds {
            return Ok(Box::default());
        }
        let assignment = match bytes_of(bytes_of(cluster, EDS_CONFIG)?, SERVICE_NAME)? {
            [] => name,
            service => text(service)?,
        };
        Ok(Box::new([self.name_id(Kind::Endpoints, assignment)]))
    }

    /// The route configurations that a listener asks for.
    fn route_configurations(&mut self, listener: &[u8]) -> Result<Box<[NameId]>> {
        const FILTER_CHAINS: u32 = 3;
        const DEFAULT_FILTER_CHAIN: u32 = 25;
        const FILTERS: u32 = 3;
        const TYPED_CONFIG: u32 = 4;
        const CONNECTION_MANAGER: &[u8] = b"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
        const RDS: u32 = 3;
        const ROUTE_CONFIG_NAME: u32 = 2;
        let mut names = Vec::new();
        for chains in [FILTER_CHAINS, DEFAULT_FILTER_CHAIN] {
            descend(listener, &[chains, FILTERS, TYPED_CONFIG], &mut |any| {
                if bytes_of(any, 1)? == CONNECTION_MANAGER {
                    descend(any, &[2, RDS, ROUTE_CONFIG_NAME], &mut |name| {
                        let name = self.name_id(Kind::Routes, text(name)?);
                        if !names.contains(&name) {
                            names.push(name);
                        }
                        Ok(())
                    })?;
                }
                Ok(())
            })?;
        }
        Ok(names.into())
    }

    /// The virtual hosts of a route configuration, where they come by themselves: all that begin with its name.
    fn hosts(&mut self, name: &str, routes: &[u8]) -> Result<Box<[NameId]>> {
        const VHDS: u32 = 9;
        Ok(match bytes_of(routes, VHDS)? {
            [] => Box::default(),
            _ => Box::new([self.name_id(Kind::Hosts, name)]),
        })
    }

    /// The number of a name, which it is given the first time.
    pub fn name_id(&mut self, kind: Kind, name: &str) -> NameId {
        let of_kind = self.kinds.of_mut(kind);
        if let Some(id) = of_kind.by_name.get(name) {
            return *id;
        }
        let id = NameId(u32::try_from(of_kind.names.len()).expect("no run has 2^32 names"));
        let name: Rc<str> = name.into();
        of_kind.names.push(name.clone());
        of_kind.by_name.insert(name, id);
        id
    }

    /// A name.
    pub fn name(&self, kind: Kind, id: NameId) -> &str {
        let names = &self.kinds.of(kind).names;
        names.get(id.index()).map_or("", |name| name)
    }

    /// What a resource says; nothing of one that was not received.
    pub fn payload(&self, kind: Kind, id: PayloadId) -> Option<&Payload> {
        self.kinds.of(kind).payloads.get(id.index()?)
    }

    /// How many distinct resources were received.
    pub fn distinct(&self, kind: Kind) -> usize {
        self.kinds.of(kind).payloads.len()
    }

    /// Begins to read a response: no name of the kind was seen in it yet.
    pub fn begin_response(&mut self, kind: Kind) {
        let of_kind = self.kinds.of_mut(kind);
        of_kind.response += 1;
        of_kind.seen_in.resize(of_kind.names.len(), 0);
    }

    /// Notes that the response that is being read has a name; `false` where it has it twice.
    pub fn see(&mut self, kind: Kind, name: NameId) -> bool {
        let of_kind = self.kinds.of_mut(kind);
        if of_kind.seen_in.len() < of_kind.names.len() {
            of_kind.seen_in.resize(of_kind.names.len(), 0);
        }
        let response = of_kind.response;
        match of_kind.seen_in.get_mut(name.index()) {
            Some(seen) if *seen == response => false,
            Some(seen) => {
                *seen = response;
                true
            }
            None => true,
        }
    }

    /// Whether the response that is being read has a name.
    pub fn was_seen(&self, kind: Kind, name: NameId) -> bool {
        let of_kind = self.kinds.of(kind);
        of_kind.seen_in.get(name.index()) == Some(&of_kind.response)
    }

    /// Names as the field of a request that has them, which equal subscriptions share.
    pub fn encoded(&mut self, kind: Kind, names: &NameSet) -> Bytes {
        let hash = names.hash();
        if let Some(known) = self.kinds.of(kind).encoded.get(&hash) {
            return known.clone();
        }
        let mut encoded = Vec::new();
        for name in names.iter() {
            request::write_text(
                request::NAMES,
                self.name(kind, name).as_bytes(),
                &mut encoded,
            );
        }
        let encoded = Bytes::from(encoded);
        let cache = &mut self.kinds.of_mut(kind).encoded;
        if cache.len() >= ENCODED_MAX {
            cache.clear();
        }
        cache.insert(hash, encoded.clone());
        encoded
    }
}

/// The largest number after [`MARKER`].
fn marker_in(content: &[u8]) -> u64 {
    memmem::find_iter(content, MARKER)
        .filter_map(|at| content.get(at + MARKER.len()..))
        .map(|rest| {
            rest.iter()
                .take_while(|byte| byte.is_ascii_digit())
                .fold(0, |number: u64, digit| {
                    number.saturating_mul(10) + u64::from(digit - b'0')
                })
        })
        .max()
        .unwrap_or(0)
}

/// The largest weight of an endpoint.
fn largest_weight(assignment: &[u8]) -> Result<u64> {
    const ENDPOINTS: u32 = 2;
    const LB_ENDPOINTS: u32 = 2;
    const WEIGHT: u32 = 4;
    let mut largest = 0;
    descend(
        assignment,
        &[ENDPOINTS, LB_ENDPOINTS, WEIGHT],
        &mut |weight| {
            for field in Fields::of(weight) {
                if let Field::Number(1, weight) = field? {
                    largest = largest.max(weight);
                }
            }
            Ok(())
        },
    )?;
    Ok(largest)
}

#[cfg(test)]
mod tests;
