//! How streams are woken.
//!
//! A fleet of ten thousand waits for the same layer. If each stream began to wait anew after each change, by entering and leaving the lists
//! of all that it waits for, this would cost more than to make and send the update. So a stream is entered once for the layers that it
//! reads, and to wait is to leave a waker where it can be found.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use super::{LayerName, PublisherClosed};

/// What one stream reads, and whether there is something new in it.
#[derive(Debug)]
pub(super) struct Mailbox {
    number: u64,
    layers: Mutex<Arc<[LayerName]>>,
    /// The round that it was rung in and has not been looked into since, or [`NO_NEWS`].
    news: AtomicU64,
    /// Whether the stream has taken news and not said since that it is done with them.
    pub(super) is_busy: AtomicBool,
    /// The writer has gone.
    is_closed: AtomicBool,
    /// The stream has gone.
    is_abandoned: AtomicBool,
    waker: AtomicWaker,
}

/// The round of a mailbox in which nothing is new.
const NO_NEWS: u64 = 0;

/// The round of what is no publication.
pub(super) const UNCOUNTED: u64 = u64::MAX;

impl Mailbox {
    pub(super) fn layers(&self) -> Arc<[LayerName]> {
        self.layers.lock().clone()
    }

    /// Says that there is something new since a round. Whether nothing was before.
    pub(super) fn ring(&self, round: u64) -> bool {
        let was_empty = self
            .news
            .compare_exchange(NO_NEWS, round, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        // Who has not looked since the last time is awake already.
        if was_empty {
            self.waker.wake();
        }
        was_empty
    }

    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub(super) fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::Release);
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.is_abandoned.load(Ordering::Acquire)
    }

    /// Whether there has been something new since the last time, and in which round.
    pub(super) fn take_news(&self) -> Result<Option<u64>, PublisherClosed> {
        if self.is_closed.load(Ordering::Acquire) {
            return Err(PublisherClosed);
        }
        let round = self.news.swap(NO_NEWS, Ordering::AcqRel);
        Ok((round != NO_NEWS).then_some(round))
    }

    /// The same, for who waits for it.
    pub(super) fn poll_news(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<Result<u64, PublisherClosed>> {
        // Before looking, so that nothing comes unseen in between.
        self.waker.register(context.waker());
        match self.take_news() {
            Ok(Some(round)) => Poll::Ready(Ok(round)),
            Ok(None) => Poll::Pending,
            Err(closed) => Poll::Ready(Err(closed)),
        }
    }
}

/// How far the streams are with what was published last: nearly all of those that it concerns, for one that reads nothing must not hold up
/// the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// They have still to look at it.
    Published,
    /// They have taken it, and are sending it or waiting for their clients' answers.
    Taken,
    /// They have their clients' answers.
    Settled,
}

/// The streams' progress with one publication.
#[derive(Debug, Default)]
pub(super) struct Round {
    number: AtomicU64,
    untaken: Awaited,
    unsettled: Awaited,
    waker: AtomicWaker,
}

/// Streams that something is still awaited from.
#[derive(Debug, Default)]
struct Awaited {
    streams: AtomicUsize,
    /// So many of them are not waited for.
    spare: AtomicUsize,
}

impl Awaited {
    fn begin(&self, streams: usize) {
        self.spare.store(0, Ordering::Release);
        self.streams.store(streams, Ordering::Release);
    }

    fn note_one(&self) {
        // It may be one too many: of a stream that was about to say so of the last round while this one began.
        let _ = self
            .streams
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |streams| {
                streams.checked_sub(1)
            });
    }

    fn is_over(&self) -> bool {
        self.streams.load(Ordering::Acquire) <= self.spare.load(Ordering::Acquire)
    }
}

/// One in so many streams is not waited for.
const SPARE: usize = 8;

impl Round {
    /// A publication that concerns these streams: wakes them. Of those that are still busy with what came before nothing is awaited.
    pub(super) fn begin(&self, woken: &[Arc<Mailbox>]) {
        let number = self.number.fetch_add(1, Ordering::AcqRel) + 1;
        self.untaken.begin(woken.len());
        self.unsettled.begin(woken.len());
        let (mut rung, mut idle) = (0, 0);
        for mailbox in woken {
            let was_busy = mailbox.is_busy.load(Ordering::Acquire);
            let was_empty = mailbox.ring(number);
            match was_empty {
                true => rung += 1,
                false => self.untaken.note_one(),
            }
            match was_empty && !was_busy {
                true => idle += 1,
                false => self.unsettled.note_one(),
            }
        }
        self.untaken
            .spare
            .store(rung / SPARE + 1, Ordering::Release);
        self.unsettled
            .spare
            .store(idle / SPARE + 1, Ordering::Release);
        // It may be over by now, and those who have looked before the number of spare ones was known have woken nobody.
        self.waker.wake();
    }

    /// A stream that was rung in some round has looked, or has ended.
    pub(super) fn note_taken(&self, round: u64) {
        self.note(round, &self.untaken);
    }

    /// A stream that was idle when it was rung in some round is so again, or has ended.
    pub(super) fn note_settled(&self, round: u64) {
        self.note(round, &self.unsettled);
    }

    fn note(&self, round: u64, awaited: &Awaited) {
        if round != self.number.load(Ordering::Acquire) {
            return;
        }
        awaited.note_one();
        if awaited.is_over() {
            self.waker.wake();
        }
    }

    pub(super) fn progress(&self) -> Progress {
        if self.unsettled.is_over() {
            Progress::Settled
        } else if self.untaken.is_over() {
            Progress::Taken
        } else {
            Progress::Published
        }
    }

    pub(super) fn poll_beyond(&self, known: Progress, context: &mut Context<'_>) -> Poll<Progress> {
        // Before looking, so that nothing comes unseen in between.
        self.waker.register(context.waker());
        let progress = self.progress();
        match progress > known {
            true => Poll::Ready(progress),
            false => Poll::Pending,
        }
    }
}

/// Who reads which layer. Held for map operations only, never while anybody is woken or anything is awaited.
#[derive(Debug, Default)]
pub(super) struct Readers {
    by_layer: BTreeMap<LayerName, BTreeMap<u64, Arc<Mailbox>>>,
    next: u64,
}

impl Readers {
    /// A stream that reads these layers.
    pub(super) fn enter(&mut self, layers: Arc<[LayerName]>) -> Arc<Mailbox> {
        let mailbox = Arc::new(Mailbox {
            number: self.next,
            layers: Mutex::new(layers.clone()),
            news: AtomicU64::new(NO_NEWS),
            is_busy: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            is_abandoned: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        });
        self.next += 1;
        self.insert(&mailbox, &layers);
        mailbox
    }

    /// Gives a stream other layers.
    pub(super) fn reassign(&mut self, mailbox: &Arc<Mailbox>, layers: Arc<[LayerName]>) {
        if mailbox.is_abandoned() {
            return;
        }
        let before = std::mem::replace(&mut *mailbox.layers.lock(), layers.clone());
        self.remove(mailbox, &before);
        self.insert(mailbox, &layers);
    }

    /// The stream has ended.
    pub(super) fn leave(&mut self, mailbox: &Mailbox) {
        mailbox.abandon();
        let layers = mailbox.layers();
        self.remove(mailbox, &layers);
    }

    /// The streams that read a layer.
    pub(super) fn of(&self, layer: &LayerName) -> impl Iterator<Item = &Arc<Mailbox>> {
        self.by_layer
            .get(layer)
            .into_iter()
            .flat_map(BTreeMap::values)
    }

    /// All streams; one that reads several layers comes several times.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Mailbox>> {
        self.by_layer.values().flat_map(BTreeMap::values)
    }

    fn insert(&mut self, mailbox: &Arc<Mailbox>, layers: &[LayerName]) {
        for layer in layers {
            let readers = self.by_layer.entry(layer.clone()).or_default();
            readers.insert(mailbox.number, mailbox.clone());
        }
    }

    fn remove(&mut self, mailbox: &Mailbox, layers: &[LayerName]) {
        for layer in layers {
            let Some(readers) = self.by_layer.get_mut(layer) else {
                continue;
            };
            readers.remove(&mailbox.number);
            if readers.is_empty() {
                self.by_layer.remove(layer);
            }
        }
    }
}
