//! One mesh out of what several registries say.

use super::*;

#[test]
fn one_hostname_in_two_registries_is_one_service_with_all_endpoints() {
    let mut store = store(&[registry("a"), registry("b")]);
    store.apply(
        replace(
            "b",
            vec![
                service(
                    "b",
                    "cart",
                    &[(80, "web", Protocol::Http), (81, "admin", Protocol::Tcp)],
                ),
                endpoints("b", "two", "cart", &[address(2)]),
            ],
        ),
        NOW,
    );
    store.apply(
        replace(
            "a",
            vec![
                http_service("a", "cart"),
                endpoints("a", "one", "cart", &[address(1)]),
            ],
        ),
        NOW,
    );
    let service = store.mesh().service(&hostname("cart")).unwrap().clone();
    assert_eq!(service.origins.len(), 2);
    assert_eq!(&*service.origins[0].registry.to_string(), "a");
    assert_eq!(service.ports.len(), 2);
    assert_eq!(store.mesh().endpoints(&hostname("cart")).len(), 2);
    // Registry b knows port 80 by another name, and its endpoints are found by that one.
    let mut other = endpoint(address(2));
    other.ports = Named::from([("web".into(), 9090)]);
    let port = service.port(80).unwrap();
    assert_eq!(
        service.endpoint_port(port, &"b".parse().unwrap(), &other),
        Some(9090)
    );
    assert_eq!(
        service.endpoint_port(port, &"a".parse().unwrap(), &other),
        None
    );
    // What b itself sent has neither of b's names.
    assert_eq!(codes(&store), [Code::UnresolvedReference]);
}

#[test]
fn a_conflict_is_won_by_the_order_of_registries_and_reported() {
    let one = service("a", "cart", &[(80, "x", Protocol::Http)]);
    let other = service("b", "cart", &[(80, "x", Protocol::Tcp)]);
    for order in [["a", "b"], ["b", "a"]] {
        let mut store = store(&[registry("a"), registry("b")]);
        for name in order {
            let object = if name == "a" { &one } else { &other };
            store.apply(replace(name, vec![object.clone()]), NOW);
        }
        let service = store.mesh().service(&hostname("cart")).unwrap();
        assert_eq!(service.port(80).unwrap().port.protocol, Protocol::Http);
        let problems = store.mesh().problems();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].code, Code::Conflict);
        assert!(
            problems[0].to_string().contains("b.yaml:1"),
            "{}",
            problems[0]
        );
        assert!(
            problems[0].message.contains("a: service shop/cart"),
            "{}",
            problems[0]
        );
    }
}

#[test]
fn a_registry_contributes_only_where_it_may() {
    let mut limited = registry("a");
    limited.allowed_hostnames = Some(vec!["*.shop.svc.cluster.local".parse().unwrap()]);
    limited.allowed_namespaces = Some(vec!["other".parse().unwrap()]);
    let mut store = store(&[limited.clone()]);
    store.apply(replace("a", vec![http_service("a", "cart")]), NOW);
    assert!(store.mesh().service(&hostname("cart")).is_none());
    assert_eq!(codes(&store), [Code::NotAllowed]);
    limited.allowed_namespaces = None;
    store.configure(settings(), [limited]);
    store.apply(replace("a", vec![http_service("a", "cart")]), NOW);
    assert!(store.mesh().service(&hostname("cart")).is_some());
    assert!(codes(&store).is_empty());
}

#[test]
fn a_change_names_only_what_it_concerns() {
    let mut store = store(&[registry("a")]);
    let all = vec![
        http_service("a", "cart"),
        http_service("a", "pay"),
        http_service("a", "web"),
        endpoints("a", "one", "cart", &[address(1)]),
        route("a", "web-to-pay", "web", "pay"),
    ];
    let applied = store.apply(replace("a", all.clone()), NOW);
    assert_eq!(names(&applied.changed.services), ["cart", "pay", "web"]);
    assert!(
        store
            .apply(replace("a", all.clone()), NOW)
            .changed
            .is_empty()
    );

    let upserts = vec![endpoints("a", "one", "cart", &[address(2)])];
    let applied = store.apply(upsert("a", upserts), NOW);
    assert_eq!(names(&applied.changed.endpoints), ["cart"]);
    assert!(applied.changed.services.is_empty());
    assert_eq!(applied.persist.len(), 1);

    // The service that a route sends to disappears: whoever has the route sees something else.
    let removes = vec![all[1].key().clone()];
    let applied = store.apply(remove("a", removes), NOW);
    assert_eq!(names(&applied.changed.services), ["pay", "web"]);
    assert_eq!(codes(&store), [Code::UnknownBackend]);
}

#[test]
fn a_line_that_moved_changes_the_source_and_nothing_else() {
    let mut store = store(&[registry("a")]);
    store.apply(replace("a", vec![http_service("a", "cart")]), NOW);
    let mut moved = http_service("a", "cart");
    moved.source.line = Some(7);
    let applied = store.apply(replace("a", vec![moved.clone()]), NOW);
    assert!(applied.changed.is_empty() && applied.persist.is_empty());
    assert_eq!(store.mesh().source(moved.key()).unwrap().line, Some(7));
}
