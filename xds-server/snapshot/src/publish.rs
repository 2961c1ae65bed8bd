//! From the one writer to every stream: generations of layers.

use std::{collections::BTreeMap, fmt, sync::Arc};

use arc_swap::ArcSwap;
use imbl::OrdMap;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{LAYERS_MAX, Layer, Snapshot};

/// Signals that may be left over before they are freed.
const SIGNALS_SPARE: usize = 64;

/// Names one layer: what may influence its content, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerName(Arc<str>);

impl LayerName {
    /// A name. Layers that could differ in content must have different names.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LayerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The writer's end. One atomic pointer publishes a generation; only the streams whose layers changed are woken.
#[derive(Debug, Default)]
pub struct Publisher {
    shared: Arc<Shared>,
    /// From how many signals on those that nobody waits for are looked for.
    signals_max: usize,
}

#[derive(Debug, Default)]
struct Shared {
    current: ArcSwap<Generation>,
    /// One sender per layer that is published or waited for. Held only for a map operation, never while anything is awaited.
    signals: Mutex<BTreeMap<LayerName, watch::Sender<u64>>>,
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
            match layer {
                Some(layer) => layers.insert(name.clone(), layer),
                None => layers.remove(&name),
            };
            changed.push(name);
        }
        self.shared.current.store(Arc::new(Generation {
            number,
            is_partial,
            layers,
        }));
        let mut signals = self.shared.signals.lock();
        if current.is_partial != is_partial {
            // What streams may do has changed, if not what they have.
            for signal in signals.values() {
                signal.send_replace(number);
            }
        }
        for name in changed {
            if let Some(signal) = signals.get(&name) {
                signal.send_replace(number);
            }
        }
        // Looking at all of them each time would make the change of one layer cost the number of layers.
        if signals.len() >= self.signals_max {
            signals.retain(|_, signal| signal.receiver_count() > 0);
            self.signals_max = 2 * signals.len() + SIGNALS_SPARE;
        }
        number
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
        current
            .layers
            .iter()
            .map(|(name, layer)| (name.clone(), layer.clone()))
            .collect()
    }

    /// Connects a stream to its layers. The [`Assignment`] stays with the writer, who may later give the stream others.
    pub fn subscribe(&self, layers: Vec<LayerName>) -> (Assignment, SnapshotReceiver) {
        let (sender, receiver) = watch::channel(Arc::from(bounded(layers)));
        let mut receiver = SnapshotReceiver {
            shared: self.shared.clone(),
            assignment: receiver,
            signals: [const { None }; LAYERS_MAX],
        };
        receiver.follow_assignment();
        (Assignment(sender), receiver)
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
pub struct Assignment(watch::Sender<Arc<[LayerName]>>);

impl Assignment {
    /// The layers that the stream reads now.
    pub fn layers(&self) -> Arc<[LayerName]> {
        self.0.borrow().clone()
    }

    /// Gives the stream other layers, of which at most [`LAYERS_MAX`] count.
    pub fn assign(&self, layers: Vec<LayerName>) {
        self.0.send_if_modified(|current| {
            let changed = **current != *layers;
            if changed {
                *current = Arc::from(bounded(layers));
            }
            changed
        });
    }

    /// Whether the stream has ended.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
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
    assignment: watch::Receiver<Arc<[LayerName]>>,
    signals: [Option<watch::Receiver<u64>>; LAYERS_MAX],
}

impl SnapshotReceiver {
    /// The newest snapshot, all of one generation; `None` while one of its layers has not been made yet.
    pub fn current(&self) -> Option<Snapshot> {
        let generation = self.shared.current.load();
        let names = self.assignment.borrow();
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
        self.assignment.borrow().clone()
    }

    /// Waits until [`Self::current`] may have something new. Cancel-safe.
    ///
    /// # Errors
    /// When the writer has dropped this stream's assignment: nothing will come any more.
    pub async fn changed(&mut self) -> Result<(), PublisherClosed> {
        let [first, second, third, fourth] = &mut self.signals;
        tokio::select! {
            assignment = self.assignment.changed() => {
                assignment.map_err(|_| PublisherClosed)?;
                self.follow_assignment();
            }
            () = signalled(first) => {}
            () = signalled(second) => {}
            () = signalled(third) => {}
            () = signalled(fourth) => {}
        }
        Ok(())
    }

    /// Whether [`Self::current`] may have something new since it was last said so: [`Self::changed`] for who does not wait, and much
    /// cheaper than to begin to wait.
    ///
    /// # Errors
    /// When the writer has dropped this stream's assignment: nothing will come any more.
    pub fn has_changed(&mut self) -> Result<bool, PublisherClosed> {
        let is_reassigned = self.assignment.has_changed().map_err(|_| PublisherClosed)?;
        if is_reassigned {
            self.follow_assignment();
        }
        let mut has_changed = is_reassigned;
        for signal in self.signals.iter_mut().flatten() {
            // The senders outlive their receivers.
            if signal.has_changed().unwrap_or(false) {
                signal.mark_unchanged();
                has_changed = true;
            }
        }
        Ok(has_changed)
    }

    fn follow_assignment(&mut self) {
        let names = self.assignment.borrow_and_update().clone();
        let mut signals = self.shared.signals.lock();
        let mut names = names.iter();
        for slot in &mut self.signals {
            *slot = names.next().map(|name| {
                signals
                    .entry(name.clone())
                    .or_insert_with(|| watch::Sender::new(0))
                    .subscribe()
            });
        }
    }
}

/// Waits for a change of one layer. A signal whose sender is gone never fires: senders outlive their receivers.
async fn signalled(signal: &mut Option<watch::Receiver<u64>>) {
    if let Some(receiver) = signal
        && receiver.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Body, Resource, ResourceType, Version};

    fn layer(name: &str, content: &str) -> Arc<Layer> {
        let mut layer = Layer::default();
        let bytes = bytes::Bytes::copy_from_slice(content.as_bytes());
        let version = Version::of([content.as_bytes()]);
        layer.upsert(
            ResourceType::CLUSTER,
            Resource::new(name, Body::Whole(bytes), version, []),
        );
        Arc::new(layer)
    }

    fn names(names: &[&str]) -> Vec<LayerName> {
        names.iter().map(|name| LayerName::new(*name)).collect()
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(future)
    }

    /// Whether there is something new, once.
    fn is_woken(receiver: &mut SnapshotReceiver) -> bool {
        let is_woken = receiver.has_changed().unwrap();
        assert!(!receiver.has_changed().unwrap());
        is_woken
    }

    #[test]
    fn a_stream_that_waits_is_woken() {
        let mut publisher = Publisher::new();
        let (_assignment, mut receiver) = publisher.subscribe(names(&["a"]));
        block_on(async {
            let mut changed = std::pin::pin!(receiver.changed());
            tokio::select! {
                biased;
                _ = &mut changed => panic!("nothing was published"),
                () = std::future::ready(()) => {}
            }
            publisher.publish([(LayerName::new("a"), Some(layer("x", "1")))]);
            assert_eq!(changed.await, Ok(()));
        });
        assert!(!is_woken(&mut receiver));
    }

    #[test]
    fn a_stream_gets_a_snapshot_once_all_its_layers_are_there() {
        let mut publisher = Publisher::new();
        let (_assignment, mut receiver) = publisher.subscribe(names(&["out", "in"]));
        assert!(receiver.current().is_none());
        publisher.publish([(LayerName::new("out"), Some(layer("a", "1")))]);
        assert!(is_woken(&mut receiver));
        assert!(receiver.current().is_none());
        let generation = publisher.publish([(LayerName::new("in"), Some(layer("b", "1")))]);
        assert!(is_woken(&mut receiver));
        let snapshot = receiver.current().unwrap();
        assert_eq!(snapshot.generation(), generation);
        assert_eq!(snapshot.len(ResourceType::CLUSTER), 2);
        assert!(!is_woken(&mut receiver));
    }

    #[test]
    fn only_streams_that_read_a_changed_layer_are_woken() {
        let mut publisher = Publisher::new();
        let (_one, mut reads_a) = publisher.subscribe(names(&["a"]));
        let (_two, mut reads_b) = publisher.subscribe(names(&["b"]));
        publisher.publish([(LayerName::new("a"), Some(layer("x", "1")))]);
        assert!(is_woken(&mut reads_a));
        assert!(!is_woken(&mut reads_b));
        let same = publisher.layer(&LayerName::new("a"));
        publisher.publish([(LayerName::new("a"), same)]);
        assert!(!is_woken(&mut reads_a));
    }

    #[test]
    fn everybody_hears_when_nothing_is_lacking_any_more() {
        let mut publisher = Publisher::new();
        let (_assignment, mut receiver) = publisher.subscribe(names(&["a"]));
        publisher.publish_partial([(LayerName::new("a"), Some(layer("x", "1")))]);
        assert!(is_woken(&mut receiver));
        assert!(receiver.current().unwrap().is_partial());
        publisher.publish([]);
        assert!(is_woken(&mut receiver));
        assert!(!receiver.current().unwrap().is_partial());
    }

    #[test]
    fn a_stream_that_is_given_other_layers_reads_those() {
        let mut publisher = Publisher::new();
        publisher.publish([
            (LayerName::new("a"), Some(layer("x", "1"))),
            (LayerName::new("b"), Some(layer("y", "1"))),
        ]);
        let (assignment, mut receiver) = publisher.subscribe(names(&["a"]));
        assignment.assign(names(&["b"]));
        assert!(is_woken(&mut receiver));
        assert!(
            receiver
                .current()
                .unwrap()
                .get(ResourceType::CLUSTER, "y")
                .is_some()
        );
        publisher.publish([(LayerName::new("b"), Some(layer("y", "2")))]);
        assert!(is_woken(&mut receiver));
        drop(assignment);
        assert_eq!(receiver.has_changed(), Err(PublisherClosed));
        assert_eq!(block_on(receiver.changed()), Err(PublisherClosed));
    }

    #[test]
    fn signals_of_streams_that_ended_are_freed() {
        let mut publisher = Publisher::new();
        for number in 0..1000 {
            let (_assignment, _receiver) = publisher.subscribe(names(&[&format!("{number}")]));
            if number % 10 == 0 {
                publisher.publish([]);
            }
        }
        publisher.publish([]);
        let left_over = publisher.shared.signals.lock().len();
        assert!(left_over <= SIGNALS_SPARE, "{left_over}");
    }
}
