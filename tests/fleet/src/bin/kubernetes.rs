//! `cargo run --release -p bowline-fleet --bin kubernetes`: what a large cluster costs.

use std::process::ExitCode;

use bowline_fleet::cluster::run::{self, Options};
use clap::Parser;

/// A large Kubernetes cluster: how long does it take to load, what does it hold, and how fast is a change with all proxies?
///
/// The program is measured against the API server double of the tests, or against a real one, which gets the objects of a large
/// cluster: one that has nothing else to do.
#[derive(Debug, Parser)]
#[command(name = "kubernetes")]
struct Command {
    #[command(flatten)]
    options: Options,
}

#[tokio::main]
async fn main() -> ExitCode {
    let measured = run::run(Command::parse().options, &say).await;
    let printed = measured.and_then(|report| Ok(serde_json::to_string_pretty(&report)?));
    match printed {
        Ok(report) => {
            answer(&report);
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "progress of a command on a terminal")]
fn say(text: &str) {
    eprintln!("{text}");
}

#[expect(clippy::print_stdout, reason = "what the command was asked for")]
fn answer(text: &str) {
    println!("{text}");
}
