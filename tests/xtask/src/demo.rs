//! `cargo xtask demo`: builds what the demo needs and becomes the demo.

use std::{os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result, bail};
use xtask::{cargo, envoy, workspace};

use crate::say;

pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    if let Some(unknown) = arguments.iter().find(|argument| **argument != "--stay") {
        bail!("the demo knows `--stay` only, not `{unknown}`");
    }
    say(&format!(
        "Envoy {}: fetching it if it is not here ...",
        envoy::VERSION
    ));
    let envoy = envoy::binary()?;
    say("Bowline: building (the first time takes some minutes) ...");
    let built = cargo::command()
        .args([
            "build",
            "--locked",
            "--package",
            "bowline",
            "--package",
            "bowline-harness",
        ])
        .args(["--bin", "bowline", "--bin", "demo"])
        .status()
        .context("cannot run cargo")?;
    if !built.success() {
        bail!("the build failed");
    }
    let programs = workspace::target().join("debug");
    // Replaces this process, so that signals reach the demo, which ends what it has started.
    let error = Command::new(programs.join("demo"))
        .args(arguments)
        .env(envoy::OVERRIDE, envoy)
        .env("BOWLINE_PROGRAM", programs.join("bowline"))
        .exec();
    Err(error).context("cannot start the demo")
}
