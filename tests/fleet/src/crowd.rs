//! Thousands of proxies on one thread.

pub mod connection;
pub mod member;
pub mod watch;

use std::{
    collections::BTreeMap,
    ops::Range,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio::task::{JoinError, JoinSet};

use self::{
    connection::Target,
    member::{Member, Shared, Sums},
    watch::{Spread, WatchId},
};
use crate::{
    proxy::{kind::Kind, memo::Memo},
    world::{Awaited, World},
};

/// The proxies of one server.
#[derive(Debug)]
pub struct Crowd {
    members: Vec<Rc<Member>>,
    shared: Rc<Shared>,
    streams_per_connection: usize,
    connections: JoinSet<Result<()>>,
}

impl Crowd {
    /// The proxies of a world, not connected yet.
    pub fn new(world: &World, streams_per_connection: usize, memo: Memo) -> Self {
        let members = (0..world.proxies).map(|index| {
            let node = world.node(index).into();
            let namespace = world.namespace_of_proxy(index);
            Rc::new(Member::new(node, namespace, world.variant(index)))
        });
        Self {
            members: members.collect(),
            shared: Rc::new(Shared::new(memo)),
            streams_per_connection,
            connections: JoinSet::new(),
        }
    }

    /// The proxies.
    pub fn members(&self) -> &[Rc<Member>] {
        &self.members
    }

    /// How many of them share a connection.
    pub fn streams_per_connection(&self) -> usize {
        self.streams_per_connection
    }

    /// What went over the wire so far.
    pub fn traffic(&self) -> Sums {
        self.shared.traffic().sums()
    }

    /// Looks at what was received.
    pub fn with_memo<T>(&self, look: impl FnOnce(&mut Memo) -> T) -> T {
        look(&mut self.shared.memo().borrow_mut())
    }

    /// Begins to connect some of the proxies.
    pub fn connect(&mut self, target: &Target, which: Range<usize>) {
        let members = self.members.get(which).unwrap_or_default();
        // Whoever shares a connection shares its certificate, which is that of a namespace.
        let mut by_namespace: BTreeMap<usize, Vec<Rc<Member>>> = BTreeMap::new();
        for (index, member) in members.iter().enumerate() {
            let key = match (&target.tls, self.streams_per_connection) {
                (None, _) | (_, 1) => index / self.streams_per_connection,
                (Some(_), _) => member.namespace(),
            };
            by_namespace.entry(key).or_default().push(member.clone());
        }
        let all = by_namespace.values();
        for together in all.flat_map(|members| members.chunks(self.streams_per_connection)) {
            let run = connection::run(target.clone(), together.to_vec(), self.shared.clone());
            self.connections.spawn_local(Box::pin(run));
        }
    }

    /// Forgets which proxies were ready, for [`Crowd::until_ready`].
    pub fn begin(&self) {
        self.shared.ready().borrow_mut().clear();
    }

    /// Waits until so many proxies have become ready since [`Crowd::begin`], and says when each did.
    ///
    /// # Errors
    /// When a connection ends or it takes too long.
    pub async fn until_ready(&mut self, proxies: usize, limit: Duration) -> Result<Vec<Instant>> {
        let shared = self.shared.clone();
        self.until(limit, || shared.ready().borrow().len() >= proxies)
            .await
            .with_context(|| {
                let ready = self.shared.ready().borrow().len();
                let lacks = self.members.iter().find_map(|member| member.lacks());
                format!(
                    "{ready} of {proxies} proxies are ready; one is not: {}",
                    lacks.unwrap_or_default()
                )
            })?;
        let ready = self.shared.ready().borrow();
        Ok(ready.iter().take(proxies).copied().collect())
    }

    /// Awaits what a change makes visible, by so many proxies.
    pub fn watch(&self, awaited: &[Awaited], proxies: usize) -> Vec<WatchId> {
        let mut memo = self.shared.memo().borrow_mut();
        let mut watches = self.shared.watches().borrow_mut();
        awaited
            .iter()
            .map(|awaited| {
                let name = memo.name_id(awaited.kind, &awaited.name);
                watches.await_marker(awaited.kind, name, awaited.marker, proxies)
            })
            .collect()
    }

    /// The change has begun.
    pub fn begun(&self, watches: &[WatchId], at: Instant) {
        let mut all = self.shared.watches().borrow_mut();
        for watch in watches {
            all.begin(*watch, at);
        }
    }

    /// Waits until everything that is watched has arrived.
    ///
    /// # Errors
    /// When a connection ends or it takes too long: what has not arrived.
    pub async fn until_arrived(&mut self, limit: Duration) -> Result<()> {
        let shared = self.shared.clone();
        self.until(limit, || shared.watches().borrow().is_complete())
            .await
            .with_context(|| {
                let memo = self.shared.memo().borrow();
                self.shared.watches().borrow().describe(&memo)
            })
    }

    /// How long something took that has arrived, from the beginning to the first and to the last.
    pub fn spread(&self, watches: &[WatchId]) -> Option<Spread> {
        let all = self.shared.watches().borrow();
        let spreads: Option<Vec<Spread>> = watches.iter().map(|id| all.spread(*id)).collect();
        let spreads = spreads?;
        Some(Spread {
            first: spreads.iter().map(|spread| spread.first).min()?,
            last: spreads.iter().map(|spread| spread.last).max()?,
        })
    }

    /// Forgets what was watched.
    pub fn forget_watches(&self) {
        self.shared.watches().borrow_mut().clear();
    }

    /// Waits until nothing was received for so long.
    ///
    /// # Errors
    /// When a connection ends.
    pub async fn until_quiet(&mut self, quiet: Duration) -> Result<()> {
        loop {
            let before = self.traffic();
            self.rest(quiet).await?;
            if self.traffic() == before {
                return Ok(());
            }
        }
    }

    /// Goes on for a while.
    ///
    /// # Errors
    /// When a connection ends.
    pub async fn rest(&mut self, duration: Duration) -> Result<()> {
        tokio::select! {
            () = tokio::time::sleep(duration) => Ok(()),
            Some(ended) = self.connections.join_next() => Err(end(ended)),
        }
    }

    async fn until(&mut self, limit: Duration, condition: impl Fn() -> bool) -> Result<()> {
        let deadline = tokio::time::Instant::now() + limit;
        let shared = self.shared.clone();
        loop {
            let progress = shared.progress().notified();
            if condition() {
                return Ok(());
            }
            tokio::select! {
                () = progress => {}
                Some(ended) = self.connections.join_next() => return Err(end(ended)),
                () = tokio::time::sleep_until(deadline) => bail!("not within {limit:?}"),
            }
        }
    }

    /// Ends all connections.
    pub async fn disconnect(&mut self) {
        self.connections.abort_all();
        while self.connections.join_next().await.is_some() {}
    }

    /// Waits until the server has ended all connections.
    pub async fn until_ended(&mut self) {
        while self.connections.join_next().await.is_some() {}
    }

    /// How often a connection or stream ended before it was answered, and was tried again.
    pub fn refusals(&self) -> usize {
        self.shared.refusals()
    }

    /// How many distinct resources were received.
    pub fn distinct(&self) -> usize {
        let memo = self.shared.memo().borrow();
        Kind::ALL.into_iter().map(|kind| memo.distinct(kind)).sum()
    }
}

fn end(ended: Result<Result<()>, JoinError>) -> anyhow::Error {
    match ended {
        Ok(Ok(())) => anyhow::anyhow!("a connection has ended"),
        Ok(Err(error)) => error,
        Err(error) => anyhow::Error::new(error).context("a proxy of the fleet has failed"),
    }
}
