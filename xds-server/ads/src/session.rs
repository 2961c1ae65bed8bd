//! The protocol state of one stream. No I/O, no clock, no randomness: requests and snapshots go in, responses are taken out.
//!
//! What to send is decided from what this stream *was sent* and from its subscription, never from the version that the client names:
//! servers that compare versions answer a rejection with the content that was just rejected, for ever.

mod children;
mod claims;
mod client;
mod delta;
mod due;
mod gate;
mod heartbeat;
mod lingering;
mod made;
mod outstanding;
mod protocol;
mod quarantine;
mod received;
mod sotw;
mod stage;
mod steps;
#[cfg(test)]
mod tests;
mod track;
mod tracks;
mod verdict;
mod view;
mod work;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, VecDeque},
    marker::PhantomData,
    sync::Arc,
    time::Instant,
};

use bowline_snapshot::{ResourceType, Snapshot, Version};

pub use self::protocol::Variant;
pub(crate) use self::{
    client::Client,
    delta::Delta,
    protocol::{Header, Protocol},
    received::{Current, Received, RequestError},
    sotw::StateOfTheWorld,
    steps::Step,
    verdict::Verdict,
    view::{ResourceView, Standing, StreamView, TypeView},
};
use self::{
    gate::{Gate, Role, is_gating},
    made::Made,
    outstanding::{Content, Outstanding},
    protocol::{Draft, Order},
    received::EmptyRequests,
    stage::Stage,
    steps::Steps,
    track::{Held, Track},
    tracks::Tracks,
    verdict::judge,
    work::{Context, Overdue},
};
use crate::{
    names::NameTable,
    response::{Entries, Response},
    settings::Settings,
    subscription::Subscription,
};

/// What the sessions of a server share.
#[derive(Debug, Default)]
pub(crate) struct Common {
    names: NameTable,
    steps: Steps,
}

impl Common {
    /// Forgets what was made for several sessions and none has needed since this was called last.
    pub(crate) fn forget_unused(&self) {
        self.steps.forget_unused();
    }
}

/// One stream.
pub(crate) struct Session<P> {
    settings: Arc<Settings>,
    common: Arc<Common>,
    client: Client,
    tracks: Tracks,
    /// By type that is not asked for yet: what resources belong to that have to be sent whatever the client says that it holds.
    disbelieved: BTreeMap<ResourceType, BTreeSet<Arc<str>>>,
    gate: Gate,
    /// Beside what everybody is served, where layers have recipes.
    made: Option<Box<Made>>,
    last_nonce: u64,
    /// Answers to requests for types that nobody serves.
    denials: VecDeque<Response>,
    protocol: PhantomData<P>,
}

impl<P: Protocol> Session<P> {
    pub(crate) fn new(settings: Arc<Settings>, common: Arc<Common>, client: Client) -> Self {
        Self {
            settings,
            common,
            client,
            tracks: Tracks::default(),
            disbelieved: BTreeMap::new(),
            gate: Gate::default(),
            made: None,
            last_nonce: 0,
            denials: VecDeque::new(),
            protocol: PhantomData,
        }
    }

    /// The client has other features now.
    pub(crate) fn follow_client(&mut self, client: Client) {
        self.client = client;
    }

    /// Takes a new snapshot.
    pub(crate) fn update(&mut self, snapshot: Snapshot) {
        let before = self.made.take().map(|made| *made);
        self.made = Made::beside(&snapshot, before, &self.tracks).map(Box::new);
        self.gate.update(match &self.made {
            Some(made) => made.snapshot(),
            None => snapshot,
        });
    }

    /// Takes a request of the client.
    pub(crate) fn receive(
        &mut self,
        header: Header,
        mut interest: P::Interest,
        now: Instant,
    ) -> Result<Received, RequestError> {
        if header.type_url.is_empty() {
            return Err(RequestError::NoType);
        }
        let is_spoken = |resource_type: &ResourceType| {
            P::VARIANT == Variant::Delta || !resource_type.spec().delta_only
        };
        let served = self.settings.resource_type(&header.type_url);
        let Some(resource_type) = served.filter(is_spoken) else {
            self.deny(header, interest);
            return Ok(Received::Unserved);
        };
        let order = match self.tracks.has(resource_type) {
            true => Order::Later,
            false => {
                let track = self.new_track(resource_type, &mut interest);
                self.tracks.add(track);
                Order::First
            }
        };
        let Some(track) = self.tracks.get_mut(resource_type) else {
            return Ok(Received::Unserved);
        };
        if P::is_outdated(track, &header.nonce) {
            return Ok(Received::Outdated(resource_type));
        }
        let (verdict, has_stale_nonce) = judge::<P>(track, header, &interest, now);
        let names_before = self
            .made
            .is_some()
            .then(|| track.subscription.names().clone());
        P::subscribe(track, interest, order, &self.common.names);
        let names = track.subscription.names().len();
        let has_wildcard = track.subscription.has_wildcard();
        let quarantined = track.quarantined().cloned().collect();
        if names > self.settings.names_max {
            return Err(RequestError::TooManyNames {
                resource_type,
                max: self.settings.names_max,
            });
        }
        if let (Some(made), Some(before)) = (&mut self.made, names_before)
            && !before.is(track.subscription.names())
            && made.follow(resource_type, track.subscription.names())
        {
            self.gate.update(made.snapshot());
        }
        Ok(Received::Current(Current {
            resource_type,
            verdict,
            has_stale_nonce,
            names,
            has_wildcard,
            quarantined,
        }))
    }

    /// The next message for the client. Call it again until there is none; each is taken as sent.
    ///
    /// It is made when it is asked for, so a client that reads slowly gets the newest state and nothing in between.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Response> {
        if let Some(mut denial) = self.denials.pop_front() {
            self.last_nonce += 1;
            denial.nonce = self.last_nonce;
            return Some(denial);
        }
        let newest = self.gate.newest()?.clone();
        if let Some(heartbeat) = self.heartbeat(now) {
            return Some(heartbeat);
        }
        self.expire(now);
        // What was acknowledged is opened before something newer is sent, which will have to be acknowledged too.
        self.open_gate(&newest, now);
        if let Some(response) = self.serve(Role::Supplier, &newest, &newest, now, Overdue::Stays) {
            return Some(response);
        }
        self.open_gate(&newest, now);
        let open = match self.gate.open() {
            Some(open) => open.clone(),
            // Listeners and routes are not asked for, or wait for their first clusters.
            None => return self.serve(Role::Supplier, &newest, &newest, now, Overdue::Goes),
        };
        if let Some(response) = self.serve(Role::Referrer, &open, &newest, now, Overdue::Stays) {
            return Some(response);
        }
        // Listeners and routes have nothing more to say now: what waited for them can be taken away, and what waited too long.
        self.serve(Role::Supplier, &newest, &newest, now, Overdue::Goes)
    }

    /// When [`Self::next`] may have something without any event.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let tracks = self.tracks.iter().filter_map(Track::next_deadline);
        tracks.chain(self.gate.next_deadline()).min()
    }

    /// Whether the client was answered, and has itself answered everything that it was given the time for.
    pub(crate) fn is_settled(&self) -> bool {
        let is_answered = |track: &Track| track.last_nonce.is_some() && track.is_ready();
        !self.tracks.is_empty() && self.tracks.iter().all(is_answered)
    }

    /// Whether the client has still to answer something that it was given the time for.
    pub(crate) fn awaits_client(&self) -> bool {
        !self.tracks.iter().all(Track::is_ready)
    }

    /// The types that are subscribed to, and of which nothing can be sent before the client has answered; and the others.
    pub(crate) fn waiting_types(&self) -> [impl Iterator<Item = ResourceType> + '_; 2] {
        [false, true].map(|is_ready| {
            let tracks = self
                .tracks
                .iter()
                .filter(move |track| track.is_ready() == is_ready);
            tracks.map(|track| track.resource_type)
        })
    }

    fn new_track(&mut self, resource_type: ResourceType, interest: &mut P::Interest) -> Track {
        let empty_means_all = resource_type.spec().empty_is_wildcard
            && self.client.empty_requests == EmptyRequests::MeanAll;
        let subscription = Subscription::new(resource_type, empty_means_all);
        let mut held = P::held(interest);
        if let Some(parents) = self.disbelieved.remove(&resource_type)
            && let Held::Each(claims) = &mut held
        {
            self.disbelieve(resource_type, claims, &parents);
        }
        Track::new(resource_type, subscription, held)
    }

    fn deny(&mut self, header: Header, interest: P::Interest) {
        let Some(removed) = P::deny(interest, &header.nonce) else {
            return;
        };
        self.denials.push_back(Response {
            resource_type: None,
            type_url: Cow::Owned(header.type_url),
            version: Version::EMPTY,
            resources: Entries::Own(Vec::new()),
            removed,
            extra: None,
            quarantined: Vec::new(),
            nonce: 0,
            generation: self
                .gate
                .newest()
                .map_or(0, |newest| newest.snapshot.generation()),
        });
    }

    /// Lets listeners and routes have what the client has the clusters for.
    fn open_gate(&mut self, newest: &Stage, now: Instant) {
        let is_withheld = |track: &Track| track.is_withheld(&newest.snapshot);
        // Nobody waits before listeners or routes are asked for.
        if self.referrers_settled().is_some() && !self.tracks.iter().any(is_withheld) {
            let ready = self.ready_stage(newest);
            let limit = self.settings.make_before_break_limit;
            self.gate.advance(ready.as_ref(), now, limit);
        }
    }

    /// Stops waiting for what has not come in time.
    fn expire(&mut self, now: Instant) {
        let has_referrers = self.referrers_settled().is_some();
        if has_referrers && self.tracks.iter().any(|track| track.is_overdue(now)) {
            self.gate.hurry(now);
        }
        let is_opening = self.gate.is_due(now);
        for track in self.tracks.iter_mut() {
            if let Some(outstanding) = &mut track.outstanding {
                if is_opening && is_gating(track.resource_type) {
                    // Listeners and routes go now: what they refer to must at least be on its way before them.
                    outstanding.give_up();
                } else {
                    outstanding.expire(now);
                }
            }
        }
    }

    /// The stage that the client has all clusters of, and no others that are still to be acknowledged.
    fn ready_stage(&self, newest: &Stage) -> Option<Stage> {
        let mut gating = self
            .tracks
            .iter()
            .filter(|track| is_gating(track.resource_type))
            .map(Track::ready_stage);
        let Some(first) = gating.next() else {
            return Some(newest.clone());
        };
        let first = first?;
        gating
            .all(|stage| stage.is_some_and(|stage| stage.number == first.number))
            .then(|| first.clone())
    }

    /// The stage up to which nothing older is referred to by the listeners and routes that the client has; `None` if it subscribes to
    /// none.
    fn referrers_settled(&self) -> Option<u64> {
        let mut settled = self
            .tracks
            .iter()
            .filter(|track| Role::of(track.resource_type) == Role::Referrer)
            .map(Track::settled);
        let first = settled.next()?;
        // Routes that are ahead of their listeners say nothing: they may have dropped a name whose listener is still there, with the
        // content that it had before.
        let last = settled.try_fold(first, |before, next| (next <= before).then_some(next));
        Some(last.unwrap_or(0))
    }

    /// The first response that a type of this role has ready, in the order of an update.
    fn serve(
        &mut self,
        role: Role,
        stage: &Stage,
        newest: &Stage,
        now: Instant,
        overdue: Overdue,
    ) -> Option<Response> {
        for track in self.tracks.iter_mut() {
            if Role::of(track.resource_type) == role {
                track.pass(stage);
            }
        }
        let referrers_settled = self.referrers_settled();
        let mut after = None;
        while let Some(resource_type) = self.next_with_work(role, stage, after) {
            after = Some(resource_type);
            let parents = self
                .parents(resource_type)
                .unwrap_or(stage)
                .snapshot
                .clone();
            let context = Context {
                stage,
                newest: &newest.snapshot,
                parents: &parents,
                removals: P::removals(resource_type),
                referrers_settled,
                now,
                overdue,
                linger_until: now + self.settings.make_before_break_limit,
                variant: P::VARIANT,
                client: self.client,
            };
            let response = self.serve_type(resource_type, &context);
            if response.is_some() {
                return response;
            }
        }
        None
    }

    /// The next type of a role that may have something to say.
    fn next_with_work(
        &self,
        role: Role,
        stage: &Stage,
        after: Option<ResourceType>,
    ) -> Option<ResourceType> {
        let mut tracks = self.tracks.iter().filter(|track| {
            after.is_none_or(|after| after < track.resource_type)
                && Role::of(track.resource_type) == role
                && !track.is_idle(stage)
        });
        tracks.next().map(|track| track.resource_type)
    }

    fn serve_type(
        &mut self,
        resource_type: ResourceType,
        context: &Context<'_>,
    ) -> Option<Response> {
        let track = self.tracks.get_mut(resource_type)?;
        if !track.is_ready() {
            track.follow_along(context);
            return None;
        }
        if !track.has_work(context) {
            return None;
        }
        let settled_before = track.settled();
        let was_unfinished = track.is_unfinished;
        let bytes_max = self.settings.response_bytes_max;
        let mut work = if P::can_split(resource_type) {
            let step = track.take_step(context, &self.common.steps, bytes_max);
            step.unwrap_or_else(|| {
                let mut work = track.take_work(context);
                track.defer(&mut work, bytes_max);
                work
            })
        } else {
            track.take_work(context)
        };
        let Some(draft) = P::draft(track, context, &mut work) else {
            if was_unfinished {
                // The rest of the last response is gone meanwhile: what was sent is all.
                track.outstanding = None;
            }
            if track.heartbeat().is_none() {
                // What a client has brought along it keeps only if it hears of it.
                let version = context.stage.snapshot.type_version(resource_type);
                track.plan_heartbeat::<P>(version, context);
            }
            return None;
        };
        self.last_nonce += 1;
        let nonce = self.last_nonce;
        let owed = std::mem::take(&mut work.owed);
        let sent = Outstanding {
            first_nonce: nonce,
            last_nonce: nonce,
            version: draft.version,
            generation: context.stage.snapshot.generation(),
            sent_at: context.now,
            deadline: Some(context.now + self.settings.acknowledgement_limit),
            blocks: work.introduces || Role::of(resource_type) == Role::Referrer,
            settled_before,
            before: work.before.take(),
            content: Content::of(&draft, &work, owed, track.is_unfinished),
        };
        track.outstanding = Some(Box::new(match track.outstanding.take() {
            Some(first_part) if was_unfinished => first_part.continued_by(sent),
            Some(_) | None => sent,
        }));
        track.last_nonce = Some(nonce);
        track.plan_heartbeat::<P>(draft.version, context);
        let quarantined = track.quarantined().cloned().collect();
        let replacements = track
            .rare_if_any()
            .map_or_else(Vec::new, |rare| rare.rejections.take_replacements());
        let sent = draft.upserts(&work).chain(&replacements);
        self.owe_children(resource_type, sent, context.stage);
        let Draft {
            version,
            resources,
            taken: _,
            removed,
            extra,
        } = draft;
        Some(Response {
            resource_type: Some(resource_type),
            type_url: Cow::Borrowed(resource_type.url()),
            version,
            resources,
            removed,
            extra,
            quarantined,
            nonce,
            generation: context.stage.snapshot.generation(),
        })
    }
}
