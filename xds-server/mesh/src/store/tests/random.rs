//! Any events.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A random object of a small world, so that collisions of all kinds happen.
fn any_object() -> impl Strategy<Value = Object> {
    let registry = prop_oneof![Just("a"), Just("b")];
    let name = prop_oneof![Just("cart"), Just("pay"), Just("web")];
    (registry, name.clone(), name, 0..6u8, 0..3u16).prop_map(
        |(registry, name, other, kind, number)| match kind {
            0 => http_service(registry, name),
            1 => service(registry, name, &[(80 + number, "x", Protocol::Tcp)]),
            2 => endpoints(registry, name, other, &[address(number)]),
            3 => {
                let by_name = Address::Dns(format!("h{number}.example").parse().unwrap());
                endpoints(registry, name, other, &[by_name, address(number)])
            }
            4 => route(registry, name, other, name),
            _ => {
                let spec = Workload {
                    addresses: vec![[10, 0, 0, u8::try_from(number).unwrap()].into()],
                    locality: Locality::default(),
                    network: Network::default(),
                    labels: Labels::new(),
                    identity: None,
                    ports: Vec::new(),
                };
                object(registry, name, Spec::Workload(Arc::new(spec)))
            }
        },
    )
}

proptest! {
    /// Whatever the way to it, the same objects make the same mesh; and what a change does not name is not different.
    #[test]
    fn the_mesh_is_a_function_of_its_objects(
        steps in prop::collection::vec((any_object(), any::<bool>()), 1..60)
    ) {
        let registries = [registry("a"), registry("b")];
        let mut live = store(&registries);
        let mut objects: BTreeMap<ObjectKey, Object> = BTreeMap::new();
        for (object, is_removed) in steps {
            let before = live.mesh().clone();
            let id = object.key().registry.clone();
            let change = if is_removed {
                objects.remove(object.key());
                Change::Update { upserts: vec![], removes: vec![object.key().clone()] }
            } else {
                objects.insert(object.key().clone(), object.clone());
                Change::Update { upserts: vec![object], removes: vec![] }
            };
            let changed =
                live.apply(RegistryEvent { registry: id, change, problems: vec![] }, NOW).changed;
            for name in ["cart", "pay", "web"].map(hostname) {
                let view = |mesh: &Mesh| ServiceView::new(mesh, &key(None, "shop"), &name);
                prop_assert!(changed.services.contains(&name) || view(&before) == view(live.mesh()));
                prop_assert!(
                    changed.endpoints.contains(&name)
                        || before.endpoints(&name) == live.mesh().endpoints(&name)
                );
            }
        }
        let mut cold = store(&registries);
        for name in ["b", "a"] {
            let of_registry =
                objects.values().filter(|object| object.key().registry.as_str() == name);
            cold.apply(replace(name, of_registry.cloned().collect()), NOW);
        }
        let services = |store: &MeshStore| -> Vec<_> { store.mesh().services().cloned().collect() };
        prop_assert_eq!(services(&live), services(&cold));
        prop_assert_eq!(live.mesh().problems(), cold.mesh().problems());
        let counts = |store: &MeshStore| -> Vec<_> {
            store.registries().iter().map(|status| (status.objects, status.endpoints)).collect()
        };
        prop_assert_eq!(counts(&live), counts(&cold));
        for number in 0..3u8 {
            let at = |store: &MeshStore| {
                store.mesh().workload_at([10, 0, 0, number].into()).map(|(key, _)| key.clone())
            };
            prop_assert_eq!(at(&live), at(&cold));
        }
    }
}
