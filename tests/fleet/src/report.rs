//! The figures, as a table and as JSON.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use serde::Serialize;

use crate::{
    crowd::member::Sums,
    measure::Used,
    statistics::{Percentiles, milliseconds},
    world::World,
};

/// What a run found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What was served, to whom.
    pub world: World,
    /// Whether over mutual TLS.
    pub mutual_tls: bool,
    /// How many proxies share a connection.
    pub streams_per_connection: usize,
    /// Processors of the machine.
    pub processors: usize,
    /// Servers that were asked for and are not in the report, with the reason.
    pub left_out: Vec<String>,
    /// A row for each scenario and server.
    pub rows: Vec<Row>,
}

/// What one server did in one scenario.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What happened.
    pub scenario: &'static str,
    /// To whom.
    pub server: &'static str,
    /// Until the first proxy had it.
    pub first: Option<Percentiles>,
    /// Until the last proxy had it; in a cold start, until each was ready.
    pub last: Option<Percentiles>,
    /// What went over the wire.
    pub traffic: Sums,
    /// Processor time of the server, in milliseconds.
    pub server_cpu_ms: f64,
    /// Of the simulated fleet.
    pub fleet_cpu_ms: f64,
    /// Of everything else on the machine: what makes the other figures worse than they are.
    pub other_cpu_ms: f64,
    /// How long it was measured.
    pub elapsed_ms: f64,
    /// Memory of the server afterwards.
    pub resident_bytes: u64,
    /// What only this scenario has.
    pub details: BTreeMap<&'static str, f64>,
}

/// What was measured in one scenario, for [`Row`].
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// Until the first proxy had each change.
    pub first: Vec<Duration>,
    /// Until the last proxy had it.
    pub last: Vec<Duration>,
    /// What went over the wire.
    pub traffic: Sums,
    /// Processor time.
    pub used: Used,
    /// How long it took.
    pub elapsed: Duration,
    /// Memory afterwards.
    pub resident_bytes: u64,
    /// What only this scenario has.
    pub details: BTreeMap<&'static str, f64>,
}

impl Measured {
    /// As a row.
    pub fn row(self, scenario: &'static str, server: &'static str) -> Row {
        let Self {
            first,
            last,
            traffic,
            used,
            elapsed,
            resident_bytes,
            details,
        } = self;
        Row {
            scenario,
            server,
            first: Percentiles::of(first),
            last: Percentiles::of(last),
            traffic,
            server_cpu_ms: milliseconds(used.server),
            fleet_cpu_ms: milliseconds(used.fleet),
            other_cpu_ms: milliseconds(used.other),
            elapsed_ms: milliseconds(elapsed),
            resident_bytes,
            details,
        }
    }
}

impl Row {
    /// In one line.
    pub fn summary(&self) -> String {
        let last = self.last.map_or_else(String::new, |last| {
            let (p50, p99) = (number(last.p50_ms), number(last.p99_ms));
            format!("last proxy p50 {p50} ms, p99 {p99} ms, ")
        });
        format!(
            "  {}: {last}server CPU {} ms, received {}",
            self.server,
            number(self.server_cpu_ms),
            bytes(self.traffic.received_bytes)
        )
    }
}

/// The server whose figures are divided by those of the others.
pub const OURS: &str = "bowline";

const COLUMNS: [&str; 12] = [
    "scenario",
    "server",
    "first p50",
    "last p50",
    "p99",
    "max ms",
    "received",
    "messages",
    "server CPU",
    "fleet CPU",
    "others",
    "resident",
];

impl Report {
    /// For people.
    pub fn table(&self) -> String {
        let mut table = vec![COLUMNS.map(str::to_owned).to_vec()];
        for row in &self.rows {
            table.push(cells(row, self.processors));
        }
        let mut text = aligned(&table);
        for row in self.rows.iter().filter(|row| !row.details.is_empty()) {
            line(
                &mut text,
                format_args!("\n{} of {}:", row.scenario, row.server),
            );
            for (name, value) in &row.details {
                line(&mut text, format_args!("  {name}: {}", number(*value)));
            }
        }
        let ratios = self.ratios();
        if !ratios.is_empty() {
            line(&mut text, format_args!("\n{OURS} divided by the others:"));
            text.push_str(&aligned(&ratios));
        }
        for left_out in &self.left_out {
            line(&mut text, format_args!("\nnot measured: {left_out}"));
        }
        text
    }

    fn ratios(&self) -> Vec<Vec<String>> {
        let header = [
            "scenario",
            "by",
            "last p50",
            "last p99",
            "server CPU",
            "received",
            "memory a proxy",
        ];
        let mut table = Vec::new();
        for ours in self.rows.iter().filter(|row| row.server == OURS) {
            let others = self.rows.iter().filter(|row| row.scenario == ours.scenario);
            for other in others.filter(|row| row.server != OURS) {
                table.push(vec![
                    ours.scenario.to_owned(),
                    other.server.to_owned(),
                    ratio(
                        ours.last.map(|last| last.p50_ms),
                        other.last.map(|last| last.p50_ms),
                    ),
                    ratio(
                        ours.last.map(|last| last.p99_ms),
                        other.last.map(|last| last.p99_ms),
                    ),
                    ratio(Some(ours.server_cpu_ms), Some(other.server_cpu_ms)),
                    ratio(
                        Some(ours.traffic.received_bytes as f64),
                        Some(other.traffic.received_bytes as f64),
                    ),
                    ratio(memory(ours), memory(other)),
                ]);
            }
        }
        if !table.is_empty() {
            table.insert(0, header.map(str::to_owned).to_vec());
        }
        table
    }
}

/// The detail with the memory that each proxy costs.
pub const KIB_A_PROXY: &str = "KiB a proxy";

fn memory(row: &Row) -> Option<f64> {
    row.details.get(KIB_A_PROXY).copied()
}

fn cells(row: &Row, processors: usize) -> Vec<String> {
    let milliseconds = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), number);
    let others = 100.0 * row.other_cpu_ms / (row.elapsed_ms * processors as f64).max(1.0);
    vec![
        row.scenario.to_owned(),
        row.server.to_owned(),
        milliseconds(row.first.map(|first| first.p50_ms)),
        milliseconds(row.last.map(|last| last.p50_ms)),
        milliseconds(row.last.map(|last| last.p99_ms)),
        milliseconds(row.last.map(|last| last.max_ms)),
        bytes(row.traffic.received_bytes),
        row.traffic.received_messages.to_string(),
        format!("{} ms", number(row.server_cpu_ms)),
        format!("{} ms", number(row.fleet_cpu_ms)),
        format!("{} %", number(others)),
        bytes(row.resident_bytes),
    ]
}

fn ratio(ours: Option<f64>, other: Option<f64>) -> String {
    match (ours, other) {
        (Some(ours), Some(other)) if other > 0.0 => number(ours / other),
        _ => "-".to_owned(),
    }
}

/// With as many digits as are of interest.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        ..0.1 => format!("{value:.3}"),
        0.1..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn bytes(bytes: u64) -> String {
    let kib = bytes as f64 / 1024.0;
    match kib {
        ..1024.0 => format!("{} KiB", number(kib)),
        _ => format!("{} MiB", number(kib / 1024.0)),
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a text takes all that is written");
}

/// Columns of equal width; the first two are names, all others numbers.
fn aligned(rows: &[Vec<String>]) -> String {
    const NAMES: usize = 2;
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate();
        let cells: Vec<String> = cells
            .map(|(column, (cell, width))| match column {
                ..NAMES => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            })
            .collect();
        line(&mut text, format_args!("{}", cells.join("  ").trim_end()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(server: &'static str, factor: u64) -> Row {
        let used = Used {
            server: Duration::from_millis(10 * factor),
            fleet: Duration::from_millis(5),
            other: Duration::from_millis(40),
        };
        Measured {
            last: vec![Duration::from_millis(20 * factor)],
            used,
            elapsed: Duration::from_millis(100),
            resident_bytes: 3 * 1024 * 1024,
            traffic: Sums {
                received_bytes: 1000,
                ..Sums::default()
            },
            ..Measured::default()
        }
        .row("endpoint-change", server)
    }

    fn report(rows: Vec<Row>) -> Report {
        Report {
            world: World::default(),
            mutual_tls: false,
            streams_per_connection: 1,
            processors: 2,
            left_out: vec!["go-snapshot: Go is not installed".to_owned()],
            rows,
        }
    }

    #[test]
    fn a_table_has_the_figures_and_the_ratios() {
        let text = report(vec![row("bowline", 1), row("floor", 2)]).table();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with("endpoint-change  bowline"), "{text}");
        assert!(
            lines[1].contains("20.0")
                && lines[1].contains("3.00 MiB")
                && lines[1].contains("20.0 %")
        );
        let ratios = lines
            .iter()
            .find(|line| line.contains("floor") && line.contains("0.50"));
        assert!(ratios.is_some(), "{text}");
        assert!(text.contains("Go is not installed"));
    }

    #[test]
    fn a_report_is_json() {
        let json = serde_json::to_value(report(vec![row("bowline", 1)])).unwrap();
        assert_eq!(json["rows"][0]["last"]["p99_ms"], 20.0);
        assert_eq!(json["rows"][0]["traffic"]["received_bytes"], 1000);
        assert_eq!(json["world"]["namespaces"], 50);
    }
}
