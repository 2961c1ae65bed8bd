//! Order, gates and removals. Numbers in brackets are those of the protocol checklist.

use super::*;

/// Continues a conversation with a client that has cluster `x` behind route `r`, all acknowledged.
///
/// `+x` is a name in both variants: state of the world has no signs.
fn check<P: Speaks>(steps: &[(&str, &str)]) {
    let acknowledged: [(&str, &str); 9] = [
        ("serve CDS x 1, EDS x 1, LDS l 1, RDS r x", ""),
        ("CDS", "CDS x=1"),
        ("EDS +x", "EDS x=1"),
        // New clusters are not acknowledged yet.
        ("LDS", ""),
        ("EDS ack +x", ""),
        ("CDS ack", "LDS l=1"),
        ("LDS ack", ""),
        ("RDS +r", "RDS r=x"),
        ("RDS ack +r", ""),
    ];
    let steps: Vec<(String, &str)> = acknowledged
        .iter()
        .chain(steps)
        .map(|(step, expected)| match P::VARIANT {
            Variant::StateOfTheWorld => (step.replace('+', ""), *expected),
            // An acknowledgement does not repeat names.
            Variant::Delta if step.contains(" ack +x") || step.contains(" ack +r") => {
                (step.replace(" +x", "").replace(" +r", ""), *expected)
            }
            Variant::Delta => ((*step).to_owned(), *expected),
        })
        .collect();
    let steps: Vec<(&str, &str)> = steps
        .iter()
        .map(|(step, expected)| (&**step, *expected))
        .collect();
    super::check::<P>(&steps);
}

#[test]
fn delta_swaps_a_cluster_without_a_gap() {
    // (59, 60, 61)
    check::<Delta>(&[
        ("serve CDS y 1, EDS y 1, LDS l 1, RDS r y", "CDS y=1"),
        ("EDS +y", "EDS y=1"),
        ("EDS ack", ""),
        ("CDS ack", "RDS r=y"),
        ("RDS ack", "CDS -x; EDS -x"),
        ("CDS ack", ""),
        ("EDS ack -x", ""),
    ]);
}

#[test]
fn state_of_the_world_swaps_a_cluster_without_a_gap() {
    // (59, 60, 61)
    check::<StateOfTheWorld>(&[
        ("serve CDS y 1, EDS y 1, LDS l 1, RDS r y", "CDS x=1 y=1"),
        ("EDS ack +x +y", "EDS y=1"),
        ("EDS ack +x +y", ""),
        ("CDS ack", "RDS r=y"),
        ("RDS ack +r", "CDS y=1"),
        ("CDS ack", ""),
        ("EDS ack +y", ""),
    ]);
}

#[test]
fn an_update_of_all_types_goes_out_in_order() {
    // (59)
    let update = "serve CDS x 2, EDS x 2, LDS l 2, RDS r x2";
    let answer = "CDS x=2; EDS x=2; LDS l=2; RDS r=x2";
    check::<Delta>(&[(update, answer)]);
    check::<StateOfTheWorld>(&[(update, answer)]);
}

#[test]
fn a_changed_listener_needs_no_routes() {
    // (63)
    check::<Delta>(&[("serve CDS x 1, EDS x 1, LDS l 2, RDS r x", "LDS l=2")]);
    check::<StateOfTheWorld>(&[("serve CDS x 1, EDS x 1, LDS l 2, RDS r x", "LDS l=2")]);
}

#[test]
fn routes_wait_for_new_clusters_no_longer_than_the_limit() {
    // (61)
    let update = "serve CDS x 1, CDS y 1, EDS x 1, LDS l 1, RDS r y";
    let later = [("wait 4", ""), ("wait 1", "RDS r=y")];
    check::<Delta>(&[(update, "CDS y=1"), later[0], later[1]]);
    check::<StateOfTheWorld>(&[(update, "CDS x=1 y=1"), later[0], later[1]]);
}

#[test]
fn removals_wait_for_routes_no_longer_than_the_limit() {
    // (60)
    let removal = "serve LDS l 1, RDS r y";
    check::<Delta>(&[
        (removal, "RDS r=y"),
        ("wait 4", ""),
        ("wait 1", "CDS -x; EDS -x"),
    ]);
    check::<StateOfTheWorld>(&[(removal, "RDS r=y"), ("wait 4", ""), ("wait 1", "CDS")]);
}

#[test]
fn removals_leave_within_the_limit_under_endless_change() {
    // (60)
    check::<Delta>(&[
        ("serve LDS l 1, RDS r 1", "RDS r=1"),
        ("wait 2", ""),
        ("serve LDS l 1, RDS r 2", ""),
        ("wait 2", ""),
        ("serve LDS l 1, RDS r 3", ""),
        ("wait 1", "CDS -x; EDS -x"),
    ]);
}

#[test]
fn a_removal_that_no_route_waits_for_goes_out_at_once() {
    check::<Delta>(&[("serve LDS l 1, RDS r x", "CDS -x; EDS -x")]);
    check::<StateOfTheWorld>(&[("serve LDS l 1, RDS r x", "CDS")]);
}

#[test]
fn a_cluster_that_returns_before_its_removal_was_told_is_not_sent_again() {
    check::<Delta>(&[
        ("serve LDS l 1, RDS r y", "RDS r=y"),
        ("serve CDS x 1, EDS x 1, LDS l 1, RDS r y", ""),
        ("RDS ack", ""),
        ("wait 5", ""),
    ]);
}

#[test]
fn a_cluster_that_returns_changed_is_sent() {
    check::<Delta>(&[
        ("serve LDS l 1, RDS r y", "RDS r=y"),
        (
            "serve CDS x 2, EDS x 1, LDS l 1, RDS r y",
            "CDS x=2; EDS x=1",
        ),
        ("RDS ack", ""),
        ("wait 5", ""),
    ]);
}

#[test]
fn routes_are_served_from_acknowledged_clusters_while_newer_ones_wait() {
    // (64)
    check::<Delta>(&[
        (
            "serve CDS x 1, CDS y 1, EDS x 1, LDS l 1, RDS r y",
            "CDS y=1",
        ),
        (
            "serve CDS x 1, CDS y 1, CDS z 1, EDS x 1, LDS l 1, RDS r z",
            "",
        ),
        // What is sent now has y, but z is not ready.
        ("CDS ack", "CDS z=1; RDS r=y"),
        ("RDS ack", ""),
        ("CDS ack", "RDS r=z"),
    ]);
}

#[test]
fn a_stage_whose_clusters_were_skipped_is_never_served_to_routes() {
    check::<Delta>(&[
        (
            "serve CDS x 1, CDS y 1, EDS x 1, LDS l 1, RDS r y",
            "CDS y=1",
        ),
        ("serve CDS x 1, CDS z 1, EDS x 1, LDS l 1, RDS r z", ""),
        ("serve CDS x 1, CDS w 1, EDS x 1, LDS l 1, RDS r x", ""),
        ("CDS ack", "CDS w=1; RDS r=y"),
        ("RDS ack", ""),
        ("CDS ack", "RDS r=x"),
        ("RDS ack", "CDS -y"),
    ]);
}

#[test]
fn routes_that_are_ahead_of_their_listeners_release_nothing() {
    check::<StateOfTheWorld>(&[
        (
            "serve CDS x 1, EDS x 1, LDS l 2, RDS r x2",
            "LDS l=2; RDS r=x2",
        ),
        ("serve CDS y 1, LDS l 2, RDS r y", "CDS x=1 y=1"),
        ("CDS ack", ""),
        // The client never gets `RDS r y`: its listener still leads to x.
        ("serve CDS y 1", ""),
        ("RDS ack +r", ""),
        ("LDS ack", "LDS"),
        ("LDS ack", "CDS y=1"),
    ]);
}

#[test]
fn endpoints_of_a_cluster_that_is_gone_meanwhile_are_answered_so_that_it_becomes_warm() {
    let update = "serve CDS x 1, CDS y 1, EDS x 1, EDS y 1, LDS l 1, RDS r x";
    let gone = ("serve CDS x 1, EDS x 1, LDS l 1, RDS r x", "");
    check::<Delta>(&[(update, "CDS y=1"), gone, ("EDS +y", "EDS y=1")]);
    check::<StateOfTheWorld>(&[(update, "CDS x=1 y=1"), gone, ("EDS ack +x +y", "EDS y=1")]);
}

#[test]
fn a_route_that_comes_with_its_clusters_is_not_denied_meanwhile() {
    check::<Delta>(&[
        (
            "serve CDS x 1, CDS y 1, EDS x 1, LDS l 1, RDS r x, RDS s y",
            "CDS y=1",
        ),
        ("RDS +s +t", "RDS -t"),
        ("RDS ack", ""),
        ("CDS ack", "RDS s=y"),
    ]);
}

#[test]
fn a_rejected_cluster_does_not_hold_up_what_is_beside_it() {
    check::<Delta>(&[
        (
            "serve CDS x 1, CDS a bad, EDS x 1, LDS l 1, RDS r x2",
            "CDS a=bad",
        ),
        ("CDS nack", "RDS r=x2"),
    ]);
}

#[test]
fn what_a_reconnecting_client_holds_in_vain_goes_after_its_routes_were_replaced() {
    // (40, 60)
    super::check::<Delta>(&[
        ("serve CDS y 1, LDS l 1, RDS r y", ""),
        ("CDS @x=1 @y=1", "CDS"),
        ("LDS @l=1", "LDS"),
        ("RDS +r @r=x", "RDS r=y"),
        ("CDS ack", ""),
        ("LDS ack", ""),
        ("RDS ack", "CDS -x"),
    ]);
}

#[test]
fn a_stream_of_clusters_alone_is_told_of_removals_at_once() {
    super::check::<Delta>(&[
        ("serve CDS x 1", ""),
        ("CDS", "CDS x=1"),
        ("CDS ack", ""),
        ("serve", "CDS -x"),
    ]);
}
