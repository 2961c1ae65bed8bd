use proptest::prelude::*;

use super::*;
use crate::watch::{STREAMS_PER_CONNECTION, Transport};

/// A Consul without time of its own: it answers what is asked, and wakes who waits when something changes.
struct Server {
    index: u64,
    names: BTreeMap<Arc<str>, u64>,
    transport: Transport,
    connections_max: usize,
    /// With when they were asked.
    waiting: Vec<(Request, Instant)>,
    asked: usize,
    peak: usize,
    is_filtered: bool,
    /// Waits for services are answered by streaming, which does not say what is hidden.
    streams: bool,
    hidden: BTreeSet<Arc<str>>,
    /// Services that are said to have nothing.
    empty: BTreeSet<Arc<str>>,
    /// What services have besides, without their indexes saying so.
    unsaid: u64,
    fault: Option<Failure>,
    last_contact: Duration,
    /// What it needs for any answer.
    answers_after: Duration,
}

impl Server {
    fn new(names: &[&str]) -> Self {
        Self {
            index: 100,
            names: names.iter().map(|name| ((*name).into(), 100)).collect(),
            transport: Transport::Http1,
            connections_max: 200,
            waiting: Vec::new(),
            asked: 0,
            peak: 0,
            is_filtered: false,
            streams: false,
            hidden: BTreeSet::new(),
            empty: BTreeSet::new(),
            unsaid: 0,
            fault: None,
            last_contact: Duration::ZERO,
            answers_after: Duration::ZERO,
        }
    }

    fn change(&mut self, name: &str) {
        self.index += 1;
        self.names.insert(name.into(), self.index);
    }

    fn index_of(&self, query: &Query) -> u64 {
        match query {
            Query::Service(name) => self.names.get(name).copied().unwrap_or(self.index),
            Query::Names | Query::Checks => self.index,
        }
    }

    fn answer(&self, request: &Request) -> Result<Answer, Failure> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let index = self.index_of(&request.query);
        let fingerprint = index ^ u64::from(self.is_filtered);
        let sees = |name: &Arc<str>| !self.hidden.contains(name);
        let is_service = matches!(request.query, Query::Service(_));
        let is_streamed = self.streams && is_service && request.index.is_some();
        let mut is_filtered = self.is_filtered;
        let body = match &request.query {
            Query::Names => Body::Names(
                self.names
                    .keys()
                    .filter(|name| self.streams || sees(name))
                    .cloned()
                    .collect(),
            ),
            Query::Service(name) => {
                is_filtered = self.hidden.contains(name) && !is_streamed;
                let has_some = sees(name) && !self.empty.contains(name);
                let version = self.names.get(name).filter(|_| has_some);
                let version = version.map(|version| version + self.unsaid);
                Body::Service(Arc::new(content(name, version)))
            }
            Query::Checks => Body::Checks(Checks {
                services: self.names.clone(),
                nodes: BTreeMap::new(),
            }),
        };
        Ok(Answer {
            index: Some(index),
            last_contact: match request.consistency {
                Consistency::Stale => self.last_contact,
                Consistency::Default => Duration::ZERO,
            },
            has_leader: true,
            is_streamed,
            is_filtered,
            transport: self.transport,
            host: 1,
            bytes: 1000,
            fingerprint,
            body,
        })
    }

    fn is_ready(&self, request: &Request) -> bool {
        self.fault.is_some()
            || request
                .index
                .is_none_or(|index| self.index_of(&request.query) != index)
    }
}

/// What one service has: an instance whose port is the version.
fn content(name: &str, version: Option<u64>) -> Mapped {
    let instances = version.map(|version| crate::mapping::for_tests(name, version));
    Mapped {
        healthy: usize::from(version.is_some()),
        instances: instances.into_iter().collect(),
        ..Mapped::default()
    }
}

struct World {
    server: Server,
    watcher: Watcher,
    now: Instant,
}

impl World {
    fn new(server: Server, connections_max: usize) -> Self {
        let now = Instant::now();
        let settings = WatchSettings {
            agents: 1,
            connections_max,
            stale_max: Duration::from_secs(10),
            reread_after: Duration::from_secs(300),
            seed: 7,
        };
        Self {
            server,
            watcher: Watcher::new(settings, now),
            now,
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            for action in self.watcher.poll(self.now) {
                match action {
                    Action::Send(request) => {
                        assert_ne!(request.index, Some(0));
                        self.server.asked += 1;
                        self.server.waiting.push((request, self.now));
                    }
                    Action::Cancel(id) => {
                        self.server.waiting.retain(|(request, _)| request.id != id);
                    }
                }
            }
            self.server.peak = self.server.peak.max(self.server.waiting.len());
            let waiting = std::mem::take(&mut self.server.waiting);
            let room = self.server.connections_max;
            for (place, (request, asked_at)) in waiting.into_iter().enumerate() {
                let is_over = self.now >= asked_at + request.query.wait();
                let is_refused = place >= room && self.server.transport == Transport::Http1;
                if is_refused {
                    let failure = Failure::TooManyConnections("too many".to_owned());
                    self.watcher.answered(request.id, Err(failure), self.now);
                } else if self.now < asked_at + self.server.answers_after {
                    self.server.waiting.push((request, asked_at));
                } else if is_over || self.server.is_ready(&request) {
                    let answer = self.server.answer(&request);
                    self.watcher.answered(request.id, answer, self.now);
                } else {
                    self.server.waiting.push((request, asked_at));
                }
            }
            self.now = self.watcher.next_poll(self.now).min(end);
        }
    }

    /// Versions of what is known.
    fn known(&self) -> BTreeMap<Arc<str>, u64> {
        let version = |name: &Arc<str>| match self.watcher.known(name) {
            Known::Content(content) => content.instances.values().next().map(|instance| {
                let version = instance.ports.first().map(|port| u64::from(port.instance));
                (name.clone(), version.unwrap_or_default())
            }),
            Known::Absent | Known::Unknown => None,
        };
        self.watcher.service_names().filter_map(version).collect()
    }

    fn standing(&self) -> Standing {
        self.watcher.standing(self.now)
    }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|place| format!("s{place}")).collect()
}

fn server_with(count: usize) -> Server {
    let names = names(count);
    Server::new(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn everything_is_known_when_all_was_read_and_a_change_is_known_at_once() {
    let mut world = World::new(server_with(40), 64);
    world.run(SECOND);
    assert!(world.watcher.take_news().is_complete);
    assert_eq!(world.known(), world.server.names);
    world.server.change("s3");
    world.run(Duration::from_millis(5));
    assert_eq!(world.known(), world.server.names);
    let news = world.watcher.take_news();
    assert_eq!(news.services, BTreeSet::from(["s3".into()]));
    assert_eq!(world.watcher.mode(), Mode::EachService);
}

#[test]
fn a_name_that_goes_is_gone_and_one_that_comes_is_read() {
    let mut world = World::new(Server::new(&["cart", "stock"]), 64);
    world.run(SECOND);
    world.server.names.remove("cart");
    world.server.change("front");
    world.run(SECOND);
    assert_eq!(world.known(), world.server.names);
    assert!(matches!(world.watcher.known("cart"), Known::Absent));
}

#[test]
fn a_name_that_is_hidden_stays_and_one_that_is_gone_while_others_are_hidden_goes() {
    let mut world = World::new(Server::new(&["cart", "front", "stock"]), 64);
    world.run(SECOND);
    world.server.hidden.insert("stock".into());
    world.server.is_filtered = true;
    world.server.names.remove("cart");
    world.server.change("front");
    world.run(SECOND);
    assert!(matches!(world.watcher.known("cart"), Known::Absent));
    assert!(matches!(world.watcher.known("stock"), Known::Content(_)));
    let troubles: Vec<_> = world.watcher.troubles().collect();
    assert_eq!(troubles, [(&"stock".into(), &Trouble::Hidden)]);
}

#[test]
fn what_a_stream_hides_without_a_sign_is_read_and_stays() {
    let mut server = Server::new(&["cart", "stock"]);
    server.streams = true;
    let mut world = World::new(server, 64);
    world.run(SECOND);
    world.server.hidden.insert("stock".into());
    world.server.change("stock");
    world.run(SECOND);
    assert!(matches!(world.watcher.known("stock"), Known::Content(_)));
    let troubles: Vec<_> = world.watcher.troubles().collect();
    assert_eq!(troubles, [(&"stock".into(), &Trouble::Hidden)]);
    assert_eq!(world.known().len(), 2);
}

#[test]
fn a_service_without_instances_is_gone_when_the_names_say_so() {
    let mut world = World::new(Server::new(&["cart", "stock"]), 64);
    world.run(SECOND);
    // Somebody between Consul and us answers with nothing.
    world.server.empty.insert("stock".into());
    world.server.change("stock");
    world.run(10 * SECOND);
    assert!(matches!(world.watcher.known("stock"), Known::Content(_)));
    assert_eq!(world.known().len(), 2);
    assert_eq!(world.watcher.troubles().count(), 1);
    world.server.names.remove("stock");
    world.server.index += 1;
    world.run(SECOND);
    assert!(matches!(world.watcher.known("stock"), Known::Absent));
    assert_eq!(world.watcher.troubles().count(), 0);
}

#[test]
fn a_wait_for_names_that_ends_early_without_news_is_a_restored_snapshot() {
    for (wait, is_restored) in [(SECOND, true), (11 * SECOND, false)] {
        let mut world = World::new(Server::new(&["cart", "stock"]), 64);
        world.run(SECOND);
        assert!(world.watcher.take_news().is_complete);
        let is_names = |(request, _): &(Request, Instant)| request.query == Query::Names;
        let place = world.server.waiting.iter().position(is_names).unwrap();
        let (names, _) = world.server.waiting.remove(place);
        world.run(wait);
        let answer = world.server.answer(&names);
        world.watcher.answered(names.id, answer, world.now);
        world.run(SECOND);
        assert_eq!(world.watcher.take_news().is_complete, is_restored);
        assert_eq!(world.known(), world.server.names);
    }
}

#[test]
fn each_failure_keeps_everything_and_ends_when_it_ends() {
    let text = || "why".to_owned();
    for (failure, is_denied) in [
        (Failure::Unreachable(text()), false),
        (Failure::Cut(text()), false),
        (Failure::Denied(text()), true),
        (Failure::Server(text()), false),
        (Failure::Garbage(text()), false),
        (Failure::TooLarge(text()), false),
    ] {
        let mut world = World::new(server_with(20), 64);
        world.run(SECOND);
        let before = world.known();
        world.watcher.take_news();
        world.server.fault = Some(failure.clone());
        world.server.asked = 0;
        world.run(60 * SECOND);
        assert_eq!(world.known(), before, "{failure:?}");
        let standing = world.standing();
        match is_denied {
            true => assert!(
                matches!(standing, Standing::Denied(_)),
                "{failure:?} {standing:?}"
            ),
            false => assert!(
                matches!(standing, Standing::Failing(_)),
                "{failure:?} {standing:?}"
            ),
        }
        assert!(
            world.server.asked < 150,
            "{failure:?}: {} requests in a minute",
            world.server.asked
        );
        world.server.fault = None;
        world.server.change("s3");
        world.run(10 * SECOND);
        assert_eq!(world.known(), world.server.names, "{failure:?}");
        assert_eq!(world.standing(), Standing::Live);
        assert!(world.watcher.take_news().is_complete, "{failure:?}");
    }
}

#[test]
fn ten_minutes_without_an_agent_take_nothing_away_and_end_with_the_first_answer() {
    let mut world = World::new(server_with(20), 64);
    world.run(SECOND);
    let before = world.known();
    world.server.fault = Some(Failure::Unreachable("refused".to_owned()));
    world.server.asked = 0;
    for minute in 1..=10 {
        world.run(60 * SECOND);
        assert_eq!(world.known(), before, "after {minute} minutes");
        assert!(matches!(world.standing(), Standing::Failing(_)));
        let stale = world.now - world.watcher.failing_since().unwrap();
        let away = 60 * SECOND * minute;
        assert!(stale <= away && stale + 15 * SECOND > away, "{stale:?}");
    }
    assert!(world.server.asked < 400, "{} requests", world.server.asked);
    world.server.fault = None;
    world.server.names.remove("s7");
    world.server.change("s3");
    world.run(6 * SECOND);
    assert_eq!(world.known(), world.server.names);
    assert_eq!(world.standing(), Standing::Live);
}

#[test]
fn where_there_is_no_room_for_all_services_are_read_when_their_checks_say_so() {
    let mut world = World::new(server_with(200), 64);
    world.run(10 * SECOND);
    assert_eq!(world.watcher.mode(), Mode::ByChecks);
    assert_eq!(world.known(), world.server.names);
    assert!(world.server.peak <= 64, "{} at once", world.server.peak);
    world.server.change("s7");
    world.run(SECOND);
    assert_eq!(world.known(), world.server.names);
    world.server.names.retain(|name, _| name.len() < 3);
    world.server.index += 1;
    world.run(10 * SECOND);
    assert_eq!(world.watcher.mode(), Mode::EachService);
    assert_eq!(world.known(), world.server.names);
}

#[test]
fn what_checks_point_at_goes_before_what_is_only_looked_through() {
    let mut world = World::new(server_with(1000), 40);
    world.run(10 * SECOND);
    assert_eq!(world.watcher.mode(), Mode::ByChecks);
    // Something is registered, so that everything is looked through, by a Consul that is much slower than that.
    world.server.answers_after = 2 * SECOND;
    world.server.change("another");
    world.run(30 * SECOND);
    world.server.change("s999");
    world.run(8 * SECOND);
    assert_eq!(world.known(), world.server.names);
    world.server.answers_after = Duration::ZERO;
    world.run(60 * SECOND);
    assert!(world.watcher.sweeps.is_empty());
}

#[test]
fn refused_connections_lead_to_fewer() {
    let mut server = server_with(50);
    server.connections_max = 30;
    let mut world = World::new(server, 64);
    world.run(30 * SECOND);
    assert_eq!(world.watcher.mode(), Mode::ByChecks);
    assert_eq!(world.known(), world.server.names);
    assert!(world.watcher.counts().throttled > 0);
    world.server.asked = 0;
    world.run(60 * SECOND);
    assert!(
        world.server.asked < 20,
        "{} requests while nothing changes",
        world.server.asked
    );
}

#[test]
fn over_http2_thousands_have_a_query_each() {
    let mut server = server_with(5000);
    server.transport = Transport::Http2;
    let mut world = World::new(server, 64);
    world.run(30 * SECOND);
    assert_eq!(world.watcher.mode(), Mode::EachService);
    assert_eq!(world.known(), world.server.names);
    assert!(world.server.peak <= 64 * STREAMS_PER_CONNECTION);
    world.server.asked = 0;
    world.server.change("s4999");
    world.run(Duration::from_millis(10));
    assert_eq!(world.known(), world.server.names);
    assert!(
        world.server.asked <= 3,
        "{} requests for one change",
        world.server.asked
    );
}

#[test]
fn a_server_that_heard_nothing_from_its_leader_is_not_believed() {
    let mut world = World::new(Server::new(&["cart"]), 64);
    world.server.last_contact = 60 * SECOND;
    world.run(SECOND);
    assert_eq!(world.known(), world.server.names);
}

#[test]
fn what_was_missed_is_found_when_everything_is_read_again_and_counted() {
    let mut world = World::new(Server::new(&["cart", "stock"]), 64);
    world.run(SECOND);
    assert!(world.watcher.take_news().is_complete);
    world.server.unsaid = 1;
    world.run(5 * SECOND);
    assert_eq!(world.known(), world.server.names);
    world.run(700 * SECOND);
    assert_eq!(world.watcher.counts().drift, 2);
    assert!(world.known().values().all(|version| *version == 101));
    assert!(
        !world.watcher.take_news().is_complete,
        "waits that end are no reason to begin anew"
    );
    world.server.asked = 0;
    world.run(60 * SECOND);
    assert!(
        world.server.asked < 20,
        "{} requests in a quiet minute",
        world.server.asked
    );
}

#[test]
fn an_index_that_goes_back_reads_everything_anew() {
    let mut world = World::new(Server::new(&["cart", "stock"]), 64);
    world.run(SECOND);
    world.watcher.take_news();
    world.server.index = 5;
    world.server.names = BTreeMap::from([("cart".into(), 3)]);
    world.run(2 * SECOND);
    assert!(world.watcher.take_news().is_complete);
    assert_eq!(world.known(), world.server.names);
}

/// Something that happens to a Consul.
#[derive(Debug, Clone)]
enum Event {
    Change(u8),
    Remove(u8),
    Fail(u8),
    Heal,
    GoBack,
    Wait(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0_u8..30).prop_map(Event::Change),
        (0_u8..30).prop_map(Event::Remove),
        (0_u8..6).prop_map(Event::Fail),
        Just(Event::Heal),
        Just(Event::GoBack),
        (1_u64..3000).prop_map(Event::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nothing_is_lost_while_it_fails_and_all_is_known_afterwards(
        events in prop::collection::vec(event(), 1..40),
        connections_max in 6_usize..40,
    ) {
        let mut world = World::new(server_with(10), connections_max);
        world.run(5 * SECOND);
        for event in events {
            let before = world.known();
            match event {
                Event::Change(name) => world.server.change(&format!("s{name}")),
                Event::Remove(name) => {
                    world.server.names.remove(&*format!("s{name}"));
                    world.server.index += 1;
                }
                Event::Fail(kind) => {
                    let text = "why".to_owned();
                    world.server.fault = Some(match kind {
                        0 => Failure::Unreachable(text),
                        1 => Failure::Cut(text),
                        2 => Failure::Denied(text),
                        3 => Failure::Throttled(text),
                        4 => Failure::TooManyConnections(text),
                        _ => Failure::Server(text),
                    });
                }
                Event::Heal => world.server.fault = None,
                Event::GoBack => {
                    world.server.index = world.server.index / 2 + 1;
                    let index = world.server.index;
                    for version in world.server.names.values_mut() {
                        *version = (*version).min(index);
                    }
                }
                Event::Wait(millis) => world.run(Duration::from_millis(millis)),
            }
            if world.server.fault.is_some() {
                world.run(Duration::from_millis(50));
                prop_assert_eq!(world.known(), before);
            }
            prop_assert!(world.server.waiting.len() <= connections_max);
        }
        world.server.fault = None;
        world.run(Duration::from_secs(1300));
        prop_assert_eq!(world.known(), world.server.names.clone());
        prop_assert_eq!(world.standing(), Standing::Live);
        world.server.asked = 0;
        world.run(60 * SECOND);
        prop_assert!(world.server.asked < 40, "{} requests in a quiet minute", world.server.asked);
    }
}
