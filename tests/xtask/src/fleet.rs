//! `cargo xtask fleet`: builds what is measured and becomes the simulated fleet.

use std::{os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result, bail};
use xtask::{cargo, workspace};

use crate::say;

/// Figures are those of what users run.
const PROFILE: &str = "release";

pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let (profile, arguments) = profile(arguments)?;
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
    // Replaces this process, so that signals reach the fleet, which ends what it has started.
    let error = Command::new(programs.join("bowline-fleet"))
        .arg("run")
        .arg("--bowline")
        .arg(programs.join("bowline"))
        .args(arguments)
        .exec();
    Err(error).context("cannot start the fleet")
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
        assert_eq!((folder("dev"), folder("release")), ("debug", "release"));
    }
}
