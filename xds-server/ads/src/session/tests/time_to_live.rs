//! Resources that clients keep for a time only. Numbers in brackets are those of the protocol checklist.

use super::*;

const AWARE: Client = Client {
    has_wrapped_ttl: true,
    ..Client::PLAIN
};

/// Lets seconds pass one by one and says at which of them something was said, and what.
fn said<P: Speaks>(conversation: &mut Conversation<P>, seconds: u32) -> Vec<(u32, String)> {
    (1..=seconds)
        .map(|second| (second, conversation.step("wait 1")))
        .filter(|(_, answer)| !answer.is_empty())
        .collect()
}

#[test]
fn a_heartbeat_comes_twice_within_the_time_to_live() {
    // (66, 67)
    let mut conversation = Conversation::<Delta>::new(Settings::new("test"));
    conversation.step("serve RTDS a 1!100, RTDS b 1, RTDS c 1!500");
    conversation.step("RTDS +a +b +c");
    conversation.step("RTDS ack");
    let said = said(&mut conversation, 100);
    assert!(said.len() >= 2, "{said:?}");
    assert!(said[0].0 < 50, "{said:?}");
    for (_, answer) in said {
        assert_eq!(answer, "RTDS ~a ~c");
    }
}

#[test]
fn a_heartbeat_has_the_version_that_was_sent_and_its_acknowledgement_says_nothing() {
    // (67)
    for client in [AWARE, Client::PLAIN] {
        let mut conversation = Conversation::<Delta>::of(Settings::new("test"), client);
        conversation.step("serve EDS a 1!10, CDS a 1");
        conversation.step("CDS");
        conversation.step("CDS ack");
        let (header, interest) = Delta::parse(DeltaRequest::from(DeltaDiscoveryRequest {
            type_url: ResourceType::ENDPOINT.url().to_owned(),
            resource_names_subscribe: vec!["a".to_owned()],
            ..DeltaDiscoveryRequest::default()
        }))
        .unwrap();
        let now = conversation.now;
        conversation.session.receive(header, interest, now).unwrap();
        let sent = conversation.session.next(now).unwrap();
        let later = now + Duration::from_secs(5);
        let heartbeat = conversation.session.next(later).unwrap();
        let entry = &heartbeat.extra.as_ref().unwrap().heartbeats[0];
        assert_eq!(entry.1, sent.resources[0].1);
        assert!(conversation.session.next(later).is_none());
    }
}

#[test]
fn acknowledgements_of_heartbeats_change_nothing() {
    // (67)
    let mut conversation = Conversation::<StateOfTheWorld>::of(Settings::new("test"), AWARE);
    conversation.step("serve RTDS a 1!10");
    assert_eq!(conversation.step("RTDS a"), "RTDS a=1");
    // The response itself is acknowledged only with the heartbeat's nonce.
    assert_eq!(conversation.step("wait 5"), "RTDS ~a");
    let versions = &conversation.seen["RTDS"];
    assert_eq!(versions[0].0, versions[1].0);
    assert_eq!(conversation.step("RTDS ack a"), "");
    assert!(matches!(
        conversation.received.pop(),
        Some(Ok(Received::Current(Current {
            verdict: Some(Verdict::Acknowledged { .. }),
            ..
        })))
    ));
    assert_eq!(conversation.step("wait 5"), "RTDS ~a");
    assert_eq!(conversation.step("RTDS ack a"), "");
    assert!(matches!(
        conversation.received.pop(),
        Some(Ok(Received::Current(Current {
            verdict: None,
            has_stale_nonce: false,
            ..
        })))
    ));
    assert_eq!(conversation.step("serve RTDS a 2!10"), "RTDS a=2");
}

#[test]
fn state_of_the_world_tells_times_only_to_those_who_understand_them() {
    // (8, 66, 69)
    let steps = [("serve RTDS a 1!10", ""), ("RTDS a", "RTDS a=1")];
    let mut conversation = Conversation::<StateOfTheWorld>::of(Settings::new("test"), AWARE);
    conversation
        .session
        .update(snapshot_of(1, &["RTDS a 1!10"]));
    conversation.request("RTDS", "a");
    let response = conversation.session.next(conversation.now).unwrap();
    assert!(response.extra.unwrap().wraps);

    let mut conversation = Conversation::<StateOfTheWorld>::new(Settings::new("test"));
    for (step, expected) in steps {
        assert_eq!(conversation.step(step), expected);
    }
    conversation.step("RTDS ack a");
    assert_eq!(said(&mut conversation, 30), []);
}

#[test]
fn a_set_of_all_that_there_is_is_refreshed_as_a_whole() {
    // (48, 66)
    super::check_with::<StateOfTheWorld>(
        Settings::new("test"),
        AWARE,
        &[
            ("serve LDS a 1!10, LDS b 1", ""),
            ("LDS", "LDS a=1 b=1"),
            ("LDS ack", ""),
            ("wait 5", "LDS a=1 b=1"),
            ("LDS ack", ""),
            ("wait 5", "LDS a=1 b=1"),
        ],
    );
}

#[test]
fn a_reconnecting_client_that_may_have_dropped_something_is_sent_everything() {
    // (36, 66)
    let script: [(&str, &str); 4] = [
        ("serve LDS a 1!10, LDS b 1", ""),
        ("LDS @a=1!10,b=1", "LDS a=1 b=1"),
        ("LDS ack", ""),
        ("wait 5", "LDS a=1 b=1"),
    ];
    super::check_with::<StateOfTheWorld>(Settings::new("test"), AWARE, &script);
    let unaware = &[script[0], ("LDS @a=1!10,b=1", "")];
    super::check_with::<StateOfTheWorld>(Settings::new("test"), Client::PLAIN, unaware);
}

#[test]
fn what_a_reconnecting_client_may_be_about_to_drop_is_sent_and_kept_by_heartbeats() {
    // (40, 66)
    let mut conversation = Conversation::<Delta>::new(Settings::new("test"));
    conversation.step("serve RTDS a 1!10, RTDS b 1");
    let step = "RTDS +a +b @a=1!10 @b=1";
    assert_eq!(conversation.step(step), "RTDS a=1");
    conversation.step("RTDS ack");
    let said = said(&mut conversation, 10);
    assert!(said.len() >= 2, "{said:?}");
    for (_, answer) in said {
        assert_eq!(answer, "RTDS ~a");
    }
}

#[test]
fn what_a_client_may_have_dropped_during_a_stall_is_sent_again() {
    // (67)
    let mut conversation = Conversation::<Delta>::new(Settings::new("test"));
    conversation.step("serve RTDS a 1!10, RTDS b 1, RTDS c 1!500");
    conversation.step("RTDS +a +b +c");
    conversation.step("RTDS ack");
    assert_eq!(conversation.step("wait 11"), "RTDS ~c; RTDS a=1");
    conversation.step("RTDS ack");
    assert_eq!(conversation.step("wait 5"), "RTDS ~a ~c");

    for resource_type in ["RTDS", "LDS"] {
        let mut conversation = Conversation::<StateOfTheWorld>::of(Settings::new("test"), AWARE);
        let mut step = |text: &str| conversation.step(&text.replace("TYPE", resource_type));
        let content = format!("{resource_type} a=1");
        step("serve TYPE a 1!10");
        assert_eq!(step("TYPE a"), content);
        step("TYPE ack a");
        assert_eq!(step("wait 11"), content);
    }
}

#[test]
fn a_shorter_time_is_kept_beside_a_longer_one() {
    // (67)
    let mut conversation = Conversation::<Delta>::new(Settings::new("test"));
    conversation.step("serve RTDS a 1!500");
    conversation.step("RTDS +a +b");
    conversation.step("RTDS ack");
    conversation.step("serve RTDS a 1!500, RTDS b 1!10");
    conversation.step("RTDS ack");
    assert_eq!(conversation.step("wait 5"), "RTDS ~a ~b");
}

#[test]
fn a_time_that_is_taken_off_ends_the_heartbeats() {
    // (66)
    let mut conversation = Conversation::<Delta>::new(Settings::new("test"));
    conversation.step("serve RTDS a 1!10");
    conversation.step("RTDS +a");
    conversation.step("RTDS ack");
    assert_eq!(conversation.step("serve RTDS a 1"), "RTDS a=1");
    conversation.step("RTDS ack");
    assert_eq!(said(&mut conversation, 30), []);
    assert_eq!(conversation.session.next_deadline(), None);
}

#[test]
fn streams_that_were_served_at_once_are_not_heard_of_at_once() {
    // (67)
    let deadlines: std::collections::BTreeSet<Duration> = (0..20)
        .map(|millis| {
            let mut conversation = Conversation::<Delta>::new(Settings::new("test"));
            conversation.now += Duration::from_millis(millis);
            conversation.step("serve RTDS a 1!1000");
            conversation.step("RTDS +a");
            conversation.step("RTDS ack");
            conversation.session.next_deadline().unwrap() - conversation.now
        })
        .collect();
    assert!(deadlines.len() > 1);
    assert!(
        deadlines
            .iter()
            .all(|wait| *wait < Duration::from_secs(500))
    );
}
