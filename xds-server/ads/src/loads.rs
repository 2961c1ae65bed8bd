//! Loads that proxies report (LRS): who sent how many requests to which cluster, and how many of them failed.
//!
//! The aggregation has no I/O and no clock. A proxy reports differences since its last report, so sums are kept here: a row for each
//! workload, cluster and locality, which is forgotten when nobody has reported it for a while, and a total for each service and cluster,
//! which only grows. Both are bounded: what is beyond is counted, and nothing else is kept of it.

mod service;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use bowline_proto::envoy::config::{
    core::v3::Locality,
    endpoint::v3::{ClusterStats, UpstreamLocalityStats},
};
use parking_lot::Mutex;
use serde::Serialize;

pub use service::{LoadReportingService, LoadSettings, Reporters};

/// Who reports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reporter {
    /// The workload beside which the proxy stands, or the gateway that it is.
    pub workload: Arc<str>,
    /// What that is an instance of.
    pub service: Arc<str>,
}

/// What was reported. A clone is the same.
#[derive(Clone, Default)]
pub struct Loads {
    shared: Arc<Mutex<Ledger>>,
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadLimits {
    /// Rows of workloads, clusters and localities.
    pub rows_max: usize,
    /// Totals of services and clusters: they become metrics.
    pub totals_max: usize,
    /// Rows that one stream may have.
    pub rows_of_stream_max: usize,
    /// Longest name of a cluster, a workload or a part of a locality.
    pub name_bytes_max: usize,
}

impl Default for LoadLimits {
    fn default() -> Self {
        Self {
            rows_max: 100_000,
            totals_max: 10_000,
            rows_of_stream_max: 20_000,
            name_bytes_max: 512,
        }
    }
}

/// What one workload sent to one locality of one cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Load {
    /// The workload that sent it.
    pub workload: Arc<str>,
    /// What that is an instance of.
    pub service: Arc<str>,
    /// Where it was sent.
    pub cluster: Arc<str>,
    /// The endpoints' locality, as `region/zone/subzone`; empty for requests that no endpoint got.
    pub locality: Arc<str>,
    /// Sums of all reports.
    #[serde(flatten)]
    pub sums: Sums,
    /// Requests that were on their way at the last report.
    pub in_progress: u64,
    /// Requests a second in the last minute.
    pub per_second: f64,
    /// Of them, those that failed.
    pub errors_per_second: f64,
}

/// Counts of requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    /// Sent to an endpoint.
    pub requests: u64,
    /// Answered with success.
    pub succeeded: u64,
    /// Failed: not answered, or answered with an error.
    pub errors: u64,
    /// Not sent to any endpoint, because a limit or a policy forbade it.
    pub dropped: u64,
}

impl Sums {
    fn add(&mut self, other: Self) {
        let Self {
            requests,
            succeeded,
            errors,
            dropped,
        } = other;
        // A peer says these numbers.
        self.requests = self.requests.saturating_add(requests);
        self.succeeded = self.succeeded.saturating_add(succeeded);
        self.errors = self.errors.saturating_add(errors);
        self.dropped = self.dropped.saturating_add(dropped);
    }
}

/// All that services sent to clusters since the start. Never less than before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadTotals {
    /// By what sent it, and the cluster.
    pub by_cluster: BTreeMap<(Arc<str>, Arc<str>), Sums>,
    /// What has no place among them.
    pub beyond: Sums,
    /// Reports received.
    pub reports: u64,
    /// Entries of reports that have no row: there are too many, or their names are too long.
    pub refused: u64,
    /// Streams that report now.
    pub streams: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct RowKey {
    workload: Arc<str>,
    cluster: Arc<str>,
    locality: Arc<str>,
}

#[derive(Debug)]
struct Row {
    service: Arc<str>,
    sums: Sums,
    in_progress: u64,
    recent: Recent,
    reported: Instant,
}

/// The last minute, in steps.
#[derive(Debug, Default)]
struct Recent {
    steps: [Step; STEPS],
}

#[derive(Debug, Default, Clone, Copy)]
struct Step {
    number: u64,
    requests: u64,
    errors: u64,
}

#[derive(Default)]
struct Ledger {
    limits: LoadLimits,
    rows: BTreeMap<RowKey, Row>,
    totals: LoadTotals,
    /// Steps are counted from here.
    began: Option<Instant>,
    swept: Option<Instant>,
}

/// What one stream has said last, until it ends.
struct Stream {
    loads: Loads,
    reporter: Reporter,
    in_progress: BTreeMap<RowKey, u64>,
}

impl Loads {
    /// Nothing reported yet, with other limits than the default.
    pub fn with_limits(limits: LoadLimits) -> Self {
        let ledger = Ledger {
            limits,
            ..Ledger::default()
        };
        Self {
            shared: Arc::new(Mutex::new(ledger)),
        }
    }

    /// All rows, by workload, cluster and locality.
    pub fn list(&self, now: Instant) -> Vec<Load> {
        let mut ledger = self.shared.lock();
        ledger.sweep(now);
        let step = ledger.step(now);
        let rows = ledger.rows.iter().map(|(key, row)| {
            let RowKey {
                workload,
                cluster,
                locality,
            } = key.clone();
            let (per_second, errors_per_second) = row.recent.rates(step);
            Load {
                workload,
                service: row.service.clone(),
                cluster,
                locality,
                sums: row.sums,
                in_progress: row.in_progress,
                per_second,
                errors_per_second,
            }
        });
        rows.collect()
    }

    /// What metrics show.
    pub fn totals(&self) -> LoadTotals {
        self.shared.lock().totals.clone()
    }

    fn stream(&self, reporter: Reporter) -> Stream {
        self.shared.lock().totals.streams += 1;
        Stream {
            loads: self.clone(),
            reporter,
            in_progress: BTreeMap::new(),
        }
    }
}

impl fmt::Debug for Loads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ledger = self.shared.lock();
        f.debug_struct("Loads")
            .field("rows", &ledger.rows.len())
            .field("streams", &ledger.totals.streams)
            .finish_non_exhaustive()
    }
}

impl Stream {
    /// Takes one report.
    fn report(&mut self, stats: &[ClusterStats], now: Instant) {
        let loads = self.loads.clone();
        let mut ledger = loads.shared.lock();
        ledger.totals.reports += 1;
        ledger.sweep(now);
        let mut seen = BTreeSet::new();
        for of_cluster in stats {
            for entry in entries(of_cluster) {
                self.enter(&mut ledger, &of_cluster.cluster_name, entry, &mut seen, now);
            }
        }
        // What a report does not name has nothing on its way any more.
        let over: Vec<RowKey> = self
            .in_progress
            .keys()
            .filter(|key| !seen.contains(*key))
            .cloned()
            .collect();
        for key in over {
            self.set_in_progress(&mut ledger, &key, 0);
        }
    }

    fn enter(
        &mut self,
        ledger: &mut Ledger,
        cluster: &str,
        entry: Entry,
        seen: &mut BTreeSet<RowKey>,
        now: Instant,
    ) {
        let Entry {
            locality,
            sums,
            in_progress,
        } = entry;
        if sums == Sums::default() && in_progress == 0 {
            return;
        }
        ledger.add_to_total(&self.reporter.service, cluster, sums);
        let limits = ledger.limits;
        if cluster.len() > limits.name_bytes_max || locality.len() > 3 * limits.name_bytes_max {
            ledger.totals.refused += 1;
            return;
        }
        let key = RowKey {
            workload: self.reporter.workload.clone(),
            cluster: cluster.into(),
            locality: locality.into(),
        };
        let is_known = self.in_progress.contains_key(&key);
        if !is_known && self.in_progress.len() >= limits.rows_of_stream_max {
            ledger.totals.refused += 1;
            return;
        }
        let step = ledger.step(now);
        let is_full = ledger.rows.len() >= limits.rows_max;
        let service = &self.reporter.service;
        let row = match ledger.rows.get_mut(&key) {
            Some(row) => row,
            None if is_full => {
                ledger.totals.refused += 1;
                return;
            }
            None => ledger.rows.entry(key.clone()).or_insert_with(|| Row {
                service: service.clone(),
                sums: Sums::default(),
                in_progress: 0,
                recent: Recent::default(),
                reported: now,
            }),
        };
        row.sums.add(sums);
        row.recent.add(step, sums);
        row.reported = now;
        self.set_in_progress(ledger, &key, in_progress);
        seen.insert(key);
    }

    fn set_in_progress(&mut self, ledger: &mut Ledger, key: &RowKey, in_progress: u64) {
        let before = match in_progress {
            0 => self.in_progress.remove(key),
            _ => self.in_progress.insert(key.clone(), in_progress),
        };
        if let Some(row) = ledger.rows.get_mut(key) {
            // Of all streams of the workload: there may be two while it reconnects.
            row.in_progress = row
                .in_progress
                .saturating_sub(before.unwrap_or(0))
                .saturating_add(in_progress);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let loads = self.loads.clone();
        let mut ledger = loads.shared.lock();
        for key in self.in_progress.keys().cloned().collect::<Vec<_>>() {
            self.set_in_progress(&mut ledger, &key, 0);
        }
        ledger.totals.streams -= 1;
    }
}

impl Ledger {
    fn step(&mut self, now: Instant) -> u64 {
        let began = *self.began.get_or_insert(now);
        // From 1: 0 is a step that never was.
        now.saturating_duration_since(began).as_secs() / STEP.as_secs() + 1
    }

    fn add_to_total(&mut self, service: &Arc<str>, cluster: &str, sums: Sums) {
        let key = (service.clone(), Arc::from(cluster));
        let is_full = self.totals.by_cluster.len() >= self.limits.totals_max
            || cluster.len() > self.limits.name_bytes_max;
        match self.totals.by_cluster.get_mut(&key) {
            Some(total) => total.add(sums),
            None if is_full => self.totals.beyond.add(sums),
            None => self.totals.by_cluster.entry(key).or_default().add(sums),
        }
    }

    /// Forgets rows that nobody reports any more. Now and then: it is a pass over all.
    fn sweep(&mut self, now: Instant) {
        let last = *self.swept.get_or_insert(now);
        if now.saturating_duration_since(last) < SWEEP_PAUSE {
            return;
        }
        self.swept = Some(now);
        self.rows.retain(|_, row| {
            row.in_progress > 0 || now.saturating_duration_since(row.reported) < FORGOTTEN_AFTER
        });
    }
}

impl Recent {
    fn add(&mut self, number: u64, sums: Sums) {
        let place = usize::try_from(number).unwrap_or(0) % STEPS;
        let Some(step) = self.steps.get_mut(place) else {
            return;
        };
        if step.number != number {
            *step = Step {
                number,
                requests: 0,
                errors: 0,
            };
        }
        step.requests = step.requests.saturating_add(sums.requests);
        step.errors = step.errors.saturating_add(sums.errors);
    }

    /// Requests and errors a second.
    fn rates(&self, now: u64) -> (f64, f64) {
        let is_recent = |step: &&Step| step.number > 0 && step.number + STEPS as u64 > now;
        let recent = || self.steps.iter().filter(is_recent);
        // In its first minute the server does not know a whole one.
        let span = (STEPS as u64).min(now) * STEP.as_secs();
        let rate = |count: u64| count as f64 / span as f64;
        (
            rate(recent().map(|step| step.requests).sum()),
            rate(recent().map(|step| step.errors).sum()),
        )
    }
}

/// What a report says of one locality of a cluster.
struct Entry {
    locality: String,
    sums: Sums,
    in_progress: u64,
}

/// Localities may come more than once, by priority.
fn entries(stats: &ClusterStats) -> impl Iterator<Item = Entry> {
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    let mut add = |locality: String, sums: Sums, in_progress: u64| {
        let entry = entries.entry(locality.clone()).or_insert(Entry {
            locality,
            sums: Sums::default(),
            in_progress: 0,
        });
        entry.sums.add(sums);
        entry.in_progress = entry.in_progress.saturating_add(in_progress);
    };
    for of_locality in &stats.upstream_locality_stats {
        let UpstreamLocalityStats {
            locality,
            total_successful_requests,
            total_requests_in_progress,
            total_error_requests,
            total_issued_requests,
            ..
        } = of_locality;
        let sums = Sums {
            requests: *total_issued_requests,
            succeeded: *total_successful_requests,
            errors: *total_error_requests,
            dropped: 0,
        };
        add(
            locality.as_ref().map(text).unwrap_or_default(),
            sums,
            *total_requests_in_progress,
        );
    }
    let dropped = Sums {
        dropped: stats.total_dropped_requests,
        ..Sums::default()
    };
    add(String::new(), dropped, 0);
    entries.into_values()
}

fn text(locality: &Locality) -> String {
    let Locality {
        region,
        zone,
        sub_zone,
    } = locality;
    let text = format!("{region}/{zone}/{sub_zone}");
    text.trim_end_matches('/').to_owned()
}

const STEPS: usize = 6;
const STEP: Duration = Duration::from_secs(10);
const SWEEP_PAUSE: Duration = Duration::from_secs(60);
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests;
