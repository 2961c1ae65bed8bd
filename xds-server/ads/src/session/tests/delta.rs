//! Delta. Numbers in brackets are those of the protocol checklist.

use super::*;

fn check(steps: &[(&str, &str)]) {
    super::check::<Delta>(steps);
}

#[test]
fn only_what_changed_is_sent() {
    check(&[
        ("serve CDS a 1, CDS b 1", ""),
        ("CDS", "CDS a=1 b=1"),
        ("CDS ack", ""),
        ("serve CDS a 1, CDS b 2, CDS c 1", "CDS b=2 c=1"),
        ("CDS ack", ""),
        ("serve CDS a 1, CDS b 2, CDS c 1, EDS x 1", ""),
    ]);
}

#[test]
fn a_first_wildcard_is_answered_even_if_there_is_nothing() {
    // (44, 45)
    check(&[
        ("CDS", ""),
        ("serve", "CDS"),
        ("CDS ack", ""),
        ("serve EDS a 1", ""),
    ]);
}

#[test]
fn a_removal_is_told_once_and_a_return_is_sent() {
    // (51)
    check(&[
        ("serve LDS a 1, LDS b 1", ""),
        ("LDS", "LDS a=1 b=1"),
        ("LDS ack", ""),
        ("serve LDS a 1", "LDS -b"),
        ("LDS ack", ""),
        ("serve LDS a 1, LDS b 1", "LDS b=1"),
    ]);
}

#[test]
fn a_name_that_does_not_exist_is_told_at_once_and_remembered() {
    // (52)
    check(&[
        ("serve EDS b 1", ""),
        ("EDS +a", "EDS -a"),
        ("EDS ack", ""),
        ("serve EDS a 1, EDS b 1", "EDS a=1"),
    ]);
}

#[test]
fn a_rejection_is_never_answered_by_the_same_content() {
    // (14, 16)
    check(&[
        ("serve CDS a 1", ""),
        ("CDS", "CDS a=1"),
        ("CDS ack", ""),
        ("serve CDS a 2", "CDS a=2"),
        ("CDS nack", ""),
        ("serve CDS a 2, CDS b 1", "CDS b=1"),
        ("CDS ack", ""),
        ("serve CDS a 1, CDS b 1", "CDS a=1"),
    ]);
}

#[test]
fn names_inside_a_rejection_or_with_a_stale_nonce_count() {
    // (20)
    check(&[
        ("serve EDS a 1, EDS b 1, EDS c 1", ""),
        ("EDS +a", "EDS a=1"),
        ("EDS nack +b", "EDS b=1"),
        ("EDS ack", ""),
        ("EDS stale +c", "EDS c=1"),
    ]);
}

#[test]
fn a_name_that_is_subscribed_again_is_answered_again() {
    // (54)
    check(&[
        ("serve EDS a 1", ""),
        ("EDS +a", "EDS a=1"),
        ("EDS ack", ""),
        ("EDS +a", "EDS a=1"),
        ("EDS ack", ""),
        ("EDS -a", ""),
        ("EDS +a", "EDS a=1"),
    ]);
}

#[test]
fn unsubscribing_what_was_never_subscribed_is_ignored() {
    // (55)
    check(&[
        ("serve CDS a 1", ""),
        ("CDS +a", "CDS a=1"),
        ("CDS ack -x -*", ""),
        ("CDS -a", ""),
        ("serve CDS a 2", ""),
    ]);
}

#[test]
fn the_wildcard_lasts_until_it_is_unsubscribed() {
    // (30, 32)
    check(&[
        ("serve CDS a 1, CDS b 1", ""),
        ("CDS", "CDS a=1 b=1"),
        ("CDS ack +a", "CDS a=1"),
        ("CDS ack", ""),
        ("serve CDS a 2, CDS b 2", "CDS a=2 b=2"),
        ("CDS ack -*", ""),
        ("serve CDS a 3, CDS b 3", "CDS a=3"),
        ("CDS ack -a", ""),
        ("CDS", ""),
        ("serve CDS a 4, CDS b 4", ""),
    ]);
}

#[test]
fn subscribing_and_unsubscribing_everything_at_once_means_nothing() {
    // (31)
    check(&[
        ("serve CDS a 1", ""),
        ("CDS +* -*", ""),
        ("CDS +a", "CDS a=1"),
    ]);
}

#[test]
fn a_name_unsubscribed_beside_the_wildcard_is_answered() {
    // (33)
    check(&[
        ("serve CDS a 1", ""),
        ("CDS +* +a +x", "CDS a=1 -x"),
        ("CDS ack -a", "CDS a=1"),
        ("CDS ack -x", "CDS -x"),
        ("CDS ack", ""),
    ]);
}

#[test]
fn a_wildcard_added_later_is_answered() {
    check(&[
        ("serve CDS a 1, CDS b 1", ""),
        ("CDS +a", "CDS a=1"),
        ("CDS ack +*", "CDS a=1 b=1"),
        ("CDS ack", ""),
    ]);
}

#[test]
fn a_first_request_without_names_means_nothing_for_endpoints() {
    // (27)
    check(&[("serve EDS a 1", ""), ("EDS", ""), ("EDS +a", "EDS a=1")]);
}

#[test]
fn a_request_with_locators_only_does_not_mean_everything() {
    // (34)
    let mut conversation = Conversation::<Delta>::new(Settings::new("test"));
    conversation.step("serve CDS a 1");
    let request = DeltaDiscoveryRequest {
        type_url: ResourceType::CLUSTER.url().to_owned(),
        resource_locators_subscribe: vec![Default::default()],
        ..DeltaDiscoveryRequest::default()
    };
    let (header, interest) = Delta::parse(request.into()).unwrap();
    conversation
        .session
        .receive(header, interest, conversation.now)
        .unwrap();
    assert_eq!(conversation.answers(), "");
}

#[test]
fn a_reconnecting_client_gets_what_it_does_not_hold() {
    // (40, 42)
    check(&[
        ("serve LDS a 1, LDS b 2, LDS d 1", ""),
        ("LDS @a=1 @b=1 @c=1 @d=", "LDS b=2 d=1 -c"),
    ]);
    check(&[
        ("serve EDS a 1, EDS b 2, CDS a 1", ""),
        ("EDS +a +b +c @a=1/1 @b=1", "EDS b=2 -c"),
    ]);
}

#[test]
fn a_reconnecting_client_that_holds_everything_gets_an_empty_answer_to_its_wildcard_only() {
    // (45)
    check(&[
        ("serve CDS a 1, EDS a 1", ""),
        ("CDS @a=1", "CDS"),
        ("CDS ack", ""),
        ("EDS +a @a=1/1", ""),
        ("serve CDS a 1, EDS a 2", "EDS a=2"),
    ]);
}

#[test]
fn what_a_reconnecting_client_holds_is_not_taken_away_while_something_is_lacking() {
    check(&[
        ("partly LDS a 1", ""),
        ("LDS @a=1 @b=1 @c=1 @d=1", "LDS"),
        ("LDS ack", ""),
        // Nor is it changed: who else has a part in it may not have been heard yet. What is new is sent.
        ("partly LDS a 1, LDS b 1, LDS c 2, LDS e 1", "LDS e=1"),
        ("LDS ack", ""),
        ("wait 100", ""),
        ("serve LDS a 1, LDS b 1, LDS c 2, LDS e 1", "LDS c=2 -d"),
    ]);
    check(&[
        ("partly CDS a 1, EDS a 1, LDS l 1, RDS r 2, RDS s 1", ""),
        ("LDS @l=1", "LDS"),
        ("LDS ack", ""),
        ("RDS +r +s @r=1 @s=1", ""),
        (
            "partly CDS a 1, EDS a 1, LDS l 1, RDS r 2, RDS s 2",
            "RDS s=2",
        ),
        ("RDS ack", ""),
        (
            "serve CDS a 1, EDS a 1, LDS l 1, RDS r 2, RDS s 2",
            "RDS r=2",
        ),
    ]);
    check(&[
        ("partly CDS a 1", ""),
        ("CDS @b=1", "CDS a=1"),
        ("CDS ack", ""),
        ("EDS +b @b=1/1", ""),
        ("wait 100", ""),
        ("serve CDS a 1", ""),
        ("wait 5", "CDS -b; EDS -b"),
    ]);
}

#[test]
fn what_was_sent_on_the_stream_is_taken_away_although_something_is_lacking() {
    check(&[
        ("partly LDS a 1, LDS b 1", ""),
        ("LDS", "LDS a=1 b=1"),
        ("LDS ack", ""),
        ("partly LDS a 1", "LDS -b"),
    ]);
}

#[test]
fn a_client_of_a_replica_that_knew_more_is_answered_and_goes_on() {
    // (46): it was warming a cluster that this replica does not know.
    check(&[
        ("serve CDS a 1, EDS a 1", ""),
        ("CDS @a=1 @x=1", "CDS"),
        ("EDS +a +x @a=1/1", "EDS -x"),
        ("EDS ack", ""),
        ("CDS ack", ""),
        ("serve CDS a 2, EDS a 1", "CDS a=2; EDS a=1"),
    ]);
}

#[test]
fn names_are_compared_byte_by_byte() {
    // (70)
    check(&[("serve EDS a 1", ""), ("EDS +A +a: +a", "EDS a=1 -A -a:")]);
}

#[test]
fn endpoints_that_are_held_with_an_older_cluster_are_sent() {
    // (41, 57)
    check(&[("serve CDS a 2, EDS a 1", ""), ("EDS +a @a=1/1", "EDS a=1")]);
}

#[test]
fn endpoints_asked_for_before_their_cluster_are_sent_again_behind_it() {
    // (41)
    check(&[
        ("serve CDS a 2, EDS a 1", ""),
        ("EDS +a @a=1/2", ""),
        ("CDS @a=1", "CDS a=2; EDS a=1"),
    ]);
}

#[test]
fn endpoints_asked_for_after_their_changed_cluster_was_sent_are_sent_whatever_is_held() {
    // (41): the client may have got these endpoints before the cluster, which will warm again.
    check(&[
        ("serve CDS a 2, EDS a 1", ""),
        ("CDS @a=1", "CDS a=2"),
        ("EDS +a @a=1/2", "EDS a=1"),
    ]);
}

#[test]
fn endpoints_follow_a_changed_cluster() {
    // (56)
    check(&[
        ("serve CDS a 1, EDS a 1, CDS b 1, EDS b 1", ""),
        ("CDS", "CDS a=1 b=1"),
        ("CDS ack", ""),
        ("EDS +a +b", "EDS a=1 b=1"),
        ("EDS ack", ""),
        (
            "serve CDS a 2, EDS a 1, CDS b 1, EDS b 1",
            "CDS a=2; EDS a=1",
        ),
    ]);
}

#[test]
fn endpoints_follow_a_cluster_that_was_sent_after_them() {
    // (58)
    check(&[
        ("serve CDS a 1, EDS a 1", ""),
        ("CDS", "CDS a=1"),
        ("EDS +a", "EDS a=1"),
        ("EDS ack", ""),
        // The cluster has to wait for its acknowledgement, the endpoints have not.
        ("serve CDS a 2, EDS a 2", "EDS a=2"),
        ("EDS ack", ""),
        ("CDS ack", "CDS a=2; EDS a=2"),
    ]);
}

#[test]
fn endpoints_do_not_wait_for_the_acknowledgement_of_clusters() {
    // (61)
    check(&[
        ("serve CDS a 1, EDS a 1", ""),
        ("CDS", "CDS a=1"),
        ("EDS +a", "EDS a=1"),
    ]);
}

#[test]
fn a_slow_client_gets_the_newest_state_and_nothing_in_between() {
    // (89)
    check(&[
        ("serve EDS a 1, EDS b 1", ""),
        ("EDS +a +b", "EDS a=1 b=1"),
        ("serve EDS a 2, EDS b 1", ""),
        ("serve EDS a 1, EDS b 1", ""),
        ("serve EDS a 1, EDS b 3", ""),
        ("EDS ack", "EDS b=3"),
    ]);
}

#[test]
fn large_responses_are_split_and_acknowledged_as_one() {
    // (94)
    let settings = Settings {
        response_bytes_max: 350,
        ..Settings::new("test")
    };
    super::check_with::<Delta>(
        settings,
        Client::PLAIN,
        &[
            ("serve CDS a 1, CDS b 1, CDS c 1, CDS d 1, CDS e 1", ""),
            ("CDS", "CDS a=1 b=1; CDS c=1 d=1; CDS e=1"),
            ("CDS stale", ""),
            ("serve CDS a 2, CDS b 1, CDS c 1, CDS d 1, CDS e 1", ""),
            ("CDS ack", "CDS a=2"),
        ],
    );
}

#[test]
fn a_type_that_nobody_serves_does_not_exist() {
    // (4)
    check(&[
        ("serve CDS a 1", ""),
        ("foo.Bar", "foo.Bar"),
        ("foo.Bar ack", ""),
        ("foo.Bar ack +x +*", "foo.Bar -x"),
        ("foo.Bar -x", ""),
        ("CDS", "CDS a=1"),
    ]);
}
