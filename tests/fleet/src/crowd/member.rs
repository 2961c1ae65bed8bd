//! A proxy of the crowd, and what all of them share.

use std::{
    cell::{Cell, RefCell},
    task::{Context, Waker},
    time::Instant,
};

use anyhow::Result;
use tokio::sync::{Notify, Semaphore};

use super::watch::Watches;
use crate::proxy::{
    kind::Kind,
    memo::{Memo, PayloadId},
    model::Model,
    request::{FRAME_HEAD, Request},
    response::Variant,
};

/// Connections that are made at the same time; more would only wait in the kernel.
const CONNECTING_MAX: usize = 512;

/// What the proxies of a crowd share. Everything runs on one thread.
#[derive(Debug)]
pub struct Shared {
    memo: RefCell<Memo>,
    watches: RefCell<Watches>,
    traffic: Traffic,
    ready: RefCell<Vec<Instant>>,
    refused: Cell<usize>,
    connecting: Semaphore,
    /// Something that somebody may wait for has happened.
    progress: Notify,
}

/// What went over the wire, as gRPC's messages with their framing.
#[derive(Debug, Default)]
pub struct Traffic {
    received_bytes: Cell<u64>,
    received_messages: Cell<u64>,
    sent_bytes: Cell<u64>,
    sent_messages: Cell<u64>,
}

/// How much went over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Sums {
    /// Bytes that the server sent.
    pub received_bytes: u64,
    /// Responses.
    pub received_messages: u64,
    /// Bytes that the proxies sent.
    pub sent_bytes: u64,
    /// Requests.
    pub sent_messages: u64,
}

impl Traffic {
    /// Notes a request.
    pub fn sent(&self, bytes: usize) {
        self.sent_bytes.set(self.sent_bytes.get() + bytes as u64);
        self.sent_messages.set(self.sent_messages.get() + 1);
    }

    fn received(&self, bytes: usize) {
        self.received_bytes
            .set(self.received_bytes.get() + bytes as u64);
        self.received_messages.set(self.received_messages.get() + 1);
    }

    /// All since the beginning.
    pub fn sums(&self) -> Sums {
        Sums {
            received_bytes: self.received_bytes.get(),
            received_messages: self.received_messages.get(),
            sent_bytes: self.sent_bytes.get(),
            sent_messages: self.sent_messages.get(),
        }
    }
}

impl std::ops::AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.received_bytes += other.received_bytes;
        self.received_messages += other.received_messages;
        self.sent_bytes += other.sent_bytes;
        self.sent_messages += other.sent_messages;
    }
}

impl Sums {
    /// What came since an earlier moment.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            received_bytes: self.received_bytes - earlier.received_bytes,
            received_messages: self.received_messages - earlier.received_messages,
            sent_bytes: self.sent_bytes - earlier.sent_bytes,
            sent_messages: self.sent_messages - earlier.sent_messages,
        }
    }
}

impl Shared {
    pub(super) fn new(memo: Memo) -> Self {
        Self {
            memo: RefCell::new(memo),
            watches: RefCell::default(),
            traffic: Traffic::default(),
            ready: RefCell::default(),
            refused: Cell::new(0),
            connecting: Semaphore::new(CONNECTING_MAX),
            progress: Notify::new(),
        }
    }

    pub(super) fn memo(&self) -> &RefCell<Memo> {
        &self.memo
    }

    pub(super) fn watches(&self) -> &RefCell<Watches> {
        &self.watches
    }

    pub(super) fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// When proxies became ready, since the list was last emptied.
    pub(super) fn ready(&self) -> &RefCell<Vec<Instant>> {
        &self.ready
    }

    pub(super) fn refused(&self) {
        self.refused.set(self.refused.get() + 1);
    }

    /// How often a connection or stream ended before it was answered.
    pub(super) fn refusals(&self) -> usize {
        self.refused.get()
    }

    pub(super) fn connecting(&self) -> &Semaphore {
        &self.connecting
    }

    pub(super) fn progress(&self) -> &Notify {
        &self.progress
    }
}

/// A proxy of the crowd.
#[derive(Debug)]
pub struct Member {
    node: Box<[u8]>,
    namespace: usize,
    model: RefCell<Model>,
    is_ready: Cell<bool>,
    is_answered: Cell<bool>,
    messages: Cell<u64>,
    stall: RefCell<Stall>,
}

#[derive(Debug)]
enum Stall {
    Reading,
    Stalled(Option<Waker>),
}

impl Member {
    pub(super) fn new(node: Box<[u8]>, namespace: usize, variant: Variant) -> Self {
        Self {
            node,
            namespace,
            model: RefCell::new(Model::new(variant)),
            is_ready: Cell::new(false),
            is_answered: Cell::new(false),
            messages: Cell::new(0),
            stall: RefCell::new(Stall::Reading),
        }
    }

    /// The number of the namespace that it stands in.
    pub fn namespace(&self) -> usize {
        self.namespace
    }

    /// The protocol that it speaks.
    pub fn variant(&self) -> Variant {
        self.model.borrow().variant()
    }

    /// Whether it was answered on this stream.
    pub(super) fn is_answered(&self) -> bool {
        self.is_answered.get()
    }

    /// How many responses it has received.
    pub fn messages(&self) -> u64 {
        self.messages.get()
    }

    /// All that it holds of a kind.
    pub fn all(&self, kind: Kind) -> Vec<PayloadId> {
        self.model.borrow().all(kind)
    }

    /// What keeps it from being ready; nothing where it is.
    pub fn lacks(&self) -> Option<String> {
        let model = self.model.borrow();
        (!model.is_ready()).then(|| model.lacks())
    }

    /// Forgets what it holds, as a proxy that is started anew.
    pub fn restart(&self) {
        let mut model = self.model.borrow_mut();
        *model = Model::new(model.variant());
    }

    /// Stops reading.
    pub fn stall(&self) {
        *self.stall.borrow_mut() = Stall::Stalled(None);
    }

    /// Reads again.
    pub fn resume(&self) {
        if let Stall::Stalled(Some(waker)) = self.stall.replace(Stall::Reading) {
            waker.wake();
        }
    }

    pub(super) fn is_stalled(&self, context: &Context<'_>) -> bool {
        match &mut *self.stall.borrow_mut() {
            Stall::Reading => false,
            Stall::Stalled(waker) => {
                *waker = Some(context.waker().clone());
                true
            }
        }
    }

    pub(super) fn connect(&self, shared: &Shared) -> Vec<Request> {
        self.is_ready.set(false);
        self.is_answered.set(false);
        let mut memo = shared.memo.borrow_mut();
        self.model.borrow_mut().connect(&self.node, &mut memo)
    }

    pub(super) fn receive(&self, message: &[u8], shared: &Shared) -> Result<Vec<Request>> {
        shared.traffic.received(message.len() + FRAME_HEAD);
        self.is_answered.set(true);
        self.messages.set(self.messages.get() + 1);
        let mut memo = shared.memo.borrow_mut();
        let mut model = self.model.borrow_mut();
        let reaction = model.receive(message, &mut memo)?;
        let now = Instant::now();
        if !self.is_ready.get() && model.is_ready() {
            self.is_ready.set(true);
            shared.ready.borrow_mut().push(now);
            shared.progress.notify_waiters();
        }
        let is_complete = shared.watches.borrow_mut().note(&reaction.got, &memo, now);
        if is_complete {
            shared.progress.notify_waiters();
        }
        Ok(reaction.requests)
    }
}
