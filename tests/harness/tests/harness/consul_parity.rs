//! The Consul agent for tests beside a real one: the same requests, the same answers. Only where `CONSUL_BIN` names a real one's program.

use std::net::SocketAddr;

use bowline_harness::{
    Answer, Request,
    consul::{ConsulAgent, RealConsul},
};
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Long enough for a change to arrive, short enough to wait for its absence.
const WAIT: &str = "1500ms";

const WEB: &str = "/v1/health/service/web";
const NAMES: &str = "/v1/catalog/services";
const CHECKS: &str = "/v1/health/state/any";

/// Asks an agent and writes down what it says, without what differs from run to run.
struct Scribe {
    address: SocketAddr,
    lines: Vec<String>,
}

impl Scribe {
    async fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        let body = match method {
            Method::PUT => body.to_string().into(),
            _ => bytes::Bytes::new(),
        };
        let request = Request {
            body,
            ..Request::get(self.address, "consul", path).method(method)
        };
        request.send().await.expect("an agent answers")
    }

    async fn get(&mut self, path: &str) -> u64 {
        let answer = self.send(Method::GET, path, &Value::Null).await;
        self.lines.push(format!("GET {path}: {}", told(&answer)));
        index(&answer)
    }

    async fn put(&mut self, path: &str, body: Value) {
        let answer = self.send(Method::PUT, path, &body).await;
        self.lines
            .push(format!("PUT {path} {body}: {}", told(&answer)));
    }

    async fn check(&mut self, status: &str, output: &str) {
        let check =
            json!({"CheckID": "c", "ServiceID": "web-1", "Status": status, "Output": output});
        let body = json!({"Node": "n1", "SkipNodeUpdate": true, "Check": check});
        self.put("/v1/catalog/register", body).await;
    }

    async fn service(&mut self, name: &str, id: &str, node: &str, tags: &[&str]) {
        let service = json!({"Service": name, "ID": id, "Port": 80, "Tags": tags});
        let body = json!({"Node": node, "Address": "10.0.0.1", "Service": service});
        self.put("/v1/catalog/register", body).await;
    }

    async fn remove(&mut self, node: &str, id: &str) {
        let body = json!({"Node": node, "ServiceID": id});
        self.put("/v1/catalog/deregister", body).await;
    }

    /// Waits for something after an index while it changes, and writes down whether that woke it.
    async fn watch(&mut self, path: &str, change: impl AsyncFnOnce(&mut Self)) {
        let index_before = self.get(path).await;
        let joint = if path.contains('?') { '&' } else { '?' };
        let uri = format!("{path}{joint}index={index_before}&wait={WAIT}");
        let address = self.address;
        let mut waiting = JoinSet::new();
        waiting.spawn(async move { Request::get(address, "consul", &uri).send().await });
        change(self).await;
        let answer = waiting.join_next().await.expect("it was asked");
        let answer = answer
            .expect("it does not panic")
            .expect("an agent answers");
        let woke = index(&answer) > index_before;
        self.lines
            .push(format!("  watched {path}: woke {woke}, {}", told(&answer)));
    }
}

fn index(answer: &Answer) -> u64 {
    let header = answer.headers.get("x-consul-index");
    let index = header.and_then(|index| index.to_str().ok()?.parse().ok());
    index.unwrap_or_default()
}

fn told(answer: &Answer) -> String {
    let header = |name: &str| {
        let value = answer.headers.get(name);
        value.map_or("-".to_owned(), |value| {
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        })
    };
    let backend = header("x-consul-query-backend");
    // Builds differ in what a streamed answer says about the leader.
    let leader = match backend.as_str() {
        "streaming" => "any".to_owned(),
        _ => header("x-consul-knownleader"),
    };
    let body = match serde_json::from_slice(&answer.body) {
        Ok(value) => sound(value).to_string(),
        Err(_) => String::from_utf8_lossy(&answer.body).trim().to_owned(),
    };
    format!(
        "{} leader {leader} consistency {} backend {backend} policy {} filtered {} index {} type {} {body}",
        answer.status.as_u16(),
        header("x-consul-effective-consistency"),
        header("x-consul-default-acl-policy"),
        header("x-consul-results-filtered-by-acls"),
        answer.headers.contains_key("x-consul-index"),
        header("content-type"),
    )
}

/// Without indexes and without the servers themselves.
fn sound(value: Value) -> Value {
    match value {
        Value::Array(rows) => {
            let is_server = |row: &Value| row["CheckID"] == "serfHealth";
            let rows = rows.into_iter().filter(|row| !is_server(row));
            Value::Array(rows.map(sound).collect())
        }
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .filter(|(name, _)| {
                    !["CreateIndex", "ModifyIndex", "consul"].contains(&name.as_str())
                })
                .map(|(name, value)| (name, sound(value)))
                .collect(),
        ),
        other => other,
    }
}

async fn scenario(address: SocketAddr) -> Vec<String> {
    let mut agent = Scribe {
        address,
        lines: Vec::new(),
    };
    let service = "/v1/health/service/";
    for path in [
        NAMES,
        CHECKS,
        WEB,
        "/v1/catalog/datacenters",
        "/v1/nothing",
        service,
    ] {
        agent.get(path).await;
    }
    for parameters in [
        "stale",
        "consistent",
        "stale&consistent",
        "index=x",
        "wait=10",
        "ns=a",
        "partition=a",
        "dc=nowhere",
        "passing=x",
        "index=1&wait=10ms&dc=nowhere",
        "peer=far",
    ] {
        for path in [NAMES, CHECKS, WEB] {
            agent.get(&format!("{path}?{parameters}")).await;
        }
    }
    agent.service("web", "web-1", "n1", &["v1"]).await;
    agent.check("passing", "").await;
    for path in [
        WEB,
        NAMES,
        CHECKS,
        "/v1/health/state/passing",
        "/v1/health/state/critical",
    ] {
        agent.get(path).await;
    }

    agent
        .watch(WEB, async |agent| agent.check("critical", "down").await)
        .await;
    agent
        .watch(WEB, async |agent| agent.check("critical", "down").await)
        .await;
    agent
        .watch(WEB, async |agent| {
            agent.service("web", "web-1", "n1", &["v1"]).await;
        })
        .await;
    agent
        .watch(WEB, async |agent| {
            agent.service("cart", "cart-1", "n2", &[]).await;
        })
        .await;
    let passing = format!("{WEB}?passing");
    agent
        .watch(&passing, async |agent| {
            agent.check("critical", "still down").await;
        })
        .await;
    agent
        .watch(&passing, async |agent| agent.check("passing", "").await)
        .await;
    agent
        .watch(NAMES, async |agent| agent.check("warning", "").await)
        .await;
    agent
        .watch(NAMES, async |agent| {
            agent.service("web", "web-1", "n1", &["v2"]).await;
        })
        .await;
    agent
        .watch(CHECKS, async |agent| agent.check("passing", "").await)
        .await;
    agent
        .watch(CHECKS, async |agent| {
            agent.service("cart", "cart-2", "n2", &[]).await;
        })
        .await;
    let moved = json!({"Node": "n1", "Address": "10.0.0.9"});
    agent
        .watch(WEB, async |agent| {
            agent.put("/v1/catalog/register", moved).await;
        })
        .await;
    let sick = json!({"Node": "n1", "Address": "10.0.0.9", "Check": {"CheckID": "disk", "Status": "warning"}});
    agent
        .watch(WEB, async |agent| {
            agent.put("/v1/catalog/register", sick).await;
        })
        .await;
    let healed = json!({"Node": "n1", "CheckID": "disk"});
    agent
        .watch(WEB, async |agent| {
            agent.put("/v1/catalog/deregister", healed).await;
        })
        .await;

    let missing = "/v1/health/service/missing";
    // From now on there is a view of it, so that it does not matter whether the change or the query comes first.
    agent.get(&format!("{missing}?index=1&wait=10ms")).await;
    agent
        .watch(missing, async |agent| {
            agent.service("other", "other-1", "n3", &[]).await;
        })
        .await;
    agent
        .watch(missing, async |agent| agent.remove("n3", "other-1").await)
        .await;
    agent
        .watch(missing, async |agent| {
            agent.service("missing", "m-1", "n3", &[]).await;
        })
        .await;
    agent
        .watch(missing, async |agent| agent.remove("n3", "m-1").await)
        .await;
    agent
        .watch(NAMES, async |agent| agent.remove("n2", "cart-1").await)
        .await;
    agent
        .watch(NAMES, async |agent| agent.remove("n2", "cart-2").await)
        .await;
    let gone = json!({"Node": "n1"});
    agent
        .watch(WEB, async |agent| {
            agent.put("/v1/catalog/deregister", gone).await;
        })
        .await;
    agent.get(&format!("{WEB}?index=100000&wait=100ms")).await;

    for (path, body) in [
        ("/v1/catalog/register", json!({})),
        ("/v1/catalog/register", json!({"Node": "n"})),
        (
            "/v1/catalog/register",
            json!({"Node": "n", "Address": "a", "Check": {"CheckID": "c", "ServiceID": "s"}}),
        ),
        ("/v1/catalog/deregister", json!({})),
        ("/v1/catalog/deregister", json!({"Node": "unknown"})),
        (NAMES, json!({})),
    ] {
        agent.put(path, body).await;
    }
    agent.lines
}

#[tokio::test]
async fn a_real_agent_answers_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let Some(real) = RealConsul::builder(folder.path()) else {
        return;
    };
    let real = real.start().await.unwrap();
    let double = ConsulAgent::start().await.unwrap();
    let (real, double) = tokio::join!(
        scenario(real[0].address()),
        scenario(double.address().unwrap())
    );
    let differ: Vec<_> = real
        .iter()
        .zip(&double)
        .filter(|(real, double)| real != double)
        .map(|(real, double)| format!("real:   {real}\ndouble: {double}\n"))
        .collect();
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    assert_eq!(real.len(), double.len());
}
