//! A small fleet of real streams against the real program and the floors: everything that is measured happens.

use std::path::Path;

use bowline_fleet::{
    report::Report,
    run::{self, Options},
};
use clap::Parser;
use tokio::task::LocalSet;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

/// Twenty proxies, and as little of everything as shows that it works.
const SMALL: &[&str] = &[
    "--quick",
    "--proxies=20",
    "--services=12",
    "--workloads=8",
    "--namespaces=3",
    "--repetitions=2",
    "--rate=20",
    "--seconds=1",
    "--large=5",
    "--churn=40",
    "--servers=bowline,floor,floor-tonic",
];

async fn measure(arguments: &[&str]) -> anyhow::Result<Report> {
    let program = bowline_harness::program().await?;
    let floor = Path::new(env!("CARGO_BIN_EXE_bowline-fleet"));
    let line = ["fleet"].iter().chain(SMALL).chain(arguments).copied();
    let mut options = Line::try_parse_from(line)?.options;
    options.bowline = program;
    options.floor = Some(floor.to_path_buf());
    LocalSet::new().run_until(run::run(options, &|_| {})).await
}

#[tokio::test]
async fn everything_that_is_measured_happens() {
    let report = measure(&["--bowline=replaced", "--sotw=30"]).await.unwrap();
    assert_eq!(report.left_out, Vec::<String>::new());
    let scenarios = |server: &str| -> Vec<&str> {
        let rows = report.rows.iter().filter(|row| row.server == server);
        rows.map(|row| row.scenario).collect()
    };
    assert_eq!(
        scenarios("bowline"),
        [
            "cold-start",
            "endpoint-change",
            "route-change",
            "endpoint-stream",
            "rolling-restart",
            "stalled-reader",
            "service-added",
            "restart",
            "replica",
            "churn"
        ]
    );
    for floor in ["floor", "floor-tonic"] {
        assert_eq!(
            scenarios(floor),
            [
                "cold-start",
                "endpoint-change",
                "route-change",
                "endpoint-stream",
                "rolling-restart",
                "stalled-reader",
                "restart",
                "churn"
            ]
        );
    }
    for row in &report.rows {
        assert!(row.traffic.received_messages > 0, "{row:?}");
        assert!(row.resident_bytes > 1_000_000, "{row:?}");
    }
    assert!(report.table().contains("bowline divided by the others"));
}

#[tokio::test]
async fn delta_proxies_over_mutual_tls_come_back_for_nearly_nothing() {
    let arguments = [
        "--bowline=replaced",
        "--tls",
        "--streams-per-connection=3",
        "endpoint-change",
        "restart",
    ];
    let report = measure(&arguments).await.unwrap();
    let servers: Vec<&str> = report.rows.iter().map(|row| row.server).collect();
    assert_eq!(servers, ["bowline", "floor", "floor-tonic"].repeat(3));
}
