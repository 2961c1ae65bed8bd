//! Following what happens below a prefix.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{Changes, Prefix, Revision, Store, StoreError};

/// Tells what changes below a prefix, newest state of each key first and only.
#[derive(Debug)]
pub struct Watch {
    store: Arc<dyn Store>,
    prefix: Prefix,
    seen: Revision,
    revisions: watch::Receiver<Revision>,
}

impl Watch {
    /// Follows a prefix from a revision on, usually that of a [`Listing`](crate::Listing).
    pub fn after(store: Arc<dyn Store>, prefix: Prefix, revision: Revision) -> Self {
        let revisions = store.revisions();
        Self {
            store,
            prefix,
            seen: revision,
            revisions,
        }
    }

    /// Waits for a change below the prefix. After [`Changes::Compacted`], list and make a new watch. Cancel-safe.
    ///
    /// # Errors
    /// When the store cannot be read; the next call tries again.
    pub async fn next(&mut self) -> Result<Changes, StoreError> {
        loop {
            self.revisions.borrow_and_update();
            match self.store.changes(&self.prefix, self.seen)? {
                Changes::Since { changes, revision } if changes.is_empty() => self.seen = revision,
                Changes::Since { changes, revision } => {
                    self.seen = revision;
                    return Ok(Changes::Since { changes, revision });
                }
                Changes::Compacted => return Ok(Changes::Compacted),
            }
            if self.revisions.changed().await.is_err() {
                // The sender lives in the store that this watch holds.
                std::future::pending::<()>().await;
            }
        }
    }
}
