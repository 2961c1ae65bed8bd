//! `cargo xtask fleet`: builds what is measured and becomes the simulated fleet.

use std::{os::unix::process::CommandExt, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};
use xtask::{cargo, workspace};

use crate::say;

/// Figures are those of what users run.
const PROFILE: &str = "release";

pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let (profile, arguments) = profile(arguments)?;
    let (command, arguments) = command(&arguments);
    say(&format!(
        "building with profile {profile} (the first time takes some minutes) ..."
    ));
    let built = cargo::command()
        .args(["build", "--locked", "--profile", profile])
        .args(["--package", "bowline", "--bin", "bowline"])
        .args(["--package", "bowline-fleet", "--bin", "bowline-fleet"])
        .status()
        .context("cannot run cargo")?;
    if !built.success() {
        bail!("the build failed");
    }
    let programs = workspace::target().join(folder(profile));
    let peer = match is_go_wanted(command, arguments) {
        true => go_control_plane()?,
        false => None,
    };
    // Replaces this process, so that signals reach the fleet, which ends what it has started.
    let error = Command::new(programs.join("bowline-fleet"))
        .arg(command)
        .arg("--bowline")
        .arg(programs.join("bowline"))
        .args(
            peer.iter()
                .flat_map(|peer| ["--go-control-plane".as_ref(), peer.as_os_str()]),
        )
        .args(arguments)
        .exec();
    Err(error).context("cannot start the fleet")
}

/// What the fleet is to do, and the rest of the arguments.
fn command<'a, 'b>(arguments: &'b [&'a str]) -> (&'a str, &'b [&'a str]) {
    match arguments {
        ["consul", rest @ ..] => ("consul", rest),
        all => ("run", all),
    }
}

/// Whether servers written in Go are to be measured: also where nothing is said about servers.
fn is_go_wanted(command: &str, arguments: &[&str]) -> bool {
    let servers = arguments
        .iter()
        .position(|argument| *argument == "--servers");
    let named = servers.and_then(|at| arguments.get(at + 1));
    let is_help = arguments
        .iter()
        .any(|argument| ["--help", "-h"].contains(argument));
    command == "run" && !is_help && named.is_none_or(|names| names.contains("go-"))
}

/// The program of the peer, built if need be; none where Go is not installed.
fn go_control_plane() -> Result<Option<PathBuf>> {
    if Command::new("go").arg("version").output().is_err() {
        return Ok(None);
    }
    say("building the peer that is written in Go ...");
    let program = workspace::target().join("tools/go-control-plane");
    let built = Command::new("go")
        .args(["build", "-mod=readonly", "-o"])
        .args([program.as_os_str(), ".".as_ref()])
        .current_dir(workspace::root().join("tests/fleet/peers/go-control-plane"))
        .status()
        .context("cannot run go")?;
    if !built.success() {
        bail!("the build of tests/fleet/peers/go-control-plane failed");
    }
    Ok(Some(program))
}

/// The profile to build with, and the rest of the arguments.
fn profile<'a>(arguments: &[&'a str]) -> Result<(&'a str, Vec<&'a str>)> {
    let mut rest = arguments.to_vec();
    let Some(at) = rest.iter().position(|argument| *argument == "--profile") else {
        return Ok((PROFILE, rest));
    };
    rest.remove(at);
    if at == rest.len() {
        bail!("--profile needs a name: release, fleet (faster to build), or dev");
    }
    let profile = rest.remove(at);
    Ok((profile, rest))
}

/// Cargo's folder for a profile: of `dev` it has another name.
fn folder(profile: &str) -> &str {
    match profile {
        "dev" => "debug",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_is_cargos_and_all_else_is_the_fleets() {
        let (name, rest) = profile(&["cold-start", "--profile", "fleet", "--quick"]).unwrap();
        assert_eq!((name, rest), ("fleet", vec!["cold-start", "--quick"]));
        assert_eq!(profile(&["--quick"]).unwrap(), ("release", vec!["--quick"]));
        assert!(profile(&["--quick", "--profile"]).is_err());
        let is_wanted = |arguments: &[&str]| {
            let (command, rest) = command(arguments);
            is_go_wanted(command, rest)
        };
        assert!(is_wanted(&["--quick"]) && is_wanted(&["--servers", "bowline,go-linear"]));
        assert!(!is_wanted(&["--servers", "bowline,floor"]) && !is_wanted(&["--help"]));
        assert!(!is_wanted(&["consul"]));
        assert_eq!((folder("dev"), folder("release")), ("debug", "release"));
    }
}
