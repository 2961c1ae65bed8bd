//! `cargo xtask test`: everything that has to hold. What runs here is what runs for every change.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use xtask::{cargo, envoy, grpc, kubectl, workspace};

use crate::say;

/// A command of Cargo, with what it proves.
struct Step {
    what: &'static str,
    arguments: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
}

/// In order of speed. Clippy only checks, so that it compiles nothing that the tests compile again;
/// the build of everything comes before the tests so that the program they start is made with
/// the same features as the tests, and no dependency is compiled twice.
const STEPS: &[Step] = &[
    Step {
        what: "format",
        arguments: &["fmt", "--all", "--check"],
        environment: &[],
    },
    Step {
        what: "lints",
        arguments: &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ],
        environment: &[],
    },
    Step {
        what: "build",
        arguments: &[
            "build",
            "--workspace",
            "--bins",
            "--tests",
            "--examples",
            "--locked",
        ],
        environment: &[],
    },
    Step {
        what: "tests, also with the real Envoy",
        arguments: &[
            "test",
            "--workspace",
            // Whoever reads this wants to know of all failures.
            "--no-fail-fast",
            "--bins",
            "--lib",
            "--tests",
            "--examples",
            "--locked",
        ],
        environment: &[],
    },
    Step {
        what: "examples in the documentation",
        arguments: &["test", "--workspace", "--doc", "--locked"],
        environment: &[],
    },
    Step {
        what: "documentation",
        arguments: &["doc", "--workspace", "--no-deps", "--locked"],
        environment: &[("RUSTDOCFLAGS", "-D warnings")],
    },
];

/// Runs every step and says what failed; a failure does not hide the steps after it.
pub(crate) fn run() -> Result<()> {
    let started = Instant::now();
    say("envoy: the real one, for the tests");
    let envoy = envoy::binary()?;
    say("kubectl: for the manifests of the examples");
    let kubectl = kubectl::binary()?;
    say("gRPC: real clients, for the tests");
    grpc::python()?;
    let has_node = grpc::node_modules()?.is_some();
    let mut failed = Vec::new();
    let mut times = Vec::new();
    for step in STEPS {
        say(&format!(
            "\n== {}: cargo {}",
            step.what,
            step.arguments.join(" ")
        ));
        let (passed, took) = step.run(&envoy, &kubectl)?;
        times.push(format!(
            "{:>6.1} s  {:6}  {}",
            took.as_secs_f64(),
            if passed { "passed" } else { "FAILED" },
            step.what
        ));
        if !passed {
            failed.push(step.what);
        }
    }
    say(&format!(
        "\n{}\n{:>6.1} s  altogether",
        times.join("\n"),
        started.elapsed().as_secs_f64()
    ));
    if !can_capture() {
        say(
            "not proven here: transparent capture on a real Envoy, which takes root, unshare and iptables",
        );
    }
    if !has_node {
        say("not proven here: gRPC clients of Node.js, which take node and npm");
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// What `tests/e2e` needs for a network of its own.
fn can_capture() -> bool {
    Command::new("unshare")
        .args(["--net", "iptables", "--table", "nat", "--list"])
        .output()
        .is_ok_and(|output| output.status.success())
}

impl Step {
    fn run(&self, envoy: &Path, kubectl: &Path) -> Result<(bool, Duration)> {
        let started = Instant::now();
        let status = cargo::command()
            .args(self.arguments)
            .env(envoy::OVERRIDE, envoy)
            .env(kubectl::OVERRIDE, kubectl)
            .env("BOWLINE_PROGRAM", workspace::target().join("debug/bowline"))
            .envs(self.environment.iter().copied())
            .status()
            .context("cannot run cargo")?;
        Ok((status.success(), started.elapsed()))
    }
}
