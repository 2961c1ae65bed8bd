//! `bowline registries`: how every registry is doing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use bowline_mesh::{PartState, RegistryPart};
use clap::{Args, Subcommand};
use time::OffsetDateTime;

use super::client::{self, ServerArguments};
use super::output::{self, Format, age};
use super::{Outcome, path_segment};
use crate::admin::wire::{HeldLoss, ListedRegistry, RegistryHealth, Released};

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
        /// The configuration of the server: only the owner of its state directory may do this
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

const EXAMPLE: &str = "Examples:
  bowline registries
  bowline registries --config bowline.yaml -o json
  bowline registries release vms --config bowline.yaml

AGE is for how long what is served has not been confirmed: 0s while the registry is live, however long ago it last changed.
Parts are what of a registry is watched by itself: each datacenter of a Consul, each kind of objects
of a Kubernetes cluster. DRIFT counts changes that were missed, and found when
everything was read again.";

const RELEASE_EXAMPLE: &str = "Example:
  bowline registries release vms --config bowline.yaml";

pub(super) fn run(command: &Command) -> Result<Outcome> {
    if let Some(Action::Release { name, config }) = &command.action {
        return release(name, config);
    }
    let listed: Vec<ListedRegistry> = command.server.server()?.get("/v1/registries")?.success()?;
    let now = OffsetDateTime::now_utc();
    output::print(&command.output.render(&listed, || text(&listed, now))?)?;
    Ok(Outcome::Success)
}

fn release(name: &str, config: &Path) -> Result<Outcome> {
    let path = format!("/v1/registries/{}/release", path_segment(name));
    let Released { released } = client::owner_socket(config)?.post(&path, &())?.success()?;
    output::print(&if released {
        format!("the loss in registry {name} is believed now\n")
    } else {
        format!("no loss in registry {name} is held back\n")
    })?;
    Ok(Outcome::Success)
}

fn text(listed: &[ListedRegistry], now: OffsetDateTime) -> String {
    if listed.is_empty() {
        return "no registry is configured\n".to_owned();
    }
    let rows: Vec<_> = listed
        .iter()
        .map(|listed| {
            let state = match listed.state {
                RegistryHealth::Starting => "starting",
                RegistryHealth::Restored => "restored",
                RegistryHealth::Live => "live",
                RegistryHealth::Failing => "failing",
            };
            let unknown = || "-".to_owned();
            [
                listed.registry.clone(),
                state.to_owned(),
                listed
                    .age_seconds
                    .map_or_else(unknown, |seconds| age(Duration::from_secs(seconds))),
                listed
                    .last_event
                    .map_or_else(unknown, |moment| age(between(moment.0, now))),
                listed.objects.to_string(),
                listed.endpoints.to_string(),
                listed.events.to_string(),
            ]
        })
        .collect();
    let head = [
        "REGISTRY",
        "STATE",
        "AGE",
        "LAST EVENT",
        "OBJECTS",
        "ENDPOINTS",
        "EVENTS",
    ];
    let mut text = output::table(head, &rows);
    text.push_str(&parts(listed));
    for ListedRegistry {
        registry,
        error,
        held,
        ..
    } in listed
    {
        if let Some(error) = error {
            text.push_str(&format!("\n{registry}: {error}\n"));
        }
        if let Some(HeldLoss {
            endpoints, until, ..
        }) = held
        {
            let rest = age(between(now, until.0));
            text.push_str(&format!(
                "\n{registry}: the loss of {endpoints} endpoints is held back, and will be believed in {rest}; \
                 believe it now with `bowline registries release {registry} --config …`\n"
            ));
        }
    }
    text
}

/// The parts of registries that have such, or nothing.
fn parts(listed: &[ListedRegistry]) -> String {
    let rows: Vec<_> = listed
        .iter()
        .flat_map(|listed| {
            listed
                .parts
                .iter()
                .map(move |part| (&listed.registry, part))
        })
        .map(|(registry, part)| {
            let RegistryPart {
                name,
                state,
                stale_for,
                services,
                instances,
                changes_per_second_milli,
                throttled,
                denied,
                drift,
                mode,
                last_error,
            } = part;
            let state = match state {
                PartState::Starting => "starting",
                PartState::Live => "live",
                PartState::Stale => "stale",
                PartState::Denied => "denied",
                PartState::NotPermitted => "not permitted",
                PartState::Throttled => "throttled",
                PartState::Down => "down",
            };
            let or_dash = |text: &str| match text {
                "" => "-".to_owned(),
                text => text.to_owned(),
            };
            [
                registry.clone(),
                name.to_string(),
                stale_for.map_or_else(
                    || state.to_owned(),
                    |stale_for| format!("{state} for {}", age(stale_for)),
                ),
                services.to_string(),
                instances.to_string(),
                format!(
                    "{}.{}",
                    changes_per_second_milli / 1000,
                    changes_per_second_milli % 1000 / 100
                ),
                throttled.to_string(),
                denied.to_string(),
                drift.to_string(),
                or_dash(mode),
                or_dash(last_error.as_deref().unwrap_or_default()),
            ]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let head = [
        "REGISTRY",
        "PART",
        "STATE",
        "SERVICES",
        "INSTANCES",
        "CHANGES/S",
        "THROTTLED",
        "DENIED",
        "DRIFT",
        "WATCHED",
        "LAST ERROR",
    ];
    format!("\n{}", output::table(head, &rows))
}

/// Nothing where the later is the earlier: clocks differ.
fn between(earlier: OffsetDateTime, later: OffsetDateTime) -> Duration {
    Duration::try_from(later - earlier).unwrap_or_default()
}
