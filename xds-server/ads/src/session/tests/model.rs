//! A model of Envoy and random schedules.
//!
//! The client does what Envoy does: it subscribes to the endpoints of the clusters that it has and to the routes of its listeners,
//! warms a new or changed cluster until endpoints arrive *after* it, acknowledges clusters when all are warm, ignores virtual hosts
//! whose route configuration it does not have and puts those away whose route configuration it gets, and takes the good resources of
//! a response that it rejects, or none. Messages cross each other at random, configuration changes, streams break.
//!
//! What must hold: a route or virtual host never leads to a cluster that is not there and warm; no response names a resource twice;
//! the number of messages is bounded by that of the changes; and when all is quiet, the client has exactly the configuration.

use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

const CLUSTERS: [&str; 4] = ["a", "b", "c", "d"];
const LISTENERS: [&str; 2] = ["l", "m"];
/// Content of a cluster that the client rejects.
const BAD: u8 = 9;

/// A configuration in which every route leads to a cluster that there is.
#[derive(Debug, Clone, Default)]
struct Configuration {
    /// Content of the cluster and of its endpoints.
    clusters: BTreeMap<&'static str, (u8, u8)>,
    /// Content of the listener, where its route leads, and where a virtual host of its own leads.
    listeners: BTreeMap<&'static str, (u8, &'static str, Option<&'static str>)>,
}

#[derive(Debug, Clone)]
enum Event {
    Change(Configuration),
    /// The next message reaches the client.
    ToClient,
    /// The next message reaches the server.
    ToServer,
    Reconnect,
}

fn configuration(content_max: u8) -> impl Strategy<Value = Configuration> {
    let cluster = prop::option::weighted(0.6, (0..=content_max, 0..3_u8));
    let host = prop::option::weighted(0.6, 0..CLUSTERS.len());
    let listener = prop::option::weighted(0.7, (0..2_u8, 0..CLUSTERS.len(), host));
    (
        prop::array::uniform4(cluster),
        prop::array::uniform2(listener),
    )
        .prop_map(|(clusters, listeners)| {
            let clusters: BTreeMap<_, _> = CLUSTERS
                .into_iter()
                .zip(clusters)
                .filter_map(|(name, content)| Some((name, content?)))
                .collect();
            let present: Vec<_> = clusters.keys().copied().collect();
            let listeners = LISTENERS
                .into_iter()
                .zip(listeners)
                .filter_map(|(name, listener)| {
                    let (content, target, host) = listener?;
                    let at = |index: usize| present.get(index % present.len().max(1)).copied();
                    Some((name, (content, at(target)?, host.and_then(at))))
                })
                .collect();
            Configuration {
                clusters,
                listeners,
            }
        })
}

fn events(content_max: u8, reconnects: u32) -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        2 => configuration(content_max).prop_map(Event::Change),
        6 => Just(Event::ToClient),
        6 => Just(Event::ToServer),
        reconnects => Just(Event::Reconnect),
    ];
    prop::collection::vec(event, 1..80)
}

impl Configuration {
    fn snapshot(&self, generation: u64) -> Snapshot {
        let mut resources = Vec::new();
        for (name, (cluster, endpoints)) in &self.clusters {
            resources.push(format!("CDS {name} {cluster}"));
            resources.push(format!("EDS {name} {endpoints}"));
        }
        for (name, (listener, target, host)) in &self.listeners {
            resources.push(format!("LDS {name} {listener}"));
            resources.push(format!("RDS {name} {target}"));
            if let Some(target) = host {
                resources.push(format!("VHDS {name}/h {target}"));
            }
        }
        let resources: Vec<&str> = resources.iter().map(|text| &**text).collect();
        snapshot_of(generation, &resources)
    }
}

/// What the client holds of one type.
#[derive(Debug, Default)]
struct Holding {
    /// Content and version by name.
    resources: BTreeMap<String, (String, String)>,
    subscribed: BTreeSet<String>,
    /// Of the last response that was taken over; state of the world.
    version: String,
    nonce: String,
    is_open: bool,
}

/// A response as the client reads it.
struct Incoming {
    response: Response,
}

/// How the model speaks a variant.
trait Dialect: Protocol {
    /// The first request of a type on a stream.
    fn open(resource_type: ResourceType, holding: &Holding) -> Self::Request;
    /// Any later one. `changed` are the names to subscribe to and to unsubscribe from.
    fn reply(
        resource_type: ResourceType,
        holding: &Holding,
        changed: (&[String], &[String]),
        error: Option<Status>,
    ) -> Self::Request;
    /// Whether what a response lacks is gone.
    fn replaces(resource_type: ResourceType) -> bool;
}

impl Dialect for StateOfTheWorld {
    fn open(resource_type: ResourceType, holding: &Holding) -> DiscoveryRequest {
        DiscoveryRequest {
            type_url: resource_type.url().to_owned(),
            version_info: holding.version.clone(),
            resource_names: holding.subscribed.iter().cloned().collect(),
            ..DiscoveryRequest::default()
        }
    }

    fn reply(
        resource_type: ResourceType,
        holding: &Holding,
        _: (&[String], &[String]),
        error: Option<Status>,
    ) -> DiscoveryRequest {
        DiscoveryRequest {
            response_nonce: holding.nonce.clone(),
            error_detail: error,
            ..Self::open(resource_type, holding)
        }
    }

    fn replaces(resource_type: ResourceType) -> bool {
        resource_type.spec().full_state
    }
}

impl Dialect for Delta {
    fn open(resource_type: ResourceType, holding: &Holding) -> DeltaRequest {
        let versions = holding.resources.iter();
        DeltaDiscoveryRequest {
            type_url: resource_type.url().to_owned(),
            resource_names_subscribe: holding.subscribed.iter().cloned().collect(),
            initial_resource_versions: versions
                .map(|(name, (_, version))| (name.clone(), version.clone()))
                .collect(),
            ..DeltaDiscoveryRequest::default()
        }
        .into()
    }

    fn reply(
        resource_type: ResourceType,
        holding: &Holding,
        (added, dropped): (&[String], &[String]),
        error: Option<Status>,
    ) -> DeltaRequest {
        DeltaDiscoveryRequest {
            type_url: resource_type.url().to_owned(),
            response_nonce: holding.nonce.clone(),
            error_detail: error,
            resource_names_subscribe: added.to_vec(),
            resource_names_unsubscribe: dropped.to_vec(),
            ..DeltaDiscoveryRequest::default()
        }
        .into()
    }

    fn replaces(_: ResourceType) -> bool {
        false
    }
}

/// How the client rejects a response with a bad cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rejects {
    /// It takes the good ones, and names the bad one.
    InPart,
    /// It takes nothing, and names the bad one.
    AllByName,
    /// It takes nothing, and does not say why.
    AllWithoutReason,
}

struct Model<P: Dialect> {
    session: Session<P>,
    now: Instant,
    generation: u64,
    configuration: Configuration,
    to_client: VecDeque<Incoming>,
    to_server: VecDeque<P::Request>,
    holdings: BTreeMap<ResourceType, Holding>,
    /// Clusters that have not got endpoints since they were new or changed.
    warming: BTreeSet<String>,
    /// Clusters that traffic can use, with the content that became warm.
    active: BTreeMap<String, String>,
    /// Virtual hosts that are in use, with where they lead.
    hosts: BTreeMap<String, String>,
    /// Clusters are not acknowledged before all are warm.
    withheld: Option<Option<Status>>,
    rejects: Rejects,
    messages: usize,
    checks_routes: bool,
    has_reconnected: bool,
    has_rejected_a_set: bool,
}

impl<P: Dialect> Model<P> {
    fn new(checks_routes: bool, rejects: Rejects) -> Self {
        let mut model = Self {
            session: Self::session(),
            now: Instant::now(),
            generation: 0,
            configuration: Configuration::default(),
            to_client: VecDeque::new(),
            to_server: VecDeque::new(),
            holdings: ResourceType::ALL
                .into_iter()
                .map(|resource_type| (resource_type, Holding::default()))
                .collect(),
            warming: BTreeSet::new(),
            active: BTreeMap::new(),
            hosts: BTreeMap::new(),
            withheld: None,
            rejects,
            messages: 0,
            checks_routes,
            has_reconnected: false,
            has_rejected_a_set: false,
        };
        model.change(Configuration::default());
        model.open(ResourceType::CLUSTER);
        model
    }

    fn session() -> Session<P> {
        Session::new(
            Arc::new(Settings::new("model")),
            Arc::default(),
            Client::PLAIN,
        )
    }

    fn act(&mut self, event: Event) {
        match event {
            Event::Change(configuration) => self.change(configuration),
            Event::ToClient => self.client_reads(),
            Event::ToServer => self.server_reads(),
            Event::Reconnect => self.reconnect(),
        }
        while let Some(response) = self.session.next(self.now) {
            let names = response
                .resources
                .iter()
                .map(|(resource, _)| resource.name());
            let names: Vec<_> = names.chain(&response.removed).collect();
            let distinct: BTreeSet<_> = names.iter().collect();
            assert_eq!(
                names.len(),
                distinct.len(),
                "a name twice in {}",
                text(&response)
            );
            self.messages += 1;
            self.to_client.push_back(Incoming { response });
        }
        self.routes_lead_somewhere();
    }

    fn change(&mut self, configuration: Configuration) {
        self.generation += 1;
        self.configuration = configuration;
        let snapshot = self.configuration.snapshot(self.generation);
        self.session.update(snapshot);
    }

    fn server_reads(&mut self) {
        if let Some(request) = self.to_server.pop_front() {
            let (header, interest) = P::parse(request).unwrap();
            self.session.receive(header, interest, self.now).unwrap();
        }
    }

    fn reconnect(&mut self) {
        self.has_reconnected = true;
        self.session = Self::session();
        self.session
            .update(self.configuration.snapshot(self.generation));
        self.to_client.clear();
        self.to_server.clear();
        self.withheld = None;
        let opened: Vec<_> = self
            .holdings
            .iter_mut()
            .filter_map(|(resource_type, holding)| {
                holding.nonce.clear();
                holding.is_open.then_some(*resource_type)
            })
            .collect();
        for resource_type in opened {
            self.open(resource_type);
        }
    }

    fn open(&mut self, resource_type: ResourceType) {
        let holding = self.holdings.get_mut(&resource_type).unwrap();
        holding.is_open = true;
        let request = P::open(resource_type, holding);
        self.to_server.push_back(request);
    }

    fn client_reads(&mut self) {
        let Some(Incoming { response }) = self.to_client.pop_front() else {
            return;
        };
        let resource_type = response.resource_type.unwrap();
        let holding = self.holdings.get_mut(&resource_type).unwrap();
        holding.nonce = response.nonce.to_string();

        let content_of =
            |resource: &Resource| String::from_utf8(resource.body().to_bytes().to_vec()).unwrap();
        let is_bad = |resource: &Resource| {
            resource_type == ResourceType::CLUSTER && content_of(resource) == BAD.to_string()
        };
        let bad = response
            .resources
            .iter()
            .find(|(resource, _)| is_bad(resource));
        let error = bad.map(|(resource, _)| Status {
            message: match self.rejects {
                Rejects::InPart | Rejects::AllByName => {
                    format!("cluster {} is bad", resource.name())
                }
                Rejects::AllWithoutReason => "no".to_owned(),
            },
            ..Status::default()
        });
        self.has_rejected_a_set |= error.is_some() && P::replaces(resource_type);
        if error.is_some() && self.rejects != Rejects::InPart {
            self.withheld = Some(error);
            self.answer_clusters();
            return;
        }
        let mut listed = BTreeSet::new();
        let mut changed = Vec::new();
        for (resource, version) in response.resources.iter() {
            let name = resource.name().to_string();
            let content = content_of(resource);
            listed.insert(name.clone());
            if is_bad(resource) {
                continue;
            }
            let entry = (content.clone(), version.to_string());
            holding.resources.insert(name.clone(), entry);
            changed.push((name, content));
        }
        if error.is_none() {
            holding.version = response.version.to_string();
        }
        let gone: Vec<String> = holding
            .resources
            .keys()
            .filter(|name| match P::replaces(resource_type) {
                true => !listed.contains(*name),
                false => response.removed.iter().any(|removed| **removed == ***name),
            })
            .cloned()
            .collect();
        // Envoy keeps endpoints for as long as it has their cluster.
        if resource_type != ResourceType::ENDPOINT {
            for name in &gone {
                holding.resources.remove(name);
            }
        }

        match resource_type.short_name() {
            "CDS" => {
                for name in gone {
                    self.warming.remove(&name);
                    self.active.remove(&name);
                }
                for (name, content) in changed {
                    // What is active already is not warmed again, also when another content was on its way.
                    if self.active.get(&name) == Some(&content) {
                        self.warming.remove(&name);
                    } else {
                        self.warming.insert(name);
                    }
                }
                self.withheld = Some(error);
                self.follow(ResourceType::CLUSTER, ResourceType::ENDPOINT);
            }
            "EDS" => {
                // Envoy takes the absence of endpoints, when it is told so, for an answer too.
                let removed = response.removed.iter().map(|name| name.to_string());
                for name in listed.into_iter().chain(removed) {
                    self.warming.remove(&name);
                    let clusters = &self.holdings[&ResourceType::CLUSTER].resources;
                    if let Some((content, _)) = clusters.get(&name) {
                        self.active.insert(name, content.clone());
                    }
                }
                self.reply(resource_type, (&[], &[]), None);
            }
            "LDS" => {
                self.reply(resource_type, (&[], &[]), None);
                self.follow(ResourceType::LISTENER, ResourceType::ROUTE);
            }
            "RDS" => {
                for name in listed {
                    self.hosts.retain(|host, _| route_of(host) != name);
                }
                self.reply(resource_type, (&[], &[]), None);
                if P::VARIANT == Variant::Delta
                    && !self.holdings[&ResourceType::VIRTUAL_HOST].is_open
                {
                    self.open(ResourceType::VIRTUAL_HOST);
                }
            }
            "VHDS" => {
                for name in gone {
                    self.hosts.remove(&name);
                }
                let routes = &self.holdings[&ResourceType::ROUTE].resources;
                for (name, target) in changed {
                    if routes.contains_key(route_of(&name)) {
                        self.hosts.insert(name, target);
                    }
                }
                self.reply(resource_type, (&[], &[]), None);
            }
            _ => self.reply(resource_type, (&[], &[]), None),
        }
        self.answer_clusters();
    }

    /// When all clusters are warm.
    fn answer_clusters(&mut self) {
        if !self.warming.is_empty() {
            return;
        }
        if let Some(error) = self.withheld.take() {
            self.reply(ResourceType::CLUSTER, (&[], &[]), error);
        }
        // Envoy asks for listeners when its first clusters are warm.
        if !self.holdings[&ResourceType::LISTENER].is_open {
            self.open(ResourceType::LISTENER);
        }
    }

    /// Subscribes to what the resources of another type refer to.
    fn follow(&mut self, from: ResourceType, to: ResourceType) {
        let wanted: BTreeSet<String> = self.holdings[&from].resources.keys().cloned().collect();
        let holding = self.holdings.get_mut(&to).unwrap();
        let added: Vec<_> = wanted.difference(&holding.subscribed).cloned().collect();
        let dropped: Vec<_> = holding.subscribed.difference(&wanted).cloned().collect();
        holding.resources.retain(|name, _| wanted.contains(name));
        if to == ResourceType::ROUTE {
            self.hosts.retain(|host, _| wanted.contains(route_of(host)));
        }
        holding.subscribed = wanted;
        if added.is_empty() && dropped.is_empty() {
            return;
        }
        if holding.is_open {
            self.reply(to, (&added, &dropped), None);
        } else {
            self.open(to);
        }
    }

    fn reply(
        &mut self,
        resource_type: ResourceType,
        changed: (&[String], &[String]),
        error: Option<Status>,
    ) {
        let request = P::reply(
            resource_type,
            &self.holdings[&resource_type],
            changed,
            error,
        );
        self.to_server.push_back(request);
    }

    fn contents(&self, resource_type: ResourceType) -> BTreeMap<&str, &str> {
        let resources = self.holdings[&resource_type].resources.iter();
        resources
            .map(|(name, (content, _))| (&**name, &**content))
            .collect()
    }

    fn routes_lead_somewhere(&self) {
        if !self.checks_routes {
            return;
        }
        let listeners = self.contents(ResourceType::LISTENER);
        for (name, cluster) in self.contents(ResourceType::ROUTE) {
            assert!(
                !listeners.contains_key(name) || self.active.contains_key(cluster),
                "route {name} leads to cluster {cluster}, which is not there"
            );
        }
        for (name, cluster) in &self.hosts {
            assert!(
                !listeners.contains_key(route_of(name)) || self.active.contains_key(cluster),
                "virtual host {name} leads to cluster {cluster}, which is not there"
            );
        }
    }

    /// Until nobody has anything to say.
    fn settle(&mut self) {
        for _ in 0..1000 {
            if !self.to_client.is_empty() {
                self.act(Event::ToClient);
            } else if !self.to_server.is_empty() {
                self.act(Event::ToServer);
            } else if let Some(deadline) = self.session.next_deadline() {
                // A client that was cut off while it warmed a cluster that is gone can only be waited for until the limit; and so can one
                // of the state of the world that warms what it had before of a cluster that it rejected and that is gone meanwhile.
                let is_excused = self.has_reconnected || self.has_rejected_a_set;
                assert!(is_excused, "somebody waits for nothing");
                self.checks_routes = false;
                self.now = deadline;
                self.act(Event::ToClient);
            } else {
                return;
            }
        }
        panic!("it never becomes quiet");
    }

    fn has_configuration(&self) {
        let is_good = |cluster: u8| cluster != BAD;
        let expected = Conversion::of(&self.configuration);
        let good = |names: BTreeMap<&'static str, String>| -> BTreeMap<&'static str, String> {
            names
                .into_iter()
                .filter(|(name, _)| is_good(self.configuration.clusters[name].0))
                .collect()
        };
        let held = |resource_type| {
            let contents = self.contents(resource_type).into_iter();
            contents
                .map(|(name, content)| (name.to_owned(), content.to_owned()))
                .collect()
        };
        check_held(
            "clusters",
            good(expected.clusters),
            held(ResourceType::CLUSTER),
        );
        check_held(
            "endpoints",
            good(expected.endpoints),
            held(ResourceType::ENDPOINT),
        );
        check_held(
            "listeners",
            expected.listeners,
            held(ResourceType::LISTENER),
        );
        check_held("routes", expected.routes, held(ResourceType::ROUTE));
        if P::VARIANT == Variant::Delta && self.holdings[&ResourceType::VIRTUAL_HOST].is_open {
            assert_eq!(self.hosts, expected.hosts, "virtual hosts");
        }
        assert!(
            self.warming.is_empty(),
            "{:?} never became warm",
            self.warming
        );
    }
}

/// A configuration by type.
struct Conversion {
    clusters: BTreeMap<&'static str, String>,
    endpoints: BTreeMap<&'static str, String>,
    listeners: BTreeMap<&'static str, String>,
    routes: BTreeMap<&'static str, String>,
    hosts: BTreeMap<String, String>,
}

impl Conversion {
    fn of(configuration: &Configuration) -> Self {
        let Configuration {
            clusters,
            listeners,
        } = configuration;
        Self {
            clusters: clusters
                .iter()
                .map(|(name, (own, _))| (*name, own.to_string()))
                .collect(),
            endpoints: clusters
                .iter()
                .map(|(name, (_, own))| (*name, own.to_string()))
                .collect(),
            listeners: listeners
                .iter()
                .map(|(name, (own, ..))| (*name, own.to_string()))
                .collect(),
            routes: listeners
                .iter()
                .map(|(name, (_, to, _))| (*name, (*to).to_owned()))
                .collect(),
            hosts: listeners
                .iter()
                .filter_map(|(name, (_, _, to))| Some((format!("{name}/h"), (*to)?.to_owned())))
                .collect(),
        }
    }
}

/// What is held of a good resource must be the newest; of a bad one it may be anything older.
fn check_held(
    what: &str,
    expected: BTreeMap<&'static str, String>,
    held: BTreeMap<String, String>,
) {
    for (name, content) in &expected {
        assert_eq!(held.get(*name), Some(content), "{what}: {name} in {held:?}");
    }
}

/// The route configuration that a virtual host belongs to.
fn route_of(host: &str) -> &str {
    host.split_once('/').map_or("", |(route, _)| route)
}

fn run<P: Dialect>(events: Vec<Event>, checks_routes: bool) {
    run_with::<P>(events, checks_routes, Rejects::InPart);
}

fn run_with<P: Dialect>(events: Vec<Event>, checks_routes: bool, rejects: Rejects) {
    let mut model = Model::<P>::new(checks_routes, rejects);
    let occasions = 1 + events
        .iter()
        .filter(|event| matches!(event, Event::Change(_) | Event::Reconnect))
        .count();
    for event in events {
        model.act(event);
    }
    model.settle();
    model.has_configuration();
    // A change leads to at most: clusters, endpoints (twice, when the cluster had to wait), listeners, routes, virtual hosts (twice, too),
    // two removals; and a rejection of some of its clusters to attempts without them.
    let most = occasions * 9
        + match rejects {
            Rejects::InPart => 0,
            Rejects::AllByName | Rejects::AllWithoutReason => occasions * 3 * CLUSTERS.len(),
        };
    assert!(
        model.messages <= most,
        "{} messages for {occasions} occasions",
        model.messages
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn delta_converges_and_never_breaks_a_route(events in events(3, 1)) {
        run::<Delta>(events, true);
    }

    #[test]
    fn state_of_the_world_converges_and_never_breaks_a_route(events in events(3, 0)) {
        run::<StateOfTheWorld>(events, true);
    }

    /// The first answer to a reconnecting client has to be complete, and what it lacks is gone: there is no way to keep a route whole
    /// whose cluster went away meanwhile.
    #[test]
    fn state_of_the_world_converges_after_reconnects(events in events(3, 1)) {
        run::<StateOfTheWorld>(events, false);
    }

    /// Routes to a rejected cluster lead nowhere. Without reconnects: a client that took parts of what it rejected still names the
    /// version before, so if that comes back meanwhile, nobody can tell that it holds something else.
    #[test]
    fn rejected_clusters_do_not_keep_others_from_arriving(events in events(BAD, 0)) {
        run::<Delta>(events.clone(), false);
        run::<StateOfTheWorld>(events, false);
    }

    /// A client that takes nothing of what it rejects gets the good ones by themselves.
    #[test]
    fn all_but_rejected_clusters_arrive_when_the_client_names_them(events in events(BAD, 0)) {
        run_with::<Delta>(events.clone(), false, Rejects::AllByName);
        run_with::<StateOfTheWorld>(events, false, Rejects::AllByName);
    }

    /// State of the world cannot be sent in parts.
    #[test]
    fn all_but_rejected_clusters_arrive_when_the_client_does_not_say_why(events in events(BAD, 0)) {
        run_with::<Delta>(events, false, Rejects::AllWithoutReason);
    }
}
