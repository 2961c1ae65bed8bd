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
use crate::ResourceType;

/// What one stream reads, and whether there is something new in it.
#[derive(Debug)]
pub(super) struct Mailbox {
    number: u64,
    layers: Mutex<Arc<[LayerName]>>,
    /// The round that it was rung in and has not been looked into since, or [`NO_NEWS`].
    news: AtomicU64,
    /// What the stream is not woken for, because it cannot do anything about it yet: [`Topics`].
    hushed: AtomicU64,
    /// Whether there are news that it was not woken for.
    is_silent: AtomicBool,
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

    /// Says that there is something new about these topics since a round.
    pub(super) fn ring(&self, round: u64, about: Topics) -> Rung {
        // In one order for all with what the stream does (`listen`, `take_news`): either it sees the news, or they see that it listens.
        let fresh = self
            .news
            .compare_exchange(NO_NEWS, round, Ordering::SeqCst, Ordering::SeqCst);
        let is_hushed = about.are_within(Topics(self.hushed.load(Ordering::SeqCst)));
        // Also who is awake already, as far as is known: others may ring at this moment, and find the stream hushed.
        if !is_hushed {
            self.waker.wake();
        }
        if fresh.is_err() && !self.is_silent.load(Ordering::SeqCst) {
            return Rung::Awake;
        }
        self.is_silent.store(is_hushed, Ordering::SeqCst);
        match fresh {
            // It reads several layers, is rung for each, and counts once.
            Err(known) if known == round => return Rung::Awake,
            Err(_) => self.news.store(round, Ordering::SeqCst),
            Ok(_) => {}
        }
        match is_hushed {
            true => Rung::Hushed,
            false => Rung::Woken,
        }
    }

    /// From now on the stream is not woken for news about these topics only.
    pub(super) fn hush(&self, topics: Topics) {
        self.hushed.store(topics.0, Ordering::SeqCst);
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
        let round = self.news.swap(NO_NEWS, Ordering::SeqCst);
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

/// What news are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Topics(u64);

impl Topics {
    pub(super) const ALL: Self = Self(u64::MAX);

    /// Of these types of resources. Types can have a topic in common.
    pub(super) fn of(types: impl IntoIterator<Item = ResourceType>) -> Self {
        let topic = |resource_type: ResourceType| 1 << (resource_type.spec().order % 64);
        Self(types.into_iter().map(topic).fold(0, |all, one| all | one))
    }

    pub(super) fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    fn are_within(self, others: Self) -> bool {
        self.without(others) == Self::default()
    }
}

/// What came of ringing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rung {
    /// The stream looks soon.
    Woken,
    /// It was rung before, in this round too or in another, and has not looked since: perhaps its client does not read.
    Awake,
    /// It looks when it is done with something else.
    Hushed,
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
    /// When no more are left of those that have not taken it, it has reached as many as make another publication worth while.
    few_taken: AtomicUsize,
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

    /// How many are left.
    fn note_one(&self) -> usize {
        // It may be one too many: of a stream that was about to say so of the last round while this one began.
        let before = self
            .streams
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |streams| {
                streams.checked_sub(1)
            });
        before.unwrap_or_default().saturating_sub(1)
    }

    fn is_over(&self) -> bool {
        self.streams.load(Ordering::Acquire) <= self.spare.load(Ordering::Acquire)
    }
}

/// One in so many streams is not waited for.
const SPARE: usize = 8;
/// At least one in so many has to take a publication, also of those that are hushed: where all of them are busy, more publications than they
/// come to look at help nobody.
const TAKEN_MIN: usize = 4;

impl Round {
    /// A publication that concerns these streams, about these topics: wakes those that can do something about it. Of those that are still
    /// busy with what came before nothing is awaited.
    pub(super) fn begin(&self, concerned: &[(Arc<Mailbox>, Topics)]) {
        let number = self.number.fetch_add(1, Ordering::AcqRel) + 1;
        self.untaken.begin(concerned.len());
        self.few_taken.store(0, Ordering::Release);
        self.unsettled.begin(concerned.len());
        let (mut woken, mut hushed, mut idle) = (0, 0, 0);
        for (mailbox, about) in concerned {
            let was_busy = mailbox.is_busy.load(Ordering::Acquire);
            let rung = mailbox.ring(number, *about);
            match rung {
                Rung::Woken => woken += 1,
                Rung::Hushed => hushed += 1,
                Rung::Awake => drop(self.untaken.note_one()),
            }
            match rung == Rung::Woken && !was_busy {
                true => idle += 1,
                false => drop(self.unsettled.note_one()),
            }
        }
        let all = woken + hushed;
        let few = all / TAKEN_MIN;
        let nearly_all = woken - (woken / SPARE + 1).min(woken);
        self.few_taken.store(all - few, Ordering::Release);
        self.untaken
            .spare
            .store(all - nearly_all.max(few), Ordering::Release);
        self.unsettled
            .spare
            .store(idle / SPARE + 1, Ordering::Release);
        // It may be over by now, and those who have looked before the number of spare ones was known have woken nobody.
        self.waker.wake();
    }

    /// A stream that was rung in some round has looked, or has ended.
    pub(super) fn note_taken(&self, round: u64) {
        if round == self.number.load(Ordering::Acquire) {
            let left = self.untaken.note_one();
            self.wake_at(left, &[&self.untaken.spare, &self.few_taken]);
        }
    }

    /// A stream that was idle when it was rung in some round is so again, or has ended.
    pub(super) fn note_settled(&self, round: u64) {
        if round == self.number.load(Ordering::Acquire) {
            let left = self.unsettled.note_one();
            self.wake_at(left, &[&self.unsettled.spare]);
        }
    }

    /// Wakes whoever waits when so many are left.
    fn wake_at(&self, left: usize, marks: &[&AtomicUsize]) {
        if marks
            .iter()
            .any(|mark| left == mark.load(Ordering::Acquire))
        {
            self.waker.wake();
        }
    }

    pub(super) fn progress(&self) -> Progress {
        let untaken = self.untaken.streams.load(Ordering::Acquire);
        let have_few = untaken <= self.few_taken.load(Ordering::Acquire);
        if have_few && self.unsettled.is_over() {
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
            hushed: AtomicU64::new(0),
            is_silent: AtomicBool::new(false),
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
