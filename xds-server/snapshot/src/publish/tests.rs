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
fn published(streams: usize, content: &str) -> (Publisher, Vec<Assignment>, Vec<SnapshotReceiver>) {
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
