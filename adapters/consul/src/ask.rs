//! A question of the core as an HTTP request, and its answer read.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bowline_mesh::RegistrySettings;
use serde::de::IgnoredAny;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::{
    http::{Agent, Answered, Ask, Token},
    mapping::{Context, map, shortened},
    scope::{Scope, percent_encoded},
    watcher::{Answer, Body, Checks, Consistency, Failure, Query, Request},
    wire::{self, Check, Entry},
};

/// What it may take besides to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// The largest answers that are read.
const SERVICE_BYTES_MAX: usize = 64 << 20;
const LIST_BYTES_MAX: usize = 256 << 20;
/// Answers that are larger are read beside the tasks that others wait for.
const LARGE: usize = 128 << 10;

/// Asks an agent, and reads what it answers.
pub(crate) async fn ask(
    agent: Arc<Agent>,
    scope: Arc<Scope>,
    settings: Arc<RegistrySettings>,
    token: Option<Token>,
    request: Request,
) -> Result<Answer, Failure> {
    let question = Ask {
        path: path(&scope, &request),
        token,
        host: request.host,
        patience: match request.index {
            Some(_) => request.query.wait() * 17 / 16 + PATIENCE,
            None => PATIENCE * 2,
        },
        bytes_max: match request.query {
            Query::Service(_) => SERVICE_BYTES_MAX,
            Query::Names | Query::Checks => LIST_BYTES_MAX,
        },
    };
    let answered = agent.ask(&question).await?;
    match answered.body.len() > LARGE {
        true => tokio::task::spawn_blocking(move || read(&scope, &settings, &request, &answered))
            .await
            .unwrap_or_else(|error| Err(Failure::Garbage(format!("reading it failed: {error}")))),
        false => read(&scope, &settings, &request, &answered),
    }
}

fn path(scope: &Scope, request: &Request) -> String {
    let mut path = match &request.query {
        Query::Names => "/v1/catalog/services?".to_owned(),
        Query::Service(name) => format!("/v1/health/service/{}?", percent_encoded(name)),
        Query::Checks => "/v1/health/state/any?".to_owned(),
    };
    path.push_str(match request.consistency {
        Consistency::Stale => "stale",
        // Without a word, Consul's default.
        Consistency::Default => "pretty=false",
    });
    if let Some(index) = request.index {
        path.push_str(&format!(
            "&index={index}&wait={}s",
            request.query.wait().as_secs()
        ));
    }
    path.push_str(&scope.query());
    path
}

fn read(
    scope: &Scope,
    settings: &RegistrySettings,
    request: &Request,
    answered: &Answered,
) -> Result<Answer, Failure> {
    let header = |name: &str| {
        answered
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let is_streamed = header("x-consul-query-backend") == Some("streaming");
    let fingerprint = xxh3_64(&answered.body);
    let body = match request.fingerprint == Some(fingerprint) {
        true => Body::Unchanged,
        false => content(scope, settings, request, &answered.body)?,
    };
    Ok(Answer {
        index: header("x-consul-index").and_then(|text| text.parse().ok()),
        last_contact: header("x-consul-lastcontact")
            .and_then(|text| text.parse().ok())
            .map_or(Duration::ZERO, Duration::from_millis),
        // A streamed answer says that there is none, whatever there is (hashicorp/consul#9776).
        has_leader: is_streamed
            || header("x-consul-knownleader").is_none_or(|text| text != "false"),
        is_streamed,
        is_filtered: header("x-consul-results-filtered-by-acls").is_some_and(|text| text == "true"),
        transport: answered.transport,
        host: answered.host,
        bytes: answered.body.len(),
        fingerprint,
        body,
    })
}

fn content(
    scope: &Scope,
    settings: &RegistrySettings,
    request: &Request,
    body: &[u8],
) -> Result<Body, Failure> {
    let garbage = |error: serde_json::Error| {
        Failure::Garbage(format!(
            "the answer is not what Consul answers: {}",
            shortened(&error.to_string())
        ))
    };
    match &request.query {
        Query::Names => {
            let names: BTreeMap<String, IgnoredAny> =
                serde_json::from_slice(body).map_err(garbage)?;
            let names: BTreeSet<Arc<str>> = names
                .into_keys()
                .map(|name| name.to_lowercase().into())
                // Consul's own servers are no service of anybody.
                .filter(|name: &Arc<str>| !name.is_empty() && **name != *"consul")
                .collect();
            Ok(Body::Names(names))
        }
        Query::Service(name) => {
            let list = wire::list::<Entry>(body).map_err(garbage)?;
            let context = Context {
                settings,
                scope,
                service: name,
            };
            let mapped = map(context, list, request.before.as_deref());
            // Equal contents are held once.
            Ok(match &request.before {
                Some(before) if **before == mapped => Body::Service(before.clone()),
                _ => Body::Service(Arc::new(mapped)),
            })
        }
        Query::Checks => {
            let (checks, _) = wire::list::<Check>(body).map_err(garbage)?;
            Ok(Body::Checks(fingerprints(&checks)))
        }
    }
}

/// Fingerprints that do not depend on the order of the checks.
fn fingerprints(checks: &[Check]) -> Checks {
    let mut prints = Checks::default();
    for check in checks {
        let Check {
            node,
            check_id,
            status,
            service_id,
            service_name,
        } = check;
        let parts = [node, check_id, service_id, status];
        let print = parts
            .iter()
            .fold(0, |seed, part| xxh3_64_with_seed(part.as_bytes(), seed));
        let all = match service_name.is_empty() {
            true => prints.nodes.entry(node.as_str().into()),
            false => prints.services.entry(service_name.to_lowercase().into()),
        };
        let sum = all.or_default();
        *sum = sum.wrapping_add(print);
    }
    prints
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{watch::LaneId, watcher::RequestId};

    fn request(query: Query, index: Option<u64>) -> Request {
        Request {
            id: RequestId(1),
            query,
            lane: LaneId(0),
            index,
            consistency: Consistency::Stale,
            host: None,
            fingerprint: None,
            before: None,
        }
    }

    fn scope() -> Scope {
        Scope {
            datacenter: "dc2".into(),
            is_own: false,
            partition: None,
            namespace: None,
            peer: None,
        }
    }

    fn settings() -> RegistrySettings {
        RegistrySettings::new(
            "dc".parse().unwrap(),
            "mesh.example".parse().unwrap(),
            "cluster.local".parse().unwrap(),
            "default".parse().unwrap(),
        )
    }

    #[test]
    fn questions_are_paths() {
        let cases = [
            (Query::Names, None, "/v1/catalog/services?stale&dc=dc2"),
            (
                Query::Service("a/b".into()),
                Some(7),
                "/v1/health/service/a%2Fb?stale&index=7&wait=60s&dc=dc2",
            ),
            (
                Query::Checks,
                Some(1),
                "/v1/health/state/any?stale&index=1&wait=60s&dc=dc2",
            ),
        ];
        for (query, index, expected) in cases {
            assert_eq!(path(&scope(), &request(query, index)), expected);
        }
    }

    #[test]
    fn garbage_is_a_failure_and_never_an_empty_answer() {
        for query in [Query::Names, Query::Service("a".into()), Query::Checks] {
            for body in ["", "{", "7", "\"x\"", "<html>", "[{\"Service\":"] {
                let content = content(
                    &scope(),
                    &settings(),
                    &request(query.clone(), None),
                    body.as_bytes(),
                );
                assert!(
                    matches!(content, Err(Failure::Garbage(_))),
                    "{query:?} {body}"
                );
            }
        }
    }

    #[test]
    fn names_are_in_lower_case_and_without_consuls_own() {
        let body = br#"{"consul":[],"Cart":["a"],"cart":[],"stock":[]}"#;
        let request = request(Query::Names, None);
        let Body::Names(names) = content(&scope(), &settings(), &request, body).unwrap() else {
            panic!("no names");
        };
        assert_eq!(
            names.iter().map(|name| &**name).collect::<Vec<_>>(),
            ["cart", "stock"]
        );
    }

    #[test]
    fn fingerprints_of_checks_do_not_depend_on_their_order_but_on_their_status() {
        let check = |id: &str, status: &str, service: &str| Check {
            node: "n".to_owned(),
            check_id: id.to_owned(),
            status: status.to_owned(),
            service_id: id.to_owned(),
            service_name: service.to_owned(),
        };
        let (one, two, node) = (
            check("1", "passing", "Cart"),
            check("2", "passing", "cart"),
            check("3", "passing", ""),
        );
        let all = fingerprints(&[one.clone(), two.clone(), node.clone()]);
        assert_eq!(all, fingerprints(&[node.clone(), two.clone(), one.clone()]));
        assert_eq!((all.services.len(), all.nodes.len()), (1, 1));
        let sick = check("2", "critical", "cart");
        assert_ne!(all.services, fingerprints(&[one, sick, node]).services);
    }
}
