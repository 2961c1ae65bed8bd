//! Cargo, called from a program that Cargo has started.

use std::{ffi::OsStr, process::Command};

use crate::workspace;

/// Cargo in the root of the repository.
///
/// What Cargo tells a program about the package that it belongs to is kept from it: build scripts
/// look at these variables (ring's does), would find them changed, and half of all dependencies
/// would be compiled again, and again when Cargo is next called by hand.
pub fn command() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(workspace::root());
    for (name, _) in std::env::vars_os() {
        if is_about_a_package(&name) {
            command.env_remove(name);
        }
    }
    command
}

fn is_about_a_package(name: &OsStr) -> bool {
    let prefixes = [
        "CARGO_PKG_",
        "CARGO_MANIFEST_",
        "CARGO_BIN_",
        "CARGO_CRATE_",
    ];
    name.to_str()
        .is_some_and(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_a_package_is_kept_from_cargo() {
        let kept: Vec<_> = command()
            .get_envs()
            .filter(|(_, value)| value.is_none())
            .map(|(name, _)| name.to_owned())
            .collect();
        assert!(
            kept.iter().any(|name| name == "CARGO_MANIFEST_DIR"),
            "{kept:?}"
        );
        assert!(kept.iter().any(|name| name == "CARGO_PKG_NAME"), "{kept:?}");
        assert!(!is_about_a_package(OsStr::new("CARGO_HOME")));
        assert!(!is_about_a_package(OsStr::new("CARGO_TARGET_DIR")));
    }
}
