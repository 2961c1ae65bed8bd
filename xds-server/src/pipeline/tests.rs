use std::{sync::Arc, time::Duration};

use bowline_identity::{Claimed, PeerIdentity};
use bowline_mesh::{
    Address, Balancing, Capture, Change, Endpoint, EndpointGroup, Health, HostLookup, Hostname,
    Labels, Locality, MeshSettings, MeshStore, MutualTls, Named, Network, Object, OutboundMode,
    Protocol, Proxy, RegistryEvent, RegistrySettings, Role, RouteDelivery, Service, ServicePort,
    Source, Spec, TrafficSettings, Workload, WorkloadPort,
};
use bowline_snapshot::{ResourceType, Snapshot, SnapshotReceiver};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;

fn mesh_settings() -> Arc<MeshSettings> {
    Arc::new(MeshSettings {
        trust_domain: "mesh.example".parse().unwrap(),
        domain: "cluster.local".parse().unwrap(),
        outbound: OutboundMode::PassThrough,
        virtual_addresses: "240.0.0.0/8".parse().unwrap(),
        explicit_http_port: 15080,
        east_west_port: 15443,
        mutual_tls: MutualTls::Absent,
        traffic: TrafficSettings::default(),
    })
}

fn registry(name: &str) -> RegistrySettings {
    RegistrySettings::new(
        name.parse().unwrap(),
        "mesh.example".parse().unwrap(),
        "cluster.local".parse().unwrap(),
        "shop".parse().unwrap(),
    )
}

/// A running pipeline. It ends with the test.
struct Running {
    handle: PipelineHandle,
    events: mpsc::Sender<RegistryEvent>,
    shutdown: CancellationToken,
    task: tokio::task::JoinSet<anyhow::Result<()>>,
}

impl Running {
    fn start(registries: &[&str], start_timeout: Duration) -> Self {
        let store = MeshStore::new(
            mesh_settings(),
            registries.iter().map(|name| registry(name)),
            [],
        );
        let settings = PipelineSettings {
            start_timeout,
            linger: Duration::ZERO,
        };
        let (pipeline, handle, events) = pipeline(store, None, settings, Births::default());
        let shutdown = CancellationToken::new();
        let mut task = tokio::task::JoinSet::new();
        task.spawn(pipeline.run(shutdown.clone()));
        Self {
            handle,
            events,
            shutdown,
            task,
        }
    }

    /// One whose only registry has these objects.
    async fn of(objects: Vec<Object>) -> Self {
        let running = Self::start(&["a"], LONG);
        running.say("a", Change::Replace(objects)).await;
        running
    }

    /// That registry has one object more, or a newer one.
    async fn add(&self, object: Object) {
        let change = Change::Update {
            upserts: vec![object],
            removes: vec![],
        };
        self.say("a", change).await;
    }

    async fn say(&self, registry: &str, change: Change) {
        let event = RegistryEvent {
            registry: registry.parse().unwrap(),
            change,
            problems: vec![],
        };
        self.events.send(event).await.unwrap();
    }

    async fn open(&self, name: &str) -> SnapshotReceiver {
        self.handle.open(sidecar(name)).await.unwrap().snapshots
    }

    async fn end(mut self) {
        self.shutdown.cancel();
        self.task.join_next().await.unwrap().unwrap().unwrap();
    }
}

/// Waits until a stream's snapshot is as wanted. A test that would wait for ever fails after a while.
async fn until(receiver: &mut SnapshotReceiver, is_wanted: impl Fn(&Snapshot) -> bool) -> Snapshot {
    let wanted = async {
        loop {
            if let Some(snapshot) = receiver.current()
                && is_wanted(&snapshot)
            {
                return snapshot;
            }
            receiver.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wanted)
        .await
        .expect("the snapshot never came")
}

fn has(snapshot: &Snapshot, resource_type: ResourceType, name: &str) -> bool {
    snapshot.get(resource_type, name).is_some()
}

fn sidecar(name: &str) -> Proxy {
    Proxy {
        id: name.into(),
        role: Role::Sidecar(Capture::Explicit),
        namespace: "shop".parse().unwrap(),
        name: name.into(),
        addresses: vec![],
        network: None,
        locality: None,
        host_lookup: HostLookup::Available,
        route_delivery: RouteDelivery::Whole,
        identity: PeerIdentity::Claimed(Claimed { spiffe_id: None }),
    }
}

fn hostname(name: &str) -> Hostname {
    format!("{name}.shop.svc.cluster.local").parse().unwrap()
}

fn object(registry: &str, name: &str, spec: Spec) -> Object {
    let source = Source {
        place: "test".into(),
        line: None,
    };
    Object::new(
        registry.parse().unwrap(),
        None,
        "shop".parse().unwrap(),
        name,
        source,
        spec,
    )
}

fn service(registry: &str, name: &str) -> Object {
    let port = ServicePort {
        number: 80,
        name: "http".into(),
        protocol: Protocol::Http,
        local_port: None,
    };
    let spec = Service {
        hostname: hostname(name),
        addresses: vec![],
        ports: vec![port],
        balancing: Balancing::Everywhere,
        health_check: None,
    };
    object(registry, name, Spec::Service(Arc::new(spec)))
}

fn endpoint(registry: &str, of: &str, number: u8) -> Object {
    let endpoint = Endpoint {
        address: Address::Ip([10, 0, 0, number].into()),
        ports: Named::from([("http".into(), 8080)]),
        locality: Locality::default(),
        network: Network::default(),
        labels: Labels::new(),
        weight: 1,
        health: Health::Healthy,
        identity: None,
    };
    let spec = EndpointGroup {
        service: hostname(of),
        endpoints: vec![endpoint],
    };
    object(
        registry,
        &format!("{of}-{number}"),
        Spec::Endpoints(Arc::new(spec)),
    )
}

fn workload(registry: &str, name: &str, port: u16) -> Object {
    let port = WorkloadPort {
        number: port,
        name: "http".into(),
        protocol: Protocol::Http,
        app_port: Some(9000),
    };
    let spec = Workload {
        addresses: vec![],
        locality: Locality::default(),
        network: Network::default(),
        labels: Labels::new(),
        identity: None,
        ports: vec![port],
    };
    object(registry, name, Spec::Workload(Arc::new(spec)))
}

const CART: &str = "outbound|80||cart.shop.svc.cluster.local";
const LONG: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_stream_gets_nothing_until_every_registry_has_answered() {
    let running = Running::start(&["a", "b"], LONG);
    let mut stream = running.open("vm").await;
    running
        .say("a", Change::Replace(vec![service("a", "cart")]))
        .await;
    running
        .say(
            "b",
            Change::Failing {
                error: "away".to_owned(),
            },
        )
        .await;
    assert!(running.handle.layers().await.unwrap().is_empty());
    assert!(stream.current().is_none());
    let blockers = running.handle.readiness();
    assert_eq!(blockers.len(), 1);
    assert!(blockers[0].reason.contains("away"), "{blockers:?}");
    running.say("b", Change::Replace(vec![])).await;
    let snapshot = until(&mut stream, |_| true).await;
    assert!(has(&snapshot, ResourceType::CLUSTER, CART));
    assert!(!snapshot.is_partial());
    assert!(running.handle.readiness().is_empty());
    running.end().await;
}

#[tokio::test]
async fn after_the_start_timeout_what_is_known_is_served_as_partial() {
    let running = Running::start(&["a", "b"], Duration::ZERO);
    let mut stream = running.open("vm").await;
    running
        .say("a", Change::Replace(vec![service("a", "cart")]))
        .await;
    let snapshot = until(&mut stream, |snapshot| {
        has(snapshot, ResourceType::CLUSTER, CART)
    })
    .await;
    assert!(snapshot.is_partial());
    running
        .say("b", Change::Replace(vec![service("b", "pay")]))
        .await;
    until(&mut stream, |snapshot| !snapshot.is_partial()).await;
    running.end().await;
}

#[tokio::test]
async fn a_change_of_endpoints_leaves_the_structure_alone() {
    let running = Running::of(vec![service("a", "cart"), endpoint("a", "cart", 1)]).await;
    let mut stream = running.open("vm").await;
    let before = until(&mut stream, |_| true).await;
    running.add(endpoint("a", "cart", 2)).await;
    let version = |snapshot: &Snapshot| {
        snapshot
            .get(ResourceType::ENDPOINT, CART)
            .unwrap()
            .version()
    };
    let after = until(&mut stream, |snapshot| {
        version(snapshot) != version(&before)
    })
    .await;
    let structure = |snapshot: &Snapshot| {
        [
            ResourceType::CLUSTER,
            ResourceType::LISTENER,
            ResourceType::ROUTE,
        ]
        .map(|of| snapshot.type_version(of))
    };
    assert_eq!(structure(&before), structure(&after));
    running.end().await;
}

/// A pipeline with one service, and streams that have its first snapshot and are idle.
async fn streams(count: usize) -> (Running, Vec<SnapshotReceiver>) {
    let running = Running::of(vec![service("a", "cart"), endpoint("a", "cart", 1)]).await;
    let mut streams = Vec::new();
    for number in 0..count {
        let mut stream = running.open(&format!("vm-{number}")).await;
        until(&mut stream, |_| true).await;
        streams.push(stream);
    }
    for stream in &mut streams {
        stream.has_changed().unwrap();
        stream.note_settled();
    }
    (running, streams)
}

impl Running {
    /// Adds an endpoint, and waits until the mesh has it.
    async fn add_endpoint(&self, number: u8) {
        self.add(endpoint("a", "cart", number)).await;
        let known = || self.handle.mesh().endpoints(&hostname("cart")).len();
        while known() < usize::from(number) {
            tokio::task::yield_now().await;
        }
    }
}

/// The generation of what a stream would be served, and how large its assignment is.
fn served(stream: &SnapshotReceiver) -> (u64, usize) {
    let snapshot = stream.current().unwrap();
    let assignment = snapshot.get(ResourceType::ENDPOINT, CART).unwrap();
    (snapshot.generation(), assignment.body().len())
}

#[tokio::test(start_paused = true)]
async fn what_changes_while_streams_are_busy_becomes_one_publication() {
    let (running, mut streams) = streams(4).await;
    let before = served(&streams[0]);
    running.add_endpoint(2).await;
    let first = served(&streams[0]);
    assert!(first > before);
    running.add_endpoint(3).await;
    running.add_endpoint(4).await;
    assert_eq!(served(&streams[0]), first);
    for stream in &mut streams {
        assert!(stream.has_changed().unwrap());
        stream.note_settled();
    }
    until(&mut streams[0], |snapshot| snapshot.generation() > first.0).await;
    let (generation, bytes) = served(&streams[0]);
    assert_eq!(generation, first.0 + 1);
    assert_eq!(bytes - first.1, 2 * (first.1 - before.1));
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn streams_that_never_look_hold_up_the_others_for_a_moment_only() {
    let (running, mut streams) = streams(4).await;
    let started = tokio::time::Instant::now();
    running.add_endpoint(2).await;
    let first = served(&streams[0]);
    running.add_endpoint(3).await;
    assert_eq!(served(&streams[0]), first);
    until(&mut streams[0], |snapshot| snapshot.generation() > first.0).await;
    assert!(started.elapsed() < Duration::from_secs(1));
    // From then on nobody waits for them.
    let second = served(&streams[0]);
    running.add_endpoint(4).await;
    assert!(served(&streams[0]) > second);
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn clients_that_take_long_to_answer_hold_up_nothing() {
    let (running, mut streams) = streams(4).await;
    running.add_endpoint(2).await;
    for stream in &mut streams {
        assert!(stream.has_changed().unwrap());
    }
    // An answer of the writer comes after it has seen that.
    running.handle.layers().await.unwrap();
    // As Envoy is while a cluster is warming.
    tokio::time::advance(Duration::from_millis(50)).await;
    let before = served(&streams[0]);
    running.add_endpoint(3).await;
    assert!(served(&streams[0]) > before);
    running.end().await;
}

#[tokio::test]
async fn no_snapshot_ever_has_a_cluster_without_its_assignment() {
    let running = Running::of(vec![]).await;
    let mut stream = running.open("vm").await;
    until(&mut stream, |_| true).await;
    for round in 0..20 {
        let cart = service("a", "cart");
        let change = if round % 2 == 0 {
            Change::Update {
                upserts: vec![cart, endpoint("a", "cart", 1)],
                removes: vec![],
            }
        } else {
            Change::Update {
                upserts: vec![],
                removes: vec![cart.key().clone()],
            }
        };
        running.say("a", change).await;
        let is_there = |snapshot: &Snapshot| {
            let has_cluster = has(snapshot, ResourceType::CLUSTER, CART);
            assert!(!has_cluster || has(snapshot, ResourceType::ENDPOINT, CART));
            has_cluster
        };
        until(&mut stream, |snapshot| {
            is_there(snapshot) == (round % 2 == 0)
        })
        .await;
    }
    running.end().await;
}

#[tokio::test]
async fn a_workload_that_comes_after_its_proxy_gives_it_inbound_listeners() {
    let running = Running::of(vec![]).await;
    let mut stream = running.open("vm").await;
    until(&mut stream, |_| true).await;
    for port in [8080, 8081] {
        running.add(workload("a", "vm", port)).await;
        let cluster = format!("inbound|{port}||");
        until(&mut stream, |snapshot| {
            has(snapshot, ResourceType::CLUSTER, &cluster)
        })
        .await;
    }
    running.end().await;
}

#[tokio::test]
async fn sidecars_that_see_the_same_share_their_layers_and_free_them() {
    let running = Running::of(vec![service("a", "cart")]).await;
    let mut streams = Vec::new();
    for number in 0..10 {
        streams.push(running.open(&format!("vm-{number}")).await);
    }
    for stream in &mut streams {
        until(stream, |_| true).await;
    }
    let layers = running.handle.layers().await.unwrap();
    assert_eq!(layers.len(), 3, "{layers:?}");
    assert!(layers.iter().all(|layer| layer.readers == 10), "{layers:?}");
    assert!(running.handle.snapshot_of("vm-3").await.unwrap().is_some());
    assert!(
        running
            .handle
            .snapshot_of("nobody")
            .await
            .unwrap()
            .is_none()
    );
    drop(streams);
    let freed = async {
        while !running.handle.layers().await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), freed)
        .await
        .unwrap();
    running.end().await;
}

#[tokio::test]
async fn a_registry_that_is_taken_out_of_the_configuration_is_taken_out_of_the_mesh() {
    let running = Running::start(&["a", "b"], LONG);
    running
        .say(
            "a",
            Change::Replace(vec![service("a", "cart"), endpoint("a", "cart", 1)]),
        )
        .await;
    running
        .say("b", Change::Replace(vec![service("b", "pay")]))
        .await;
    let mut stream = running.open("vm").await;
    until(&mut stream, |snapshot| {
        has(snapshot, ResourceType::CLUSTER, CART)
    })
    .await;
    running
        .handle
        .configure(mesh_settings(), vec![registry("b")])
        .await
        .unwrap();
    let snapshot = until(&mut stream, |snapshot| {
        !has(snapshot, ResourceType::CLUSTER, CART)
    })
    .await;
    assert!(!has(&snapshot, ResourceType::ENDPOINT, CART));
    assert!(has(
        &snapshot,
        ResourceType::CLUSTER,
        "outbound|80||pay.shop.svc.cluster.local"
    ));
    running.end().await;
}

#[tokio::test]
async fn a_registry_that_is_renamed_is_never_away() {
    let objects = |of: &str| vec![service(of, "cart"), endpoint(of, "cart", 1)];
    let running = Running::of(objects("a")).await;
    let mut stream = running.open("vm").await;
    let before = until(&mut stream, |snapshot| {
        has(snapshot, ResourceType::CLUSTER, CART)
    })
    .await;
    running
        .handle
        .configure(mesh_settings(), vec![registry("b")])
        .await
        .unwrap();
    // The new name has not answered, and the old one may not answer any more.
    running.handle.layers().await.unwrap();
    assert_eq!(running.handle.registries().len(), 2);
    running
        .say(
            "b",
            Change::Failing {
                error: "not yet".to_owned(),
            },
        )
        .await;
    running.say("b", Change::Replace(objects("b"))).await;
    let renamed = async {
        while running.handle.registries().len() > 1 {
            running.handle.layers().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(30), renamed)
        .await
        .unwrap();
    let after = until(&mut stream, |_| true).await;
    for of in [ResourceType::CLUSTER, ResourceType::ENDPOINT] {
        assert_eq!(before.type_version(of), after.type_version(of), "{of}");
    }
    running.end().await;
}

#[tokio::test]
async fn rendering_offline_gives_what_the_pipeline_serves() {
    let objects = vec![
        service("a", "cart"),
        endpoint("a", "cart", 1),
        workload("a", "vm", 8080),
    ];
    let running = Running::of(objects).await;
    let mut stream = running.open("vm").await;
    let served = until(&mut stream, |snapshot| {
        has(snapshot, ResourceType::CLUSTER, CART)
    })
    .await;
    let rendered = render(&running.handle.mesh(), &sidecar("vm")).snapshot;
    for of in ResourceType::ALL {
        assert_eq!(served.type_version(of), rendered.type_version(of), "{of}");
    }
    running.end().await;
}

#[tokio::test]
async fn what_was_saved_is_what_a_restart_serves() {
    let directory = tempfile::tempdir().unwrap();
    let open = || -> Arc<dyn bowline_state::Store> {
        Arc::new(bowline_state::Embedded::open(directory.path()).unwrap())
    };
    let settings = PipelineSettings {
        start_timeout: LONG,
        linger: Duration::ZERO,
    };
    let objects = vec![service("a", "cart"), endpoint("a", "cart", 1)];
    {
        let store = open();
        let writer = bowline_state::WriteBehind::start(store.clone()).unwrap();
        let saved = Saved::new(store, writer);
        let mesh = MeshStore::new(mesh_settings(), [registry("a")], []);
        let (pipeline, handle, events) = pipeline(mesh, Some(saved), settings, Births::default());
        let shutdown = CancellationToken::new();
        let mut task = tokio::task::JoinSet::new();
        task.spawn(pipeline.run(shutdown.clone()));
        let change = Change::Replace(objects);
        let event = RegistryEvent {
            registry: "a".parse().unwrap(),
            change,
            problems: vec![],
        };
        events.send(event).await.unwrap();
        let mut stream = handle.open(sidecar("vm")).await.unwrap().snapshots;
        until(&mut stream, |snapshot| {
            has(snapshot, ResourceType::CLUSTER, CART)
        })
        .await;
        shutdown.cancel();
        task.join_next().await.unwrap().unwrap().unwrap();
    }
    let store = open();
    let writer = bowline_state::WriteBehind::start(store.clone()).unwrap();
    let saved = Saved::new(store.clone(), writer);
    let restored = saved
        .restore(&*store, &["a".parse().unwrap(), "b".parse().unwrap()])
        .unwrap();
    assert_eq!(restored.registries.len(), 1);
    assert_eq!(restored.registries[0].1.len(), 2);
    assert_eq!(restored.virtual_addresses.len(), 1);
}
