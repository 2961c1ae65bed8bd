//! Which keys the latest commits changed: what a watch is answered from.

use std::collections::{BTreeSet, VecDeque};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{Key, Prefix, Revision};

/// How many changed keys are remembered. A watcher that falls further behind lists again, as it would after a compaction in etcd.
const KEYS_MAX: usize = 4096;

#[derive(Debug)]
pub(crate) struct Recent {
    log: Mutex<Log>,
    newest: watch::Sender<Revision>,
}

#[derive(Debug)]
struct Log {
    /// Everything after this revision is in `keys`.
    complete_after: Revision,
    newest: Revision,
    keys: VecDeque<(Revision, Key)>,
}

impl Recent {
    /// Knows nothing of what happened up to this revision.
    pub(crate) fn after(revision: Revision) -> Self {
        let log = Log {
            complete_after: revision,
            newest: revision,
            keys: VecDeque::new(),
        };
        Self {
            log: Mutex::new(log),
            newest: watch::Sender::new(revision),
        }
    }

    /// Takes in a commit. Calls come in the order of the commits.
    pub(crate) fn record(&self, revision: Revision, changed: Vec<Key>) {
        let mut log = self.log.lock();
        log.newest = revision;
        if changed.len() > KEYS_MAX {
            log.keys.clear();
            log.complete_after = revision;
        } else {
            log.keys
                .extend(changed.into_iter().map(|key| (revision, key)));
            while log.keys.len() > KEYS_MAX {
                if let Some((dropped, _)) = log.keys.pop_front() {
                    log.complete_after = dropped;
                }
            }
        }
        drop(log);
        self.newest.send_replace(revision);
    }

    /// Forgets what it knew: the store was opened again and may be ahead.
    pub(crate) fn restart_after(&self, revision: Revision) {
        let mut log = self.log.lock();
        log.keys.clear();
        log.complete_after = revision;
        log.newest = revision;
        drop(log);
        self.newest.send_replace(revision);
    }

    /// The keys below a prefix that changed after a revision, and the revision up to which they are all; `None` when that is too long ago.
    pub(crate) fn changed(
        &self,
        prefix: &Prefix,
        after: Revision,
    ) -> Option<(BTreeSet<Key>, Revision)> {
        let log = self.log.lock();
        if after < log.complete_after {
            return None;
        }
        let keys = log
            .keys
            .iter()
            .rev()
            .take_while(|(revision, _)| *revision > after);
        let below = keys
            .filter(|(_, key)| prefix.contains(key))
            .map(|(_, key)| key.clone());
        Some((below.collect(), log.newest))
    }

    pub(crate) fn newest(&self) -> watch::Receiver<Revision> {
        self.newest.subscribe()
    }
}
