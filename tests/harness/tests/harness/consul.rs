//! The Consul agent for tests, seen through its HTTP API.

use std::time::{Duration, Instant};

use bowline_harness::{
    Answer, Request, Version,
    consul::{ConsulAgent, Edition, Fault, Grant, Health, Instance, Leader, ServiceQueries},
    eventually,
};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;

async fn get(agent: &ConsulAgent, path: &str) -> Answer {
    let address = agent.address().expect("it listens on a port");
    let request = Request::get(address, "consul", path);
    request.send().await.expect("an agent answers")
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name)?.to_str().ok()
}

fn index(answer: &Answer) -> u64 {
    let index = header(answer, "x-consul-index").and_then(|index| index.parse().ok());
    index.expect("an answer has an index")
}

fn body(answer: &Answer) -> Value {
    answer.json().expect("an answer is JSON")
}

fn web(number: u8) -> Instance {
    Instance::new(
        "web",
        &format!("web-{number}"),
        &format!("10.0.0.{number}"),
        80,
    )
}

/// A blocking query that is on its way, and waits once this returns.
struct Watch(JoinSet<Answer>);

impl Watch {
    async fn start(agent: &ConsulAgent, path: &str, index: u64) -> Self {
        Self::start_with(agent, path, index, ("x-test", "yes")).await
    }

    async fn start_with(
        agent: &ConsulAgent,
        path: &str,
        index: u64,
        header: (&'static str, &'static str),
    ) -> Self {
        let before = agent.waiting(path);
        let uri = format!("{path}?index={index}&wait=10m");
        let address = agent.address().expect("it listens on a port");
        let mut running = JoinSet::new();
        running.spawn(async move {
            let request = Request::get(address, "consul", &uri).header(header.0, header.1);
            request.send().await.expect("an agent answers")
        });
        eventually("the query waits", async || {
            (agent.waiting(path) > before)
                .then_some(())
                .ok_or("not yet")
        })
        .await
        .expect("it waits at once");
        Self(running)
    }

    async fn end(mut self) -> Answer {
        let ended = self.0.join_next().await;
        ended.expect("it runs").expect("it does not panic")
    }
}

const WEB: &str = "/v1/health/service/web";
const NAMES: &str = "/v1/catalog/services";

#[tokio::test]
async fn instances_are_answered_as_consul_writes_them() {
    let agent = ConsulAgent::start().await.unwrap();
    let instance = web(1)
        .on("n1", "192.168.0.1")
        .tag("v2")
        .meta("version", "2")
        .tagged("wan", "1.2.3.4", 8080)
        .weights(10, 1);
    agent.register(&instance);
    agent
        .own()
        .node_health(&instance, "serfHealth", Health::Passing);

    let answer = get(&agent, WEB).await;
    let rows = body(&answer);
    let row = &rows[0];
    assert_eq!(row["Node"]["Node"], "n1");
    assert_eq!(row["Node"]["Address"], "192.168.0.1");
    assert_eq!(row["Node"]["Datacenter"], "dc1");
    assert_eq!(row["Service"]["ID"], "web-1");
    assert_eq!(row["Service"]["Tags"], json!(["v2"]));
    assert_eq!(row["Service"]["Meta"], json!({"version": "2"}));
    assert_eq!(
        row["Service"]["TaggedAddresses"]["wan"],
        json!({"Address": "1.2.3.4", "Port": 8080})
    );
    assert_eq!(
        row["Service"]["Weights"],
        json!({"Passing": 10, "Warning": 1})
    );
    assert_eq!(row["Checks"][0]["CheckID"], "serfHealth");
    assert_eq!(row["Checks"][1]["Status"], "passing");
    assert_eq!(row["Checks"][1]["ServiceName"], "web");
    assert_eq!(body(&get(&agent, NAMES).await), json!({"web": ["v2"]}));
    let checks = body(&get(&agent, "/v1/health/state/any").await);
    assert_eq!(checks.as_array().unwrap().len(), 2);
    let own = body(&get(&agent, "/v1/agent/self").await);
    assert_eq!(own["Config"]["Datacenter"], "dc1");
    assert_eq!(header(&answer, "x-consul-knownleader"), Some("true"));
    assert_eq!(
        header(&answer, "x-consul-effective-consistency"),
        Some("leader")
    );
}

#[tokio::test]
async fn an_unknown_service_is_empty_and_has_an_index() {
    let agent = ConsulAgent::start().await.unwrap();
    let answer = get(&agent, WEB).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(body(&answer), json!([]));
    assert_eq!(index(&answer), 1);
    assert_eq!(body(&get(&agent, NAMES).await), json!({}));
}

#[tokio::test]
async fn a_query_waits_until_its_service_changes() {
    let agent = ConsulAgent::start().await.unwrap();
    agent.register(&web(1));
    let first = index(&get(&agent, WEB).await);
    let watch = Watch::start(&agent, WEB, first).await;

    agent.register(&Instance::new("cart", "cart-1", "10.0.1.1", 80));
    agent.register(&web(1));
    assert_eq!(agent.waiting(WEB), 1);
    agent.health(&web(1), Health::Critical);

    let answer = watch.end().await;
    assert!(index(&answer) > first);
    assert_eq!(body(&answer)[0]["Checks"][0]["Status"], "critical");
    assert_eq!(header(&answer, "x-consul-query-backend"), Some("streaming"));
}

#[tokio::test]
async fn output_alone_wakes_and_moves_the_index() {
    let agent = ConsulAgent::start().await.unwrap();
    agent.register(&web(1).health(Health::Critical));
    let before = get(&agent, &format!("{WEB}?passing")).await;
    let watch = Watch::start(&agent, WEB, index(&before)).await;
    agent.own().output(&web(1), Health::Critical, "still down");
    watch.end().await;
    let after = get(&agent, &format!("{WEB}?passing")).await;
    assert_eq!(before.body, after.body);
    assert!(index(&after) > index(&before));
}

#[tokio::test]
async fn a_wait_ends_with_the_same_index_and_a_little_late() {
    let agent = ConsulAgent::start().await.unwrap();
    agent.register(&web(1));
    let first = index(&get(&agent, WEB).await);
    for index_asked in [first, first + 1000] {
        let started = Instant::now();
        let answer = get(&agent, &format!("{WEB}?index={index_asked}&wait=50ms")).await;
        assert!(started.elapsed() >= Duration::from_millis(50));
        assert_eq!(index(&answer), first);
    }
}

#[tokio::test]
async fn changes_elsewhere_wake_a_missing_service_of_an_agent_without_streaming() {
    for (queries, wakes) in [
        (ServiceQueries::Blocking, true),
        (ServiceQueries::Streaming, false),
    ] {
        let agent = ConsulAgent::builder()
            .service_queries(queries)
            .start()
            .await
            .unwrap();
        agent.register(&Instance::new("cart", "cart-1", "10.0.1.1", 80));
        let first = index(&get(&agent, WEB).await);
        let watch = Watch::start(&agent, WEB, first).await;
        agent.deregister(&Instance::new("cart", "cart-1", "10.0.1.1", 80));
        if !wakes {
            agent.register(&web(1));
        }
        let answer = watch.end().await;
        let count = body(&answer).as_array().unwrap().len();
        assert_eq!(count, usize::from(!wakes), "{queries:?}");
    }
}

#[tokio::test]
async fn the_names_wake_for_any_instance_but_not_for_checks() {
    let agent = ConsulAgent::start().await.unwrap();
    agent.register(&web(1));
    let first = index(&get(&agent, NAMES).await);
    let watch = Watch::start(&agent, NAMES, first).await;
    agent.health(&web(1), Health::Warning);
    assert_eq!(agent.waiting(NAMES), 1);
    agent.register(&web(2));
    let answer = watch.end().await;
    assert!(index(&answer) > first);
    assert_eq!(body(&answer), json!({"web": []}));
    agent.deregister(&web(1));
    agent.own().remove_node(&web(2));
    assert_eq!(body(&get(&agent, NAMES).await), json!({}));
}

#[tokio::test]
async fn a_restored_snapshot_ends_waits_with_what_was_before_unless_they_are_streamed() {
    let agent = ConsulAgent::start().await.unwrap();
    agent.register(&web(1));
    let snapshot = agent.own().snapshot();
    agent.register(&web(2));
    let high = index(&get(&agent, NAMES).await);
    let service = index(&get(&agent, WEB).await);
    let names = Watch::start(&agent, NAMES, high).await;
    let streamed = Watch::start(&agent, WEB, service).await;

    agent.own().restore(&snapshot);

    assert_eq!(index(&names.end().await), high);
    let restored = get(&agent, WEB).await;
    assert!(index(&restored) < service);
    assert_eq!(body(&restored).as_array().unwrap().len(), 1);
    assert_eq!(agent.waiting(WEB), 1);
    agent.register(&web(3));
    assert!(index(&streamed.end().await) > service);

    agent.restore_index(3);
    assert_eq!(index(&get(&agent, WEB).await), 3);
}

#[tokio::test]
async fn streamed_answers_say_nothing_of_errors() {
    let agent = ConsulAgent::start().await.unwrap();
    agent.register(&web(1));
    agent.grant("other", Grant::services(["cart"]));
    let cases = [
        ("unknown", "", Some("1"), None),
        ("other", "&dc=nowhere", Some("1"), None),
        ("other", "", None, Some("true")),
    ];
    for (token, more, streamed_index, filtered) in cases {
        let ask = async |parameters: &str| {
            let path = format!("{WEB}?wait=20ms{parameters}{more}");
            Request::get(agent.address().unwrap(), "consul", &path)
                .header("x-consul-token", token)
                .send()
                .await
                .unwrap()
        };
        let streamed = ask("&index=2").await;
        assert_eq!(streamed.status, StatusCode::OK, "{token}{more}");
        assert_eq!(body(&streamed), json!([]));
        assert_eq!(header(&streamed, "x-consul-results-filtered-by-acls"), None);
        assert_eq!(header(&streamed, "x-consul-knownleader"), Some("false"));
        let plain = ask("").await;
        match streamed_index {
            Some(index) => {
                assert_eq!(header(&streamed, "x-consul-index"), Some(index));
                assert!(!plain.status.is_success());
            }
            None => assert_eq!(
                header(&plain, "x-consul-results-filtered-by-acls"),
                filtered
            ),
        }
    }
}

#[tokio::test]
async fn a_revoked_token_ends_streams_and_lets_other_waits_go_on() {
    let agent = ConsulAgent::start().await.unwrap();
    agent.register(&web(1));
    agent.require_tokens();
    let nobody = get(&agent, NAMES).await;
    let first = index(&nobody);
    assert_eq!(header(&nobody, "x-consul-default-acl-policy"), Some("deny"));
    agent.grant("secret", Grant::everything());
    let watch = |path: &'static str| {
        let token = ("x-consul-token", "secret");
        Watch::start_with(&agent, path, first, token)
    };
    let (service, names) = (watch(WEB).await, watch(NAMES).await);
    agent.revoke("secret");
    assert_eq!(service.end().await.status, StatusCode::FORBIDDEN);
    assert_eq!(agent.waiting(NAMES), 1);
    agent.register(&web(2));
    assert_eq!(body(&names.end().await), json!({"web": []}));
}

#[tokio::test]
async fn without_servers_streams_end_and_new_ones_have_the_old_content() {
    let agent = ConsulAgent::start().await.unwrap();
    agent.register(&web(1));
    let first = index(&get(&agent, WEB).await);
    let watch = Watch::start(&agent, WEB, first).await;
    agent.own().leader(Leader::Unreachable);
    assert_eq!(watch.end().await.status, StatusCode::SERVICE_UNAVAILABLE);
    let old = get(&agent, &format!("{WEB}?index=1")).await;
    assert_eq!(body(&old)[0]["Service"]["ID"], "web-1");
    for path in [WEB, NAMES] {
        let answer = get(&agent, &format!("{path}?stale")).await;
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    }
}

#[tokio::test]
async fn maintenance_is_a_critical_check() {
    let agent = ConsulAgent::start().await.unwrap();
    let own = agent.own();
    agent.register(&web(1));
    own.start_maintenance(&web(1), "upgrade");
    own.start_node_maintenance(&web(1));
    let checks = body(&get(&agent, WEB).await)[0]["Checks"].clone();
    let ids: Vec<_> = checks
        .as_array()
        .unwrap()
        .iter()
        .map(|check| &check["CheckID"])
        .collect();
    assert_eq!(
        ids,
        [
            "_node_maintenance",
            "_service_maintenance:web-1",
            "service:web-1"
        ]
    );
    own.end_maintenance(&web(1));
    own.end_node_maintenance(&web(1));
    let checks = body(&get(&agent, WEB).await)[0]["Checks"].clone();
    assert_eq!(checks.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn tokens_decide_what_is_seen_in_reads_without_an_index() {
    let agent = ConsulAgent::start().await.unwrap();
    agent.register(&web(1));
    agent.register(&Instance::new("cart", "cart-1", "10.0.1.1", 80));
    agent.grant("some", Grant::services(["web"]));
    agent.grant("all", Grant::everything());
    let ask = async |token: &str| {
        Request::get(agent.address().unwrap(), "consul", NAMES)
            .header("x-consul-token", token)
            .send()
            .await
            .unwrap()
    };
    let filtered = "x-consul-results-filtered-by-acls";

    let all = ask("all").await;
    assert_eq!(body(&all), json!({"web": [], "cart": []}));
    assert_eq!(header(&all, filtered), None);
    let some = ask("some").await;
    assert_eq!(body(&some), json!({"web": []}));
    assert_eq!(header(&some, filtered), Some("true"));
    let nobody = get(&agent, NAMES).await;
    assert_eq!(body(&nobody), json!({}));
    assert_eq!(header(&nobody, filtered), None);
    agent.revoke("all");
    let revoked = ask("all").await;
    assert_eq!(revoked.status, StatusCode::FORBIDDEN);
    assert_eq!(&revoked.body[..], b"ACL not found");
}

#[tokio::test]
async fn without_a_leader_only_stale_reads_are_answered() {
    let agent = ConsulAgent::start().await.unwrap();
    agent.register(&web(1));
    agent.own().leader(Leader::Lost);
    agent.own().last_contact(Duration::from_millis(1500));
    let answer = get(&agent, WEB).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(&answer.body[..], b"No cluster leader");
    let stale = get(&agent, &format!("{WEB}?stale")).await;
    assert_eq!(stale.status, StatusCode::OK);
    assert_eq!(header(&stale, "x-consul-knownleader"), Some("false"));
    assert_eq!(header(&stale, "x-consul-lastcontact"), Some("1500"));
    assert_eq!(
        header(&stale, "x-consul-effective-consistency"),
        Some("stale")
    );
}

#[tokio::test]
async fn datacenters_are_apart() {
    let agent = ConsulAgent::start().await.unwrap();
    let far = agent.datacenter("dc2");
    far.register(&web(1));
    assert_eq!(body(&get(&agent, WEB).await), json!([]));
    let rows = body(&get(&agent, &format!("{WEB}?dc=dc2")).await);
    assert_eq!(rows[0]["Node"]["Datacenter"], "dc2");
    assert_eq!(
        body(&get(&agent, "/v1/catalog/datacenters").await),
        json!(["dc1", "dc2"])
    );
    let nowhere = get(&agent, &format!("{WEB}?dc=dc3")).await;
    assert_eq!(&nowhere.body[..], b"No path to datacenter");
}

#[tokio::test]
async fn namespaces_need_the_enterprise_edition() {
    let community = ConsulAgent::start().await.unwrap();
    let refused = get(&community, &format!("{WEB}?ns=shop")).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);

    let agent = ConsulAgent::builder()
        .edition(Edition::Enterprise)
        .start()
        .await
        .unwrap();
    agent.register(&web(1).namespace("shop").partition("east"));
    agent.register(&web(2).peer("far"));
    assert_eq!(body(&get(&agent, WEB).await), json!([]));
    let rows = body(&get(&agent, &format!("{WEB}?ns=shop&partition=east")).await);
    assert_eq!(rows[0]["Service"]["Namespace"], "shop");
    let rows = body(&get(&agent, &format!("{WEB}?peer=far")).await);
    assert_eq!(rows[0]["Service"]["PeerName"], "far");
}

#[tokio::test]
async fn faults_hit_what_they_are_for_and_end() {
    let agent = ConsulAgent::start().await.unwrap();
    agent.register(&web(1));
    agent.fault_times(1, WEB, Fault::Throttled);
    assert_eq!(get(&agent, NAMES).await.status, StatusCode::OK);
    assert_eq!(get(&agent, WEB).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(get(&agent, WEB).await.status, StatusCode::OK);

    for broken in [Fault::Cut, Fault::Partial] {
        agent.fault(WEB, broken);
        let request = Request::get(agent.address().unwrap(), "consul", WEB);
        assert!(request.send().await.is_err());
    }
    agent.fault(WEB, Fault::Index("0".to_owned()));
    assert_eq!(index(&get(&agent, WEB).await), 0);
    agent.fault(WEB, Fault::NoIndex);
    assert_eq!(header(&get(&agent, WEB).await, "x-consul-index"), None);
    agent.fault(WEB, Fault::Body("[{".to_owned()));
    assert_eq!(&get(&agent, WEB).await.body[..], b"[{");
    agent.heal();

    let first = index(&get(&agent, WEB).await);
    let watch = Watch::start(&agent, WEB, first).await;
    agent.fault("/v1/", Fault::NoLeader);
    assert_eq!(watch.end().await.status, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn one_client_has_so_many_connections_and_no_more() {
    let agent = ConsulAgent::builder()
        .connections_max(2)
        .start()
        .await
        .unwrap();
    agent.register(&web(1));
    let first = index(&get(&agent, WEB).await);
    let one = Watch::start(&agent, WEB, first).await;
    let two = Watch::start(&agent, WEB, first).await;
    let refused = get(&agent, WEB).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(agent.connections(), 2);
    assert_eq!(agent.connections_peak(), 2);
    assert_eq!(agent.connections_refused(), 1);
    agent.deregister(&web(1));
    one.end().await;
    two.end().await;
    eventually("connections are free", async || {
        (agent.connections() == 0).then_some(()).ok_or("not yet")
    })
    .await
    .unwrap();
    assert_eq!(get(&agent, WEB).await.status, StatusCode::OK);
}

#[tokio::test]
async fn it_stops_and_starts_where_it_was() {
    let mut agent = ConsulAgent::start().await.unwrap();
    agent.register(&web(1));
    let request = Request::get(agent.address().unwrap(), "consul", WEB);
    agent.stop().await;
    assert!(request.send().await.is_err());
    agent.start_again().await.unwrap();
    assert_eq!(
        body(&request.send().await.unwrap())[0]["Service"]["ID"],
        "web-1"
    );
    assert_eq!(agent.requests().len(), 1);
    assert_eq!(agent.take_requests()[0].uri, WEB);
    assert!(agent.requests().is_empty());
}

#[tokio::test]
async fn agents_share_their_servers() {
    let agent = ConsulAgent::start().await.unwrap();
    let other = agent.beside().start().await.unwrap();
    agent.register(&web(1));
    agent.fault("/v1/", Fault::Denied);
    assert_eq!(get(&agent, WEB).await.status, StatusCode::FORBIDDEN);
    assert_eq!(body(&get(&other, WEB).await)[0]["Service"]["ID"], "web-1");
}

#[tokio::test]
async fn it_is_written_to_over_http() {
    let agent = ConsulAgent::start().await.unwrap();
    let put = async |path: &str, what: Value| {
        let request = Request {
            body: what.to_string().into(),
            ..Request::get(agent.address().unwrap(), "consul", path).method(Method::PUT)
        };
        request.send().await.unwrap()
    };
    let register = "/v1/catalog/register";
    let node = json!({
        "Node": "n1", "Address": "10.0.0.1",
        "Service": {"Service": "web", "Port": 80},
        "Check": {"CheckID": "c", "ServiceID": "web", "Status": "passing"},
    });
    assert_eq!(put(register, node).await.status, StatusCode::OK);
    assert_eq!(body(&get(&agent, WEB).await)[0]["Service"]["ID"], "web");
    assert_eq!(
        &put(register, json!({})).await.body[..],
        b"Must provide node"
    );
    let unknown = json!({"Node": "n1", "Address": "10.0.0.1", "Meta": {}});
    assert_eq!(put(register, unknown).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        put(NAMES, json!({})).await.status,
        StatusCode::METHOD_NOT_ALLOWED
    );
    let check =
        json!({"Node": "n1", "Address": "10.0.0.1", "Check": {"ServiceID": "x", "CheckID": "c"}});
    assert_eq!(
        &put(register, check).await.body[..],
        b"Unknown service ID 'x' for check ID 'c'"
    );
    let removal = json!({"Node": "n1", "ServiceID": "web"});
    put("/v1/catalog/deregister", removal).await;
    assert_eq!(body(&get(&agent, WEB).await), json!([]));
}

#[tokio::test]
async fn plain_http_knows_no_http2() {
    let agent = ConsulAgent::start().await.unwrap();
    let request = Request::get(agent.address().unwrap(), "consul", NAMES).http2();
    assert_eq!(request.version, Version::Http2);
    assert!(request.send().await.is_err());
}
