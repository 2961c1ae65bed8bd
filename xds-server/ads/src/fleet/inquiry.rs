//! Questions to a stream about what it holds.

use bowline_snapshot::Bell;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::session::StreamView;

/// Who waits for the answer of one stream.
#[derive(Debug)]
pub(crate) struct Inquiries {
    waiting: Mutex<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    senders: Vec<oneshot::Sender<StreamView>>,
    /// Wakes the stream.
    bell: Bell,
}

/// Questions that may wait at one stream: one that does not answer must not gather them.
const WAITING_MAX: usize = 16;

impl Inquiries {
    pub(crate) fn new(bell: Bell) -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                senders: Vec::new(),
                bell,
            }),
        }
    }

    /// The stream hears another bell now.
    pub(crate) fn move_to(&self, bell: Bell) {
        let mut waiting = self.waiting.lock();
        // Whoever has asked by the old one is heard.
        bell.ring();
        waiting.bell = bell;
    }

    /// The stream's answer. `None` where it has ended, or has too many questions to answer already.
    pub(crate) async fn ask(&self) -> Option<StreamView> {
        let (sender, answer) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            waiting.senders.retain(|sender| !sender.is_closed());
            if waiting.senders.len() >= WAITING_MAX {
                return None;
            }
            waiting.senders.push(sender);
            waiting.bell.ring();
        }
        answer.await.ok()
    }

    /// Answers whoever waits.
    pub(crate) fn answer(&self, view: impl FnOnce() -> StreamView) {
        let waiting = std::mem::take(&mut self.waiting.lock().senders);
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
        self.waiting.lock().senders.clear();
    }
}
