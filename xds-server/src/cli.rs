//! The commands: one file each.

mod bootstrap;
mod ca;
mod check;
mod client;
mod envoy_version;
mod loads;
mod offline;
mod output;
mod problem;
mod proxies;
mod registries;
mod render;
mod sds;
mod serve;

use std::fmt;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use clap::error::ErrorKind;

/// An xDS control plane for fleets of Envoys.
///
/// Reads registries (inventories of machines, manifests), merges them into one mesh, and serves its configuration to Envoys.
#[derive(Debug, Parser)]
#[command(name = "bowline", version, after_help = EXAMPLE)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Serve(serve::Command),
    Check(check::Command),
    Render(render::Command),
    Bootstrap(bootstrap::Command),
    Proxies(proxies::Command),
    Registries(registries::Command),
    Loads(loads::Command),
    Ca(ca::Command),
}

const EXAMPLE: &str = "Example:
  bowline check --config bowline.yaml && bowline serve --config bowline.yaml

Every command has a `--help` with an example.";

/// What a command found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// All is well: exit status 0.
    Success,
    /// What was asked for was done, and what it looked at is not well: exit status 1.
    Failure,
}

/// A command line that asks for something that is not possible: exit status 2.
#[derive(Debug)]
struct Usage(String);

impl Usage {
    fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl std::error::Error for Usage {}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Runs the command that the command line names. Exit status: 0 all is well, 1 it failed or found errors, 2 wrong usage.
pub fn main() -> ExitCode {
    let command_line = match CommandLine::try_parse() {
        Ok(command_line) => command_line,
        Err(error) => {
            let asked_for = matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            );
            // clap colours it if that is wanted, and chooses between standard output and standard error.
            let printed = error.print();
            return match (asked_for, printed) {
                (true, _) => ExitCode::SUCCESS,
                (false, _) => ExitCode::from(2),
            };
        }
    };
    match run(command_line.command) {
        Ok(Outcome::Success) => ExitCode::SUCCESS,
        Ok(Outcome::Failure) => ExitCode::FAILURE,
        Err(error) => {
            output::complain(&format!("error: {}\n", described(&error)));
            ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
        }
    }
}

fn run(command: Command) -> Result<Outcome> {
    match command {
        Command::Serve(command) => serve::run(command),
        Command::Check(command) => check::run(&command),
        Command::Render(command) => render::run(&command),
        Command::Bootstrap(command) => bootstrap::run(&command),
        Command::Proxies(command) => proxies::run(&command),
        Command::Registries(command) => registries::run(&command),
        Command::Loads(command) => loads::run(&command),
        Command::Ca(command) => ca::run(&command),
    }
}

/// An error with its causes, each said once: some name their cause in their own text.
fn described(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        match text.as_str() {
            "" => text = cause,
            said if said.ends_with(&cause) => {}
            _ => text.push_str(&format!(": {cause}")),
        }
    }
    text
}

/// A text as one segment of a path, or as a value in a query.
fn path_segment(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot write a: {source}")]
    struct Unwritten {
        source: std::io::Error,
    }

    #[test]
    fn a_cause_is_said_once() {
        let source = std::io::Error::other("no space");
        let error = anyhow::Error::from(Unwritten { source }).context("no certificate");
        assert_eq!(
            described(&error),
            "no certificate: cannot write a: no space"
        );
        let error = anyhow::anyhow!("refused").context("cannot ask");
        assert_eq!(described(&error), "cannot ask: refused");
    }
}
