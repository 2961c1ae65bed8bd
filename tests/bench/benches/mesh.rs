//! The store and the views: `cargo bench -p bowline-bench --bench mesh`.

use std::time::Duration;

use bowline_bench::Fleet;
use bowline_mesh::{
    Capture, MeshStore,
    view::{EndpointsView, ServiceView},
};
use divan::Bencher;

const SERVICES: [usize; 3] = [1_000, 10_000, 100_000];

fn main() {
    divan::main();
}

fn filled(fleet: Fleet) -> MeshStore {
    let mut store = fleet.empty_store();
    store.apply(fleet.replace(), Duration::ZERO);
    store
}

/// Indices all over the mesh: neighbours would find everything in the processor's cache.
fn scattered(fleet: Fleet) -> impl FnMut() -> usize {
    let mut index = 0;
    move || {
        index = (index + 7_919) % fleet.services;
        index
    }
}

/// An empty store takes everything that a registry has.
#[divan::bench(args = SERVICES, sample_count = 5, sample_size = 1)]
fn store_cold_build(bencher: Bencher, services: usize) {
    let fleet = Fleet { services };
    bencher
        .with_inputs(|| (fleet.empty_store(), fleet.replace()))
        .bench_local_values(|(mut store, event)| {
            store.apply(event, Duration::ZERO);
            store
        });
}

/// A registry reconnects and says again what it said before.
#[divan::bench(args = SERVICES, sample_count = 5, sample_size = 1)]
fn store_same_again(bencher: Bencher, services: usize) {
    let fleet = Fleet { services };
    let mut store = filled(fleet);
    bencher
        .with_inputs(|| fleet.replace())
        .bench_local_values(|event| store.apply(event, Duration::ZERO));
}

/// The weight of one endpoint changes.
#[divan::bench(args = SERVICES)]
fn store_endpoint_change(bencher: Bencher, services: usize) {
    let fleet = Fleet { services };
    let mut store = filled(fleet);
    let mut next = scattered(fleet);
    let mut weight = 0;
    bencher
        .with_inputs(|| {
            weight = weight % 127 + 1;
            fleet.upsert([fleet.endpoints(next(), weight)])
        })
        .bench_local_values(|event| store.apply(event, Duration::ZERO));
}

/// One service comes, with its endpoints.
#[divan::bench(args = SERVICES)]
fn store_service_added(bencher: Bencher, services: usize) {
    let fleet = Fleet { services };
    let mut store = filled(fleet);
    let mut index = services;
    bencher
        .with_inputs(|| {
            index += 1;
            fleet.upsert([fleet.service(index), fleet.endpoints(index, 100)])
        })
        .bench_local_values(|event| store.apply(event, Duration::ZERO));
}

/// What sidecars of one namespace see of one service.
#[divan::bench(args = SERVICES)]
fn view_of_service(bencher: Bencher, services: usize) {
    let fleet = Fleet { services };
    let store = filled(fleet);
    let key = fleet.outbound_key(0);
    let mut next = scattered(fleet);
    bencher
        .with_inputs(|| fleet.hostname(next()))
        .bench_local_refs(|hostname| ServiceView::new(store.mesh(), &key, hostname));
}

/// What proxies of one zone see of one service's endpoints.
#[divan::bench(args = SERVICES)]
fn view_of_endpoints(bencher: Bencher, services: usize) {
    let fleet = Fleet { services };
    let store = filled(fleet);
    let key = fleet.endpoints_key(0);
    let mut next = scattered(fleet);
    bencher
        .with_inputs(|| fleet.hostname(next()))
        .bench_local_refs(|hostname| EndpointsView::new(store.mesh(), &key, hostname));
}

/// From the view of one service to its encoded cluster, listener and virtual hosts.
#[divan::bench(args = SERVICES)]
fn translate_service(bencher: Bencher, services: usize) {
    let fleet = Fleet { services };
    let store = filled(fleet);
    let key = fleet.outbound_key(0);
    let mut next = scattered(fleet);
    bencher
        .with_inputs(|| {
            ServiceView::new(store.mesh(), &key, &fleet.hostname(next()))
                .expect("the fleet has all its services")
        })
        .bench_local_refs(|view| bowline_translate::service(view, Capture::Transparent));
}

/// From the view of one service's ten endpoints to its encoded assignment.
#[divan::bench(args = SERVICES)]
fn translate_endpoints(bencher: Bencher, services: usize) {
    let fleet = Fleet { services };
    let store = filled(fleet);
    let key = fleet.endpoints_key(0);
    let mut next = scattered(fleet);
    bencher
        .with_inputs(|| {
            EndpointsView::new(store.mesh(), &key, &fleet.hostname(next()))
                .expect("the fleet has all its services")
        })
        .bench_local_refs(|view| bowline_translate::endpoints(view));
}
