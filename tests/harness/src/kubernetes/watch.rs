//! Watches. Each reads the history at its own pace, so nothing is queued for it.

use std::{collections::VecDeque, ops::Bound, sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use super::{
    failure::Failure,
    json::set,
    kind::Kind,
    list::Listed,
    query::Query,
    selector::Selector,
    shared::{Counted, Order, Shared, State, What},
    store::{Change, Key, Objects, Place, Shape, Stored},
};

/// How long a watch lasts that does not say it.
const LASTS: Duration = Duration::from_secs(1_800);

/// The annotation of the bookmark that ends a streamed list.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// An open watch.
#[derive(Debug)]
pub(super) struct Watch {
    shared: Arc<Shared>,
    pulse: watch::Receiver<()>,
    filter: Filter,
    bookmarks: Bookmarks,
    /// What is to be sent before anything that happened since.
    listing: Option<Listing>,
    /// Events that are made and not sent.
    events: VecDeque<Bytes>,
    /// Everything up to this revision is sent.
    position: u64,
    /// As many orders are heard.
    heard: usize,
    deadline: Instant,
    phase: Phase,
    _counted: Counted,
}

/// What there was when a watch began, and how far it has been told.
#[derive(Debug)]
struct Listing {
    objects: Objects,
    after: Option<Key>,
    end: ListingEnd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ListingEnd {
    /// A bookmark says that it is complete.
    Marked,
    Unmarked,
}

/// How many events are made at once.
const BATCH: usize = 256;

/// Which objects a watch shows, and how.
#[derive(Debug)]
struct Filter {
    kind: Arc<Kind>,
    version: String,
    namespace: String,
    shape: Shape,
    selector: Selector,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bookmarks {
    Wanted,
    Unwanted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    Ended,
}

impl Watch {
    /// Begins to watch; `Err` is what the answer says instead.
    pub(super) fn open(
        shared: &Arc<Shared>,
        state: &State,
        kind: &Arc<Kind>,
        listed: Listed<'_>,
        query: &Query,
    ) -> Result<Self, Failure> {
        let selector =
            Selector::parse(kind, query.get("labelSelector"), query.get("fieldSelector"))?;
        let filter = Filter {
            kind: Arc::clone(kind),
            version: listed.version.to_owned(),
            namespace: listed.namespace.to_owned(),
            shape: listed.shape,
            selector,
        };
        validate(state, query)?;
        let lasts = match query.number("timeoutSeconds")? {
            None | Some(0) => LASTS,
            Some(seconds) => Duration::from_secs(seconds),
        };
        let mut watch = Self {
            shared: Arc::clone(shared),
            pulse: shared.pulse(),
            filter,
            bookmarks: if query.is("allowWatchBookmarks") {
                Bookmarks::Wanted
            } else {
                Bookmarks::Unwanted
            },
            listing: None,
            events: VecDeque::new(),
            position: state.store.revision(),
            heard: state.orders.len(),
            deadline: Instant::now() + lasts,
            phase: Phase::Open,
            _counted: shared.count(&kind.resource),
        };
        watch.begin(state, query)?;
        Ok(watch)
    }

    /// What is sent first depends on where the client says it is.
    fn begin(&mut self, state: &State, query: &Query) -> Result<(), Failure> {
        let wanted = query.revision()?;
        let now = self.position;
        let streamed = query.is("sendInitialEvents");
        match wanted {
            Some(wanted) if streamed && wanted > now => {
                return Err(Failure::too_large(wanted, now));
            }
            // A client that says where it is gets what happened since.
            Some(since @ 1..) if !streamed => {
                if since < state.store.compacted() {
                    let message = format!(
                        "too old resource version: {since} ({})",
                        state.store.compacted()
                    );
                    return Err(Failure::expired(message));
                }
                self.position = since;
            }
            None | Some(_) => {
                if query.has("sendInitialEvents") && !streamed {
                    return Ok(());
                }
                let end = match self.bookmarks {
                    // Whoever gets what there is, and wants bookmarks, gets this one, also unasked.
                    Bookmarks::Wanted if state.streams_lists() => ListingEnd::Marked,
                    Bookmarks::Wanted | Bookmarks::Unwanted => ListingEnd::Unmarked,
                };
                self.listing = Some(Listing {
                    objects: state.store.objects(&self.filter.kind),
                    after: None,
                    end,
                });
            }
        }
        Ok(())
    }

    /// What comes next, or `None` when the watch is over.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if self.listing.is_some() {
                self.list();
                continue;
            }
            if self.phase == Phase::Ended {
                return None;
            }
            self.pulse.mark_unchanged();
            self.read();
            if !self.events.is_empty() || self.phase == Phase::Ended {
                continue;
            }
            tokio::select! {
                changed = self.pulse.changed() => {
                    if changed.is_err() {
                        self.phase = Phase::Ended;
                    }
                }
                () = tokio::time::sleep_until(self.deadline) => {
                    self.mark();
                    self.phase = Phase::Ended;
                }
            }
        }
    }

    /// Makes the next events of what there was at the beginning.
    fn list(&mut self) {
        let Some(listing) = &mut self.listing else {
            return;
        };
        let from = match listing.after.take() {
            Some(key) => Bound::Excluded(key),
            None => Bound::Unbounded,
        };
        let rest = listing.objects.range((from, Bound::Unbounded));
        for (key, object) in rest.take(BATCH) {
            if self.filter.has(&key.namespace, object) {
                self.events.push_back(self.filter.event("ADDED", object));
            }
            listing.after = Some(key.clone());
        }
        if listing.after.is_some() {
            return;
        }
        if listing.end == ListingEnd::Marked {
            let annotations = json!({INITIAL_EVENTS_END: "true"});
            let event = self.filter.bookmark(self.position, Some(annotations));
            self.events.push_back(event);
        }
        self.listing = None;
    }

    /// Reads what has happened since, and what was ordered.
    fn read(&mut self) {
        let shared = Arc::clone(&self.shared);
        let state = shared.state();
        let from = self.position;
        for (revision, change) in (from + 1..).zip(state.store.since(from)) {
            if *change.resource == *self.filter.kind.resource
                && let Some(event) = self.filter.change(revision, change)
            {
                self.events.push_back(event);
            }
            self.position = revision;
        }
        let orders: Vec<Order> = state.orders.get(self.heard..).unwrap_or_default().to_vec();
        self.heard = state.orders.len();
        let resource = self.filter.kind.resource.clone();
        for order in orders {
            if order.resource.is_some_and(|of| of != resource) || self.phase == Phase::Ended {
                continue;
            }
            match order.what {
                What::Bookmark => self.mark(),
                What::Expire => {
                    let message = format!(
                        "too old resource version: {} ({})",
                        self.position,
                        self.position + 1
                    );
                    self.events.push_back(error(&Failure::expired(message)));
                    self.phase = Phase::Ended;
                }
                What::End => self.phase = Phase::Ended,
            }
        }
        if state.store.kind(&resource).is_none() {
            self.phase = Phase::Ended;
        }
    }

    /// A bookmark, if the client wants any.
    fn mark(&mut self) {
        if self.bookmarks == Bookmarks::Wanted {
            let event = self.filter.bookmark(self.position, None);
            self.events.push_back(event);
        }
    }
}

impl Filter {
    fn has(&self, namespace: &str, object: &Stored) -> bool {
        (self.namespace.is_empty() || self.namespace == namespace)
            && self.selector.selects(&object.labels, || object.value())
    }

    /// What a change is for this watch: objects come and go also by their labels.
    fn change(&self, revision: u64, change: &Change) -> Option<Bytes> {
        let shown = |object: &Option<Arc<Stored>>| {
            object
                .clone()
                .filter(|object| self.has(&change.key.namespace, object))
        };
        match (shown(&change.before), shown(&change.after)) {
            (None, Some(after)) => Some(self.event("ADDED", &after)),
            (Some(_), Some(after)) => Some(self.event("MODIFIED", &after)),
            (Some(before), None) => Some(self.event("DELETED", &before.deleted_at(revision))),
            (None, None) => None,
        }
    }

    fn event(&self, what: &str, object: &Stored) -> Bytes {
        let shown = object.show(&self.kind, &self.version, self.shape, Place::Alone);
        let mut event = Vec::with_capacity(shown.len() + 40);
        event.extend_from_slice(format!("{{\"type\":\"{what}\",\"object\":").as_bytes());
        event.extend_from_slice(&shown);
        event.extend_from_slice(b"}\n");
        event.into()
    }

    fn bookmark(&self, revision: u64, annotations: Option<Value>) -> Bytes {
        let (api_version, kind) = match self.shape {
            Shape::Whole => (
                self.kind.api_version(&self.version),
                self.kind.name.as_str(),
            ),
            Shape::Metadata => ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadata"),
        };
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if let Some(annotations) = annotations {
            set(&mut metadata, &["annotations"], annotations);
        }
        let mut object = match self.shape {
            Shape::Whole => self.kind.empty(),
            Shape::Metadata => json!({}),
        };
        set(&mut object, &["kind"], kind);
        set(&mut object, &["apiVersion"], api_version);
        set(&mut object, &["metadata"], metadata);
        format!("{}\n", json!({"type": "BOOKMARK", "object": object})).into()
    }
}

/// The event that tells of a failure in the middle of a watch.
pub(super) fn error(failure: &Failure) -> Bytes {
    let event = json!({"type": "ERROR", "object": failure.status()});
    format!("{event}\n").into()
}

fn validate(state: &State, query: &Query) -> Result<(), Failure> {
    let invalid = |why: &str| Err(Failure::invalid("ListOptions.meta.k8s.io", "", why));
    let matching = query.get("resourceVersionMatch");
    if query.has("sendInitialEvents") {
        if !state.streams_lists() {
            return invalid(
                "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless \
                 the WatchList feature gate is enabled",
            );
        }
        if matching != "NotOlderThan" {
            return invalid(
                "resourceVersionMatch: Forbidden: sendInitialEvents requires setting \
                 resourceVersionMatch to NotOlderThan",
            );
        }
    } else if !matching.is_empty() {
        return invalid(
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless \
             sendInitialEvents is provided",
        );
    }
    Ok(())
}
