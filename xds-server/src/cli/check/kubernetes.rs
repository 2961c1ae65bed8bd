//! `bowline check --kubernetes`: what could keep the clusters of a configuration from being watched, or statuses from being written.

use anyhow::{Context, Result, bail};
use bowline_kubernetes::{Finding, Verdict, preflight};
use serde::Serialize;

use super::{Command, Outcome, counted};
use crate::cli::output;
use crate::config::{Config, RegistrySource};

/// What was found about one cluster.
#[derive(Debug, Serialize)]
struct Cluster {
    registry: String,
    findings: Vec<Finding>,
}

pub(super) fn run(config: &Config, command: &Command) -> Result<Outcome> {
    let clusters = look(config)?;
    let count = |verdict| {
        let findings = clusters.iter().flat_map(|cluster| &cluster.findings);
        findings
            .filter(|finding| finding.verdict == verdict)
            .count()
    };
    let (errors, warnings) = (count(Verdict::Error), count(Verdict::Warning));
    let text = || to_text(&clusters, errors, warnings);
    output::print(&command.output.render(&clusters, text)?)?;
    Ok(if errors > 0 || (command.deny_warnings && warnings > 0) {
        Outcome::Failure
    } else {
        Outcome::Success
    })
}

fn look(config: &Config) -> Result<Vec<Cluster>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot ask the API servers")?;
    let mut clusters = Vec::new();
    for registry in &config.registries {
        if let RegistrySource::Kubernetes(cluster) = &registry.source {
            clusters.push(Cluster {
                registry: registry.settings.id.to_string(),
                findings: runtime.block_on(preflight(
                    &cluster.access,
                    &cluster.facts,
                    &cluster.writing,
                )),
            });
        }
    }
    if clusters.is_empty() {
        bail!(
            "the configuration has no Kubernetes cluster: give one as `registries: [{{name: prod, kubernetes: {{kubeconfig: …}}}}]`"
        );
    }
    Ok(clusters)
}

fn to_text(clusters: &[Cluster], errors: usize, warnings: usize) -> String {
    let mut text = String::new();
    for Cluster { registry, findings } in clusters {
        text.push_str(&format!("{registry}\n"));
        for Finding {
            verdict,
            what,
            hint,
        } in findings
        {
            let verdict = match verdict {
                Verdict::Ok => "ok     ",
                Verdict::Note => "note   ",
                Verdict::Warning => "warning",
                Verdict::Error => "error  ",
            };
            text.push_str(&format!("  {verdict} {what}"));
            if !hint.is_empty() {
                text.push_str(&format!(" (hint: {hint})"));
            }
            text.push('\n');
        }
    }
    let result = match (errors, warnings) {
        (0, 0) => "all clusters can be watched".to_owned(),
        _ => format!(
            "{}, {}",
            counted(errors, "error", "errors"),
            counted(warnings, "warning", "warnings")
        ),
    };
    text.push_str(&format!("{result}\n"));
    text
}
