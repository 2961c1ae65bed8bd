//! Lanes: the agents that can be asked, and how much at once.

use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_64;

use super::{Backoff, Random};

/// An agent, by its place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LaneId(pub(crate) usize);

/// How requests go to an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// One request a connection.
    Http1,
    /// Many requests a connection.
    Http2,
}

/// Requests at once on one HTTP/2 connection: what every server allows (RFC 9113 6.5.2), and a client may use before it was told.
pub(crate) const STREAMS_PER_CONNECTION: usize = 100;
/// The least that is left of a lane which refuses connections.
const LIMIT_MIN: usize = 4;
/// After so long a lane which refused connections may have more again.
const LIMITED_FOR: Duration = Duration::from_secs(600);

/// All agents of the registry, as one scope sees them.
#[derive(Debug)]
pub(crate) struct Lanes {
    connections_max: usize,
    lanes: Vec<Lane>,
}

#[derive(Debug)]
struct Lane {
    transport: Transport,
    in_flight: usize,
    /// What was learned from refusals, and until when it counts.
    limited: Option<(usize, Instant)>,
    /// It cannot be reached, until somebody tries again.
    down_until: Option<Instant>,
    backoff: Backoff,
}

impl Lanes {
    /// So many lanes, each with so many connections.
    pub(crate) fn new(count: usize, connections_max: usize) -> Self {
        let lane = || Lane {
            transport: Transport::Http1,
            in_flight: 0,
            limited: None,
            down_until: None,
            backoff: Backoff::new(Duration::from_millis(250), Duration::from_secs(5)),
        };
        Self {
            connections_max,
            lanes: std::iter::repeat_with(lane).take(count.max(1)).collect(),
        }
    }

    /// The lane for a query: always the same for the same name while it is up and has room, so that a chain of blocking queries stays
    /// with one agent.
    pub(crate) fn choose(&self, name: &str, now: Instant) -> Option<LaneId> {
        let usable = self.usable(now);
        let best = usable.max_by_key(|(place, _)| xxh3_64(format!("{place} {name}").as_bytes()));
        best.map(|(place, _)| LaneId(place))
    }

    /// The first lane that is up, for queries that must go somewhere.
    pub(crate) fn first(&self, now: Instant) -> Option<LaneId> {
        let place = self.lanes.iter().position(|lane| lane.is_up(now))?;
        Some(LaneId(place))
    }

    /// Whether another request fits on a lane that is up.
    pub(crate) fn is_usable(&self, id: LaneId, now: Instant) -> bool {
        self.usable(now).any(|(place, _)| place == id.0)
    }

    fn usable(&self, now: Instant) -> impl Iterator<Item = (usize, &Lane)> {
        let lanes = self.lanes.iter().enumerate();
        lanes.filter(move |(_, lane)| {
            lane.is_up(now) && lane.in_flight < lane.capacity(self.connections_max, now)
        })
    }

    /// Requests at once on all lanes that are up.
    pub(crate) fn capacity(&self, now: Instant) -> usize {
        let up = self.lanes.iter().filter(|lane| lane.is_up(now));
        up.map(|lane| lane.capacity(self.connections_max, now))
            .sum()
    }

    /// When a lane that is down may be tried again; `None` where none is.
    pub(crate) fn next_try(&self) -> Option<Instant> {
        self.lanes.iter().filter_map(|lane| lane.down_until).min()
    }

    pub(crate) fn sent(&mut self, id: LaneId) {
        if let Some(lane) = self.lanes.get_mut(id.0) {
            lane.in_flight += 1;
        }
    }

    /// A request ended, however it did.
    pub(crate) fn ended(&mut self, id: LaneId) {
        if let Some(lane) = self.lanes.get_mut(id.0) {
            lane.in_flight = lane.in_flight.saturating_sub(1);
        }
    }

    /// Somebody answered.
    pub(crate) fn answered(&mut self, id: LaneId, transport: Transport) {
        if let Some(lane) = self.lanes.get_mut(id.0) {
            lane.transport = transport;
            lane.down_until = None;
            lane.backoff.succeeded();
        }
    }

    /// Nobody can be reached.
    pub(crate) fn unreachable(&mut self, id: LaneId, now: Instant, random: &mut Random) {
        if let Some(lane) = self.lanes.get_mut(id.0)
            && lane.is_up(now)
        {
            lane.down_until = Some(now + lane.backoff.failed(random));
        }
    }

    /// It refuses connections: from now on there are fewer than now.
    pub(crate) fn refuses_connections(&mut self, id: LaneId, now: Instant) {
        let connections_max = self.connections_max;
        if let Some(lane) = self.lanes.get_mut(id.0) {
            let used = match lane.transport {
                Transport::Http1 => lane.in_flight,
                Transport::Http2 => lane.in_flight.div_ceil(STREAMS_PER_CONNECTION),
            };
            let known = lane.limit(connections_max, now);
            let limit = (used * 3 / 4).clamp(LIMIT_MIN, known.max(LIMIT_MIN));
            lane.limited = Some((limit, now + LIMITED_FOR));
        }
    }
}

impl Lane {
    fn is_up(&self, now: Instant) -> bool {
        self.down_until.is_none_or(|until| until <= now)
    }

    fn limit(&self, connections_max: usize, now: Instant) -> usize {
        match self.limited {
            Some((limit, until)) if now < until => limit.min(connections_max),
            _ => connections_max,
        }
    }

    fn capacity(&self, connections_max: usize, now: Instant) -> usize {
        let limit = self.limit(connections_max, now);
        match self.transport {
            Transport::Http1 => limit,
            Transport::Http2 => limit * STREAMS_PER_CONNECTION,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_on_its_lane_until_that_is_down_or_full() {
        let now = Instant::now();
        let mut lanes = Lanes::new(3, 2);
        let lane = lanes.choose("cart", now).unwrap();
        assert_eq!(lanes.choose("cart", now), Some(lane));
        lanes.sent(lane);
        lanes.sent(lane);
        assert_ne!(lanes.choose("cart", now), Some(lane));
        lanes.ended(lane);
        assert_eq!(lanes.choose("cart", now), Some(lane));
        let mut random = Random::new(1);
        lanes.unreachable(lane, now, &mut random);
        assert_ne!(lanes.choose("cart", now), Some(lane));
        assert_eq!(lanes.capacity(now), 4);
        let again = lanes.next_try().unwrap();
        assert_eq!(lanes.choose("cart", again), Some(lane));
        lanes.answered(lane, Transport::Http2);
        assert_eq!(lanes.capacity(now), 4 + 2 * STREAMS_PER_CONNECTION);
    }

    #[test]
    fn refused_connections_are_fewer_for_a_while() {
        let now = Instant::now();
        let mut lanes = Lanes::new(1, 64);
        for _ in 0..40 {
            lanes.sent(LaneId(0));
        }
        lanes.refuses_connections(LaneId(0), now);
        assert_eq!(lanes.capacity(now), 30);
        lanes.refuses_connections(LaneId(0), now);
        assert_eq!(lanes.capacity(now), 30);
        assert!(!lanes.is_usable(LaneId(0), now));
        assert_eq!(lanes.capacity(now + LIMITED_FOR), 64);
    }

    #[test]
    fn with_all_lanes_down_there_is_none() {
        let now = Instant::now();
        let mut lanes = Lanes::new(2, 8);
        let mut random = Random::new(1);
        for lane in [0, 1] {
            lanes.unreachable(LaneId(lane), now, &mut random);
        }
        assert_eq!((lanes.first(now), lanes.capacity(now)), (None, 0));
    }
}
