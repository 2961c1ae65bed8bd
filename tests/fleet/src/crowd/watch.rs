//! Changes that are under way: which proxies have them already, and since when.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::proxy::{
    kind::{Kind, PerKind},
    memo::{Memo, NameId},
    model::Got,
};

/// A change that is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WatchId(usize);

/// What is awaited, and what has come of it.
#[derive(Debug, Default)]
pub struct Watches {
    all: Vec<Watch>,
    by_name: PerKind<HashMap<NameId, Vec<WatchId>>>,
    /// How many are not complete.
    open: usize,
}

#[derive(Debug)]
struct Watch {
    kind: Kind,
    name: NameId,
    marker: u64,
    remaining: usize,
    since: Instant,
    first: Option<Instant>,
    last: Option<Instant>,
}

/// How long a change took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    /// Until the first proxy had it.
    pub first: Duration,
    /// Until the last one had it.
    pub last: Duration,
}

impl Watches {
    /// Awaits that so many proxies have a resource with this marker or a later one. Time counts from [`Watches::begin`].
    pub fn await_marker(
        &mut self,
        kind: Kind,
        name: NameId,
        marker: u64,
        proxies: usize,
    ) -> WatchId {
        let id = WatchId(self.all.len());
        self.all.push(Watch {
            kind,
            name,
            marker,
            remaining: proxies,
            since: Instant::now(),
            first: None,
            last: None,
        });
        if proxies > 0 {
            self.by_name.of_mut(kind).entry(name).or_default().push(id);
            self.open += 1;
        }
        id
    }

    /// Time counts from then on, also for those who have it already.
    pub fn begin(&mut self, watch: WatchId, now: Instant) {
        if let Some(watch) = self.all.get_mut(watch.0) {
            watch.since = now;
        }
    }

    /// Whether nothing is awaited.
    pub fn is_complete(&self) -> bool {
        self.open == 0
    }

    /// How long a change took; nothing of one that is not complete.
    pub fn spread(&self, watch: WatchId) -> Option<Spread> {
        let watch = self.all.get(watch.0)?;
        (watch.remaining == 0).then_some(())?;
        Some(Spread {
            first: watch.first?.saturating_duration_since(watch.since),
            last: watch.last?.saturating_duration_since(watch.since),
        })
    }

    /// How many proxies lack what is awaited, over all that is awaited.
    pub fn remaining(&self) -> usize {
        self.all.iter().map(|watch| watch.remaining).sum()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Notes what a proxy has got; `true` when nothing is awaited any more because of it.
    pub fn note(&mut self, got: &[Got], memo: &Memo, now: Instant) -> bool {
        if self.open == 0 {
            return false;
        }
        let marker = |kind, id| memo.payload(kind, id).map_or(0, |payload| payload.marker);
        for got in got {
            let Some((kind, name)) = place(got, memo) else {
                continue;
            };
            let Some(watches) = self.by_name.of_mut(kind).get_mut(&name) else {
                continue;
            };
            let (before, after) = (marker(got.kind, got.before), marker(got.kind, got.now));
            watches.retain(|id| {
                let Some(watch) = self.all.get_mut(id.0) else {
                    return false;
                };
                if watch.marker <= before || watch.marker > after {
                    return true;
                }
                watch.first.get_or_insert(now);
                watch.last = Some(now);
                watch.remaining -= 1;
                if watch.remaining == 0 {
                    self.open -= 1;
                }
                watch.remaining > 0
            });
        }
        self.open == 0
    }

    /// What is awaited still, for an error.
    pub fn describe(&self, memo: &Memo) -> String {
        let open = self.all.iter().filter(|watch| watch.remaining > 0);
        let mut lines: Vec<String> = open
            .map(|watch| {
                format!(
                    "{:?} '{}' with marker {}: {} proxies",
                    watch.kind,
                    memo.name(watch.kind, watch.name),
                    watch.marker,
                    watch.remaining
                )
            })
            .collect();
        let all = lines.len();
        lines.truncate(5);
        format!("{all} changes have not arrived: {}", lines.join("; "))
    }
}

/// What counts as what a proxy has got: a virtual host is its route configuration, however that comes.
fn place(got: &Got, memo: &Memo) -> Option<(Kind, NameId)> {
    match got.kind {
        Kind::Clusters | Kind::Endpoints | Kind::Listeners | Kind::Routes => {
            Some((got.kind, got.name))
        }
        Kind::Hosts => {
            let within = |id| memo.payload(got.kind, id)?.within;
            let routes = within(got.now).or_else(|| within(got.before))?;
            Some((Kind::Routes, routes))
        }
    }
}

#[cfg(test)]
mod tests {
    use bowline_proto::{
        Message, any,
        envoy::{
            config::route::v3::{RouteConfiguration, VirtualHost},
            service::discovery::v3::Resource,
        },
    };

    use super::*;
    use crate::proxy::memo::{Keep, PayloadId};

    /// A route configuration for each marker.
    fn memo(markers: &[u64]) -> (Memo, NameId, Vec<PayloadId>) {
        let mut memo = Memo::new(Keep::Nothing);
        let payloads = markers.iter().map(|marker| {
            let routes = RouteConfiguration {
                name: "80".to_owned(),
                internal_only_headers: vec![format!("marker-{marker}")],
                ..RouteConfiguration::default()
            };
            let entry = Resource {
                name: "80".to_owned(),
                resource: Some(any(&routes)),
                ..Resource::default()
            };
            memo.of_delta(Kind::Routes, &entry.encode_to_vec()).unwrap()
        });
        let payloads = payloads.collect();
        let name = memo.name_id(Kind::Routes, "80");
        (memo, name, payloads)
    }

    #[test]
    fn a_change_is_complete_when_every_proxy_has_it_or_a_later_one() {
        let (memo, name, payloads) = memo(&[1, 2, 3]);
        let mut watches = Watches::default();
        let begin = Instant::now();
        let ids = [2, 3].map(|marker| watches.await_marker(Kind::Routes, name, marker, 2));
        for id in ids {
            watches.begin(id, begin);
        }
        let at = |ms| begin + Duration::from_millis(ms);
        let got = |before, now| {
            [Got {
                kind: Kind::Routes,
                name,
                before,
                now,
            }]
        };
        // One proxy gets one after the other, the other one only the last.
        assert!(!watches.note(&got(payloads[0], payloads[1]), &memo, at(1)));
        assert!(!watches.note(&got(payloads[1], payloads[2]), &memo, at(2)));
        assert!(!watches.is_complete());
        assert!(watches.note(&got(payloads[0], payloads[2]), &memo, at(5)));
        let spread = |first, last| {
            Some(Spread {
                first: Duration::from_millis(first),
                last: Duration::from_millis(last),
            })
        };
        assert_eq!(watches.spread(ids[0]), spread(1, 5));
        assert_eq!(watches.spread(ids[1]), spread(2, 5));
        assert_eq!((watches.remaining(), watches.is_complete()), (0, true));
    }

    #[test]
    fn a_virtual_host_counts_as_its_route_configuration() {
        let mut memo = Memo::new(Keep::Nothing);
        let mut host = |name: &str| {
            let entry = Resource {
                resource: Some(any(&VirtualHost {
                    name: name.to_owned(),
                    ..VirtualHost::default()
                })),
                ..Resource::default()
            };
            let now = memo.of_delta(Kind::Hosts, &entry.encode_to_vec()).unwrap();
            Got {
                kind: Kind::Hosts,
                name: memo.name_id(Kind::Hosts, name),
                before: PayloadId::NONE,
                now,
            }
        };
        let got = ["80/other", "81/marker-2", "80/marker-2"].map(&mut host);
        let mut watches = Watches::default();
        let name = memo.name_id(Kind::Routes, "80");
        watches.await_marker(Kind::Routes, name, 2, 1);
        assert!(!watches.note(&got[..2], &memo, Instant::now()));
        assert!(watches.note(&got[2..], &memo, Instant::now()));
    }

    #[test]
    fn what_is_sent_again_counts_once() {
        let (memo, name, payloads) = memo(&[1, 2]);
        let mut watches = Watches::default();
        let id = watches.await_marker(Kind::Routes, name, 2, 2);
        let got = |before, now| {
            [Got {
                kind: Kind::Routes,
                name,
                before,
                now,
            }]
        };
        watches.note(&got(payloads[0], payloads[1]), &memo, Instant::now());
        watches.note(&got(payloads[1], payloads[1]), &memo, Instant::now());
        assert_eq!((watches.remaining(), watches.spread(id)), (1, None));
        assert!(
            watches
                .describe(&memo)
                .contains("'80' with marker 2: 1 proxies")
        );
    }
}
