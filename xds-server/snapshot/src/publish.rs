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
mod tests {
    use std::{
        sync::atomic::AtomicUsize,
        task::{Wake, Waker},
    };

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

    /// How often a stream was woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Woken {
        fn count(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// The stream waits, and there is nothing new.
    fn waiting(receiver: &mut SnapshotReceiver) -> Arc<Woken> {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let polled = receiver.poll_changed(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        woken
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

    /// A publisher and streams that all read the same, with a first publication.
    fn published(
        streams: usize,
        content: &str,
    ) -> (Publisher, Vec<Assignment>, Vec<SnapshotReceiver>) {
        let mut publisher = Publisher::new();
        let streams = (0..streams).map(|_| publisher.subscribe(names(&["a", "b"])));
        let (assignments, receivers) = streams.unzip();
        assert_eq!(publisher.progress(), Progress::Settled);
        publish(&mut publisher, content);
        (publisher, assignments, receivers)
    }

    fn publish(publisher: &mut Publisher, content: &str) {
        let both = ["a", "b"].map(|name| (LayerName::new(name), Some(layer("x", content))));
        publisher.publish(both);
    }

    #[test]
    fn a_publication_is_settled_when_nearly_all_streams_are_done_with_it() {
        let (publisher, _assignments, mut receivers) = published(24, "1");
        let (_slow, quick) = receivers.split_at_mut(4);
        for receiver in quick.iter_mut() {
            assert_eq!(publisher.progress(), Progress::Published);
            assert!(is_woken(receiver));
        }
        for receiver in quick {
            assert_eq!(publisher.progress(), Progress::Taken);
            receiver.note_settled();
        }
        assert_eq!(publisher.progress(), Progress::Settled);
    }

    #[test]
    fn who_waits_hears_how_far_the_streams_are() {
        let (publisher, _assignments, mut receivers) = published(2, "1");
        block_on(async {
            let mut taken = std::pin::pin!(publisher.progressed(Progress::Published));
            tokio::select! {
                biased;
                _ = &mut taken => panic!("nobody has looked"),
                woken = async { is_woken(&mut receivers[0]) } => assert!(woken),
            }
            assert_eq!(taken.await, Progress::Taken);
            let mut settled = std::pin::pin!(publisher.progressed(Progress::Taken));
            tokio::select! {
                biased;
                _ = &mut settled => panic!("nobody is done"),
                () = async { receivers[0].note_settled() } => {}
            }
            assert_eq!(settled.await, Progress::Settled);
        });
    }

    #[test]
    fn who_is_busy_with_what_came_before_is_not_waited_for() {
        let (mut publisher, _assignments, mut receivers) = published(12, "1");
        // Four have not looked, four have taken it and wait for their clients, and four are done.
        for receiver in &mut receivers[4..] {
            assert!(is_woken(receiver));
        }
        for receiver in &mut receivers[8..] {
            receiver.note_settled();
        }
        publish(&mut publisher, "2");
        assert_eq!(publisher.progress(), Progress::Published);
        for receiver in &mut receivers[8..11] {
            assert!(publisher.progress() < Progress::Settled);
            assert!(is_woken(receiver));
            receiver.note_settled();
        }
        assert_eq!(publisher.progress(), Progress::Settled);
        // What was taken before is not counted twice.
        publish(&mut publisher, "3");
        receivers[4].note_settled();
        assert_eq!(publisher.progress(), Progress::Published);
    }

    #[test]
    fn news_that_a_stream_can_do_nothing_about_do_not_wake_it_and_are_not_lost() {
        let (mut publisher, _assignments, mut receivers) = published(1, "1");
        let receiver = &mut receivers[0];
        assert!(is_woken(receiver));
        receiver.hush([ResourceType::CLUSTER], []);
        let woken = waiting(receiver);
        publish(&mut publisher, "2");
        assert_eq!(woken.count(), 0);
        receiver.listen();
        assert!(is_woken(receiver));

        // Another type, that the stream can do something about, may have the same topic.
        receiver.hush([ResourceType::CLUSTER], [ResourceType::CLUSTER]);
        let woken = waiting(receiver);
        publish(&mut publisher, "3");
        assert_eq!(woken.count(), 1);
        assert!(is_woken(receiver));

        // More differs than that type.
        receiver.hush([ResourceType::CLUSTER], []);
        let woken = waiting(receiver);
        publisher.publish([(LayerName::new("a"), None)]);
        assert_eq!(woken.count(), 1);
    }

    #[test]
    fn a_stream_that_was_not_woken_is_when_there_is_more() {
        let (mut publisher, _assignments, mut receivers) = published(1, "1");
        let receiver = &mut receivers[0];
        assert!(is_woken(receiver));
        receiver.hush([ResourceType::CLUSTER], []);
        let woken = waiting(receiver);
        publish(&mut publisher, "2");
        receiver.bell().ring();
        assert_eq!(woken.count(), 1);
        assert!(is_woken(receiver));
    }

    #[test]
    fn where_all_are_busy_a_quarter_has_to_look_before_more_is_published() {
        let (mut publisher, _assignments, mut receivers) = published(12, "1");
        for receiver in &mut receivers {
            assert!(is_woken(receiver));
            receiver.hush([ResourceType::CLUSTER], []);
        }
        for content in ["2", "3"] {
            publish(&mut publisher, content);
            assert_eq!(publisher.progress(), Progress::Published);
        }
        for receiver in &mut receivers[..3] {
            assert_eq!(publisher.progress(), Progress::Published);
            receiver.listen();
            assert!(is_woken(receiver));
        }
        assert_eq!(publisher.progress(), Progress::Settled);
    }

    #[test]
    fn those_who_are_busy_hold_up_nobody() {
        let (mut publisher, _assignments, mut receivers) = published(12, "1");
        for receiver in &mut receivers {
            assert!(is_woken(receiver));
            receiver.note_settled();
        }
        publish(&mut publisher, "2");
        for receiver in &mut receivers[8..] {
            assert!(is_woken(receiver));
            receiver.note_settled();
        }
        for receiver in &mut receivers[..8] {
            assert!(is_woken(receiver));
            receiver.hush([ResourceType::CLUSTER], []);
        }
        publish(&mut publisher, "3");
        for receiver in &mut receivers[8..11] {
            assert!(publisher.progress() < Progress::Settled);
            assert!(is_woken(receiver));
            receiver.note_settled();
        }
        assert_eq!(publisher.progress(), Progress::Settled);
    }

    #[test]
    fn a_stream_that_has_ended_is_not_waited_for() {
        let (publisher, _assignments, receivers) = published(3, "1");
        assert_eq!(publisher.progress(), Progress::Published);
        drop(receivers);
        assert_eq!(publisher.progress(), Progress::Settled);
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
    fn streams_that_have_ended_are_forgotten() {
        let publisher = Publisher::new();
        let (assignment, receiver) = publisher.subscribe(names(&["a", "b"]));
        assignment.assign(names(&["b", "c"]));
        let readers = |publisher: &Publisher| publisher.shared.readers.lock().all().count();
        assert_eq!(readers(&publisher), 2);
        assert!(!assignment.is_closed());
        drop(receiver);
        assert!(assignment.is_closed());
        assert_eq!(readers(&publisher), 0);
        // Not even by a writer who has not noticed yet.
        assignment.assign(names(&["d"]));
        assert_eq!(readers(&publisher), 0);
    }

    #[test]
    fn who_rings_wakes_a_stream_without_news() {
        let publisher = Publisher::new();
        let (_assignment, mut receiver) = publisher.subscribe(names(&["a"]));
        let bell = receiver.bell();
        assert!(!is_woken(&mut receiver));
        bell.ring();
        bell.ring();
        assert!(is_woken(&mut receiver));
    }
}
