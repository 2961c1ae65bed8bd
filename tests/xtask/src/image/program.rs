//! The program that is in the image: static, and the same bytes wherever the checkout is.
//!
//! What a compiler would take from the machine is said here instead: folders and the time. What is left are the compilers themselves
//! and the C library, see "Image" in examples/kubernetes/README.md.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{cargo, workspace};

/// Builds the program as a static one.
///
/// Against glibc rather than musl: the program allocates a lot on several threads, which musl's allocator does one after the other.
///
/// # Errors
/// When it cannot be built; on Debian and Fedora the static C library comes with libc6-dev or glibc-static.
pub fn build() -> Result<PathBuf> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let folder = workspace::target();
    let mut cargo = cargo::command();
    for (name, _) in std::env::vars_os() {
        // Another profile is another program.
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PROFILE_"))
        {
            cargo.env_remove(name);
        }
    }
    let status = cargo
        .args(["build", "--release", "--locked", "--package", "bowline"])
        .args(["--bin", "bowline", "--target", &target, "--target-dir"])
        .arg(&folder)
        // Where generated code is, unless a configuration of Cargo says otherwise.
        .env("CARGO_BUILD_BUILD_DIR", &folder)
        .env("CARGO_ENCODED_RUSTFLAGS", rust_flags(folders(&folder)?)?)
        .env("CARGO_INCREMENTAL", "0")
        // Lines in backtraces would be nine tenths of the image.
        .env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo")
        // For `__DATE__` and `__TIME__` in C, which mimalloc has. Not the commit's time: with every commit all C would be compiled again,
        // and all Rust that uses it.
        .env("SOURCE_DATE_EPOCH", "0")
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("the program cannot be built for {target}");
    }
    Ok(folder.join(target).join("release/bowline"))
}

/// A folder of this machine, and what it is called in the program.
type Named = (PathBuf, String);

/// The folders whose names would be in the program, in messages of panics.
fn folders(target: &Path) -> Result<Vec<Named>> {
    let home = match std::env::var_os("CARGO_HOME") {
        Some(home) => workspace::root().join(home),
        None => std::env::home_dir()
            .context("there is no home directory")?
            .join(".cargo"),
    };
    let sysroot = PathBuf::from(rustc(&["--print", "sysroot"])?.trim_end());
    let version = rustc(&["--version", "--verbose"])?;
    let commit = version
        .lines()
        .find_map(|line| line.strip_prefix("commit-hash: "))
        .context("rustc does not say which commit it is")?;
    let named = [
        (workspace::root(), "/bowline".to_owned()),
        (target.to_path_buf(), "/bowline/target".to_owned()),
        (home, "/cargo".to_owned()),
        // Only there with the component rust-src; without it, rustc itself gives the standard library's sources this name.
        (
            sysroot.join("lib/rustlib/src/rust"),
            format!("/rustc/{commit}"),
        ),
    ];
    let mut folders = Vec::new();
    for (folder, name) in named {
        // Compilers follow symbolic links in some places, and do not in others.
        let real = folder.canonicalize().ok().filter(|real| *real != folder);
        folders.extend(real.map(|real| (real, name.clone())));
        folders.push((folder, name));
    }
    Ok(folders)
}

fn rustc(arguments: &[&str]) -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args(arguments)
        .current_dir(workspace::root())
        .output()
        .context("cannot run rustc")?;
    if !output.status.success() {
        bail!("rustc {} fails", arguments.join(" "));
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Static, and without the names of folders; as Cargo takes flags that may have spaces.
fn rust_flags(mut folders: Vec<Named>) -> Result<String> {
    // Of several that fit, rustc takes the last: a folder has to come after those that it is in.
    folders.sort_by_key(|(folder, _)| folder.components().count());
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
    for (folder, name) in folders {
        let folder = folder
            .to_str()
            .with_context(|| format!("{} is not UTF-8", folder.display()))?;
        flags.push(format!("--remap-path-prefix={folder}={name}"));
    }
    Ok(flags.join("\x1f"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(folders: &[(&str, &str)], expected: &[&str]) {
        let folders = folders
            .iter()
            .map(|(folder, name)| (PathBuf::from(folder), (*name).to_owned()))
            .collect();
        let flags = rust_flags(folders).unwrap();
        let flags: Vec<_> = flags.split('\x1f').collect();
        assert_eq!(flags.first(), Some(&"-Ctarget-feature=+crt-static"));
        assert_eq!(flags.get(1..), Some(expected));
    }

    #[test]
    fn a_folder_may_have_spaces_in_its_name() {
        check(
            &[("/my own/checkout", "/bowline")],
            &["--remap-path-prefix=/my own/checkout=/bowline"],
        );
    }

    #[test]
    fn the_name_of_the_innermost_folder_is_taken() {
        check(
            &[
                ("/disk/checkout", "/bowline"),
                ("/disk", "/bowline/target"),
                ("/disk/checkout/.cargo-home", "/cargo"),
            ],
            &[
                "--remap-path-prefix=/disk=/bowline/target",
                "--remap-path-prefix=/disk/checkout=/bowline",
                "--remap-path-prefix=/disk/checkout/.cargo-home=/cargo",
            ],
        );
    }

    #[test]
    fn every_folder_that_a_compiler_names_has_another_name() {
        let folders = folders(Path::new("/elsewhere/target")).unwrap();
        let name = |folder: &Path| {
            let found = folders.iter().find(|(named, _)| named == folder);
            found.map(|(_, name)| name.as_str())
        };
        assert_eq!(name(&workspace::root()), Some("/bowline"));
        assert_eq!(
            name(Path::new("/elsewhere/target")),
            Some("/bowline/target")
        );
        assert!(folders.iter().any(|(_, name)| name == "/cargo"));
        assert!(folders.iter().any(|(_, name)| name.starts_with("/rustc/")));
    }
}
