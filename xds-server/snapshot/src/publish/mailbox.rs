//! How streams are woken.
//!
//! A fleet of ten thousand waits for the same layer. If each stream began to wait anew after each change, by entering and leaving the lists
//! of all that it waits for, this would cost more than to make and send the update. So a stream is entered once for the layers that it
//! reads, and to wait is to leave a waker where it can be found.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
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
    has_news: AtomicBool,
    /// The writer has gone.
    is_closed: AtomicBool,
    /// The stream has gone.
    is_abandoned: AtomicBool,
    waker: AtomicWaker,
}

impl Mailbox {
    pub(super) fn layers(&self) -> Arc<[LayerName]> {
        self.layers.lock().clone()
    }

    /// Says that there is something new.
    pub(super) fn ring(&self) {
        // Who has not looked since the last time is awake already.
        if !self.has_news.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
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

    /// Whether there has been something new since the last time.
    pub(super) fn take_news(&self) -> Result<bool, PublisherClosed> {
        if self.is_closed.load(Ordering::Acquire) {
            return Err(PublisherClosed);
        }
        Ok(self.has_news.swap(false, Ordering::AcqRel))
    }

    /// The same, for who waits for it.
    pub(super) fn poll_news(&self, context: &mut Context<'_>) -> Poll<Result<(), PublisherClosed>> {
        // Before looking, so that nothing comes unseen in between.
        self.waker.register(context.waker());
        match self.take_news() {
            Ok(true) => Poll::Ready(Ok(())),
            Ok(false) => Poll::Pending,
            Err(closed) => Poll::Ready(Err(closed)),
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
            has_news: AtomicBool::new(false),
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
