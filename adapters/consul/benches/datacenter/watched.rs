//! The adapter at work.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bowline_consul::{Consul, ConsulSettings};
use bowline_harness::consul::{Health, RealConsul};
use bowline_mesh::{
    self as mesh, Change, LastGood, Object, RegistryEvent, RegistryPart, RegistrySettings, Spec,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{Latencies, Spread, bare::Bare, load};

/// How long loading may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long a change may take.
const CHANGE_PATIENCE: Duration = Duration::from_secs(120);
/// Linux counts processor time in hundredths of a second.
const TICKS_PER_SECOND: f64 = 100.0;

pub(crate) struct Watched {
    started: Instant,
    events: mpsc::Receiver<RegistryEvent>,
    parts: watch::Receiver<Vec<RegistryPart>>,
    shutdown: CancellationToken,
    task: JoinSet<()>,
}

impl Watched {
    pub(crate) fn start(consul: ConsulSettings) -> Self {
        let settings = RegistrySettings::new(
            "dc1".parse().expect("it is a name"),
            "mesh.example".parse().expect("it is a trust domain"),
            "cluster.local".parse().expect("it is a domain"),
            "default".parse().expect("it is a namespace"),
        );
        let (parts_sender, parts) = watch::channel(Vec::new());
        let (sender, events) = mpsc::channel(64);
        let shutdown = CancellationToken::new();
        let consul = Consul {
            settings,
            consul,
            last_good: LastGood::default(),
            parts: parts_sender,
        };
        let mut task = JoinSet::new();
        task.spawn(consul.run(sender, shutdown.clone()));
        Self {
            started: Instant::now(),
            events,
            parts,
            shutdown,
            task,
        }
    }

    /// How long it took until everything was told.
    pub(crate) async fn until_loaded(&mut self, size: load::Size) -> Result<Duration> {
        let told = async {
            loop {
                let event = self.events.recv().await.context("the adapter has ended")?;
                match event.change {
                    Change::Replace(objects) if objects.len() >= size.instances() => {
                        return Ok(self.started.elapsed());
                    }
                    Change::Replace(objects) => bail!("only {} objects", objects.len()),
                    Change::Failing { error } => bail!("it fails: {error}"),
                    Change::Update { .. } => {}
                }
            }
        };
        timeout(PATIENCE, told).await?
    }

    /// How it watches.
    pub(crate) fn mode(&self) -> String {
        let parts = self.parts.borrow();
        parts
            .first()
            .map_or_else(String::new, |part| part.mode.to_string())
    }

    /// Which part of a core it takes for a while.
    pub(crate) async fn cost_of(&mut self, time: Duration) -> Result<f64> {
        let (began, before) = (Instant::now(), processor_seconds()?);
        let end = tokio::time::Instant::now() + time;
        while let Ok(event) = tokio::time::timeout_at(end, self.events.recv()).await {
            event.context("the adapter has ended")?;
        }
        Ok((processor_seconds()? - before) / began.elapsed().as_secs_f64())
    }

    /// How late changes of one service are, from the moment at which Consul is told.
    pub(crate) async fn latencies(
        &mut self,
        server: &RealConsul,
        changes: usize,
    ) -> Result<Latencies> {
        let mut bare = Bare::start(server.address(), load::PROBED);
        // Until it waits.
        timeout(CHANGE_PATIENCE, bare.until(false)).await??;
        let (mut written, mut asked, mut told) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..changes {
            let is_critical = number % 2 == 0;
            let health = match is_critical {
                true => Health::Critical,
                false => Health::Passing,
            };
            self.cost_of(Duration::from_millis(300)).await?;
            let began = Instant::now();
            let probe = load::probe();
            let write = async {
                server.health(&probe, health, "").await?;
                anyhow::Ok(Instant::now())
            };
            let seen = async {
                tokio::try_join!(bare.until(is_critical), self.until_changed(is_critical))
            };
            let (wrote, seen) = tokio::join!(write, timeout(CHANGE_PATIENCE, seen));
            let (seen_bare, seen_here) = seen??;
            written.push(wrote?.duration_since(began));
            asked.push(seen_bare.duration_since(began));
            told.push(seen_here.duration_since(began));
        }
        Ok(Latencies {
            written: Spread::of(written),
            asked: Spread::of(asked),
            told: Spread::of(told),
        })
    }

    /// Until the mesh is told how the instance is. After a failure it is told everything.
    async fn until_changed(&mut self, is_critical: bool) -> Result<Instant> {
        loop {
            let event = self.events.recv().await.context("the adapter has ended")?;
            let objects = match event.change {
                Change::Update { upserts, .. } => upserts,
                Change::Replace(objects) => objects,
                Change::Failing { .. } => continue,
            };
            if objects.iter().any(|object| is_probe(object, is_critical)) {
                return Ok(Instant::now());
            }
        }
    }

    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        self.events.close();
        self.task.join_next().await;
    }
}

/// Whether an object is the instance that is changed, and says so.
fn is_probe(object: &Object, is_critical: bool) -> bool {
    let wanted = match is_critical {
        true => mesh::Health::Unhealthy,
        false => mesh::Health::Healthy,
    };
    let Spec::Endpoints(group) = object.spec() else {
        return false;
    };
    let is_so = group.endpoints.iter().all(|it| it.health == wanted);
    is_so && object.key().name.ends_with(load::probe().id())
}

fn processor_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The program's name, which stands before them, may have blanks in it.
    let (_, fields) = stat.rsplit_once(')').context("no name in it")?;
    let ticks: Result<Vec<f64>, _> = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse)
        .collect();
    Ok(ticks?.iter().sum::<f64>() / TICKS_PER_SECOND)
}
