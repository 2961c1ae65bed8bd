use std::collections::BTreeSet;

use super::*;

#[test]
fn the_first_proxies_have_everything_between_them() {
    for (proxies, workloads, namespaces) in [(1000, 200, 50), (40, 7, 3), (5, 1, 1)] {
        let world = World {
            proxies,
            workloads,
            namespaces,
            ..World::default()
        };
        let groups = |number: usize| {
            let groups: Vec<Group> = (0..number).map(|proxy| world.group(proxy)).collect();
            let of = |part: fn(&Group) -> usize| groups.iter().map(part).collect::<BTreeSet<_>>();
            (
                of(|group| group.workload),
                of(|group| group.place),
                of(|group| group.namespace),
            )
        };
        assert_eq!(groups(world.representatives()), groups(proxies));
    }
}

#[test]
fn the_variants_are_mixed_as_was_asked_for() {
    for percent in [0, 30, 50, 100] {
        let world = World {
            state_of_the_world_percent: percent,
            ..World::default()
        };
        let speak = |proxies: std::ops::Range<usize>| {
            let variants = proxies.map(|proxy| world.variant(proxy));
            variants
                .filter(|variant| *variant == Variant::StateOfTheWorld)
                .count()
        };
        assert_eq!(speak(0..1000), percent * 10);
        // Evenly: not the first ones all alike.
        assert!(speak(0..10).abs_diff(percent / 10) <= 1);
    }
}

#[test]
fn files_have_names_of_their_own_and_addresses_too() {
    let world = World {
        services: 30,
        large: 20,
        proxies: 50,
        workloads: 8,
        namespaces: 4,
        ..World::default()
    };
    let files = world.files();
    let paths: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths.len(), files.len());
    let all: String = files.iter().map(|file| file.content.as_str()).collect();
    let addresses: Vec<&str> = all
        .split("address: ")
        .skip(1)
        .filter_map(|rest| rest.split(',').next())
        .collect();
    let distinct: BTreeSet<&&str> = addresses.iter().collect();
    assert_eq!(distinct.len(), addresses.len());
    // Thirty services of ten and one of twenty endpoints in two networks, and fifty proxies.
    assert_eq!(addresses.len(), 30 * 10 * 2 + 20 * 2 + 50);
}

#[test]
fn a_change_is_in_one_file_and_changes_what_it_says() {
    let world = World {
        services: 30,
        large: 20,
        ..World::default()
    };
    let before: Vec<files::File> = world.files();
    let check = |change: Change, lines: usize| {
        let after = world.changed_file(change);
        let before = before.iter().find(|file| file.path == after.path);
        let before = before.map_or("", |file| file.content.as_str());
        let known: BTreeSet<&str> = before.lines().collect();
        let changed = after.content.lines().filter(|line| !known.contains(line));
        assert_eq!(changed.count(), lines, "{change:?}: {}", after.path);
    };
    let marker = 4711;
    // One endpoint in each network.
    check(Change::Endpoint { service: 3, marker }, 2);
    check(Change::Route { marker }, 1);
    // Those that were replaced, and the one that carries the marker.
    check(
        Change::Replacement {
            replaced: 5,
            marker,
        },
        2 * (5 + 1),
    );
    check(
        Change::Replacement {
            replaced: 25,
            marker,
        },
        2 * (19 + 1),
    );
    // Everything in it, as there was no such file.
    check(Change::Service { marker }, 4 + 2 * 10);
}

#[test]
fn every_change_is_awaited_where_it_shows() {
    let world = World::default();
    let names = |change| -> Vec<String> {
        let awaited = world.awaited(change).into_iter();
        awaited.map(|awaited| awaited.name).collect()
    };
    let marker = 9;
    assert_eq!(
        names(Change::Endpoint { service: 8, marker }),
        ["outbound|9000||service-8.namespace-8.svc.cluster.local"]
    );
    assert_eq!(
        names(Change::Service { marker }),
        [
            "outbound|80||marker-9.namespace-0.svc.cluster.local",
            "outbound|80||marker-9.namespace-0.svc.cluster.local",
            "80"
        ]
    );
    assert_eq!(names(Change::Route { marker }), ["80"]);
}
