//! `bowline loads`: who calls whom, how much, and how many errors.

use std::collections::BTreeMap;

use anyhow::Result;
use clap::Args;

use super::Outcome;
use super::client::ServerArguments;
use super::output::{self, Format};
use crate::admin::wire::ListedLoad;

/// List who calls whom, how much and with how many errors, as the proxies of a running server report it
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Command {
    #[command(flatten)]
    server: ServerArguments,
    /// Calls of this source only, such as `web.shop`
    #[arg(long, value_name = "SOURCE")]
    from: Option<String>,
    /// Calls to destinations whose name contains this
    #[arg(long, value_name = "TEXT")]
    to: Option<String>,
    /// How it is printed; text is one line for each source and destination, the others tell workloads and localities apart
    #[arg(short, long, value_enum, default_value = "text")]
    output: Format,
}

const EXAMPLE: &str = "Examples:
  bowline loads
  bowline loads --from web.shop --to cart -o json

Proxies report where `xds.loads.report` of the configuration is true. Rates are of the last minute.";

pub(super) fn run(command: &Command) -> Result<Outcome> {
    let mut listed: Vec<ListedLoad> = command.server.server()?.get("/v1/loads")?.success()?;
    listed.retain(|load| {
        let is_from = command
            .from
            .as_ref()
            .is_none_or(|from| load.source == *from);
        let is_to = command
            .to
            .as_ref()
            .is_none_or(|to| load.destination.contains(to.as_str()));
        is_from && is_to
    });
    output::print(&command.output.render(&listed, || text(&listed))?)?;
    Ok(Outcome::Success)
}

#[derive(Default)]
struct Sum {
    per_second: f64,
    errors_per_second: f64,
    requests: u64,
    errors: u64,
    dropped: u64,
    in_progress: u64,
}

fn text(listed: &[ListedLoad]) -> String {
    if listed.is_empty() {
        return "no proxy has reported a call; `xds.loads.report` says whether they do\n"
            .to_owned();
    }
    let mut sums: BTreeMap<(&str, &str), Sum> = BTreeMap::new();
    for load in listed {
        let sum = sums.entry((&load.source, &load.destination)).or_default();
        sum.per_second += load.per_second;
        sum.errors_per_second += load.errors_per_second;
        sum.requests = sum.requests.saturating_add(load.requests);
        sum.errors = sum.errors.saturating_add(load.errors);
        sum.dropped = sum.dropped.saturating_add(load.dropped);
        sum.in_progress = sum.in_progress.saturating_add(load.in_progress);
    }
    let rows: Vec<_> = sums
        .iter()
        .map(|((source, destination), sum)| {
            [
                (*source).to_owned(),
                (*destination).to_owned(),
                format!("{:.1}", sum.per_second),
                format!("{:.1}", sum.errors_per_second),
                sum.in_progress.to_string(),
                sum.requests.to_string(),
                sum.errors.to_string(),
                sum.dropped.to_string(),
            ]
        })
        .collect();
    let head = [
        "SOURCE",
        "DESTINATION",
        "REQUESTS/S",
        "ERRORS/S",
        "OPEN",
        "REQUESTS",
        "ERRORS",
        "DROPPED",
    ];
    output::table(head, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_one_source_sends_to_one_destination() {
        let load = |workload: &str, errors| ListedLoad {
            source: "web.shop".to_owned(),
            workload: workload.to_owned(),
            destination: "cart.shop:80".to_owned(),
            cluster: "outbound|80||cart.shop".to_owned(),
            locality: String::new(),
            requests: 10,
            succeeded: 10 - errors,
            errors,
            dropped: 0,
            in_progress: 1,
            per_second: 0.25,
            errors_per_second: 0.0,
        };
        let text = text(&[load("shop/web-1", 3), load("shop/web-2", 0)]);
        let cells: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        let [_, line] = cells.as_slice() else {
            panic!("{text}");
        };
        assert_eq!(
            *line,
            [
                "web.shop",
                "cart.shop:80",
                "0.5",
                "0.0",
                "2",
                "20",
                "3",
                "0"
            ]
        );
    }
}
