//! From an event to the published generation: `cargo bench -p bowline-bench --bench layers`.
//!
//! Layers in use are written as namespaces+zones+kinds of workload; each kind has a stream that reads one layer of each.

use bowline_bench::{Fleet, InUse, Serving};
use divan::Bencher;

const SERVICES: [usize; 3] = [1_000, 10_000, 100_000];

/// With 100,000 services.
const LAYERS: [InUse; 4] = [
    InUse {
        outbound: 1,
        endpoints: 1,
        inbound: 1,
    },
    InUse {
        outbound: 10,
        endpoints: 3,
        inbound: 100,
    },
    InUse::FULL,
    InUse {
        outbound: 50,
        endpoints: 3,
        inbound: 10_000,
    },
];

fn main() {
    divan::main();
}

/// All layers from nothing.
#[divan::bench(args = SERVICES, sample_count = 3, sample_size = 1)]
fn cold_build(bencher: Bencher, services: usize) {
    let mut serving = Serving::new(Fleet { services }, InUse::FULL);
    bencher.bench_local(|| serving.build());
}

/// All layers from nothing, with 10,000 services.
#[divan::bench(args = [InUse { outbound: 1, ..InUse::FULL }, InUse { outbound: 10, ..InUse::FULL }, InUse::FULL], sample_count = 5, sample_size = 1)]
fn cold_build_by_layers(bencher: Bencher, in_use: InUse) {
    let services = 10_000;
    let mut serving = Serving::new(Fleet { services }, in_use);
    bencher.bench_local(|| serving.build());
}

#[divan::bench(args = SERVICES)]
fn endpoint_change(bencher: Bencher, services: usize) {
    change_endpoint(bencher, Fleet { services }, InUse::FULL, |index| {
        !Fleet::prefers_zone(index)
    });
}

#[divan::bench(args = LAYERS)]
fn endpoint_change_by_layers(bencher: Bencher, in_use: InUse) {
    let services = 100_000;
    change_endpoint(bencher, Fleet { services }, in_use, |index| {
        !Fleet::prefers_zone(index)
    });
}

/// Of a service whose callers prefer their zone: an assignment for each zone.
#[divan::bench(args = SERVICES)]
fn endpoint_change_by_zone(bencher: Bencher, services: usize) {
    change_endpoint(
        bencher,
        Fleet { services },
        InUse::FULL,
        Fleet::prefers_zone,
    );
}

#[divan::bench(args = SERVICES, sample_count = 20, sample_size = 1)]
fn service_added(bencher: Bencher, services: usize) {
    let fleet = Fleet { services };
    let mut serving = Serving::new(fleet, InUse::FULL);
    let mut index = services;
    bencher
        .with_inputs(|| {
            index += 10;
            fleet.upsert([fleet.service(index), fleet.endpoints(index, 100)])
        })
        .bench_local_values(|event| serving.take_structure(event));
}

#[divan::bench(args = SERVICES, sample_count = 20, sample_size = 1)]
fn route_changed(bencher: Bencher, services: usize) {
    let fleet = Fleet { services };
    let mut serving = Serving::new(fleet, InUse::FULL);
    let mut weight = 0;
    bencher
        .with_inputs(|| {
            weight += 1;
            fleet.upsert([fleet.route(500, weight)])
        })
        .bench_local_values(|event| serving.take_structure(event));
}

/// The weight of one endpoint changes, of services all over the mesh.
fn change_endpoint(bencher: Bencher, fleet: Fleet, in_use: InUse, of: fn(usize) -> bool) {
    let mut serving = Serving::new(fleet, in_use);
    let mut indices = (0..)
        .map(|step: usize| step * 7_919 % fleet.services)
        .filter(|index| of(*index));
    let mut weight = 0;
    bencher
        .with_inputs(|| {
            weight = weight % 127 + 1;
            let index = indices.next().unwrap_or_default();
            fleet.upsert([fleet.endpoints(index, weight)])
        })
        .bench_local_values(|event| serving.take_endpoints(event));
}
