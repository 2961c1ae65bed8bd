//! An honest client: asks, subscribes and acknowledges as Envoy does.
//!
//! - Clusters and listeners are asked for without names, assignments by the clusters, route configurations by the listeners.
//! - Listeners are asked for when the clusters have their endpoints.
//! - Virtual hosts are asked for once, without names, when the first route configuration comes that leaves them to that, in delta only.
//!   Those of a route configuration that is not there are dropped.
//! - Once the proxy has started, clusters are acknowledged when they are warm: each that is new or has changed has its assignment.
//! - In state of the world every request names all that is subscribed to, and a changed cluster asks again. In delta a changed cluster
//!   asks for nothing: Envoy is subscribed to its assignment already.
//! - After a reconnect everything is asked for at once, in delta with the versions that are held.

use anyhow::{Result, bail};
use bytes::Bytes;

use super::{
    kind::{Kind, PerKind},
    memo::{Memo, NameId, PayloadId},
    names::NameSet,
    request::{Content, Request},
    response::{self, Entry, Variant},
};

/// A proxy, over all its streams.
#[derive(Debug)]
pub struct Model {
    variant: Variant,
    tracks: PerKind<Track>,
    /// Nonces of responses with clusters that are not all warm yet.
    withheld: Vec<Box<str>>,
    /// Assignments that clusters which have changed wait for.
    warming: Vec<NameId>,
    has_started: bool,
}

/// One kind of resources.
#[derive(Debug, Default)]
struct Track {
    /// It was asked for on this stream.
    is_asked: bool,
    /// It was answered on this stream.
    is_answered: bool,
    subscribed: NameSet,
    /// By name.
    held: Vec<PayloadId>,
    /// How many that are subscribed to were neither received nor said to be absent.
    missing: usize,
    /// Of what was accepted last, in state of the world.
    version: Box<str>,
    nonce: Box<str>,
}

/// A resource that a proxy has now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Got {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: NameId,
    /// What the proxy had before.
    pub before: PayloadId,
    /// What it has.
    pub now: PayloadId,
}

/// What a response led to.
#[derive(Debug, Default)]
pub struct Reaction {
    /// What to send, in order.
    pub requests: Vec<Request>,
    /// What is new.
    pub got: Vec<Got>,
}

/// Names to subscribe to and to unsubscribe from.
#[derive(Debug, Default)]
struct Interest {
    added: NameSet,
    removed: Vec<NameId>,
    /// In state of the world, something asks anew for what is subscribed to.
    is_renewed: bool,
}

impl Model {
    /// A proxy that has nothing.
    pub fn new(variant: Variant) -> Self {
        Self {
            variant,
            tracks: PerKind::default(),
            withheld: Vec::new(),
            warming: Vec::new(),
            has_started: false,
        }
    }

    /// The protocol that it speaks.
    pub fn variant(&self) -> Variant {
        self.variant
    }

    /// Whether it has all that it asked for, on this stream.
    ///
    /// In state of the world a proxy says which version of everything it holds, and a server that has the same need not answer.
    pub fn is_ready(&self) -> bool {
        let is_answered = |kind| self.tracks.of(kind).is_answered;
        let may_hold_all = self.variant == Variant::StateOfTheWorld
            && self.has_started
            && Kind::ALL.into_iter().any(is_answered);
        Kind::ALL.into_iter().all(|kind| {
            // Who asks for virtual hosts depends on the route configurations.
            let is_unwanted = kind == Kind::Hosts && !self.tracks.of(kind).is_asked;
            let is_known = is_answered(kind) || !kind.is_wildcard() || may_hold_all || is_unwanted;
            self.tracks.of(kind).missing == 0 && is_known
        }) && self.warming.is_empty()
    }

    /// What keeps it from being ready, for an error.
    pub fn lacks(&self) -> String {
        let kinds = Kind::ALL.into_iter().map(|kind| {
            let Track {
                is_asked,
                is_answered,
                subscribed,
                missing,
                ..
            } = self.tracks.of(kind);
            format!(
                "{kind:?}: asked {is_asked}, answered {is_answered}, {missing} missing of {}",
                subscribed.len()
            )
        });
        let kinds: Vec<String> = kinds.collect();
        format!(
            "{:?}; {}; {} clusters are warming",
            self.variant,
            kinds.join("; "),
            self.warming.len()
        )
    }

    /// All that it holds of a kind.
    pub fn all(&self, kind: Kind) -> Vec<PayloadId> {
        let held = self.tracks.of(kind).held.iter().copied();
        held.filter(|id| *id != PayloadId::NONE && *id != PayloadId::ABSENT)
            .collect()
    }

    /// The first requests of a stream.
    pub fn connect(&mut self, node: &[u8], memo: &mut Memo) -> Vec<Request> {
        self.withheld.clear();
        let mut requests = Vec::new();
        let mut node = Some(node);
        for kind in Kind::ALL {
            let track = self.tracks.of_mut(kind);
            let was_asked = track.is_asked;
            track.is_asked = false;
            track.is_answered = false;
            track.nonce = Box::default();
            if kind == Kind::Clusters || was_asked {
                requests.push(self.first(kind, node.take(), memo));
            }
        }
        requests
    }

    fn first(&mut self, kind: Kind, node: Option<&[u8]>, memo: &mut Memo) -> Request {
        let track = self.tracks.of_mut(kind);
        track.is_asked = true;
        let names = memo.encoded(kind, &track.subscribed);
        let held: Vec<(&str, &str)> = match self.variant {
            Variant::StateOfTheWorld => Vec::new(),
            Variant::Delta => {
                let held = track.held.iter().filter_map(|id| memo.payload(kind, *id));
                held.map(|payload| (memo.name(kind, payload.name), &*payload.version))
                    .collect()
            }
        };
        let content = Content {
            kind,
            node,
            version: &track.version,
            nonce: "",
            unsubscribe: &[],
            held: &held,
        };
        match self.variant {
            Variant::StateOfTheWorld => Request::state_of_the_world(&content, names),
            Variant::Delta => Request::delta(&content, names),
        }
    }

    /// Takes a response.
    ///
    /// # Errors
    /// When it is one that Envoy would reject, or that answers nothing.
    pub fn receive(&mut self, message: &[u8], memo: &mut Memo) -> Result<Reaction> {
        let head = response::head(message)?;
        let kind = head.kind;
        let track = self.tracks.of_mut(kind);
        if !track.is_asked {
            bail!("{kind:?} were sent before they were asked for");
        }
        track.is_answered = true;
        track.nonce = head.nonce.into();
        track.version = head.version.into();

        let mut reaction = Reaction::default();
        self.take(kind, message, memo, &mut reaction.got)?;
        let requests = &mut reaction.requests;
        match kind {
            Kind::Clusters => {
                let interest = self.assignments(&reaction.got, memo);
                self.ask(Kind::Endpoints, interest, memo, requests);
                self.withheld.push(head.nonce.into());
                if !self.has_started {
                    self.acknowledge_clusters(memo, requests);
                }
            }
            Kind::Endpoints => {
                requests.push(self.acknowledgement(kind, head.nonce, memo));
                let got = &reaction.got;
                self.warming
                    .retain(|name| got.iter().all(|got| got.name != *name));
            }
            Kind::Listeners => {
                let interest = self.route_configurations(memo);
                self.ask(Kind::Routes, interest, memo, requests);
                requests.push(self.acknowledgement(kind, head.nonce, memo));
            }
            Kind::Routes => {
                requests.push(self.acknowledgement(kind, head.nonce, memo));
                let has_hosts = |got: &Got| self.leaves_hosts(got.now, memo);
                if reaction.got.iter().any(has_hosts) && !self.tracks.of(Kind::Hosts).is_asked {
                    requests.push(self.first(Kind::Hosts, None, memo));
                }
            }
            Kind::Hosts => requests.push(self.acknowledgement(kind, head.nonce, memo)),
        }
        if self.tracks.of(Kind::Endpoints).missing == 0 && self.warming.is_empty() {
            self.acknowledge_clusters(memo, requests);
            if !self.tracks.of(Kind::Listeners).is_asked {
                requests.push(self.first(Kind::Listeners, None, memo));
            }
        }
        self.has_started |= self.is_ready();
        Ok(reaction)
    }

    /// Takes what is in a response.
    fn take(
        &mut self,
        kind: Kind,
        message: &[u8],
        memo: &mut Memo,
        got: &mut Vec<Got>,
    ) -> Result<()> {
        memo.begin_response(kind);
        for entry in response::entries(message, self.variant) {
            let (name, now) = match (entry?, self.variant) {
                (Entry::Resource(resource), variant) => {
                    let id = match variant {
                        Variant::Delta => memo.of_delta(kind, resource)?,
                        Variant::StateOfTheWorld => memo.of_state_of_the_world(kind, resource)?,
                    };
                    let Some(payload) = memo.payload(kind, id) else {
                        bail!("a resource was forgotten");
                    };
                    if payload
                        .within
                        .is_some_and(|routes| !self.expects_hosts(routes, memo))
                    {
                        continue;
                    }
                    (payload.name, id)
                }
                (Entry::Removed(name), _) => (memo.name_id(kind, name), PayloadId::ABSENT),
            };
            if !memo.see(kind, name) {
                bail!(
                    "{kind:?} has '{}' twice in one response",
                    memo.name(kind, name)
                );
            }
            self.set(kind, name, now, got);
        }
        if self.variant == Variant::StateOfTheWorld && kind.is_wildcard() {
            let held = self.tracks.of(kind).held.iter();
            let gone: Vec<NameId> = (0u32..)
                .zip(held)
                .filter(|(_, id)| **id != PayloadId::NONE)
                .map(|(number, _)| NameId(number))
                .filter(|name| !memo.was_seen(kind, *name))
                .collect();
            for name in gone {
                self.set(kind, name, PayloadId::NONE, got);
            }
        }
        Ok(())
    }

    /// Whether the virtual hosts of a route configuration come by themselves.
    fn leaves_hosts(&self, routes: PayloadId, memo: &Memo) -> bool {
        let routes = memo.payload(Kind::Routes, routes);
        routes.is_some_and(|routes| !routes.refers_to.is_empty())
    }

    fn expects_hosts(&self, routes: NameId, memo: &Memo) -> bool {
        let held = self.tracks.of(Kind::Routes).held.get(routes.index());
        held.is_some_and(|held| self.leaves_hosts(*held, memo))
    }

    fn set(&mut self, kind: Kind, name: NameId, now: PayloadId, got: &mut Vec<Got>) {
        let track = self.tracks.of_mut(kind);
        let now = match now {
            // Without a subscription by name there is nothing that could be absent.
            PayloadId::ABSENT if kind.is_wildcard() => PayloadId::NONE,
            now => now,
        };
        if track.held.len() <= name.index() {
            track.held.resize(name.index() + 1, PayloadId::NONE);
        }
        let Some(place) = track.held.get_mut(name.index()) else {
            return;
        };
        let before = std::mem::replace(place, now);
        if before == PayloadId::NONE && now != PayloadId::NONE && track.subscribed.contains(name) {
            track.missing -= 1;
        }
        got.push(Got {
            kind,
            name,
            before,
            now,
        });
    }

    /// What clusters that are new, changed or gone mean for the subscription to assignments. An assignment has one cluster.
    fn assignments(&mut self, got: &[Got], memo: &Memo) -> Interest {
        let mut interest = Interest::default();
        for got in got.iter().filter(|got| got.before != got.now) {
            let refers_to = |id| {
                let payload = memo.payload(Kind::Clusters, id);
                payload.and_then(|payload| payload.refers_to.first().copied())
            };
            let (before, now) = (refers_to(got.before), refers_to(got.now));
            if let Some(gone) = before
                && before != now
            {
                self.unsubscribe(Kind::Endpoints, gone, &mut interest);
                self.warming.retain(|name| *name != gone);
            }
            let Some(name) = now else {
                continue;
            };
            if !self.subscribe(Kind::Endpoints, name, &mut interest) {
                interest.is_renewed = true;
                if self.has_started && !self.warming.contains(&name) {
                    self.warming.push(name);
                }
            }
        }
        interest
    }

    fn route_configurations(&mut self, memo: &Memo) -> Interest {
        let mut wanted = NameSet::default();
        for id in &self.tracks.of(Kind::Listeners).held {
            if let Some(payload) = memo.payload(Kind::Listeners, *id) {
                for name in &payload.refers_to {
                    wanted.insert(*name);
                }
            }
        }
        let mut interest = Interest::default();
        let before: Vec<NameId> = self.tracks.of(Kind::Routes).subscribed.iter().collect();
        for gone in before.into_iter().filter(|name| !wanted.contains(*name)) {
            self.unsubscribe(Kind::Routes, gone, &mut interest);
        }
        for name in wanted.iter() {
            self.subscribe(Kind::Routes, name, &mut interest);
        }
        interest
    }

    fn subscribe(&mut self, kind: Kind, name: NameId, interest: &mut Interest) -> bool {
        let track = self.tracks.of_mut(kind);
        let is_new = track.subscribed.insert(name);
        if is_new {
            interest.added.insert(name);
            let held = track.held.get(name.index());
            if held.is_none_or(|id| *id == PayloadId::NONE) {
                track.missing += 1;
            }
        }
        is_new
    }

    fn unsubscribe(&mut self, kind: Kind, name: NameId, interest: &mut Interest) {
        let track = self.tracks.of_mut(kind);
        if !track.subscribed.remove(name) {
            return;
        }
        interest.removed.push(name);
        let held = track.held.get_mut(name.index());
        let held = held.map_or(PayloadId::NONE, |id| std::mem::replace(id, PayloadId::NONE));
        if held == PayloadId::NONE {
            track.missing -= 1;
        }
    }

    /// Tells the server about another interest, if it is another.
    fn ask(
        &mut self,
        kind: Kind,
        interest: Interest,
        memo: &mut Memo,
        requests: &mut Vec<Request>,
    ) {
        let Interest {
            added,
            removed,
            is_renewed,
        } = interest;
        let has_changed = !added.is_empty() || !removed.is_empty();
        let asks = match self.variant {
            Variant::Delta => has_changed,
            Variant::StateOfTheWorld => has_changed || is_renewed,
        };
        if !asks {
            return;
        }
        if !self.tracks.of(kind).is_asked {
            requests.push(self.first(kind, None, memo));
            return;
        }
        let track = self.tracks.of(kind);
        match self.variant {
            Variant::Delta => {
                let names = memo.encoded(kind, &added);
                let gone: Vec<&str> = removed.iter().map(|name| memo.name(kind, *name)).collect();
                let content = Content {
                    kind,
                    node: None,
                    version: "",
                    nonce: "",
                    unsubscribe: &gone,
                    held: &[],
                };
                requests.push(Request::delta(&content, names));
            }
            Variant::StateOfTheWorld => {
                let nonce = track.nonce.clone();
                requests.push(self.acknowledgement(kind, &nonce, memo));
            }
        }
    }

    fn acknowledge_clusters(&mut self, memo: &mut Memo, requests: &mut Vec<Request>) {
        for nonce in std::mem::take(&mut self.withheld) {
            requests.push(self.acknowledgement(Kind::Clusters, &nonce, memo));
        }
    }

    fn acknowledgement(&self, kind: Kind, nonce: &str, memo: &mut Memo) -> Request {
        let track = self.tracks.of(kind);
        let content = Content {
            kind,
            node: None,
            version: &track.version,
            nonce,
            unsubscribe: &[],
            held: &[],
        };
        match self.variant {
            Variant::StateOfTheWorld => {
                Request::state_of_the_world(&content, memo.encoded(kind, &track.subscribed))
            }
            Variant::Delta => Request::delta(&content, Bytes::new()),
        }
    }
}

#[cfg(test)]
mod tests;
