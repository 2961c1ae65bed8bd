use bowline_identity::{Claimed, PeerIdentity};
use bowline_snapshot::{Publisher, Version};
use time::macros::datetime;

use super::*;
use crate::{
    response::Entries,
    testing::{resource, snapshot_of, type_named},
};

const NOW: OffsetDateTime = datetime!(2026-01-02 03:04:05 UTC);

fn connect(fleet: &Fleet, id: &str) -> Connected {
    let node = Node {
        id: id.to_owned(),
        cluster: "shop".to_owned(),
        user_agent_name: "envoy".to_owned(),
        ..Node::default()
    };
    let peer = Peer {
        address: ([127, 0, 0, 1], 4711).into(),
        identity: None,
    };
    let proxy = ProxyDescription {
        id: id.into(),
        role: "sidecar".into(),
        identity: PeerIdentity::Claimed(Claimed { spiffe_id: None }),
    };
    let (_, snapshots) = Publisher::new().subscribe(Vec::new());
    fleet.connect(Variant::Delta, &node, &peer, proxy, snapshots.bell(), NOW)
}

fn received(verdict: Verdict) -> Received {
    Received::Current(Current {
        resource_type: type_named("CDS"),
        verdict: Some(verdict),
        has_stale_nonce: false,
        names: 3,
        has_wildcard: true,
        quarantined: Vec::new(),
    })
}

#[test]
fn the_list_is_ordered_and_has_connected_streams_only() {
    let fleet = Fleet::new();
    let _b = connect(&fleet, "b");
    let _second_a = connect(&fleet, "a");
    let gone = connect(&fleet, "c");
    let _third_a = connect(&fleet, "a");
    drop(gone);
    let list = fleet.list();
    let list: Vec<_> = list
        .iter()
        .map(|status| (&*status.id, status.stream))
        .collect();
    assert_eq!(list, [("a", 1), ("a", 3), ("b", 0)]);
    assert_eq!(fleet.len(), 3);
}

#[test]
fn a_rejection_is_shown_with_the_objects_that_it_may_be_about() {
    let fleet = Fleet::new();
    let connected = connect(&fleet, "a");
    connected.received(
        &received(Verdict::Rejected {
            version: Version::EMPTY,
            message: "bad x".to_owned(),
            suspects: vec![resource("x", "1")],
        }),
        NOW,
    );
    connected.received(
        &received(Verdict::Acknowledged {
            version: Version::EMPTY,
            generation: 1,
            waited: std::time::Duration::ZERO,
        }),
        NOW,
    );
    let status = fleet.list().remove(0);
    let clusters = &status.types["CDS"];
    assert_eq!((clusters.subscribed, clusters.has_wildcard), (3, true));
    assert_eq!(
        (clusters.counters.acknowledged, clusters.counters.rejected),
        (1, 1)
    );
    let rejected = clusters.rejected.as_ref().unwrap();
    assert_eq!(rejected.message, "bad x");
    assert_eq!(&*rejected.suspects[0].name, "x");
    assert_eq!(&*rejected.suspects[0].origins[0], "test x");
    assert_eq!(clusters.acknowledged.as_ref().unwrap().at, NOW);
}

#[test]
fn events_are_told_in_order() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let writer = told.clone();
    let fleet = Fleet::observed_by(Arc::new(move |event| {
        writer.lock().push(match event {
            Event::Connected { .. } => "connected".to_owned(),
            Event::Disconnected { .. } => "disconnected".to_owned(),
            Event::Sent {
                resources, bytes, ..
            } => format!("sent {resources} in {bytes}"),
            Event::Acknowledged { generation, .. } => format!("acknowledged {generation}"),
            Event::Rejected { message, .. } => format!("rejected: {message}"),
            Event::Stale { resource_type } => format!("stale {resource_type}"),
        });
    }));
    let connected = connect(&fleet, "a");
    let snapshot = snapshot_of(7, &["CDS a 1"]);
    let resource_type = type_named("CDS");
    let response = Response {
        resource_type: Some(resource_type),
        type_url: resource_type.url().into(),
        version: snapshot.type_version(resource_type),
        resources: Entries::Own(vec![(resource("a", "1"), Version::EMPTY)]),
        removed: Vec::new(),
        extra: None,
        quarantined: Vec::new(),
        nonce: 1,
        generation: 7,
    };
    connected.sent(&response, 99, NOW);
    connected.received(&Received::Outdated(resource_type), NOW);
    connected.received(&Received::Unserved, NOW);
    drop(connected);
    assert_eq!(
        *told.lock(),
        ["connected", "sent 1 in 99", "stale CDS", "disconnected"]
    );
}
