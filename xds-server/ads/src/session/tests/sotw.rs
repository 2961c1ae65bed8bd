//! State of the world. Numbers in brackets are those of the protocol checklist.

use super::*;

const GRPC: Client = Client {
    empty_requests: EmptyRequests::MeanNothing,
    has_wrapped_ttl: false,
    reads_errors: true,
};

fn check(steps: &[(&str, &str)]) {
    super::check::<StateOfTheWorld>(steps);
}

#[test]
fn nothing_is_answered_before_there_is_a_snapshot() {
    // (44)
    check(&[("CDS", ""), ("serve CDS a 1", "CDS a=1")]);
}

#[test]
fn an_empty_snapshot_is_an_answer_with_a_version() {
    // (39, 44)
    let mut conversation = Conversation::<StateOfTheWorld>::new(Settings::new("test"));
    conversation.step("serve");
    assert_eq!(conversation.step("CDS"), "CDS");
    assert_ne!(conversation.seen["CDS"][0].0, "");
}

#[test]
fn an_acknowledgement_is_quiet() {
    // (12)
    check(&[
        ("serve CDS a 1", ""),
        ("CDS", "CDS a=1"),
        ("CDS ack", ""),
        ("CDS ack", ""),
    ]);
}

#[test]
fn clusters_and_listeners_are_sent_in_full_and_others_only_where_changed() {
    // (48, 49)
    check(&[
        ("serve CDS a 1, CDS b 1, EDS a 1, EDS b 1", ""),
        ("CDS", "CDS a=1 b=1"),
        ("CDS ack", ""),
        ("EDS a b", "EDS a=1 b=1"),
        ("EDS ack a b", ""),
        (
            "serve CDS a 1, CDS b 1, CDS c 1, EDS a 1, EDS b 2",
            "CDS a=1 b=1 c=1; EDS b=2",
        ),
    ]);
}

#[test]
fn named_clusters_are_sent_in_full_too() {
    // (48)
    check(&[
        ("serve CDS a 1, CDS b 1, CDS c 1", ""),
        ("CDS a b", "CDS a=1 b=1"),
        ("CDS ack a b", ""),
        ("CDS ack a b c", "CDS a=1 b=1 c=1"),
        ("CDS ack a b c", ""),
        ("serve CDS a 1, CDS c 1", "CDS a=1 c=1"),
    ]);
}

#[test]
fn a_named_cluster_that_does_not_exist_is_answered_by_its_absence() {
    // (62, 86)
    check(&[
        ("serve CDS a 1", ""),
        ("CDS x", "CDS"),
        ("CDS ack x", ""),
        ("CDS ack a x", "CDS a=1"),
        ("CDS ack a x", ""),
        ("serve CDS a 1, CDS x 1", "CDS a=1 x=1"),
    ]);
}

#[test]
fn only_what_is_subscribed_is_sent() {
    // (26, 62)
    check(&[
        ("serve EDS a 1, EDS b 1, EDS c 1", ""),
        ("EDS a c x", "EDS a=1 c=1"),
        ("EDS ack a c x", ""),
        ("serve EDS a 1, EDS b 2, EDS c 1", ""),
        ("EDS ack a", ""),
        ("serve EDS a 2, EDS b 3, EDS c 2", "EDS a=2"),
    ]);
}

#[test]
fn nonces_are_never_used_twice() {
    // (11)
    let mut conversation = Conversation::<StateOfTheWorld>::new(Settings::new("test"));
    conversation.step("EDS a");
    conversation.step("RDS a");
    for number in 0..1000 {
        conversation.step(&format!("serve EDS a {number}, RDS a {number}"));
        conversation.step("EDS ack a");
        conversation.step("RDS ack a");
    }
    let nonces: Vec<u64> = conversation
        .seen
        .values()
        .flatten()
        .map(|(_, nonce)| *nonce)
        .collect();
    let distinct: std::collections::BTreeSet<u64> = nonces.iter().copied().collect();
    assert_eq!((nonces.len(), distinct.len()), (2000, 2000));
}

#[test]
fn endpoints_that_do_not_exist_yet_come_when_they_do() {
    check(&[
        ("serve EDS b 1", ""),
        ("EDS a", ""),
        ("serve EDS a 1, EDS b 1", "EDS a=1"),
    ]);
}

#[test]
fn a_rejection_is_never_answered_by_the_same_content() {
    // (14)
    check(&[
        ("serve CDS a 1", ""),
        ("CDS", "CDS a=1"),
        ("CDS nack", ""),
        ("CDS nack", ""),
        ("serve CDS a 1, EDS x 1", ""),
        ("serve CDS a 2", "CDS a=2"),
    ]);
}

#[test]
fn a_fix_that_crosses_the_rejection_goes_out_at_once() {
    // (15)
    check(&[
        ("serve EDS a bad", ""),
        ("EDS a", "EDS a=bad"),
        ("serve EDS a good", ""),
        ("EDS nack a", "EDS a=good"),
    ]);
}

#[test]
fn going_back_to_what_was_accepted_before_a_rejection_is_sent() {
    // (16)
    check(&[
        ("serve EDS a 1", ""),
        ("EDS a", "EDS a=1"),
        ("EDS ack a", ""),
        ("serve EDS a 2", "EDS a=2"),
        ("EDS nack a", ""),
        ("serve EDS a 1", "EDS a=1"),
    ]);
}

#[test]
fn an_answer_without_error_but_with_the_old_version_is_quiet() {
    // (17)
    check(&[
        ("serve EDS a 1", ""),
        ("EDS a", "EDS a=1"),
        ("EDS implicit", ""),
        ("serve EDS a 2", ""),
    ]);
}

#[test]
fn a_missing_acknowledgement_does_not_hold_up_a_type_for_ever() {
    // (18)
    check(&[
        ("serve EDS a 1, RDS r 1", ""),
        ("EDS a", "EDS a=1"),
        ("serve EDS a 2, RDS r 1", ""),
        ("wait 14", ""),
        ("wait 1", "EDS a=2"),
    ]);
}

#[test]
fn a_stale_request_changes_nothing() {
    // (19)
    check(&[
        ("serve EDS a 1, EDS b 1", ""),
        ("EDS a", "EDS a=1"),
        ("EDS ack a", ""),
        ("serve EDS a 2, EDS b 1", "EDS a=2"),
        ("EDS stale a b", ""),
        ("EDS a b", ""),
        ("EDS ack a b", "EDS b=1"),
    ]);
}

#[test]
fn names_inside_a_rejection_count() {
    // (20)
    check(&[
        ("serve EDS a 1, EDS b 1", ""),
        ("EDS a", "EDS a=1"),
        ("EDS nack a b", "EDS b=1"),
    ]);
}

#[test]
fn growing_lists_at_one_nonce_deliver_every_name_once() {
    // (21)
    check(&[
        ("serve EDS a 1, EDS b 1, EDS c 1", ""),
        ("EDS a", "EDS a=1"),
        ("EDS ack a", ""),
        ("EDS ack a b", "EDS b=1"),
        ("EDS stale a b c", ""),
        ("EDS ack a b c", "EDS c=1"),
        ("EDS ack a b c", ""),
    ]);
}

#[test]
fn a_name_that_is_subscribed_again_is_sent_again() {
    // (22, 23)
    check(&[
        ("serve EDS a 1", ""),
        ("EDS a", "EDS a=1"),
        ("EDS ack", ""),
        ("EDS ack a", "EDS a=1"),
    ]);
}

#[test]
fn no_names_after_names_mean_nothing() {
    // (24): the four steps of the specification
    check(&[
        ("serve LDS a 1, LDS b 1", ""),
        ("LDS", "LDS a=1 b=1"),
        ("LDS ack a", "LDS a=1"),
        ("LDS ack", ""),
        ("serve LDS a 2, LDS b 2", ""),
    ]);
}

#[test]
fn no_name_is_twice_in_a_response() {
    // (25)
    let mut conversation = Conversation::<StateOfTheWorld>::new(Settings::new("test"));
    let layers = [&["CDS a 1", "CDS b 1"][..], &["CDS a 2", "CDS c 1"]];
    let snapshot = Snapshot::new(1, layers.map(crate::testing::layer));
    conversation.session.update(snapshot);
    assert_eq!(conversation.step("CDS * a a"), "CDS a=1 b=1 c=1");
}

#[test]
fn a_first_request_without_names_means_nothing_for_endpoints() {
    // (27)
    check(&[
        ("serve CDS a 1, EDS a 1", ""),
        ("EDS", ""),
        ("EDS a", "EDS a=1"),
    ]);
}

#[test]
fn grpc_clients_do_not_mean_everything_by_no_names() {
    // (28)
    let mut conversation = Conversation::<StateOfTheWorld>::of(Settings::new("test"), GRPC);
    conversation.step("serve LDS a 1");
    assert_eq!(conversation.step("LDS"), "");
    assert_eq!(conversation.step("LDS a"), "LDS a=1");
}

#[test]
fn a_grpc_client_is_told_once_what_does_not_exist() {
    // (79, 80)
    let check = |steps: &[(&str, &str)]| {
        super::check_with::<StateOfTheWorld>(Settings::new("test"), GRPC, steps);
    };
    check(&[
        ("serve LDS a 1, EDS e 1", ""),
        ("LDS a x", "LDS a=1 !x"),
        ("LDS ack a x", ""),
        ("EDS e y", "EDS e=1 !y"),
        ("EDS ack e y", ""),
        ("serve LDS a 1, EDS e 2", "EDS e=2"),
        ("EDS ack e y", ""),
        (
            "serve LDS a 1, LDS ~x 1, EDS e 2, EDS y 1",
            "EDS y=1; LDS a=1 x=1",
        ),
        ("EDS ack e y z", "EDS !z"),
    ]);
    // Of names that are made when they are asked for, too.
    check(&[
        ("serve LDS s/%s 1", ""),
        ("LDS s/x t/x", "LDS s/x=1 !t/x"),
        ("LDS ack s/x t/x", ""),
        ("LDS ack s/x", ""),
    ]);
    // What is not known yet may exist.
    check(&[("partly LDS a 1", ""), ("LDS x", "LDS")]);
}

#[test]
fn leaving_the_wildcard_for_a_name_is_answered() {
    // (29)
    check(&[
        ("serve CDS a 1, CDS b 1", ""),
        ("CDS * a", "CDS a=1 b=1"),
        ("CDS ack a", "CDS a=1"),
        ("CDS ack a", ""),
        ("serve CDS a 1, CDS b 2", ""),
        ("CDS ack * a", "CDS a=1 b=2"),
    ]);
}

#[test]
fn a_reconnecting_client_that_holds_the_current_wildcard_set_is_not_answered() {
    // (35, 36)
    check(&[
        ("serve CDS a 1, CDS b 1", ""),
        ("CDS @a=1,b=1", ""),
        ("serve CDS a 1, CDS b 2", "CDS a=1 b=2"),
    ]);
    check(&[("serve CDS a 1, CDS b 1", ""), ("CDS @a=1", "CDS a=1 b=1")]);
}

#[test]
fn a_reconnecting_client_is_left_with_what_it_has_while_something_is_lacking() {
    check(&[
        ("partly CDS a 1, LDS l 1, RDS r 1, EDS a 1", ""),
        ("CDS @a=1,b=1", ""),
        ("LDS @l=1,m=1", ""),
        ("RDS r", ""),
        ("EDS a", "EDS a=1"),
        ("EDS ack a", ""),
        ("wait 100", ""),
        (
            "serve CDS a 1, LDS l 1, RDS r 1, EDS a 1",
            "CDS a=1; EDS a=1",
        ),
        ("CDS ack", "LDS l=1; RDS r=1"),
    ]);
    check(&[
        ("partly CDS a 1, LDS l 1", ""),
        ("CDS @a=1", ""),
        ("LDS", "LDS l=1"),
    ]);
}

#[test]
fn a_new_client_is_served_although_something_is_lacking() {
    check(&[("partly CDS a 1", ""), ("CDS", "CDS a=1")]);
}

#[test]
fn a_reconnecting_client_always_gets_its_endpoints() {
    // (36)
    check(&[("serve EDS a 1", ""), ("EDS @a=1 a", "EDS a=1")]);
}

#[test]
fn a_first_request_may_bring_the_nonce_of_another_stream() {
    // (11, 35)
    let mut conversation = Conversation::<StateOfTheWorld>::new(Settings::new("test"));
    conversation.step("serve CDS a 1");
    conversation
        .seen
        .insert("CDS".to_owned(), vec![("v".to_owned(), 77)]);
    assert_eq!(conversation.step("CDS ack"), "CDS a=1");
}

#[test]
fn endpoints_that_vanish_are_not_spoken_of() {
    // (50)
    check(&[
        ("serve CDS a 1, EDS a 1", ""),
        ("EDS a", "EDS a=1"),
        ("EDS ack a", ""),
        ("serve CDS a 1", ""),
        ("serve CDS a 1, EDS a 1", "EDS a=1"),
    ]);
}

#[test]
fn a_slow_client_gets_the_newest_state_and_nothing_in_between() {
    // (89)
    check(&[
        ("serve EDS a 1", ""),
        ("EDS a", "EDS a=1"),
        ("serve EDS a 2", ""),
        ("serve EDS a 3", ""),
        ("EDS ack a", "EDS a=3"),
    ]);
}

#[test]
fn a_type_that_nobody_serves_is_met_with_silence() {
    // (4)
    check(&[
        ("serve CDS a 1", ""),
        ("foo.Bar x", ""),
        ("CDS", "CDS a=1"),
        ("foo.Bar", ""),
    ]);
}

#[test]
fn large_responses_are_split_only_where_nothing_is_deleted_by_absence() {
    // (94)
    let settings = || Settings {
        response_bytes_max: 1,
        ..Settings::new("test")
    };
    super::check_with::<StateOfTheWorld>(
        settings(),
        Client::PLAIN,
        &[
            ("serve CDS a 1, CDS b 1, EDS a 1, EDS b 1", ""),
            ("CDS", "CDS a=1 b=1"),
            ("EDS a b", "EDS a=1; EDS b=1"),
            ("EDS ack a b", ""),
        ],
    );
}
