//! Questions to a stream about what it holds.

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::session::StreamView;

/// Who waits for the answer of one stream. A stream that nobody asks about pays for the two empty fields.
#[derive(Debug, Default)]
pub(crate) struct Inquiries {
    waiting: Mutex<Vec<oneshot::Sender<StreamView>>>,
    asked: Notify,
}

/// Questions that may wait at one stream: one that does not answer must not gather them.
const WAITING_MAX: usize = 16;

impl Inquiries {
    /// The stream's answer. `None` where it has ended, or has too many questions to answer already.
    pub(crate) async fn ask(&self) -> Option<StreamView> {
        let (sender, answer) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            waiting.retain(|sender| !sender.is_closed());
            if waiting.len() >= WAITING_MAX {
                return None;
            }
            waiting.push(sender);
        }
        self.asked.notify_one();
        answer.await.ok()
    }

    /// Waits until somebody asks. Cancel-safe.
    pub(crate) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Answers whoever waits.
    pub(crate) fn answer(&self, view: impl FnOnce() -> StreamView) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        if waiting.is_empty() {
            return;
        }
        let view = view();
        for sender in waiting {
            // Who has stopped waiting needs no answer.
            let _ = sender.send(view.clone());
        }
    }

    /// The stream ends: there will be no answer.
    pub(crate) fn close(&self) {
        self.waiting.lock().clear();
    }
}
