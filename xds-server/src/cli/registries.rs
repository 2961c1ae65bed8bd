//! `bowline registries`: how every registry is doing.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::Value;

use super::client::ServerArguments;
use super::output::{self, Format, age};
use super::{Outcome, path_segment};
use crate::admin::wire::Released;

/// List how every registry of a running server is doing, or release a loss that is held back
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, args_conflicts_with_subcommands = true)]
pub(super) struct Command {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    server: ServerArguments,
    /// How it is printed
    #[arg(short, long, value_enum, default_value = "text")]
    output: Format,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Believe a loss of endpoints that is held back
    #[command(after_help = RELEASE_EXAMPLE)]
    Release {
        /// The registry
        name: String,
        #[command(flatten)]
        server: ServerArguments,
    },
}

const EXAMPLE: &str = "Examples:
  bowline registries
  bowline registries --config bowline.yaml -o json
  bowline registries release vms --config bowline.yaml";

const RELEASE_EXAMPLE: &str = "Example:
  bowline registries release vms --config bowline.yaml";

/// As the API tells it.
#[derive(Debug, Deserialize)]
struct Listed {
    registry: String,
    state: String,
    saved_at: Option<Moment>,
    last_event: Option<Moment>,
    last_good: Option<Moment>,
    error: Option<String>,
    objects: usize,
    endpoints: usize,
    events: u64,
    held: Option<Held>,
}

#[derive(Debug, Deserialize)]
struct Held {
    endpoints: usize,
    until: Moment,
}

/// Time since the epoch.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Moment {
    secs: u64,
}

pub(super) fn run(command: &Command) -> Result<Outcome> {
    if let Some(Action::Release { name, server }) = &command.action {
        return release(name, server);
    }
    let answer: Value = command.server.server()?.get("/v1/registries")?.success()?;
    let listed: Vec<Listed> = serde_json::from_value(answer.clone())?;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    output::print(&command.output.render(&answer, || text(&listed, now))?)?;
    Ok(Outcome::Success)
}

fn release(name: &str, server: &ServerArguments) -> Result<Outcome> {
    let path = format!("/v1/registries/{}/release", path_segment(name));
    let Released { released } = server.owner_socket()?.post(&path, &())?.success()?;
    output::print(&if released {
        format!("the loss in registry {name} is believed now\n")
    } else {
        format!("no loss in registry {name} is held back\n")
    })?;
    Ok(Outcome::Success)
}

fn text(listed: &[Listed], now: Duration) -> String {
    if listed.is_empty() {
        return "no registry is configured\n".to_owned();
    }
    let since = |moment: Moment| now.saturating_sub(Duration::from_secs(moment.secs));
    let rows: Vec<_> = listed
        .iter()
        .map(|listed| {
            let good = listed.last_event.or(listed.saved_at).or(listed.last_good);
            [
                listed.registry.clone(),
                listed.state.clone(),
                good.map_or("-".to_owned(), |moment| age(since(moment))),
                listed.objects.to_string(),
                listed.endpoints.to_string(),
                listed.events.to_string(),
            ]
        })
        .collect();
    let head = ["REGISTRY", "STATE", "AGE", "OBJECTS", "ENDPOINTS", "EVENTS"];
    let mut text = output::table(head, &rows);
    for Listed {
        registry,
        error,
        held,
        ..
    } in listed
    {
        if let Some(error) = error {
            text.push_str(&format!("\n{registry}: {error}\n"));
        }
        if let Some(Held { endpoints, until }) = held {
            let rest = age(Duration::from_secs(until.secs).saturating_sub(now));
            text.push_str(&format!(
                "\n{registry}: the loss of {endpoints} endpoints is held back, and will be believed in {rest}; \
                 believe it now with `bowline registries release {registry} --config …`\n"
            ));
        }
    }
    text
}
