//! The repository's files, and what Cargo says about them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Files by their path from the root, with `/` between the parts.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors()
        .nth(2)
        .expect("this crate is two folders below the root")
        .to_owned()
}

/// What fuzzers have found is no text that somebody has written.
const CORPUS: &str = "/fuzz/corpus/";

/// All files that are, or would be, committed; without the corpora of fuzzers.
pub(crate) fn files() -> Files {
    let listing = run(
        "git",
        &[
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ],
    );
    let listing = String::from_utf8(listing).expect("paths are UTF-8");
    listing
        .split_terminator('\0')
        .filter(|path| !path.contains(CORPUS))
        // A file that was deleted but whose deletion is not committed is still listed.
        .filter_map(|path| Some((path.to_owned(), fs::read(root().join(path)).ok()?)))
        .collect()
}

/// The files that are text. What is not is found by a rule of its own.
pub(crate) fn texts() -> BTreeMap<String, String> {
    files()
        .into_iter()
        .filter_map(|(path, bytes)| Some((path, String::from_utf8(bytes).ok()?)))
        .collect()
}

/// What Cargo knows of our own packages.
pub(crate) fn own_packages() -> Vec<Value> {
    packages(&["--no-deps"])
}

/// What Cargo knows of every package that is built on this kind of machine.
pub(crate) fn all_packages() -> Vec<Value> {
    let version = run(&cargo(), &["-vV"]);
    let version = String::from_utf8(version).expect("cargo writes UTF-8");
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .expect("cargo names its host");
    packages(&["--filter-platform", host])
}

/// The text of a field of a package.
pub(crate) fn field<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

/// A path as Cargo gives it, from the root.
pub(crate) fn from_root(path: &str) -> String {
    Path::new(path)
        .strip_prefix(root())
        .unwrap_or(Path::new(path))
        .to_string_lossy()
        .into_owned()
}

fn packages(arguments: &[&str]) -> Vec<Value> {
    let mut all = vec!["metadata", "--format-version", "1", "--locked"];
    all.extend(arguments);
    let mut metadata: Value =
        serde_json::from_slice(&run(&cargo(), &all)).expect("cargo metadata writes JSON");
    match metadata["packages"].take() {
        Value::Array(packages) => packages,
        other => panic!("cargo metadata has no list of packages, but {other}"),
    }
}

fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap_or_else(|error| panic!("cannot run {program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

#[test]
fn the_repository_is_found() {
    let texts = texts();
    assert!(
        texts["Cargo.toml"].contains("[workspace]"),
        "Cargo.toml is not the workspace's"
    );
    assert!(texts.contains_key("tests/tidy/src/repository.rs"));
    let own: Vec<String> = own_packages()
        .iter()
        .map(|package| field(package, "name").to_owned())
        .collect();
    assert!(own.contains(&"bowline-tidy".to_owned()), "{own:?}");
    assert!(all_packages().len() > own.len());
}
