//! What names stand for: resources on demand, virtual hosts, collections. Numbers in brackets are those of the protocol checklist.

use super::{super::made::MADE_MAX, *};

#[test]
fn what_is_on_demand_is_not_part_of_a_wildcard() {
    // (77)
    check::<Delta>(&[
        ("serve CDS a 1, CDS ~x 1", ""),
        ("CDS", "CDS a=1"),
        ("CDS ack", ""),
        ("serve CDS a 1, CDS ~x 2", ""),
        ("serve CDS a 1", ""),
    ]);
    check::<StateOfTheWorld>(&[
        ("serve CDS a 1, CDS ~x 1", ""),
        ("CDS", "CDS a=1"),
        ("CDS ack", ""),
        ("serve CDS a 1, CDS ~x 2", ""),
    ]);
}

#[test]
fn a_cluster_on_demand_comes_beside_the_wildcard_and_follows_changes() {
    // (29, 77)
    check::<Delta>(&[
        ("serve CDS a 1, CDS ~x 1", ""),
        ("CDS", "CDS a=1"),
        ("CDS ack +x +y", "CDS x=1 -y"),
        ("CDS ack", ""),
        ("serve CDS a 1, CDS ~x 2, CDS ~y 1", "CDS x=2 y=1"),
        ("CDS ack -x", "CDS -x"),
        ("CDS ack", ""),
        ("serve CDS a 1, CDS ~x 3, CDS ~y 1", ""),
        ("serve CDS a 1", "CDS -y"),
    ]);
    check::<StateOfTheWorld>(&[
        ("serve LDS a 1, LDS ~x 1", ""),
        ("LDS * x", "LDS a=1 x=1"),
        ("LDS ack * x", ""),
        ("serve LDS a 1, LDS ~x 2", "LDS a=1 x=2"),
        ("LDS ack x", "LDS x=2"),
    ]);
}

#[test]
fn what_is_made_by_name_is_there_for_whoever_asks_and_no_part_of_a_wildcard() {
    // (83)
    check::<StateOfTheWorld>(&[
        ("serve LDS a 1, LDS s/%s 1", ""),
        ("LDS a s/x t", "LDS a=1 s/x=1"),
        ("LDS ack a s/x s/y", "LDS a=1 s/x=1 s/y=1"),
        ("LDS ack a s/y", ""),
        // The same, made anew.
        ("serve LDS a 1, LDS s/%s 1", ""),
        ("serve LDS a 1, LDS s/%s 2", "LDS a=1 s/y=2"),
        ("LDS ack a s/y", ""),
        ("serve LDS a 1", "LDS a=1"),
        ("LDS ack a s/y", ""),
        ("serve LDS a 1, LDS s/%s 2", "LDS a=1 s/y=2"),
    ]);
    check::<Delta>(&[
        ("serve LDS a 1, LDS s/%s 1", ""),
        ("LDS", "LDS a=1"),
        ("LDS ack +s/x +t", "LDS s/x=1 -t"),
        ("LDS ack +s/y -s/x", "LDS s/y=1 -s/x"),
        ("LDS ack", ""),
        ("serve LDS a 1, LDS s/%s 1", ""),
        ("serve LDS a 1, LDS s/%s 2", "LDS s/y=2"),
        ("LDS ack", ""),
        ("serve LDS a 1", "LDS -s/y"),
    ]);
}

#[test]
fn no_stream_is_made_more_than_it_can_need() {
    let mut conversation = Conversation::<StateOfTheWorld>::new(Settings::new("test"));
    conversation.step("serve LDS s/%s 1");
    let names: Vec<String> = (0..=MADE_MAX).map(|number| format!("s/{number}")).collect();
    let answer = conversation.step(&format!("LDS {}", names.join(" ")));
    assert_eq!(answer.matches("=1").count(), MADE_MAX);
    // What is asked for no more makes room.
    let answer = conversation.step("LDS ack s/new");
    assert_eq!(answer, "LDS s/new=1");
}

#[test]
fn what_was_made_before_a_reconnect_is_known_again() {
    // (83)
    check::<Delta>(&[
        ("serve LDS s/%s 1", ""),
        ("LDS +s/x +s/y @s/x=1 @s/y=0", "LDS s/y=1"),
    ]);
}

#[test]
fn what_is_made_waits_for_clusters_like_what_is_there() {
    // (83)
    check::<StateOfTheWorld>(&[
        ("serve CDS a 1, LDS s/%s 1", ""),
        ("CDS a", "CDS a=1"),
        ("LDS s/x", ""),
        ("CDS ack a", "LDS s/x=1"),
        ("LDS ack s/x s/y", "LDS s/x=1 s/y=1"),
    ]);
}

#[test]
fn on_demand_clusters_without_a_wildcard_are_answered_also_when_there_is_nothing() {
    // (52, 77)
    check::<Delta>(&[
        ("serve CDS a 1", ""),
        ("CDS +x", "CDS -x"),
        ("CDS ack", ""),
        ("serve CDS a 1, CDS ~x 1", "CDS x=1"),
    ]);
}

#[test]
fn what_moves_between_on_demand_and_everybody_is_told_to_those_whom_it_concerns() {
    check::<Delta>(&[
        ("serve LDS a 1, LDS ~x 1", ""),
        ("LDS", "LDS a=1"),
        ("LDS ack", ""),
        ("serve LDS a 1, LDS x 1", "LDS x=1"),
        ("LDS ack", ""),
        ("serve LDS a 1, LDS ~x 1", "LDS -x"),
    ]);
    check::<Delta>(&[
        ("serve LDS ~x 1", ""),
        ("LDS +x", "LDS x=1"),
        ("LDS ack", ""),
        ("serve LDS x 1", ""),
    ]);
}

#[test]
fn a_set_with_on_demand_resources_has_another_version_for_those_who_name_them() {
    let versions = |subscribe: &str, serve: [&str; 2]| {
        let mut conversation = Conversation::<StateOfTheWorld>::new(Settings::new("test"));
        conversation.step(serve[0]);
        conversation.step(subscribe);
        conversation.step(&subscribe.replace("LDS", "LDS ack"));
        conversation.step(serve[1]);
        let seen = conversation.seen["LDS"].clone();
        seen.into_iter()
            .map(|(version, _)| version)
            .collect::<Vec<_>>()
    };
    let named = versions("LDS x", ["serve LDS ~x 1", "serve LDS ~x 2"]);
    assert_eq!(named.len(), 2);
    assert_ne!(named[0], named[1]);
}

#[test]
fn virtual_hosts_come_one_by_one_and_only_in_delta() {
    // (1, 76)
    check::<Delta>(&[
        ("serve RDS r 1, VHDS r/a 1, VHDS r/b 1, VHDS ~r/c 1", ""),
        ("RDS +r", "RDS r=1"),
        ("RDS ack", ""),
        ("VHDS", "VHDS r/a=1 r/b=1"),
        ("VHDS ack", ""),
        (
            "serve RDS r 1, VHDS r/a 1, VHDS r/b 2, VHDS r/d 1, VHDS ~r/c 1",
            "VHDS r/b=2 r/d=1",
        ),
        ("VHDS ack", ""),
        ("serve RDS r 1, VHDS r/a 1, VHDS r/b 2", "VHDS -r/d"),
    ]);
    check::<StateOfTheWorld>(&[("serve VHDS r/a 1", ""), ("VHDS r/a", ""), ("VHDS", "")]);
}

#[test]
fn the_name_of_a_route_configuration_subscribes_to_its_virtual_hosts() {
    // (76)
    check::<Delta>(&[
        ("serve VHDS r/a 1, VHDS s/a 1, VHDS r/x/a 1", ""),
        ("VHDS +r", "VHDS r/a=1"),
        ("VHDS ack", ""),
        (
            "serve VHDS r/b 1, VHDS s/a 2, VHDS r/x/a 2",
            "VHDS r/b=1 -r/a",
        ),
        ("VHDS ack -r", ""),
        ("serve VHDS r/b 2", ""),
    ]);
}

#[test]
fn a_virtual_host_on_demand_is_found_by_its_alias() {
    // (71, 76)
    let mut conversation = Conversation::<Delta>::new(Settings::new("test"));
    conversation.step("serve VHDS r/a 1, VHDS ~r/cart 1 r/cart.shop r/cart:80");
    assert_eq!(conversation.step("VHDS"), "VHDS r/a=1");
    assert_eq!(
        conversation.step("VHDS ack +r/cart.shop +r/cart:80 +r/cart"),
        "VHDS r/cart=1"
    );
    assert_eq!(conversation.step("VHDS ack"), "");
    assert_eq!(
        conversation.step("serve VHDS r/a 1, VHDS ~r/cart 2 r/cart.shop r/cart:80"),
        "VHDS r/cart=2"
    );
    assert_eq!(conversation.step("VHDS ack -r/cart"), "VHDS r/cart=2");
    assert_eq!(conversation.step("VHDS ack"), "");
    assert_eq!(conversation.step("serve VHDS r/a 1"), "VHDS -r/cart");
}

#[test]
fn an_unknown_virtual_host_is_a_resource_without_content() {
    // (76)
    check::<Delta>(&[
        ("serve VHDS r/a 1", ""),
        ("VHDS +r/x", "VHDS ?r/x"),
        ("VHDS ack", ""),
        ("serve VHDS r/a 1, VHDS ~r/y 1 r/x", "VHDS r/y=1"),
    ]);
    // A client that reconnects knows already.
    let mut conversation = Conversation::<Delta>::new(Settings::new("test"));
    conversation.step("serve VHDS r/a 1");
    let (header, interest) = Delta::parse(DeltaRequest::from(DeltaDiscoveryRequest {
        type_url: ResourceType::VIRTUAL_HOST.url().to_owned(),
        resource_names_subscribe: vec!["r/x".to_owned(), "r/z".to_owned()],
        initial_resource_versions: BTreeMap::from([
            ("r/x".to_owned(), Version::EMPTY.to_string()),
            ("r/z".to_owned(), "old".to_owned()),
        ]),
        ..DeltaDiscoveryRequest::default()
    }))
    .unwrap();
    let now = conversation.now;
    conversation.session.receive(header, interest, now).unwrap();
    assert_eq!(conversation.answers(), "VHDS ?r/z");
}

#[test]
fn virtual_hosts_are_sent_again_behind_their_route_configuration() {
    // (76)
    check::<Delta>(&[
        (
            "serve RDS r 1, RDS s 1, VHDS r/a 1, VHDS s/a 1, VHDS ~r/c 1 r/x",
            "",
        ),
        ("RDS +r +s", "RDS r=1 s=1"),
        ("RDS ack", ""),
        ("VHDS", "VHDS r/a=1 s/a=1"),
        ("VHDS ack +r/x", "VHDS r/c=1"),
        ("VHDS ack", ""),
        (
            "serve RDS r 2, RDS s 1, VHDS r/a 1, VHDS s/a 1, VHDS ~r/c 1 r/x",
            "RDS r=2; VHDS r/a=1 r/c=1",
        ),
        ("VHDS ack", ""),
        ("RDS ack", ""),
    ]);
    // Also when the client comes to say that it holds them, and the route configuration was sent before.
    check::<Delta>(&[
        ("serve RDS r 2, VHDS r/a 1", ""),
        ("RDS +r @r=1", "RDS r=2"),
        ("VHDS @r/a=1/2", "VHDS r/a=1"),
    ]);
    check::<Delta>(&[
        ("serve RDS r 2, VHDS r/a 1, VHDS r/b 1", ""),
        ("RDS +r @r=2", ""),
        ("VHDS @r/a=1/2 @r/b=1/1", "VHDS r/b=1"),
    ]);
}

#[test]
fn virtual_hosts_have_no_heartbeats() {
    // (68)
    check::<Delta>(&[
        ("serve VHDS r/a 1!10", ""),
        ("VHDS", "VHDS r/a=1"),
        ("VHDS ack", ""),
        ("wait 60", ""),
    ]);
}

#[test]
fn virtual_hosts_wait_for_clusters_like_routes() {
    // (59, 61)
    check::<Delta>(&[
        ("serve CDS a 1, RDS r 1, VHDS r/a a", ""),
        ("CDS", "CDS a=1"),
        ("CDS ack", ""),
        ("RDS +r", "RDS r=1"),
        ("RDS ack", ""),
        ("VHDS", "VHDS r/a=a"),
        ("VHDS ack", ""),
        ("serve CDS b 1, RDS r 1, VHDS r/a b", "CDS b=1"),
        ("CDS ack", "VHDS r/a=b"),
        ("VHDS ack", "CDS -a"),
    ]);
}

#[test]
fn an_xdstp_name_is_one_name_however_it_is_spelled() {
    // (72)
    check::<Delta>(&[
        ("serve CDS ~xdstp://a/t/x?a=1&b=2 1", ""),
        ("CDS +xdstp://a/t/x?b=2&a=1", "CDS xdstp://a/t/x?a=1&b=2=1"),
        ("CDS ack -xdstp://a/t/x?a=1&b=2", ""),
        ("serve CDS ~xdstp://a/t/x?b=2&a=1 2", ""),
    ]);
}

#[test]
fn a_collection_has_the_members_of_its_directory_only() {
    // (73)
    check::<Delta>(&[
        (
            "serve CDS ~xdstp://a/t/d/b 1, CDS ~xdstp://a/t/d/e/b 1, CDS ~xdstp://a/t/d/c?k=v 1",
            "",
        ),
        ("CDS +xdstp://a/t/d/*", "CDS xdstp://a/t/d/b=1"),
        ("CDS ack +xdstp://a/t/d/*?k=v", "CDS xdstp://a/t/d/c?k=v=1"),
        ("CDS ack +xdstp://a/t/f/*", "CDS -xdstp://a/t/f/*"),
        ("CDS ack", ""),
        (
            "serve CDS ~xdstp://a/t/d/b 2, CDS ~xdstp://a/t/f/b 1, CDS ~xdstp://a/t/d/e/b 2",
            "CDS xdstp://a/t/d/b=2 xdstp://a/t/f/b=1 -xdstp://a/t/d/c?k=v",
        ),
        ("CDS ack -xdstp://a/t/d/*", ""),
        (
            "serve CDS ~xdstp://a/t/d/b 3, CDS ~xdstp://a/t/f/b 2",
            "CDS xdstp://a/t/f/b=2",
        ),
    ]);
    check::<StateOfTheWorld>(&[
        (
            "serve LDS l 1, LDS ~xdstp://a/t/d/b 1, LDS ~xdstp://a/t/d/e/b 1",
            "",
        ),
        ("LDS * xdstp://a/t/d/*", "LDS l=1 xdstp://a/t/d/b=1"),
        ("LDS ack xdstp://a/t/d/*", "LDS xdstp://a/t/d/b=1"),
    ]);
}

#[test]
fn scopes_come_with_the_first_request_and_before_their_routes() {
    // (27, 59, 78)
    check::<Delta>(&[
        ("serve SRDS s 1, RDS r 1", ""),
        ("SRDS", "SRDS s=1"),
        ("RDS +r", "RDS r=1"),
        ("SRDS ack", ""),
        ("RDS ack", ""),
        ("serve SRDS s 2, RDS r 2", "SRDS s=2; RDS r=2"),
    ]);
    check::<StateOfTheWorld>(&[
        ("serve SRDS s 1, SRDS t 1", ""),
        ("SRDS", "SRDS s=1 t=1"),
        ("SRDS ack", ""),
        ("serve SRDS s 1", "SRDS s=1"),
    ]);
}

#[test]
fn runtime_secrets_and_extensions_come_by_name() {
    // (27, 78)
    for short_name in ["RTDS", "SDS", "ECDS"] {
        let serve = format!("serve {short_name} a 1, {short_name} b 1");
        let answer = format!("{short_name} a=1");
        check::<Delta>(&[
            (&serve, ""),
            (short_name, ""),
            (&format!("{short_name} +a"), &answer),
        ]);
        check::<StateOfTheWorld>(&[
            (&serve, ""),
            (short_name, ""),
            (&format!("{short_name} a"), &answer),
        ]);
    }
}

#[test]
fn what_others_refer_to_is_sent_before_them() {
    // (59)
    let types = ["RTDS", "SDS", "ECDS", "CDS", "EDS", "LDS", "SRDS", "RDS"];
    let mut conversation = Conversation::<Delta>::new(Settings::new("test"));
    let all = |content: &str| {
        let resources = types.iter().map(|name| format!("{name} a {content}"));
        format!("serve {}", resources.collect::<Vec<_>>().join(", "))
    };
    conversation.step(&all("1"));
    for name in types {
        conversation.step(&format!("{name} +a"));
        conversation.step(&format!("{name} ack"));
    }
    let expected: Vec<String> = types.iter().map(|name| format!("{name} a=2")).collect();
    assert_eq!(conversation.step(&all("2")), expected.join("; "));
}

#[test]
fn an_extension_that_may_be_in_use_is_never_taken_away() {
    // (53)
    check::<Delta>(&[
        ("serve ECDS a 1", ""),
        ("ECDS +a +x", "ECDS a=1 -x"),
        ("ECDS ack", ""),
        ("serve", ""),
        ("wait 60", ""),
        ("serve ECDS a 1", "ECDS a=1"),
    ]);
    check::<Delta>(&[("serve", ""), ("ECDS +a @a=1", ""), ("wait 60", "")]);
}
