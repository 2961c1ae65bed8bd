//! What failures, losses and restarts leave of a registry.

use super::*;

#[test]
fn an_error_is_never_empty() {
    let mut store = store(&[registry("a")]);
    store.apply(replace("a", vec![http_service("a", "cart")]), NOW);
    let error = "connection refused".to_owned();
    let applied = store.apply(event("a", Change::Failing { error }), NOW);
    assert!(applied.changed.is_empty());
    assert!(store.mesh().service(&hostname("cart")).is_some());
    let status = &store.registries()[0];
    assert_eq!(status.state.last_good(), Some(NOW));
    assert!(matches!(status.state, RegistryState::Failing { .. }));
}

#[test]
fn what_is_served_ages_from_the_failure_on_and_not_while_nothing_changes() {
    let later = |seconds| NOW + Duration::from_secs(seconds);
    let failing = || {
        let error = "connection refused".to_owned();
        event("a", Change::Failing { error })
    };
    let mut store = store(&[registry("a")]);
    let age = |store: &MeshStore, seconds| store.registries()[0].state.age(later(seconds));
    assert_eq!(age(&store, 0), None);
    store.apply(replace("a", vec![http_service("a", "cart")]), NOW);
    assert_eq!(age(&store, 3600), Some(Duration::ZERO));
    store.apply(failing(), later(3600));
    store.apply(failing(), later(3660));
    assert_eq!(age(&store, 3700), Some(Duration::from_secs(100)));
}

#[test]
fn what_cannot_be_read_now_keeps_its_last_good_version() {
    let mut store = store(&[registry("a")]);
    let all = vec![http_service("a", "cart"), http_service("a", "pay")];
    store.apply(replace("a", all.clone()), NOW);
    let problem = |object: Option<ObjectKey>, code, place: &str| Problem {
        code,
        severity: Severity::Error,
        object,
        source: Some(Source {
            place: place.into(),
            line: Some(3),
        }),
        field: "".into(),
        message: "broken".into(),
        meanwhile: "".into(),
        hint: "".into(),
    };
    // One object is broken.
    let mut broken = replace("a", vec![all[1].clone()]);
    broken.problems = vec![problem(
        Some(all[0].key().clone()),
        Code::InvalidField,
        "a.yaml",
    )];
    assert!(store.apply(broken, NOW).changed.is_empty());
    // The whole file is.
    let mut broken = replace("a", vec![]);
    broken.problems = vec![problem(None, Code::Malformed, "a.yaml")];
    assert!(store.apply(broken, NOW).changed.is_empty());
    // Another file says nothing about this one's objects.
    let mut gone = replace("a", vec![]);
    gone.problems = vec![problem(None, Code::Malformed, "b.yaml")];
    assert_eq!(
        names(&store.apply(gone, NOW).changed.services),
        ["cart", "pay"]
    );
}

fn many(count: u16) -> Vec<Object> {
    let groups = (0..count)
        .map(|number| endpoints("a", &format!("vm-{number}"), "cart", &[address(number)]));
    std::iter::once(http_service("a", "cart"))
        .chain(groups)
        .collect()
}

fn endpoints_of_cart(store: &MeshStore) -> usize {
    store.mesh().endpoints(&hostname("cart")).len()
}

#[test]
fn a_sudden_loss_is_held_back_until_its_time_has_passed() {
    let mut store = store(&[registry("a")]);
    store.apply(replace("a", many(40)), NOW);
    store.apply(replace("a", many(10)), NOW);
    assert_eq!(endpoints_of_cart(&store), 40);
    assert_eq!(codes(&store), [Code::HeldBack]);
    let held = store.registries()[0].held.clone().unwrap();
    assert_eq!(held.endpoints, 30);

    // The same answer again neither confirms nor prolongs it.
    store.apply(replace("a", many(10)), NOW + Duration::from_secs(599));
    assert_eq!(endpoints_of_cart(&store), 40);
    let (applied, next) = store.release_expired(NOW + Duration::from_secs(599));
    assert!(applied.changed.is_empty());
    assert_eq!(next, Some(held.until));
    store.release_expired(held.until);
    assert_eq!(endpoints_of_cart(&store), 10);
    assert!(codes(&store).is_empty());
}

#[test]
fn a_held_loss_ends_when_a_person_says_so_or_the_endpoints_are_back() {
    for is_released in [true, false] {
        let mut store = store(&[registry("a")]);
        store.apply(replace("a", many(40)), NOW);
        store.apply(replace("a", vec![]), NOW);
        assert_eq!(endpoints_of_cart(&store), 40);
        if is_released {
            let applied = store.release(&"a".parse().unwrap());
            assert_eq!(names(&applied.changed.endpoints), ["cart"]);
            assert_eq!(endpoints_of_cart(&store), 0);
        } else {
            store.apply(replace("a", many(39)), NOW);
            assert_eq!(endpoints_of_cart(&store), 39);
        }
        assert!(store.registries()[0].held.is_none());
        assert!(codes(&store).is_empty());
    }
}

#[test]
fn thousands_of_machines_are_held_back_and_scaled_alike() {
    let mut store = store(&[registry("a")]);
    store.apply(replace("a", many(5000)), NOW);
    // A rolling change of less than half is believed, whatever its size.
    store.apply(replace("a", many(2600)), NOW);
    assert_eq!(endpoints_of_cart(&store), 2600);
    store.apply(replace("a", many(1300)), NOW);
    assert_eq!(endpoints_of_cart(&store), 2600);
    // What the registry says while a loss is held back is applied.
    let upserts = vec![endpoints("a", "new", "cart", &[address(9999)])];
    store.apply(upsert("a", upserts), NOW);
    assert_eq!(endpoints_of_cart(&store), 2601);
    store.release(&"a".parse().unwrap());
    assert_eq!(endpoints_of_cart(&store), 1301);
}

#[test]
fn two_machines_and_removals_by_name_are_always_believed() {
    let mut few = store(&[registry("a")]);
    few.apply(replace("a", many(2)), NOW);
    few.apply(replace("a", many(0)), NOW);
    assert_eq!(endpoints_of_cart(&few), 0);

    let mut all = store(&[registry("a")]);
    all.apply(replace("a", many(40)), NOW);
    let removes = many(40)
        .iter()
        .skip(1)
        .map(|object| object.key().clone())
        .collect();
    all.apply(remove("a", removes), NOW);
    assert_eq!(endpoints_of_cart(&all), 0);

    // Unless the source is read as a whole each time, so that a removal is only an absence.
    let mut file = registry("a");
    file.guard.doubts_updates = true;
    let mut doubted = store(&[file]);
    doubted.apply(replace("a", many(40)), NOW);
    let removes = many(40)
        .iter()
        .skip(1)
        .map(|object| object.key().clone())
        .collect();
    doubted.apply(remove("a", removes), NOW);
    assert_eq!(endpoints_of_cart(&doubted), 40);
}

#[test]
fn a_restart_serves_what_was_saved_and_doubts_a_first_answer_that_lost_half() {
    let mut before = store(&[registry("a")]);
    let persist = before.apply(replace("a", many(40)), NOW).persist;
    let saved: Vec<Object> = persist
        .iter()
        .filter_map(|persist| match persist {
            Persist::Put(object) => Some(object.clone()),
            _ => None,
        })
        .collect();
    let saved: Vec<Object> = serde_json::from_slice(&serde_json::to_vec(&saved).unwrap()).unwrap();
    let addresses: Vec<_> = persist
        .iter()
        .filter_map(|persist| match persist {
            Persist::VirtualAddress(hostname, address) => Some((hostname.clone(), *address)),
            _ => None,
        })
        .collect();
    let mut after = MeshStore::new(settings(), [registry("a")], addresses);
    assert!(!after.registries()[0].state.is_known());
    after.restore(&"a".parse().unwrap(), saved, NOW);
    assert_eq!(
        after.registries()[0].state,
        RegistryState::Restored { saved_at: NOW }
    );
    assert_eq!(
        after.mesh().service(&hostname("cart")),
        before.mesh().service(&hostname("cart"))
    );
    after.apply(replace("a", many(1)), NOW);
    assert_eq!(endpoints_of_cart(&after), 40);
}

#[test]
fn a_registry_that_leaves_the_configuration_takes_its_objects_with_it() {
    let mut store = store(&[registry("a"), registry("b")]);
    store.apply(replace("a", many(40)), NOW);
    store.apply(replace("b", vec![http_service("b", "pay")]), NOW);
    let applied = store.configure(settings(), [registry("b")]);
    assert!(applied.changed.everything);
    assert_eq!(applied.persist, [Persist::Forget("a".parse().unwrap())]);
    assert!(store.mesh().service(&hostname("cart")).is_none());
    assert!(store.mesh().service(&hostname("pay")).is_some());
    assert!(store.apply(replace("a", many(1)), NOW).changed.is_empty());
}
