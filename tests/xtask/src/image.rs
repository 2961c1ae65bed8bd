//! A container image, made without a container engine: an OCI image layout, the same bytes for the same source.
//!
//! - [`files`]: what is in it.
//! - [`tar`]: its one layer.
//! - [`layout`]: the folder that registries and engines read, and a check of it.

pub mod files;
pub mod layout;
pub mod tar;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{cargo, workspace};

use self::layout::About;

/// Builds the program as a static one.
///
/// Against glibc rather than musl: the program allocates a lot on several threads, which musl's allocator does one after the other.
///
/// # Errors
/// When it cannot be built; on Debian and Fedora the static C library comes with libc6-dev or glibc-static.
pub fn build() -> Result<PathBuf> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let flags = format!(
        "CARGO_TARGET_{}_RUSTFLAGS",
        target.to_uppercase().replace('-', "_")
    );
    let status = cargo::command()
        .args(["build", "--release", "--locked", "--package", "bowline"])
        .args(["--bin", "bowline", "--target", &target])
        .env(flags, rust_flags()?)
        // Lines in backtraces would be nine tenths of the image.
        .env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo")
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("the program cannot be built for {target}");
    }
    Ok(workspace::target().join(target).join("release/bowline"))
}

/// Static, and without the paths of this machine.
fn rust_flags() -> Result<String> {
    let home = match std::env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => std::env::home_dir()
            .context("there is no home directory")?
            .join(".cargo"),
    };
    Ok(format!(
        "-C target-feature=+crt-static --remap-path-prefix={}=/bowline --remap-path-prefix={}=/cargo",
        workspace::root().display(),
        home.display()
    ))
}

/// Makes the image of a program in a folder, in the place of what was there, and checks it.
///
/// # Errors
/// When the program is not static, or files cannot be written.
pub fn make(program: &Path, folder: &Path, about: &About) -> Result<()> {
    let binary = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    files::check_static(&binary).with_context(|| program.display().to_string())?;
    let layer = tar::archive(&files::all(binary));
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    layout::write(folder, &layer, about)?;
    layout::check(folder)
}

/// What an image says of the source in this checkout.
///
/// # Errors
/// When Git does not know the checkout.
pub fn about() -> Result<About> {
    let git = |arguments: &[&str]| -> Result<String> {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(workspace::root())
            .env("TZ", "UTC")
            .output()
            .context("cannot run git")?;
        if !output.status.success() {
            bail!("git {}: not a checkout?", arguments.join(" "));
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    };
    Ok(About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: git(&["rev-parse", "HEAD"])?,
        // The commit's time, so that the same commit is the same image.
        created: git(&[
            "log",
            "-1",
            "--format=%cd",
            "--date=format-local:%Y-%m-%dT%H:%M:%SZ",
        ])?,
        architecture: match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        }
        .to_owned(),
    })
}
