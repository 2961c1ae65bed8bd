//! `bowline check`: what is wrong with a configuration and what its registries say, or with a running server.

mod kubernetes;

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context, Result};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::Outcome;
use super::client::{AdminUrl, Server};
use super::offline;
use super::output::{self, Format};
use super::problem::ListedProblem;
use super::proxies;
use crate::config::{Config, ConfigErrors};
use crate::pipeline::Blocker;
use crate::tls::{self, TlsFiles, TlsSource};

/// Check a configuration and all that its registries say, or a running server; exit status 1 if there are errors
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["config", "admin"]))]
pub(super) struct Command {
    /// Check this configuration, and read its registries once
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the server whose admin API is here
    #[arg(long, value_name = "URL")]
    admin: Option<AdminUrl>,
    /// Look at the Kubernetes clusters of the configuration instead: versions, clocks, kinds, and what the server may do there
    #[arg(long, requires = "config")]
    kubernetes: bool,
    /// Let warnings count as errors
    #[arg(long)]
    deny_warnings: bool,
    /// How it is printed
    #[arg(short, long, value_enum, default_value = "text")]
    output: Format,
}

const EXAMPLE: &str = "Examples:
  bowline check --config bowline.yaml --deny-warnings
  bowline check --config bowline.yaml --kubernetes
  bowline check --admin http://127.0.0.1:15014 -o json";

/// What a check found.
#[derive(Debug, Serialize)]
struct Findings {
    summary: Summary,
    /// What is wrong with the configuration, a registry as a whole, or the server: all of it errors.
    failures: Vec<String>,
    problems: Vec<ListedProblem>,
}

#[derive(Debug, Serialize)]
struct Summary {
    errors: usize,
    warnings: usize,
    /// What was looked at.
    checked: String,
}

/// Whether the server is ready, as it says itself.
#[derive(Debug, Deserialize)]
struct Readiness {
    blockers: Vec<Blocker>,
}

pub(super) fn run(command: &Command) -> Result<Outcome> {
    let findings = match (&command.config, &command.admin) {
        (Some(path), _) => match Config::load(path) {
            Ok(config) if command.kubernetes => return kubernetes::run(&config, command),
            Ok(config) => of_configuration(&config)?,
            Err(errors) => of_wrong_configuration(&errors),
        },
        (None, Some(url)) => of_server(&url.server())?,
        (None, None) => anyhow::bail!("neither a configuration nor a server was given"),
    };
    let Summary {
        errors, warnings, ..
    } = findings.summary;
    output::print(&command.output.render(&findings, || findings.to_text())?)?;
    Ok(if errors > 0 || (command.deny_warnings && warnings > 0) {
        Outcome::Failure
    } else {
        Outcome::Success
    })
}

fn of_configuration(config: &Config) -> Result<Findings> {
    let offline = offline::read(config);
    let problems = listed(&offline.problems())?;
    let mut failures = offline.failures;
    failures.extend(unusable_certificates(config));
    let endpoints: usize = offline
        .registries
        .iter()
        .map(|registry| registry.endpoints)
        .sum();
    let checked = format!(
        "{}, {}, {}",
        counted(offline.registries.len(), "registry", "registries"),
        counted(offline.mesh.services_len(), "service", "services"),
        counted(endpoints, "endpoint", "endpoints"),
    );
    Ok(Findings::new(failures, problems, checked))
}

fn of_wrong_configuration(errors: &ConfigErrors) -> Findings {
    let failures = errors.errors().iter().map(ToString::to_string).collect();
    Findings::new(
        failures,
        Vec::new(),
        "the configuration only: no registry is read before it is right".to_owned(),
    )
}

fn of_server(server: &Server) -> Result<Findings> {
    // Not being ready is an answer here, not a failure to answer.
    let Readiness { blockers } = server.get("/readyz")?.content()?;
    let mut failures: Vec<_> = blockers
        .into_iter()
        .map(|Blocker { name, reason }| format!("not ready: {name}: {reason}"))
        .collect();
    failures.extend(proxies::rejections(server)?);
    let problems = server.get("/v1/problems")?.success()?;
    Ok(Findings::new(
        failures,
        problems,
        format!("the server at {server}"),
    ))
}

/// Why the server could not start with the certificates that are given to it.
fn unusable_certificates(config: &Config) -> Option<String> {
    let files = TlsFiles::configured(config)?;
    let error = tls::load(TlsSource::Files(files), SystemTime::now()).err()?;
    Some(format!("xds.tls: cannot serve mutual TLS: {error}"))
}

/// Problems in the form in which a server tells them, so that there is one way to print them.
fn listed(problems: &[bowline_mesh::Problem]) -> Result<Vec<ListedProblem>> {
    let value = serde_json::to_value(problems).context("cannot list the problems")?;
    serde_json::from_value(value).context("cannot list the problems")
}

impl Findings {
    fn new(failures: Vec<String>, problems: Vec<ListedProblem>, checked: String) -> Self {
        let errors = problems.iter().filter(|problem| problem.is_error()).count();
        Self {
            summary: Summary {
                errors: errors + failures.len(),
                warnings: problems.len() - errors,
                checked,
            },
            failures,
            problems,
        }
    }

    fn to_text(&self) -> String {
        let Self {
            summary,
            failures,
            problems,
        } = self;
        let mut text = String::new();
        for failure in failures {
            text.push_str(&format!("error {failure}\n"));
        }
        for problem in problems {
            text.push_str(&problem.to_text());
        }
        let Summary {
            errors,
            warnings,
            checked,
        } = summary;
        let result = match (errors, warnings) {
            (0, 0) => "no problems".to_owned(),
            _ => format!(
                "{}, {}",
                counted(*errors, "error", "errors"),
                counted(*warnings, "warning", "warnings")
            ),
        };
        text.push_str(&format!("{result} (checked: {checked})\n"));
        text
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {many}"),
    }
}
