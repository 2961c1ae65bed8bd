//! What becomes of a rejected response. Numbers in brackets are those of the protocol checklist.
//!
//! The reason of `nack` names `a`; that of `nack!` names nothing.

use super::*;

#[test]
fn a_named_offender_is_left_out_and_the_rest_is_sent_once_more() {
    // (14, 16)
    check::<Delta>(&[
        ("serve CDS a bad, CDS b 1, CDS c 1", ""),
        ("CDS", "CDS a=bad b=1 c=1"),
        ("CDS nack", "CDS b=1 c=1"),
        ("CDS ack", ""),
        ("serve CDS a bad, CDS b 2, CDS c 1", "CDS b=2"),
        ("CDS ack", ""),
        ("serve CDS a good, CDS b 2, CDS c 1", "CDS a=good"),
    ]);
    check::<StateOfTheWorld>(&[
        ("serve EDS a bad, EDS b 1", ""),
        ("EDS a b", "EDS a=bad b=1"),
        ("EDS nack a b", "EDS b=1"),
        ("EDS ack a b", ""),
    ]);
}

#[test]
fn a_removal_in_a_rejected_response_is_told_once_more() {
    check::<Delta>(&[
        ("serve LDS b 1", ""),
        ("LDS", "LDS b=1"),
        ("LDS ack", ""),
        ("serve LDS a bad", "LDS a=bad -b"),
        ("LDS nack", "LDS -b"),
        ("LDS ack", ""),
    ]);
}

#[test]
fn state_of_the_world_lists_what_was_accepted_in_the_place_of_what_was_rejected() {
    // (14, 16, 48)
    check::<StateOfTheWorld>(&[
        ("serve CDS a 1, CDS b 1", ""),
        ("CDS", "CDS a=1 b=1"),
        ("CDS ack", ""),
        ("serve CDS a bad, CDS b 2", "CDS a=bad b=2"),
        ("CDS nack", "CDS a=1 b=2"),
        ("CDS ack", ""),
        ("serve CDS a worse, CDS b 2", "CDS a=worse b=2"),
        // Nothing but the offender was new, so all the rest is where it was.
        ("CDS nack", ""),
        ("serve CDS a worse, CDS b 3", "CDS a=1 b=3"),
        ("CDS ack", ""),
        ("serve CDS a 2, CDS b 3", "CDS a=2 b=3"),
    ]);
}

#[test]
fn state_of_the_world_leaves_out_what_was_never_accepted() {
    check::<StateOfTheWorld>(&[
        ("serve CDS a bad, CDS b 1", ""),
        ("CDS", "CDS a=bad b=1"),
        ("CDS nack", "CDS b=1"),
        ("CDS ack", ""),
        ("serve CDS b 1", ""),
        ("wait 5", ""),
    ]);
}

#[test]
fn a_reconnected_client_keeps_what_it_may_have_accepted_before() {
    // To leave the cluster out would take it away.
    check::<StateOfTheWorld>(&[
        ("serve CDS a bad, CDS b 1", ""),
        ("CDS @a=1,b=1", "CDS a=bad b=1"),
        ("CDS nack", ""),
        ("serve CDS a bad, CDS b 2", "CDS a=bad b=2"),
    ]);
}

#[test]
fn the_version_of_a_set_without_the_offender_is_another_one() {
    let mut conversation = Conversation::<StateOfTheWorld>::new(Settings::new("test"));
    for step in ["serve CDS a bad, CDS b 1", "CDS", "CDS nack"] {
        conversation.step(step);
    }
    let seen = &conversation.seen["CDS"];
    assert_ne!(seen[0].0, seen[1].0);
    // A client that reconnects with it lacks the offender, and is told.
    let version = seen[1].0.clone();
    let mut reconnected = Conversation::<StateOfTheWorld>::new(Settings::new("test"));
    reconnected.step("serve CDS a bad, CDS b 1");
    let (header, interest) = StateOfTheWorld::parse(DiscoveryRequest {
        type_url: ResourceType::CLUSTER.url().to_owned(),
        version_info: version,
        ..DiscoveryRequest::default()
    })
    .unwrap();
    let now = reconnected.now;
    reconnected.session.receive(header, interest, now).unwrap();
    assert_eq!(reconnected.answers(), "CDS a=bad b=1");
}

#[test]
fn a_reason_that_names_nothing_leads_to_halves_until_the_offender_is_found() {
    check::<Delta>(&[
        ("serve RDS a 1, RDS b 1, RDS c 1, RDS d 1", ""),
        ("RDS +a +b +c +d", "RDS a=1 b=1 c=1 d=1"),
        ("RDS nack!", "RDS a=1 b=1"),
        ("RDS ack", "RDS c=1 d=1"),
        ("RDS nack!", "RDS c=1"),
        ("RDS ack", "RDS d=1"),
        ("RDS nack!", ""),
        ("serve RDS a 2, RDS b 1, RDS c 1, RDS d 1", "RDS a=2"),
        ("RDS ack", ""),
        ("serve RDS a 2, RDS b 1, RDS c 1, RDS d 2", "RDS d=2"),
    ]);
    check::<StateOfTheWorld>(&[
        ("serve RDS a 1, RDS b 1", ""),
        ("RDS a b", "RDS a=1 b=1"),
        ("RDS nack! a b", "RDS a=1"),
        ("RDS nack! a b", "RDS b=1"),
        ("RDS ack a b", ""),
    ]);
}

#[test]
fn what_changes_while_the_offender_is_looked_for_goes_first() {
    check::<Delta>(&[
        ("serve RDS a 1, RDS b 1", ""),
        ("RDS +a +b", "RDS a=1 b=1"),
        ("serve RDS a 1, RDS b 2", ""),
        ("RDS nack!", "RDS b=2"),
        ("RDS ack", "RDS a=1"),
        ("RDS ack", ""),
    ]);
}

#[test]
fn a_full_response_whose_rejection_names_nothing_is_not_repeated_before_something_changes() {
    // (14)
    check::<StateOfTheWorld>(&[
        ("serve CDS b 1, CDS c 1", ""),
        ("CDS", "CDS b=1 c=1"),
        ("CDS nack!", ""),
        ("serve CDS b 1, CDS c 2", "CDS b=1 c=2"),
    ]);
}

#[test]
fn attempts_are_bounded() {
    let mut conversation = Conversation::<Delta>::new(Settings::new("test"));
    let names: Vec<String> = (0..200).map(|number| format!("x{number}")).collect();
    let serve: Vec<String> = names.iter().map(|name| format!("RDS {name} 1")).collect();
    conversation.step(&format!("serve {}", serve.join(", ")));
    let mut answer = conversation.step(&format!("RDS +{}", names.join(" +")));
    let mut answers = 0;
    while !answer.is_empty() {
        answers += 1;
        assert!(answers < 100, "it is tried for ever");
        answer = conversation.step("RDS nack!");
    }
}

#[test]
fn a_quarantine_ends_when_the_client_asks_again() {
    // (54)
    check::<Delta>(&[
        ("serve EDS a bad", ""),
        ("EDS +a", "EDS a=bad"),
        ("EDS nack", ""),
        ("EDS +a", "EDS a=bad"),
    ]);
}

#[test]
fn the_removal_of_what_is_in_quarantine_is_told() {
    check::<Delta>(&[
        ("serve LDS a 1", ""),
        ("LDS", "LDS a=1"),
        ("LDS ack", ""),
        ("serve LDS a bad", "LDS a=bad"),
        ("LDS nack", ""),
        ("serve", "LDS -a"),
        ("LDS ack", ""),
        ("serve LDS a bad", "LDS a=bad"),
    ]);
}

#[test]
fn a_cluster_in_quarantine_is_listed_as_it_was_accepted_while_it_lingers() {
    check::<StateOfTheWorld>(&[
        ("serve CDS a 1, LDS l 1, RDS r a", ""),
        ("CDS", "CDS a=1"),
        ("CDS ack", ""),
        ("LDS", "LDS l=1"),
        ("LDS ack", ""),
        ("RDS r", "RDS r=a"),
        ("RDS ack r", ""),
        ("serve CDS a bad, LDS l 1, RDS r a", "CDS a=bad"),
        ("CDS nack", ""),
        ("serve CDS b 1, LDS l 1, RDS r b", "CDS a=1 b=1"),
        ("CDS ack", "RDS r=b"),
        ("RDS ack r", "CDS b=1"),
    ]);
}

#[test]
fn listeners_wait_until_the_rest_of_rejected_clusters_is_acknowledged() {
    // (61)
    check::<Delta>(&[
        ("serve CDS a bad, CDS b 1, LDS l 1", ""),
        ("CDS", "CDS a=bad b=1"),
        ("LDS", ""),
        ("CDS nack", "CDS b=1"),
        ("CDS ack", "LDS l=1"),
    ]);
}

#[test]
fn listeners_wait_no_longer_than_the_limit_for_clusters_that_are_rejected_again_and_again() {
    check::<Delta>(&[
        ("serve CDS b 1, CDS c 1, LDS l 1", ""),
        ("CDS", "CDS b=1 c=1"),
        ("LDS", ""),
        ("CDS nack!", "CDS b=1"),
        ("wait 5", "CDS c=1; LDS l=1"),
    ]);
}

#[test]
fn what_is_in_quarantine_is_told_with_each_request_and_response() {
    let mut conversation = Conversation::<Delta>::new(Settings::new("test"));
    for step in ["serve EDS a bad, EDS b 1", "EDS +a +b", "EDS nack"] {
        conversation.step(step);
    }
    let received = conversation.received.pop().unwrap().unwrap();
    let Received::Current(current) = received else {
        panic!("{received:?}");
    };
    assert_eq!(current.quarantined, [resource("a", "bad")]);
    conversation.step("EDS ack");
    conversation
        .session
        .update(snapshot_of(9, &["EDS a good", "EDS b 1"]));
    let response = conversation.session.next(conversation.now).unwrap();
    assert_eq!(text(&response), "EDS a=good");
    assert!(response.quarantined.is_empty());
}
