//! Who is connected, and what each acknowledged or rejected.

mod event;
mod inquiry;
mod status;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bowline_proto::envoy::config::core::v3::Node;
use bowline_snapshot::{Bell, ResourceType};
use parking_lot::Mutex;
use time::OffsetDateTime;

use self::inquiry::Inquiries;
pub use self::{
    event::{Event, Observer},
    status::{Acknowledged, Counters, ProxyStatus, Rejected, Sent, Suspect, TypeStatus},
};
use crate::{
    response::Response,
    session::{Current, Received, StreamView, Variant, Verdict},
    source::{Peer, ProxyDescription},
};

/// The connected streams. A clone is the same fleet.
///
/// It outlives the server: listings read it, streams write to it. A stream's entry has a lock of its own, held for an update of a
/// few fields and never while anything is awaited.
#[derive(Clone, Default)]
pub struct Fleet {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// By the order of connection.
    streams: Mutex<BTreeMap<u64, Arc<Entry>>>,
    next: AtomicU64,
    observer: Option<Observer>,
}

/// One stream's entry.
struct Entry {
    id: Arc<str>,
    status: Mutex<ProxyStatus>,
    inquiries: Inquiries,
}

impl Fleet {
    /// A fleet whose events nobody follows.
    pub fn new() -> Self {
        Self::default()
    }

    /// A fleet that tells its events as they happen.
    pub fn observed_by(observer: Observer) -> Self {
        Self {
            shared: Arc::new(Shared {
                observer: Some(observer),
                ..Shared::default()
            }),
        }
    }

    /// All streams, by the proxy's id and then by the order of connection.
    pub fn list(&self) -> Vec<ProxyStatus> {
        let streams: Vec<_> = self.shared.streams.lock().values().cloned().collect();
        let mut list: Vec<ProxyStatus> = streams
            .iter()
            .map(|stream| stream.status.lock().clone())
            .collect();
        list.sort_by(|one, other| (&one.id, one.stream).cmp(&(&other.id, other.stream)));
        list
    }

    /// All streams, to be asked what they hold, by the order of connection.
    pub(crate) fn clients(&self) -> Vec<Client> {
        let streams = self.shared.streams.lock();
        streams.values().cloned().map(Client).collect()
    }

    /// Number of streams.
    pub fn len(&self) -> usize {
        self.shared.streams.lock().len()
    }

    /// Whether nobody is connected.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a stream, until what is returned is dropped. It has to see whether it is asked ([`Connected::answer`]) when its bell rings.
    pub(crate) fn connect(
        &self,
        variant: Variant,
        node: &Node,
        peer: &Peer,
        proxy: ProxyDescription,
        bell: Bell,
        now: OffsetDateTime,
    ) -> Connected {
        let stream = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let status = ProxyStatus::new(stream, variant, node, peer, proxy, now);
        let entry = Arc::new(Entry {
            id: status.id.clone(),
            status: Mutex::new(status),
            inquiries: Inquiries::new(bell),
        });
        self.shared.streams.lock().insert(stream, entry.clone());
        let connected = Connected {
            shared: self.shared.clone(),
            stream,
            variant,
            entry,
        };
        connected.tell(&Event::Connected { variant });
        connected
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet")
            .field("streams", &self.len())
            .finish_non_exhaustive()
    }
}

/// One stream, as whoever asks about it has it.
pub(crate) struct Client(Arc<Entry>);

impl Client {
    /// The id of the client's Node.
    pub(crate) fn id(&self) -> &str {
        &self.0.id
    }

    pub(crate) fn status(&self) -> ProxyStatus {
        self.0.status.lock().clone()
    }

    /// What it holds; `None` when it has ended.
    pub(crate) async fn view(&self) -> Option<StreamView> {
        self.0.inquiries.ask().await
    }
}

/// One stream's place in the fleet.
pub(crate) struct Connected {
    shared: Arc<Shared>,
    stream: u64,
    variant: Variant,
    entry: Arc<Entry>,
}

impl Connected {
    /// The proxy describes itself in another way, and its stream hears another bell.
    pub(crate) fn redescribe(&self, node: &Node, peer: &Peer, proxy: ProxyDescription, bell: Bell) {
        self.entry.inquiries.move_to(bell);
        self.entry.status.lock().redescribe(node, peer, proxy);
    }

    pub(crate) fn has_snapshot(&self) {
        self.entry.status.lock().has_snapshot = true;
    }

    pub(crate) fn sent(&self, response: &Response, bytes: usize, now: OffsetDateTime) {
        let Some(resource_type) = response.resource_type else {
            return;
        };
        self.of_type(resource_type, |status| {
            status.note_sent(response, bytes, now);
        });
        self.tell(&Event::Sent {
            variant: self.variant,
            resource_type,
            bytes,
            resources: response.resources.len(),
            removed: response.removed.len(),
        });
    }

    pub(crate) fn received(&self, received: &Received, now: OffsetDateTime) {
        match received {
            Received::Unserved => {}
            Received::Outdated(resource_type) => self.stale(*resource_type),
            Received::Current(current) => self.current(current, now),
        }
    }

    fn current(&self, current: &Current, now: OffsetDateTime) {
        let Current {
            resource_type,
            verdict,
            has_stale_nonce,
            names,
            has_wildcard,
            quarantined,
        } = current;
        self.of_type(*resource_type, |status| {
            status.note_subscription(*names, *has_wildcard);
            status.note_quarantined(quarantined);
            if let Some(verdict) = verdict {
                status.note_verdict(verdict, now);
            }
        });
        if *has_stale_nonce {
            self.stale(*resource_type);
        }
        match verdict {
            Some(Verdict::Acknowledged {
                version: _,
                generation,
                waited,
            }) => self.tell(&Event::Acknowledged {
                resource_type: *resource_type,
                generation: *generation,
                waited: *waited,
            }),
            Some(Verdict::Rejected {
                version: _,
                message,
                suspects: _,
            }) => self.tell(&Event::Rejected {
                resource_type: *resource_type,
                message,
            }),
            None => {}
        }
    }

    fn stale(&self, resource_type: ResourceType) {
        self.of_type(resource_type, TypeStatus::note_stale);
        self.tell(&Event::Stale { resource_type });
    }

    fn of_type(&self, resource_type: ResourceType, update: impl FnOnce(&mut TypeStatus)) {
        let mut status = self.entry.status.lock();
        update(status.of_type(resource_type));
    }

    /// Says what the stream holds, if somebody waits for it.
    pub(crate) fn answer(&self, view: impl FnOnce() -> StreamView) {
        self.entry.inquiries.answer(view);
    }

    fn tell(&self, event: &Event<'_>) {
        if let Some(observer) = &self.shared.observer {
            observer(event);
        }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.entry.inquiries.close();
        self.shared.streams.lock().remove(&self.stream);
        self.tell(&Event::Disconnected {
            variant: self.variant,
        });
    }
}

#[cfg(test)]
mod tests;
