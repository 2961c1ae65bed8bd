//! A container image, made without a container engine: an OCI image layout, the same bytes for the same source.
//!
//! - [`program`]: the program that is in it.
//! - [`files`]: what else is in it, and where.
//! - [`tar`]: its one layer.
//! - [`layout`]: the folder that registries and engines read, and a check of it.

pub mod files;
pub mod layout;
pub mod program;
pub mod tar;

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::workspace;

use self::layout::About;

/// What is after a commit that is not all that an image was made of, as `git describe --dirty` has it.
pub const DIRTY: &str = "-dirty";

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
            let reason = String::from_utf8_lossy(&output.stderr);
            bail!("git {}: {}", arguments.join(" "), reason.trim());
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    };
    Ok(About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: revision(
            git(&["rev-parse", "HEAD"])?,
            // Files that Git does not know yet are in the program as well.
            &git(&["status", "--porcelain", "--untracked-files=normal"])?,
        ),
        // The commit's time, so that the same commit is the same image.
        created: git(&[
            "log",
            "-1",
            "--no-show-signature",
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

/// A commit, and whether the checkout is something else.
fn revision(commit: String, changes: &str) -> String {
    if changes.is_empty() {
        commit
    } else {
        commit + DIRTY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_committed_is_not_called_the_commit() {
        let check =
            |changes, expected| assert_eq!(revision("0123abc".to_owned(), changes), expected);
        check("", "0123abc");
        check(" M Cargo.toml", "0123abc-dirty");
        check("?? proto/bowline/node/v2/", "0123abc-dirty");
    }
}
