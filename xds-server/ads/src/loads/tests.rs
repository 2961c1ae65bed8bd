use tonic::Code;

use super::*;
use crate::source::{Peer, Refusal};
use bowline_proto::envoy::{
    config::core::v3::Node,
    service::load_stats::v3::{
        LoadStatsRequest, LoadStatsResponse,
        load_reporting_service_client::LoadReportingServiceClient,
    },
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

fn reporter(workload: &str) -> Reporter {
    Reporter {
        workload: workload.into(),
        service: "web.shop".into(),
    }
}

/// Issued, succeeded, failed and in progress in one locality.
fn stats(cluster: &str, zone: &str, [issued, succeeded, failed, open]: [u64; 4]) -> ClusterStats {
    ClusterStats {
        cluster_name: cluster.to_owned(),
        upstream_locality_stats: vec![UpstreamLocalityStats {
            locality: Some(Locality {
                region: "eu".to_owned(),
                zone: zone.to_owned(),
                sub_zone: String::new(),
            }),
            total_issued_requests: issued,
            total_successful_requests: succeeded,
            total_error_requests: failed,
            total_requests_in_progress: open,
            ..UpstreamLocalityStats::default()
        }],
        ..ClusterStats::default()
    }
}

fn short(loads: &Loads, now: Instant) -> Vec<String> {
    let line = |load: Load| {
        let Sums {
            requests,
            succeeded,
            errors,
            dropped,
        } = load.sums;
        format!(
            "{} {} {} {requests}={succeeded}+{errors} {dropped} {}",
            load.workload, load.cluster, load.locality, load.in_progress
        )
    };
    loads.list(now).into_iter().map(line).collect()
}

#[test]
fn reports_add_up_by_workload_cluster_and_locality() {
    let (loads, now) = (Loads::default(), Instant::now());
    let mut one = loads.stream(reporter("web-1"));
    let mut two = loads.stream(reporter("web-2"));
    one.report(&[stats("cart", "a", [5, 3, 1, 1])], now);
    one.report(
        &[
            stats("cart", "a", [2, 2, 0, 1]),
            stats("cart", "b", [1, 1, 0, 0]),
        ],
        now,
    );
    let mut dropping = stats("cart", "a", [1, 1, 0, 0]);
    dropping.total_dropped_requests = 4;
    two.report(&[dropping], now);
    assert_eq!(
        short(&loads, now),
        [
            "web-1 cart eu/a 7=5+1 0 1",
            "web-1 cart eu/b 1=1+0 0 0",
            "web-2 cart  0=0+0 4 0",
            "web-2 cart eu/a 1=1+0 0 0",
        ]
    );
    let totals = loads.totals();
    let key = ("web.shop".into(), "cart".into());
    let expected = Sums {
        requests: 9,
        succeeded: 7,
        errors: 1,
        dropped: 4,
    };
    assert_eq!(totals.by_cluster.get(&key), Some(&expected));
    assert_eq!((totals.reports, totals.streams), (3, 2));
}

#[test]
fn what_is_on_its_way_is_forgotten_with_the_report_that_does_not_name_it_and_with_the_stream() {
    let (loads, now) = (Loads::default(), Instant::now());
    let mut old = loads.stream(reporter("web-1"));
    let mut new = loads.stream(reporter("web-1"));
    old.report(&[stats("cart", "a", [3, 0, 0, 3])], now);
    new.report(&[stats("cart", "a", [2, 0, 0, 2])], now);
    let open = |loads: &Loads| loads.list(now).first().unwrap().in_progress;
    assert_eq!(open(&loads), 5);
    drop(old);
    assert_eq!(open(&loads), 2);
    new.report(&[], now);
    assert_eq!(open(&loads), 0);
    drop(new);
    assert_eq!(loads.totals().streams, 0);
}

#[test]
fn rates_are_of_the_last_minute() {
    let (loads, start) = (Loads::default(), Instant::now());
    let mut one = loads.stream(reporter("web-1"));
    let at = |seconds| start + Duration::from_secs(seconds);
    let rates = |seconds| {
        let loads = loads.list(at(seconds));
        let load = loads.first().unwrap();
        (load.per_second, load.errors_per_second)
    };
    one.report(&[stats("cart", "a", [100, 90, 10, 0])], at(0));
    assert_eq!(rates(5), (10.0, 1.0));
    one.report(&[stats("cart", "a", [500, 500, 0, 0])], at(55));
    assert_eq!(rates(59), (10.0, 10.0 / 60.0));
    assert_eq!(rates(69), (500.0 / 60.0, 0.0));
    assert_eq!(rates(200), (0.0, 0.0));
}

#[test]
fn rows_that_nobody_reports_any_more_are_forgotten_and_totals_are_not() {
    let (loads, start) = (Loads::default(), Instant::now());
    let mut one = loads.stream(reporter("web-1"));
    one.report(&[stats("cart", "a", [1, 1, 0, 0])], start);
    assert_eq!(loads.list(start + FORGOTTEN_AFTER / 2).len(), 1);
    assert_eq!(loads.list(start + 2 * FORGOTTEN_AFTER).len(), 0);
    assert_eq!(loads.totals().by_cluster.len(), 1);
}

#[test]
fn a_reporter_of_too_much_is_limited_and_counted() {
    let limits = LoadLimits {
        rows_max: 3,
        totals_max: 2,
        rows_of_stream_max: 100,
        name_bytes_max: 10,
    };
    let (loads, now) = (Loads::with_limits(limits), Instant::now());
    let mut hostile = loads.stream(reporter("web-1"));
    let many: Vec<ClusterStats> = (0..50)
        .map(|number| stats(&format!("c{number}"), "a", [1, 1, 0, 1]))
        .chain([stats("much-too-long", "a", [1, 1, 0, 0])])
        .chain([stats(
            "x",
            &"z".repeat(100),
            [u64::MAX, u64::MAX, 0, u64::MAX],
        )])
        .collect();
    hostile.report(&many, now);
    hostile.report(&many, now);
    assert_eq!(loads.list(now).len(), 3);
    let totals = loads.totals();
    assert_eq!(totals.by_cluster.len(), 2);
    assert_eq!(totals.refused, 2 * 49);
    assert_eq!(totals.beyond.requests, u64::MAX);
}

#[test]
fn one_stream_has_so_many_rows_at_a_time() {
    let limits = LoadLimits {
        rows_of_stream_max: 2,
        ..LoadLimits::default()
    };
    let (loads, now) = (Loads::with_limits(limits), Instant::now());
    let mut stream = loads.stream(reporter("web-1"));
    let many: Vec<ClusterStats> = (0..5)
        .map(|number| stats(&format!("c{number}"), "a", [1, 0, 0, 1]))
        .collect();
    stream.report(&many, now);
    assert_eq!(loads.list(now).len(), 2);
}

struct Known;

impl Reporters for Known {
    fn reporter(&self, node: &Node, _: &Peer) -> Result<Reporter, Refusal> {
        match node.id.as_str() {
            "" => Err(Refusal::PermissionDenied("who are you?".to_owned())),
            id => Ok(reporter(id)),
        }
    }

    fn keeps(&self, cluster: &str) -> bool {
        cluster != "xds"
    }
}

/// The answers to some requests, without a network.
async fn ask(
    loads: &Loads,
    wanted: bool,
    requests: Vec<LoadStatsRequest>,
) -> (Vec<LoadStatsResponse>, Option<Code>) {
    let settings = LoadSettings {
        wanted,
        interval: Duration::from_secs(7),
    };
    let server =
        LoadReportingService::server(Known, loads.clone(), settings, CancellationToken::new());
    let peer = Peer {
        address: "127.0.0.1:1".parse().unwrap(),
        identity: None,
    };
    let server = server.map_request(move |mut request: http::Request<tonic::body::Body>| {
        request.extensions_mut().insert(peer.clone());
        request
    });
    let (sender, receiver) = tokio::sync::mpsc::channel(10);
    for request in requests {
        sender.send(request).await.unwrap();
    }
    drop(sender);
    let mut client = LoadReportingServiceClient::new(server);
    let mut answers = client
        .stream_load_stats(ReceiverStream::new(receiver))
        .await
        .unwrap()
        .into_inner();
    let mut said = Vec::new();
    loop {
        match answers.message().await {
            Ok(Some(answer)) => said.push(answer),
            Ok(None) => return (said, None),
            Err(status) => return (said, Some(status.code())),
        }
    }
}

fn request(id: &str, cluster_stats: Vec<ClusterStats>) -> LoadStatsRequest {
    LoadStatsRequest {
        node: Some(Node {
            id: id.to_owned(),
            ..Node::default()
        }),
        cluster_stats,
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_is_asked_for_all_clusters_and_its_reports_are_taken() {
    let loads = Loads::default();
    let report = vec![
        stats("cart", "a", [1, 1, 0, 0]),
        stats("xds", "a", [1, 1, 0, 0]),
    ];
    let requests = vec![
        request("web-1", Vec::new()),
        request("web-1", report.clone()),
        request("web-1", report),
    ];
    let (answers, end) = ask(&loads, true, requests).await;
    assert_eq!(end, None);
    // Once at first, and again for each report: there may be new clusters.
    let [answer, again, last] = answers.as_slice() else {
        panic!("{answers:?}");
    };
    assert_eq!((answer, answer), (again, last));
    assert!(answer.send_all_clusters);
    assert_eq!(answer.load_reporting_interval.unwrap().seconds, 7);
    let now = tokio::time::Instant::now().into_std();
    assert_eq!(short(&loads, now), ["web-1 cart eu/a 2=2+0 0 0"]);
    assert_eq!(loads.totals().streams, 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_of_a_server_that_wants_no_loads_is_asked_for_nothing() {
    let loads = Loads::default();
    let requests = vec![request("web-1", vec![stats("cart", "a", [1, 1, 0, 0])])];
    let (answers, end) = ask(&loads, false, requests).await;
    assert_eq!((answers.len(), end), (1, None));
    assert!(!answers.first().unwrap().send_all_clusters);
    assert!(loads.list(Instant::now()).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_say_who_it_is_is_refused() {
    let loads = Loads::default();
    for (requests, expected) in [
        (vec![request("", Vec::new())], Some(Code::PermissionDenied)),
        (
            vec![LoadStatsRequest::default()],
            Some(Code::InvalidArgument),
        ),
        (Vec::new(), None),
    ] {
        let (answers, end) = ask(&loads, true, requests).await;
        assert_eq!((answers.len(), end), (0, expected));
    }
}
