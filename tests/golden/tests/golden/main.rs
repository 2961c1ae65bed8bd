//! Goldens are what is made now, and a real Envoy accepts them.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use bowline_golden::{Case, Description, mesh, render, static_form};
use bowline_mesh::{MutualTls, OutboundMode};

/// Set to rewrite goldens, and to delete those that no case has any more.
const UPDATE: &str = "UPDATE_GOLDENS";

fn cases() -> Result<Vec<Case>> {
    let cases = Case::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("cases"))?;
    ensure!(!cases.is_empty(), "there are no cases");
    Ok(cases)
}

#[test]
fn goldens_are_what_is_made_now() -> Result<()> {
    let update = env::var_os(UPDATE).is_some();
    let empty = tempfile::tempdir()?;
    let (nothing, _) = mesh(empty.path(), OutboundMode::PassThrough, MutualTls::Absent)?;
    let mut wrong = Vec::new();
    for case in cases()? {
        let Description { outbound, .. } = case.description;
        let mutual_tls = case.description.mutual_tls();
        let (mesh, problems) = mesh(&case.folder, outbound, mutual_tls)?;
        let mut kept: BTreeSet<PathBuf> = ["case.yaml", "inventory.yaml", "manifests.yaml"]
            .map(|name| case.folder.join(name))
            .into();
        for proxy in &case.description.proxies {
            let path = case.folder.join(format!("{}.yaml", proxy.golden));
            let base = render(&nothing, &proxy.proxy());
            let made = render(&mesh, &proxy.proxy()).text(&case.description, &base, &problems)?;
            let golden = fs::read_to_string(&path).unwrap_or_default();
            if made != golden && update {
                fs::write(&path, made)?;
            } else if made != golden {
                wrong.push(difference(&path, &golden, &made));
            }
            kept.insert(path);
        }
        for entry in fs::read_dir(&case.folder)? {
            let path = entry?.path();
            if !kept.contains(&path) && update {
                fs::remove_file(&path)?;
            } else if !kept.contains(&path) {
                wrong.push(format!("{}: no proxy of case.yaml has it", path.display()));
            }
        }
    }
    ensure!(
        wrong.is_empty(),
        "{}\nrun again with {UPDATE}=1 if this is as it should be",
        wrong.join("\n")
    );
    Ok(())
}

/// The first line in which two texts differ.
fn difference(path: &Path, golden: &str, made: &str) -> String {
    let line = golden
        .lines()
        .zip(made.lines())
        .take_while(|(golden, made)| golden == made)
        .count();
    let of = |text: &str| text.lines().nth(line).unwrap_or("(end)").to_owned();
    format!(
        "{}:{}:\n  golden: {}\n  made:   {}",
        path.display(),
        line + 1,
        of(golden),
        of(made)
    )
}

#[test]
fn a_real_envoy_accepts_every_golden() -> Result<()> {
    let envoy = xtask::envoy::binary()?;
    let folder = tempfile::tempdir()?;
    for case in cases()? {
        let Description { outbound, .. } = case.description;
        let mutual_tls = case.description.mutual_tls();
        let (mesh, _) = mesh(&case.folder, outbound, mutual_tls)?;
        for proxy in &case.description.proxies {
            if proxy.is_grpc() {
                // An Envoy takes one such listener, and never these: gRPC's own clients judge them in tests/e2e.
                continue;
            }
            let bootstrap = static_form(&render(&mesh, &proxy.proxy()));
            let path = folder.path().join("bootstrap.json");
            fs::write(&path, serde_json::to_vec(&bootstrap)?)?;
            let output = Command::new(&envoy)
                .args(["--mode", "validate", "--log-level", "warning", "-c"])
                .arg(&path)
                .output()
                .with_context(|| format!("cannot run {}", envoy.display()))?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(
                output.status.success(),
                "{}, {}: Envoy refuses it:\n{said}",
                case.folder.display(),
                proxy.golden
            );
            // What is deprecated today is refused tomorrow.
            ensure!(
                !said.contains("eprecated"),
                "{}, {}: {said}",
                case.folder.display(),
                proxy.golden
            );
        }
    }
    Ok(())
}
