//! Folders under `target/tools` with what is fetched: one that has its name is complete, also when two commands fetch at the same
//! time or one is interrupted.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, Result, bail};

use crate::workspace;

/// What `find` finds in the folder of this name, which is filled when it is not there.
pub(crate) fn complete<T>(
    name: &str,
    fill: impl FnOnce(&Path) -> Result<()>,
    find: impl Fn(&Path) -> Option<T>,
) -> Result<T> {
    let tools = workspace::target().join("tools");
    let folder = tools.join(name);
    if let Some(found) = find(&folder) {
        return Ok(found);
    }
    fs::create_dir_all(&tools).with_context(|| format!("cannot create {}", tools.display()))?;
    let (process, thread) = (std::process::id(), std::thread::current().id());
    let filling = tools.join(format!("{name}.{process}.{thread:?}"));
    let is_complete = || find(&folder).is_some();
    let filled = fill(&filling).and_then(|()| settle(&filling, &folder, is_complete));
    // Nothing is left of it after a success; after a failure it is in nobody's way.
    drop(fs::remove_dir_all(&filling));
    filled?;
    find(&folder).with_context(|| format!("{} lacks what was fetched for it", folder.display()))
}

/// Moves a complete folder to its name, unless somebody else was faster.
fn settle(filling: &Path, folder: &Path, is_complete: impl Fn() -> bool) -> Result<()> {
    match fs::rename(filling, folder) {
        Err(_) if is_complete() => Ok(()),
        Err(_) if folder.exists() => {
            fs::remove_dir_all(folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
            fs::rename(filling, folder)
                .with_context(|| format!("cannot create {}", folder.display()))
        }
        other => other.with_context(|| format!("cannot create {}", folder.display())),
    }
}

/// Makes a virtual environment of Python with one package in it; `options` are pip's.
pub(crate) fn python_package(environment: &Path, package: &str, options: &[&str]) -> Result<()> {
    let python: PathBuf = std::env::var_os("PYTHON")
        .unwrap_or_else(|| "python3".into())
        .into();
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
    let installed = Command::new(environment.join("bin/python"))
        .args(["-m", "pip", "install", "--disable-pip-version-check"])
        .arg("--quiet")
        .args(options)
        .arg(package)
        .output()
        .context("cannot run pip")?;
    if !installed.status.success() {
        bail!(
            "cannot install {package}: is the package index reachable \
             (pip's own configuration is used)?\n{}",
            said(&installed)
        );
    }
    Ok(())
}

/// All that a program has said.
pub(crate) fn said(output: &Output) -> String {
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    text.concat().trim().to_owned()
}
