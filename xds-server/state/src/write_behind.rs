//! Writing without waiting for the disk.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use crate::{Store, Writes};

/// Takes changes at once and commits them from one thread of its own.
///
/// Changes that wait are merged, the last word on a key wins, so at most every key waits once. What cannot be committed is kept, reported
/// in [`WriteBehind::status`] and tried again. Clones share the thread; the last one that is dropped commits what is left and ends it.
#[derive(Debug, Clone)]
pub struct WriteBehind {
    inner: Arc<Inner>,
}

/// How the writing goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WriteStatus {
    /// How many commits succeeded.
    pub commits: u64,
    /// How many commits failed; each is tried again.
    pub failures: u64,
    /// The failure that lasts, if any: nothing is lost while the process lives, but nothing is kept either.
    pub failing: Option<Failing>,
    /// Every change up to this one is committed.
    committed: u64,
}

/// A failure that lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// How often the commit was tried in vain.
    pub attempts: u32,
    /// How many changes were in the commit that failed last.
    pub waiting: usize,
    /// Why it failed.
    pub error: String,
}

/// Why a flush did not end with everything committed.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the state: {error}")]
pub struct FlushError {
    error: String,
}

impl WriteBehind {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(store: Arc<dyn Store>) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("state-writer".to_owned())
            .spawn(move || write_until_closed(&writer, &*store))?;
        Ok(Self {
            inner: Arc::new(Inner {
                shared,
                thread: Some(thread),
            }),
        })
    }

    /// Takes changes, all of which will be in the same commit. Never waits for the disk.
    pub fn write(&self, writes: Writes) {
        let mut queue = self.inner.shared.queue.lock();
        queue.writes.append(writes);
        queue.accepted += 1;
        drop(queue);
        self.inner.shared.wake.notify_one();
    }

    /// Waits until everything that was taken before is committed.
    ///
    /// # Errors
    /// When a commit fails meanwhile. The changes are kept and tried again.
    pub async fn flush(&self) -> Result<(), FlushError> {
        let mut status = self.inner.shared.status.subscribe();
        let failures = status.borrow().failures;
        let accepted = {
            let mut queue = self.inner.shared.queue.lock();
            queue.hurry = true;
            queue.accepted
        };
        self.inner.shared.wake.notify_one();
        loop {
            {
                let now = status.borrow_and_update();
                if now.committed >= accepted {
                    return Ok(());
                }
                if let (Some(failing), true) = (&now.failing, now.failures > failures) {
                    return Err(FlushError {
                        error: failing.error.clone(),
                    });
                }
            }
            if status.changed().await.is_err() {
                return Err(FlushError {
                    error: "the writer has ended".to_owned(),
                });
            }
        }
    }

    /// How the writing goes, as it changes.
    pub fn status(&self) -> watch::Receiver<WriteStatus> {
        self.inner.shared.status.subscribe()
    }
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.queue.lock().closed = true;
        self.shared.wake.notify_one();
        // Joined, so that the store is free for the next process when the last handle is gone.
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the state writer has panicked");
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    status: watch::Sender<WriteStatus>,
}

#[derive(Debug, Default)]
struct Queue {
    writes: Writes,
    /// How many changes were taken.
    accepted: u64,
    /// Somebody waits for a flush.
    hurry: bool,
    closed: bool,
}

fn write_until_closed(shared: &Shared, store: &dyn Store) {
    let mut attempts = 0;
    while let Some((writes, accepted)) = shared.wait_for_writes(pause(attempts)) {
        let waiting = writes.len();
        match commit(store, &writes) {
            Ok(()) => {
                if attempts > 0 {
                    tracing::info!(changes = waiting, "state is written again");
                }
                attempts = 0;
                shared.status.send_modify(|status| {
                    status.commits += 1;
                    status.failing = None;
                    status.committed = accepted;
                });
            }
            Err(error) => {
                attempts += 1;
                if attempts == 1 {
                    tracing::warn!(%error, changes = waiting, "state cannot be written; trying again");
                }
                let closed = shared.put_back(writes);
                shared.status.send_modify(|status| {
                    status.failures += 1;
                    status.failing = Some(Failing {
                        attempts,
                        waiting,
                        error: error.clone(),
                    });
                });
                if closed {
                    tracing::error!(%error, changes = waiting, "state was not written before the end");
                    return;
                }
            }
        }
    }
}

/// Commits; a panic in the database is a failure like any other, since a writer that is gone would be one that nobody sees.
fn commit(store: &dyn Store, writes: &Writes) -> Result<(), String> {
    match catch_unwind(AssertUnwindSafe(|| store.commit(&[], writes))) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(panic) => Err(format!(
            "the database has panicked: {}",
            panic_message(&*panic)
        )),
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "no message",
    }
}

/// How long to wait for more before a commit. There is one writer a store, so no jitter is needed.
fn pause(failed_attempts: u32) -> Duration {
    match failed_attempts {
        0 => GATHER,
        attempts => RETRY_FIRST
            .saturating_mul(1 << (attempts - 1).min(16))
            .min(RETRY_LAST),
    }
}

impl Shared {
    /// Waits for changes, then a while for more of them; `None` when there is nothing left to do.
    fn wait_for_writes(&self, pause: Duration) -> Option<(Writes, u64)> {
        let mut queue = self.queue.lock();
        while queue.writes.is_empty() && !queue.closed {
            // Nothing to hurry for: whatever was taken is committed.
            queue.hurry = false;
            self.status.send_if_modified(|status| {
                let behind = status.committed < queue.accepted;
                status.committed = queue.accepted;
                behind
            });
            self.wake.wait(&mut queue);
        }
        let deadline = Instant::now() + pause;
        while !queue.hurry && !queue.closed {
            if self.wake.wait_until(&mut queue, deadline).timed_out() {
                break;
            }
        }
        queue.hurry = false;
        if queue.writes.is_empty() {
            return None;
        }
        Some((std::mem::take(&mut queue.writes), queue.accepted))
    }

    /// Puts changes that were not committed before those that came meanwhile. Returns whether nobody will ask again.
    fn put_back(&self, mut older: Writes) -> bool {
        let mut queue = self.queue.lock();
        older.append(std::mem::take(&mut queue.writes));
        queue.writes = older;
        queue.closed
    }
}

/// A burst of events is one commit; what a crash can lose is what came within this time, and the registries still have it.
const GATHER: Duration = Duration::from_millis(50);
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LAST: Duration = Duration::from_secs(10);
