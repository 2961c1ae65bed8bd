//! What a stream learns from requests about its responses.

use std::time::Duration;

use super::*;

/// After the steps, what the last request was.
fn check<P: Speaks>(steps: &[&str], expected: Result<Received, RequestError>) {
    let mut conversation = Conversation::<P>::new(Settings {
        names_max: 2,
        ..Settings::new("test")
    });
    for step in steps {
        conversation.step(step);
    }
    assert_eq!(conversation.received.pop(), Some(expected));
}

fn current(verdict: Option<Verdict>, has_stale_nonce: bool) -> Received {
    let quarantined = match &verdict {
        Some(Verdict::Rejected { suspects, .. }) => suspects.clone(),
        Some(Verdict::Acknowledged { .. }) | None => Vec::new(),
    };
    Received::Current(Current {
        resource_type: type_named("EDS"),
        verdict,
        has_stale_nonce,
        names: 1,
        has_wildcard: false,
        quarantined,
    })
}

fn version(resources: &[&str]) -> Version {
    snapshot_of(0, resources).type_version(type_named("EDS"))
}

fn acknowledged() -> Received {
    let verdict = Verdict::Acknowledged {
        version: version(&["EDS a 1"]),
        generation: 1,
        waited: Duration::from_secs(3),
    };
    current(Some(verdict), false)
}

#[test]
fn an_acknowledgement_says_what_and_after_how_long() {
    let serve = "serve EDS a 1";
    check::<StateOfTheWorld>(&[serve, "EDS a", "wait 3", "EDS ack a"], Ok(acknowledged()));
    check::<Delta>(&[serve, "EDS +a", "wait 3", "EDS ack"], Ok(acknowledged()));
}

#[test]
fn a_late_acknowledgement_still_counts() {
    let mut conversation = Conversation::<Delta>::new(Settings::new("test"));
    for step in ["serve EDS a 1", "EDS +a", "wait 100", "EDS ack"] {
        conversation.step(step);
    }
    let received = conversation.received.pop().unwrap().unwrap();
    assert!(matches!(
        received,
        Received::Current(Current {
            verdict: Some(Verdict::Acknowledged { .. }),
            ..
        })
    ));
}

#[test]
fn a_rejection_names_the_resource_that_its_text_names() {
    let verdict = Verdict::Rejected {
        version: version(&["EDS a 1", "EDS b 1"]),
        message: "bad a".to_owned(),
        suspects: vec![resource("a", "1")],
    };
    check::<Delta>(
        &["serve EDS a 1, EDS b 1", "EDS +a +b", "EDS nack -b"],
        Ok(current(Some(verdict), false)),
    );
}

#[test]
fn a_rejection_that_names_nothing_is_about_what_was_new() {
    let verdict = Verdict::Rejected {
        version: version(&["EDS b 1"]),
        message: "bad a".to_owned(),
        suspects: vec![resource("b", "1")],
    };
    check::<StateOfTheWorld>(
        &["serve EDS b 1", "EDS b", "EDS nack b"],
        Ok(current(Some(verdict), false)),
    );
}

#[test]
fn a_rejection_at_an_unchanged_version_is_not_taken_for_an_acknowledgement() {
    // (13): b is added at the same version, and rejected.
    let mut conversation = Conversation::<StateOfTheWorld>::new(Settings::new("test"));
    for step in [
        "serve EDS a 1, EDS b 1",
        "EDS a",
        "EDS ack a",
        "EDS ack a b",
        "EDS nack a b",
    ] {
        conversation.step(step);
    }
    assert_eq!(conversation.seen["EDS"][0].0, conversation.seen["EDS"][1].0);
    let verdict = match conversation.received.pop() {
        Some(Ok(Received::Current(current))) => current.verdict,
        _ => None,
    };
    assert!(matches!(verdict, Some(Verdict::Rejected { .. })));
}

#[test]
fn only_the_beginning_of_a_long_reason_is_looked_at() {
    let mut conversation = Conversation::<Delta>::new(Settings::new("test"));
    conversation.step("serve EDS a 1, EDS b 1");
    conversation.step("EDS +a +b");
    let header = Header {
        node: None,
        type_url: type_named("EDS").url().to_owned(),
        nonce: conversation.seen["EDS"][0].1.to_string(),
        rejection: Some(" ".repeat(1_000_000) + "b"),
    };
    let (_, interest) = Delta::parse(DeltaRequest::default()).unwrap();
    let received = conversation
        .session
        .receive(header, interest, conversation.now);
    let Ok(Received::Current(Current {
        verdict: Some(Verdict::Rejected {
            message, suspects, ..
        }),
        ..
    })) = received
    else {
        panic!("{received:?} is no rejection");
    };
    assert!(message.len() < 10_000);
    assert_eq!(suspects, [resource("a", "1"), resource("b", "1")]);
}

#[test]
fn stale_nonces_are_told_apart() {
    let serve = "serve EDS a 1";
    check::<StateOfTheWorld>(
        &[serve, "EDS a", "EDS ack a", "serve EDS a 2", "EDS stale a"],
        Ok(Received::Outdated(type_named("EDS"))),
    );
    check::<Delta>(
        &[serve, "EDS +a", "EDS ack", "serve EDS a 2", "EDS stale"],
        Ok(current(None, true)),
    );
}

#[test]
fn what_breaks_the_protocol_is_refused() {
    let mut conversation = Conversation::<Delta>::new(Settings::new("test"));
    let (header, interest) = Delta::parse(DeltaRequest::default()).unwrap();
    let now = conversation.now;
    assert_eq!(
        conversation.session.receive(header, interest, now),
        Err(RequestError::NoType)
    );
    check::<Delta>(
        &["EDS +a +b", "EDS +c"],
        Err(RequestError::TooManyNames {
            resource_type: type_named("EDS"),
            max: 2,
        }),
    );
    check::<Delta>(&["foo.Bar"], Ok(Received::Unserved));
}

#[test]
fn deadlines_do_not_repeat_themselves() {
    let mut conversation = Conversation::<Delta>::new(Settings::new("test"));
    for step in [
        "serve CDS x 1, LDS l 1, RDS r x",
        "CDS",
        "LDS",
        "RDS +r",
        "serve LDS l 1, RDS r y",
    ] {
        conversation.step(step);
    }
    for _ in 0..10 {
        let Some(deadline) = conversation.session.next_deadline() else {
            return;
        };
        assert!(deadline > conversation.now, "would wake for ever");
        conversation.now = deadline;
        conversation.answers();
    }
    panic!("a session without events has deadlines for ever");
}
