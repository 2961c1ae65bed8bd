//! Constant load, and what became of every request.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Interval, MissedTickBehavior, interval_at},
};

use crate::client::{Connection, Request};

const FAILURES_KEPT: usize = 5;

/// How connections are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// Every worker keeps its connection for as long as the other side does.
    Kept,
    /// Every request has a connection of its own.
    New,
}

/// Requests that are sent at a constant rate until they are stopped.
#[derive(Debug)]
pub struct Load {
    record: Arc<Mutex<Report>>,
    stop: watch::Sender<bool>,
    workers: JoinSet<()>,
}

/// What became of the requests of a load.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// How many were answered as they should.
    pub succeeded: u64,
    /// How many were not: another status than 200, or no complete answer.
    pub failed: u64,
    /// The first failures, with the time since the start.
    pub failures: Vec<String>,
    /// By which backend how many were answered.
    pub backends: BTreeMap<String, Seen>,
    latencies: Vec<Duration>,
}

/// When and how often a backend answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// How many requests it answered.
    pub requests: u64,
    /// When it answered its first.
    pub first: Instant,
    /// When it answered its last.
    pub last: Instant,
    /// How many requests had succeeded then, whoever answered them.
    pub succeeded_at_last: u64,
}

impl Load {
    /// Starts sending a request, `rate` times a second altogether, from a number of workers.
    ///
    /// A worker waits for its answer before it sends again, so the rate is an upper limit.
    pub fn start(request: &Request, connections: Connections, workers: u32, rate: u32) -> Self {
        let record = Arc::new(Mutex::new(Report::default()));
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let pause = Duration::from_secs(1) * workers / rate.max(1);
        let started = Instant::now();
        for number in 0..workers {
            let worker = Worker {
                request: request.clone(),
                connections,
                connection: None,
                record: Arc::clone(&record),
                started,
            };
            // They take turns, so that requests come evenly.
            let turn = tokio::time::Instant::now() + pause * number / workers.max(1);
            tasks.spawn(worker.work(interval_at(turn, pause), stopped.clone()));
        }
        Self {
            record,
            stop,
            workers: tasks,
        }
    }

    /// What happened until now.
    pub fn report(&self) -> Report {
        lock(&self.record).clone()
    }

    /// Counts from zero again, and answers with what happened until now.
    pub fn take_report(&self) -> Report {
        std::mem::take(&mut *lock(&self.record))
    }

    /// Lets every request come to its end, and says what happened.
    pub async fn stop(mut self) -> Report {
        self.stop.send_replace(true);
        while self.workers.join_next().await.is_some() {}
        lock(&self.record).clone()
    }
}

impl Report {
    /// How many requests a backend answered.
    pub fn answered_by(&self, backend: &str) -> u64 {
        self.backends.get(backend).map_or(0, |seen| seen.requests)
    }

    /// How many requests others have answered since this backend answered its last.
    pub fn since_last_of(&self, backend: &str) -> u64 {
        let last = self.backends.get(backend);
        self.succeeded - last.map_or(0, |seen| seen.succeeded_at_last)
    }

    /// Succeeds when there were requests and none failed.
    ///
    /// # Errors
    /// The first failures.
    pub fn none_failed(&self) -> Result<()> {
        if self.failed > 0 || self.succeeded == 0 {
            bail!("{self}");
        }
        Ok(())
    }

    /// The latency that this share of the answers, in percent, did not exceed.
    pub fn latency(&self, percent: usize) -> Duration {
        let mut latencies = self.latencies.clone();
        latencies.sort_unstable();
        let index = (latencies.len() * percent).div_ceil(100).saturating_sub(1);
        latencies.get(index).copied().unwrap_or_default()
    }

    fn failed(&mut self, after: Duration, what: String) {
        self.failed += 1;
        if self.failures.len() < FAILURES_KEPT {
            self.failures.push(format!("after {after:.3?}: {what}"));
        }
    }

    fn succeeded(&mut self, backend: &str, at: Instant, latency: Duration) {
        self.succeeded += 1;
        self.latencies.push(latency);
        let seen = self.backends.entry(backend.to_owned()).or_insert(Seen {
            requests: 0,
            first: at,
            last: at,
            succeeded_at_last: 0,
        });
        seen.requests += 1;
        seen.last = at;
        seen.succeeded_at_last = self.succeeded;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            succeeded,
            failed,
            failures,
            backends,
            latencies: _,
        } = self;
        write!(formatter, "{succeeded} requests succeeded, {failed} failed")?;
        for (name, seen) in backends {
            write!(formatter, "\n  {name}: {}", seen.requests)?;
        }
        for failure in failures {
            write!(formatter, "\n  failed {failure}")?;
        }
        Ok(())
    }
}

struct Worker {
    request: Request,
    connections: Connections,
    connection: Option<Connection>,
    record: Arc<Mutex<Report>>,
    started: Instant,
}

impl Worker {
    async fn work(mut self, mut ticks: Interval, mut stop: watch::Receiver<bool>) {
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                // Stopped, or the load was dropped.
                _ = stop.wait_for(|stopped| *stopped) => return,
                _ = ticks.tick() => {}
            }
            self.one_request().await;
        }
    }

    async fn one_request(&mut self) {
        let sent = Instant::now();
        let outcome = self.exchange().await;
        let at = Instant::now();
        let mut record = lock(&self.record);
        match outcome {
            Ok(backend) => record.succeeded(&backend, at, at - sent),
            Err(error) => record.failed(sent - self.started, format!("{error:#}")),
        }
    }

    async fn exchange(&mut self) -> Result<String> {
        let kept = match self.connection.take() {
            Some(mut kept) => kept.usable().await.then_some(kept),
            None => None,
        };
        let mut connection = match kept {
            Some(connection) => connection,
            None => Connection::open(self.request.address, self.request.version).await?,
        };
        let answer = connection.send(&self.request).await?;
        match self.connections {
            Connections::Kept => self.connection = Some(connection),
            Connections::New => {}
        }
        if answer.status != http::StatusCode::OK {
            bail!("status {}: {}", answer.status, answer.text());
        }
        Ok(answer.backend().unwrap_or("nobody of ours").to_owned())
    }
}

fn lock(record: &Mutex<Report>) -> std::sync::MutexGuard<'_, Report> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}
