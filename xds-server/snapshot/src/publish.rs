//! From the one writer to every stream: generations of layers.

mod mailbox;

use std::{
    fmt,
    future::poll_fn,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use arc_swap::ArcSwap;
use imbl::OrdMap;
use parking_lot::Mutex;

pub use self::mailbox::Progress;
use self::mailbox::{Mailbox, Readers, Round, Topics, UNCOUNTED};
use crate::{LAYERS_MAX, Layer, ResourceType, Snapshot, Version};

/// Names one layer: what may influence its content, and nothing else. In order of fingerprints: every stream looks its layers up each time
/// that it is woken, and names begin alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerName {
    fingerprint: u128,
    name: Arc<str>,
}

impl LayerName {
    /// A name. Layers that could differ in content must have different names.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        let name = name.into();
        Self {
            fingerprint: u128::from_be_bytes(Version::of([name.as_bytes()]).to_bytes()),
            name,
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for LayerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The writer's end. One atomic pointer publishes a generation; only the streams whose layers changed are woken.
#[derive(Debug, Default)]
pub struct Publisher {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    current: ArcSwap<Generation>,
    readers: Mutex<Readers>,
    round: Round,
}

#[derive(Debug, Default)]
struct Generation {
    number: u64,
    is_partial: bool,
    layers: OrdMap<LayerName, Arc<Layer>>,
}

impl Publisher {
    /// A publisher with nothing published.
    pub fn new() -> Self {
        Self::default()
    }

    /// Publishes new contents of layers (`None` takes a layer away) as one generation, and returns its number.
    ///
    /// Costs the number of changed layers and of the streams that read them. A layer that is the same as before wakes nobody.
    pub fn publish(
        &mut self,
        changes: impl IntoIterator<Item = (LayerName, Option<Arc<Layer>>)>,
    ) -> u64 {
        self.publish_generation(changes, false)
    }

    /// Like [`Self::publish`], for a generation that is known to lack something: a source has not answered yet. Streams add what they
    /// are given, but take nothing away from clients that held it before they connected.
    pub fn publish_partial(
        &mut self,
        changes: impl IntoIterator<Item = (LayerName, Option<Arc<Layer>>)>,
    ) -> u64 {
        self.publish_generation(changes, true)
    }

    fn publish_generation(
        &mut self,
        changes: impl IntoIterator<Item = (LayerName, Option<Arc<Layer>>)>,
        is_partial: bool,
    ) -> u64 {
        let current = self.shared.current.load_full();
        let number = current.number + 1;
        let mut layers = current.layers.clone();
        let mut changed = Vec::new();
        for (name, layer) in changes {
            let is_same = match (&layer, layers.get(&name)) {
                (Some(new), Some(old)) => Arc::ptr_eq(new, old) || new.is_same(old),
                (None, None) => true,
                _ => false,
            };
            if is_same {
                continue;
            }
            let about = match (&layer, layers.get(&name)) {
                (Some(new), Some(old)) => {
                    new.types_that_differ(old).map_or(Topics::ALL, Topics::of)
                }
                _ => Topics::ALL,
            };
            match layer {
                Some(layer) => layers.insert(name.clone(), layer),
                None => layers.remove(&name),
            };
            changed.push((name, about));
        }
        self.shared.current.store(Arc::new(Generation {
            number,
            is_partial,
            layers,
        }));
        let concerned: Vec<(Arc<Mailbox>, Topics)> = {
            let readers = self.shared.readers.lock();
            if current.is_partial == is_partial {
                let of = changed.iter().flat_map(|(name, about)| {
                    let readers = readers.of(name);
                    readers.map(move |reader| (reader.clone(), *about))
                });
                of.collect()
            } else {
                // What streams may do has changed, if not what they have.
                let all = readers.all();
                all.map(|reader| (reader.clone(), Topics::ALL)).collect()
            }
        };
        if !concerned.is_empty() {
            self.shared.round.begin(&concerned);
        }
        number
    }

    /// How far the streams are with what was published last. Who publishes faster than they settle wakes streams that have nothing to
    /// send, because they are still busy with what came before.
    pub fn progress(&self) -> Progress {
        self.shared.round.progress()
    }

    /// Waits until they are further than this; that may take for ever. Cancel-safe. Of several who wait, the last is woken.
    pub fn progressed(&self, beyond: Progress) -> impl Future<Output = Progress> + use<> {
        let shared = self.shared.clone();
        poll_fn(move |context| shared.round.poll_beyond(beyond, context))
    }

    /// The number of the newest generation.
    pub fn generation(&self) -> u64 {
        self.shared.current.load().number
    }

    /// One layer of the newest generation.
    pub fn layer(&self, name: &LayerName) -> Option<Arc<Layer>> {
        self.shared.current.load().layers.get(name).cloned()
    }

    /// The layers of the newest generation, by name.
    pub fn layers(&self) -> Vec<(LayerName, Arc<Layer>)> {
        let current = self.shared.current.load_full();
        let layers = current.layers.iter();
        let mut layers: Vec<_> = layers
            .map(|(name, layer)| (name.clone(), layer.clone()))
            .collect();
        layers.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        layers
    }

    /// Connects a stream to its layers. The [`Assignment`] stays with the writer, who may later give the stream others.
    pub fn subscribe(&self, layers: Vec<LayerName>) -> (Assignment, SnapshotReceiver) {
        let mailbox = self.shared.readers.lock().enter(bounded(layers).into());
        let assignment = Assignment {
            shared: self.shared.clone(),
            mailbox: mailbox.clone(),
        };
        let shared = self.shared.clone();
        let receiver = SnapshotReceiver {
            shared,
            mailbox,
            busy_since: None,
            is_hushed: false,
        };
        (assignment, receiver)
    }
}

fn bounded(mut layers: Vec<LayerName>) -> Vec<LayerName> {
    debug_assert!(
        layers.len() <= LAYERS_MAX,
        "a snapshot has at most {LAYERS_MAX} layers"
    );
    layers.truncate(LAYERS_MAX);
    layers
}

/// The writer's hold on which layers a stream reads.
#[derive(Debug)]
pub struct Assignment {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
}

impl Assignment {
    /// The layers that the stream reads now.
    pub fn layers(&self) -> Arc<[LayerName]> {
        self.mailbox.layers()
    }

    /// Gives the stream other layers, of which at most [`LAYERS_MAX`] count.
    pub fn assign(&self, layers: Vec<LayerName>) {
        let layers = bounded(layers);
        if *self.mailbox.layers() == *layers {
            return;
        }
        let mut readers = self.shared.readers.lock();
        readers.reassign(&self.mailbox, layers.into());
        drop(readers);
        self.mailbox.ring(UNCOUNTED, Topics::ALL);
    }

    /// Whether the stream has ended.
    pub fn is_closed(&self) -> bool {
        self.mailbox.is_abandoned()
    }
}

impl Drop for Assignment {
    fn drop(&mut self) {
        self.mailbox.close();
    }
}

/// The writer is gone: nothing will change any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublisherClosed;

impl fmt::Display for PublisherClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the publisher of snapshots has ended")
    }
}

impl std::error::Error for PublisherClosed {}

/// A stream's end: always the newest snapshot of its layers, with no queue in between.
#[derive(Debug)]
pub struct SnapshotReceiver {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    /// The round of the first news that were taken since the stream was last done with all.
    busy_since: Option<u64>,
    is_hushed: bool,
}

impl SnapshotReceiver {
    /// The newest snapshot, all of one generation; `None` while one of its layers has not been made yet.
    pub fn current(&self) -> Option<Snapshot> {
        let generation = self.shared.current.load();
        let names = self.mailbox.layers();
        let layers: Option<Vec<_>> = names
            .iter()
            .map(|name| generation.layers.get(name).cloned())
            .collect();
        let snapshot = Snapshot::new(generation.number, layers?);
        Some(if generation.is_partial {
            snapshot.partial()
        } else {
            snapshot
        })
    }

    /// The layers that this stream reads.
    pub fn layers(&self) -> Arc<[LayerName]> {
        self.mailbox.layers()
    }

    /// Waits until [`Self::current`] may have something new. Cancel-safe.
    ///
    /// # Errors
    /// When the writer has dropped this stream's assignment: nothing will come any more.
    pub async fn changed(&mut self) -> Result<(), PublisherClosed> {
        poll_fn(|context| self.poll_changed(context)).await
    }

    /// As [`Self::changed`]. Cheap to call again and again; the task that was given last is woken.
    ///
    /// # Errors
    /// As [`Self::changed`].
    pub fn poll_changed(&mut self, context: &mut Context<'_>) -> Poll<Result<(), PublisherClosed>> {
        let taken = self.mailbox.poll_news(context);
        taken.map_ok(|round| self.note_taken(round))
    }

    /// Whether [`Self::current`] may have something new since it was last said so: [`Self::changed`] for who does not wait.
    ///
    /// # Errors
    /// As [`Self::changed`].
    pub fn has_changed(&mut self) -> Result<bool, PublisherClosed> {
        let taken = self.mailbox.take_news()?;
        if let Some(round) = taken {
            self.note_taken(round);
        }
        Ok(taken.is_some())
    }

    /// The stream is done with all that it took, and its client has answered. A stream that never says so is not waited for as long.
    pub fn note_settled(&mut self) {
        if let Some(round) = self.busy_since.take() {
            self.mailbox.is_busy.store(false, Ordering::Release);
            self.shared.round.note_settled(round);
        }
    }

    /// From now on the stream is not woken for news in which these types alone differ, of all that it asks for: it has to wait for something
    /// else before it can do anything about them, and will look then. Until [`Self::listen`].
    pub fn hush(
        &mut self,
        types: impl IntoIterator<Item = ResourceType>,
        of: impl IntoIterator<Item = ResourceType>,
    ) {
        let others = Topics::of(of);
        let topics = Topics::of(types).without(others);
        if topics != Topics::default() {
            self.is_hushed = true;
            self.mailbox.hush(topics);
        }
    }

    /// The stream is woken for everything. To be called before it looks for news, so that none come unheard in between.
    pub fn listen(&mut self) {
        if std::mem::take(&mut self.is_hushed) {
            self.mailbox.hush(Topics::default());
        }
    }

    fn note_taken(&mut self, round: u64) {
        if self.busy_since.is_none() {
            self.busy_since = Some(round);
            self.mailbox.is_busy.store(true, Ordering::Release);
        }
        self.shared.round.note_taken(round);
    }

    /// Wakes whoever waits for a change, although there may be none.
    pub fn bell(&self) -> Bell {
        Bell(self.mailbox.clone())
    }
}

impl Drop for SnapshotReceiver {
    fn drop(&mut self) {
        self.shared.readers.lock().leave(&self.mailbox);
        // An end of the publisher's is none of the other streams'.
        let _ = self.has_changed();
        self.note_settled();
    }
}

/// Wakes a stream for something else than a snapshot, as if there were a new one: what a stream waits for costs each time that it waits,
/// so it had better wait for one thing only.
#[derive(Debug, Clone)]
pub struct Bell(Arc<Mailbox>);

impl Bell {
    /// Wakes the stream.
    pub fn ring(&self) {
        self.0.ring(UNCOUNTED, Topics::ALL);
    }
}

#[cfg(test)]
mod tests;
