//! Writing behind: at once for the caller, complete on disk, loud when it fails.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bowline_state::{
    Changes, CommitError, Embedded, Expected, Key, Listing, Memory, OpenError, Prefix, Revision,
    Store, StoreError, Stored, WriteBehind, Writes,
};
use tokio::sync::watch;

/// A store whose disk can be full.
#[derive(Debug)]
struct Flaky {
    memory: Memory,
    full: AtomicBool,
    panics: AtomicBool,
}

impl Flaky {
    fn full() -> Arc<Self> {
        Arc::new(Self {
            memory: Memory::new(),
            full: true.into(),
            panics: false.into(),
        })
    }
}

impl Store for Flaky {
    fn get(&self, key: &Key) -> Result<Option<Stored>, StoreError> {
        self.memory.get(key)
    }

    fn list(&self, prefix: &Prefix) -> Result<Listing, StoreError> {
        self.memory.list(prefix)
    }

    fn commit(
        &self,
        expected: &[(Key, Expected)],
        writes: &Writes,
    ) -> Result<Revision, CommitError> {
        assert!(!self.panics.load(Ordering::SeqCst), "corrupted page");
        if self.full.load(Ordering::SeqCst) {
            let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(StoreError::Reopen(OpenError::File {
                path: "/data".into(),
                source,
            })
            .into());
        }
        self.memory.commit(expected, writes)
    }

    fn changes(&self, prefix: &Prefix, after: Revision) -> Result<Changes, StoreError> {
        self.memory.changes(prefix, after)
    }

    fn revisions(&self) -> watch::Receiver<Revision> {
        self.memory.revisions()
    }
}

fn put(name: &str, value: &str) -> Writes {
    let mut writes = Writes::new();
    writes.put(Prefix::of("area").key(name), value.to_owned());
    writes
}

fn content(store: &dyn Store) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let listing = store.list(&Prefix::of("area")).unwrap();
    let entries = listing.entries.into_iter();
    entries
        .map(|(key, stored)| (text(&key.name()), text(&stored.value)))
        .collect()
}

#[tokio::test]
async fn the_last_word_on_a_key_is_what_is_kept() {
    let store = Arc::new(Memory::new());
    let writer = WriteBehind::start(store.clone()).unwrap();
    for n in 0..1000 {
        writer.write(put("a", &n.to_string()));
        writer.write(put(&format!("b{}", n % 3), "x"));
    }
    writer.flush().await.unwrap();
    let kept = content(&*store);
    assert_eq!(kept.len(), 4);
    assert_eq!(kept["a"], "999");
    assert_eq!(writer.status().borrow().failures, 0);
}

#[tokio::test]
async fn a_flush_with_nothing_to_write_returns() {
    let writer = WriteBehind::start(Arc::new(Memory::new())).unwrap();
    writer.flush().await.unwrap();
    writer.write(Writes::new());
    writer.flush().await.unwrap();
}

#[tokio::test]
async fn a_full_disk_is_reported_and_nothing_is_lost_when_there_is_room_again() {
    let store = Flaky::full();
    let writer = WriteBehind::start(store.clone()).unwrap();
    let mut status = writer.status();
    writer.write(put("a", "1"));
    status
        .wait_for(|status| status.failures >= 1)
        .await
        .unwrap();
    writer.write(put("a", "2"));
    writer.write(put("b", "1"));
    let error = writer.flush().await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("cannot open the state store /data"),
        "{error}"
    );
    status
        .wait_for(|status| status.failures >= 2)
        .await
        .unwrap();
    let failing = status.borrow().failing.clone().unwrap();
    assert!(failing.attempts >= 2, "{failing:?}");
    assert!(failing.waiting >= 1, "{failing:?}");

    store.full.store(false, Ordering::SeqCst);
    writer.flush().await.unwrap();
    assert_eq!(status.borrow_and_update().failing, None);
    let kept = content(&*store);
    assert_eq!((kept["a"].as_str(), kept["b"].as_str()), ("2", "1"));
}

#[tokio::test]
async fn a_panic_in_the_database_does_not_end_the_writer() {
    let store = Flaky::full();
    store.full.store(false, Ordering::SeqCst);
    store.panics.store(true, Ordering::SeqCst);
    let writer = WriteBehind::start(store.clone()).unwrap();
    writer.write(put("a", "1"));
    let error = writer.flush().await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the database has panicked: corrupted page"),
        "{error}"
    );
    store.panics.store(false, Ordering::SeqCst);
    writer.flush().await.unwrap();
    assert_eq!(content(&*store)["a"], "1");
}

#[test]
fn what_was_not_flushed_is_written_when_the_last_handle_goes() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(Embedded::open(directory.path()).unwrap());
    let writer = WriteBehind::start(store.clone()).unwrap();
    let other = writer.clone();
    writer.write(put("a", "1"));
    drop(writer);
    other.write(put("b", "1"));
    drop((other, store));
    let store = Embedded::open(directory.path()).unwrap();
    assert_eq!(content(&store).len(), 2);
}

#[test]
fn the_end_does_not_wait_for_a_disk_that_stays_full() {
    let store = Flaky::full();
    let writer = WriteBehind::start(store.clone()).unwrap();
    writer.write(put("a", "1"));
    drop(writer);
    assert!(content(&*store).is_empty());
}
