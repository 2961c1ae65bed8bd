//! Every crate's Cargo.toml.

use toml::{Table, Value};

use crate::{
    finding::{Finding, assert_none, places},
    repository::texts,
};

/// Dependencies that state a version of their own, with the reason.
const OWN_VERSION: &[(&str, &str, &str)] = &[(
    "proto/Cargo.toml",
    "envoy-types",
    "its version is the level of Envoy's API, and it is never compiled",
)];

const KINDS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

fn check(path: &str, text: &str) -> Vec<Finding> {
    let table: Table = match text.parse() {
        Ok(table) => table,
        Err(error) => {
            return vec![Finding::new(
                path,
                format!("not TOML: {error}"),
                "correct it",
            )];
        }
    };
    if table.contains_key("workspace") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    if !inherits(table.get("lints")) {
        findings.push(Finding::new(
            path,
            "the workspace's lints do not hold here",
            "add `[lints]` with `workspace = true`",
        ));
    }
    let package = table.get("package").and_then(Value::as_table);
    for field in ["version", "edition", "rust-version", "license", "publish"] {
        if !inherits(package.and_then(|package| package.get(field))) {
            findings.push(Finding::new(
                path,
                format!("its {field} may drift from the other crates'"),
                "inherit it: `version.workspace = true`, and so on",
            ));
        }
    }
    let targets = table
        .get("target")
        .and_then(Value::as_table)
        .into_iter()
        .flatten()
        .filter_map(|(_, target)| target.as_table());
    for section in std::iter::once(&table).chain(targets) {
        for kind in KINDS {
            let dependencies = section.get(kind).and_then(Value::as_table);
            for (name, dependency) in dependencies.into_iter().flatten() {
                let is_exempt = OWN_VERSION
                    .iter()
                    .any(|(exempt_in, exempt, _)| *exempt_in == path && exempt == name);
                // What is in tests/ may name its neighbours there, which nothing outside of it may use.
                let is_neighbour = path.starts_with("tests/") && dependency.get("path").is_some();
                if !inherits(Some(dependency)) && !is_exempt && !is_neighbour {
                    findings.push(Finding::new(
                        path,
                        format!("{name} in [{kind}] states a version of its own, so two crates may use two"),
                        "move the version to [workspace.dependencies] and write `workspace = true` here",
                    ));
                }
            }
        }
    }
    findings
}

fn inherits(value: Option<&Value>) -> bool {
    value
        .and_then(|value| value.get("workspace"))
        .and_then(Value::as_bool)
        == Some(true)
}

#[test]
fn crates_inherit_lints_and_versions() {
    assert_none(
        texts()
            .iter()
            .filter(|(path, _)| path.ends_with("Cargo.toml"))
            .flat_map(|(path, text)| check(path, text)),
    );
}

#[test]
fn a_crate_that_inherits_nothing_is_found() {
    let inheriting = "[package]\nname = 'x'\nversion.workspace = true\nedition.workspace = true\n\
        rust-version.workspace = true\nlicense.workspace = true\npublish.workspace = true\n";
    let good = format!(
        "{inheriting}[lints]\nworkspace = true\n[dependencies]\na.workspace = true\nb = {{ workspace = true, features = ['c'] }}\n"
    );
    assert!(check("x/Cargo.toml", &good).is_empty());
    assert_eq!(places(&check("x/Cargo.toml", inheriting)).len(), 1);
    assert_eq!(check("x/Cargo.toml", "[package]\nname = 'x'\n").len(), 6);
    for bad in [
        "[dev-dependencies]\nd = '1'",
        "[build-dependencies.e]\npath = '../e'",
        "[target.'cfg(unix)'.dependencies]\nf = { version = '1' }",
    ] {
        assert_eq!(
            check("x/Cargo.toml", &format!("{good}{bad}\n")).len(),
            1,
            "{bad}"
        );
    }
    assert_eq!(check("x/Cargo.toml", "[package").len(), 1);
}
