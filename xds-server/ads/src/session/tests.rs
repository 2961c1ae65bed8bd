//! The rules of the protocol as conversations.
//!
//! A conversation is a list of steps and of what the server says to each. Steps:
//!
//! - `serve CDS a 1, EDS a 1`: a new snapshot; `partly` one that is known to lack something
//! - `wait 5`: seconds pass
//! - `CDS`: a request for clusters without names, as a client opens with
//! - `CDS ack a b`: with the nonce and version of the last response; likewise `nack`, `implicit` (without error but with the version
//!   before, as Envoy answers for what it does not watch any more) and `stale` (with the nonce before). The reason of a `nack` names `a`, and
//!   that of a `nack!` nothing
//! - delta has `CDS ack +a -b`, and `CDS @a=1` for a version that is held from an earlier stream (`@a=1/2` for endpoints with the
//!   content 1 of a cluster with the content 2); state of the world has `CDS @a=1,b=2` for the version of that whole set
//!
//! Answers read `CDS a=1 b=2 -c`, several are separated by `; `, and silence is empty. `~a` is a heartbeat, `?a` a resource without content
//! for a name that is of nothing, `!a` an error.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bowline_proto::{
    envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest},
    google::rpc::Status,
};
use bowline_snapshot::Resource;

use super::{delta::DeltaRequest, *};
use crate::testing::{resource, snapshot_of, type_named};

mod delta;
mod make_before_break;
mod model;
mod names;
mod quarantine;
mod sotw;
mod time_to_live;
mod verdicts;

/// A client that says what it is told to.
struct Conversation<P> {
    session: Session<P>,
    now: Instant,
    generation: u64,
    /// Version and nonce of the responses, by type.
    seen: BTreeMap<String, Vec<(String, u64)>>,
    received: Vec<Result<Received, RequestError>>,
}

/// How steps become requests.
trait Speaks: Protocol {
    fn request(step: &Step<'_>) -> Self::Request;
}

struct Step<'a> {
    type_url: String,
    resource_type: Option<ResourceType>,
    nonce: String,
    version: String,
    error_detail: Option<Status>,
    words: Vec<&'a str>,
}

impl Speaks for StateOfTheWorld {
    fn request(step: &Step<'_>) -> DiscoveryRequest {
        let held = step.words.iter().find_map(|word| word.strip_prefix('@'));
        let version = held.map(|held| {
            let short_name = step.resource_type.unwrap().short_name();
            let resources: Vec<String> = held
                .split(',')
                .filter_map(|pair| pair.split_once('='))
                .map(|(name, content)| format!("{short_name} {name} {content}"))
                .collect();
            let resources: Vec<&str> = resources.iter().map(|text| &**text).collect();
            let snapshot = snapshot_of(0, &resources);
            snapshot
                .type_version(step.resource_type.unwrap())
                .to_string()
        });
        let names = step.words.iter().filter(|word| !word.starts_with('@'));
        DiscoveryRequest {
            type_url: step.type_url.clone(),
            response_nonce: step.nonce.clone(),
            version_info: version.unwrap_or_else(|| step.version.clone()),
            error_detail: step.error_detail.clone(),
            resource_names: names.map(|name| (*name).to_owned()).collect(),
            ..DiscoveryRequest::default()
        }
    }
}

impl Speaks for Delta {
    fn request(step: &Step<'_>) -> DeltaRequest {
        let mut request = DeltaDiscoveryRequest {
            type_url: step.type_url.clone(),
            response_nonce: step.nonce.clone(),
            error_detail: step.error_detail.clone(),
            ..DeltaDiscoveryRequest::default()
        };
        for word in &step.words {
            let (sign, name) = word.split_at(1);
            match sign {
                "+" => request.resource_names_subscribe.push(name.to_owned()),
                "-" => request.resource_names_unsubscribe.push(name.to_owned()),
                "@" => {
                    let (name, content) = name.split_once('=').unwrap();
                    request
                        .initial_resource_versions
                        .insert(name.to_owned(), held_version(content));
                }
                _ => panic!("{word} has no sign"),
            }
        }
        request.into()
    }
}

fn held_version(content: &str) -> String {
    let version = |content: &str| match content.split_once('!') {
        Some((content, ttl)) => {
            let ttl = Duration::from_secs(ttl.parse().unwrap());
            resource("", content).with_ttl(ttl).version()
        }
        None => resource("", content).version(),
    };
    match content.split_once('/') {
        Some((own, parent)) => version(own).combined_with(version(parent)).to_string(),
        None if content.is_empty() => String::new(),
        None => version(content).to_string(),
    }
}

impl<P: Speaks> Conversation<P> {
    fn new(settings: Settings) -> Self {
        Self::of(settings, Client::PLAIN)
    }

    fn of(settings: Settings, client: Client) -> Self {
        Self {
            session: Session::new(Arc::new(settings), Arc::default(), client),
            now: Instant::now(),
            generation: 0,
            seen: BTreeMap::new(),
            received: Vec::new(),
        }
    }

    /// Does a step and says what the server answers.
    fn step(&mut self, text: &str) -> String {
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        match verb {
            "serve" | "partly" => {
                self.generation += 1;
                let resources: Vec<&str> =
                    rest.split(", ").filter(|text| !text.is_empty()).collect();
                let snapshot = snapshot_of(self.generation, &resources);
                self.session.update(match verb {
                    "partly" => snapshot.partial(),
                    _ => snapshot,
                });
            }
            "wait" => self.now += Duration::from_secs(rest.parse().unwrap()),
            short_name => self.request(short_name, rest),
        }
        self.answers()
    }

    fn request(&mut self, short_name: &str, rest: &str) {
        let resource_type = ResourceType::ALL
            .iter()
            .copied()
            .find(|resource_type| resource_type.short_name() == short_name);
        let seen = self.seen.entry(short_name.to_owned()).or_default();
        let (verb, words) = rest.split_once(' ').unwrap_or((rest, ""));
        let nth_last = |count: usize| {
            let at = seen.len().checked_sub(count)?;
            seen.get(at).cloned()
        };
        let version = |count| nth_last(count).map_or_else(String::new, |(version, _)| version);
        let nonce =
            |count| nth_last(count).map_or_else(String::new, |(_, nonce)| nonce.to_string());
        let error = |message: &str| Status {
            message: message.to_owned(),
            ..Status::default()
        };
        let (nonce, version, error_detail, words) = match verb {
            "ack" => (nonce(1), version(1), None, words),
            "nack" => (nonce(1), version(2), Some(error("bad a")), words),
            "nack!" => (nonce(1), version(2), Some(error("!")), words),
            "implicit" => (nonce(1), version(2), None, words),
            "stale" => (nonce(2), version(2), None, words),
            _ => (String::new(), String::new(), None, rest),
        };
        let request = P::request(&Step {
            type_url: resource_type
                .map_or(short_name, |resource_type| resource_type.url())
                .to_owned(),
            resource_type,
            nonce,
            version,
            error_detail,
            words: words.split_whitespace().collect(),
        });
        let (header, interest) = P::parse(request).unwrap();
        let received = self.session.receive(header, interest, self.now);
        self.received.push(received);
    }

    fn answers(&mut self) -> String {
        let mut answers = Vec::new();
        while let Some(response) = self.session.next(self.now) {
            assert!(answers.len() < 100, "endless answers: {answers:?}");
            answers.push(text(&response));
            let name = response
                .resource_type
                .map_or(&*response.type_url, |resource_type| {
                    resource_type.short_name()
                });
            let seen = self.seen.entry(name.to_owned()).or_default();
            seen.push((response.version.to_string(), response.nonce));
        }
        answers.join("; ")
    }
}

fn text(response: &Response) -> String {
    let name = response
        .resource_type
        .map_or(&*response.type_url, |resource_type| {
            resource_type.short_name()
        });
    let mut text = name.to_owned();
    for (resource, _) in response.resources.iter() {
        let content = resource.body().to_bytes();
        let content = String::from_utf8_lossy(&content);
        text.push_str(&format!(" {}={content}", resource.name()));
    }
    for name in &response.removed {
        text.push_str(&format!(" -{name}"));
    }
    if let Some(extra) = &response.extra {
        let heartbeats = extra.heartbeats.iter();
        let heartbeats = heartbeats.map(|(resource, _)| ('~', resource.name()));
        let unknown = extra.unknown.iter().map(|name| ('?', name));
        let missing = extra.missing.iter().map(|name| ('!', name));
        for (sign, name) in heartbeats.chain(unknown).chain(missing) {
            text.push_str(&format!(" {sign}{name}"));
        }
    }
    text
}

/// Has the conversation with a new session.
fn check<P: Speaks>(steps: &[(&str, &str)]) {
    check_with::<P>(Settings::new("test"), Client::PLAIN, steps);
}

fn check_with<P: Speaks>(settings: Settings, client: Client, steps: &[(&str, &str)]) {
    let mut conversation = Conversation::<P>::of(settings, client);
    for (number, (step, expected)) in steps.iter().enumerate() {
        assert_eq!(conversation.step(step), *expected, "step {number}: {step}");
    }
}
