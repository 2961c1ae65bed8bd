//! `cargo xtask fleet` becomes this program.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use bowline_fleet::{
    datacenter, floor,
    report::Report,
    run::{self, Options},
};
use clap::Parser;
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
    task::LocalSet,
};

/// A simulated fleet of proxies: what does a control plane cost, and how fast is it?
#[derive(Debug, Parser)]
#[command(name = "fleet")]
enum Command {
    /// Measure
    Run(Box<Options>),
    /// Measure how late a change of health in a real Consul is with all proxies; `CONSUL_BIN` names its program
    Consul(datacenter::Options),
    /// Be a server that sends what it is told to and nothing else
    #[command(hide = true)]
    Floor(floor::Options),
}

fn main() -> ExitCode {
    match command(Command::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn command(command: Command) -> Result<()> {
    match command {
        Command::Run(options) => {
            let json = options.json.clone();
            // One thread for all proxies: the other processors are the server's.
            let runtime = runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("cannot start a runtime")?;
            let report = LocalSet::new().block_on(&runtime, until_told_to_end(*options))?;
            answer(&report.table());
            match json {
                Some(path) => run::write_json(&report, &path),
                None => Ok(()),
            }
        }
        Command::Consul(options) => {
            let runtime = runtime::Runtime::new().context("cannot start a runtime")?;
            runtime.block_on(datacenter::run(options, &|row| answer(row)))
        }
        Command::Floor(options) => {
            let runtime = runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .context("cannot start a runtime")?;
            runtime.block_on(floor::run(options))
        }
    }
}

/// What was started ends with this: also when it is told to end.
async fn until_told_to_end(options: Options) -> Result<Report> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    tokio::select! {
        report = run::run(options, &say) => report,
        _ = terminated.recv() => bail!("told to end"),
        _ = interrupted.recv() => bail!("told to end"),
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
