//! Real gRPC libraries that speak xDS themselves: `grpcio` from the Python package index, and `@grpc/grpc-js-xds` from npm's registry
//! where Node.js is installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::environment::{self, said};

/// The pinned version of `grpcio`.
pub const PYTHON_VERSION: &str = "1.85.1";
/// The pinned version of `@grpc/grpc-js`.
pub const NODE_VERSION: &str = "1.14.7";
/// The pinned version of `@grpc/grpc-js-xds`.
pub const NODE_XDS_VERSION: &str = "1.14.1";

/// A Python that has `grpcio`; it is fetched when it is not there.
///
/// # Errors
/// When Python 3 or its `venv` module is missing, or the package cannot be fetched.
pub fn python() -> Result<PathBuf> {
    let fill = |folder: &Path| {
        environment::python_package(folder, &format!("grpcio=={PYTHON_VERSION}"), &[])
    };
    environment::complete(&format!("grpcio-{PYTHON_VERSION}"), fill, |folder| {
        let has_it = fs::read_dir(folder.join("lib"))
            .ok()?
            .flatten()
            .any(|python| python.path().join("site-packages/grpc").is_dir());
        has_it.then(|| folder.join("bin/python"))
    })
}

/// The folder of modules with `@grpc/grpc-js-xds`, fetched when it is not there; `None` where there is no Node.js or no npm.
///
/// # Errors
/// When the packages cannot be fetched.
pub fn node_modules() -> Result<Option<PathBuf>> {
    let is_there = |program: &str| {
        let version = Command::new(program).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    };
    if !is_there("node") || !is_there("npm") {
        return Ok(None);
    }
    let fill = |folder: &Path| {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let installed = Command::new("npm")
            .args(["install", "--silent", "--no-audit", "--no-fund"])
            .arg(format!("@grpc/grpc-js@{NODE_VERSION}"))
            .arg(format!("@grpc/grpc-js-xds@{NODE_XDS_VERSION}"))
            .current_dir(folder)
            .output()
            .context("cannot run npm")?;
        if !installed.status.success() {
            bail!(
                "cannot install @grpc/grpc-js-xds: is npm's registry reachable?\n{}",
                said(&installed)
            );
        }
        Ok(())
    };
    let modules = environment::complete(
        &format!("grpc-js-{NODE_VERSION}-{NODE_XDS_VERSION}"),
        fill,
        |folder| {
            let modules = folder.join("node_modules");
            modules
                .join("@grpc/grpc-js-xds")
                .is_dir()
                .then_some(modules)
        },
    )?;
    Ok(Some(modules))
}
