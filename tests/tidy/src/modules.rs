//! Rust files: reached, named, introduced and sized as they should be.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    finding::{Finding, assert_none, places},
    repository::{field, from_root, own_packages, texts},
};

/// Lines of code from which a file is worth a second look, and those which it must not pass.
const SOFT_LIMIT: usize = 300;
const HARD_LIMIT: usize = 500;

/// Files that may pass the hard limit, with the reason.
const LONG: &[(&str, &str)] = &[];

/// Names that say nothing about what is in the file.
const EMPTY_NAMES: &[&str] = &[
    "mod", "util", "utils", "helper", "helpers", "common", "types", "misc",
];

type Texts = BTreeMap<String, String>;

fn unreached(files: &Texts, crate_roots: &[String]) -> Vec<Finding> {
    let mut reached = BTreeSet::new();
    let mut ahead: Vec<(String, String)> = crate_roots
        .iter()
        .map(|path| (path.clone(), folder(path).to_owned()))
        .collect();
    while let Some((path, modules_in)) = ahead.pop() {
        let Some(text) = files.get(&path) else {
            continue;
        };
        for module in declared_modules(text) {
            let below = join(&modules_in, module);
            ahead.push((format!("{below}.rs"), below));
        }
        reached.insert(path);
    }
    rust(files)
        .filter(|(path, _)| !reached.contains(*path))
        .map(|(path, _)| {
            Finding::new(
                path,
                "no `mod` leads here, so it is not compiled and its tests never run",
                "declare it, or delete it",
            )
        })
        .collect()
}

/// Names in declarations such as `pub(crate) mod name;`.
fn declared_modules(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let line = line.trim_start();
        let line = match line.strip_prefix("pub") {
            Some(rest) => match rest.strip_prefix('(') {
                Some(rest) => rest.split_once(')')?.1,
                None => rest,
            },
            None => line,
        };
        line.trim_start()
            .strip_prefix("mod ")?
            .split_once(';')
            .map(|(name, _)| name.trim())
    })
}

fn badly_named(path: &str) -> Option<Finding> {
    let stem = path.rsplit('/').next()?.strip_suffix(".rs")?;
    EMPTY_NAMES.contains(&stem).then(|| {
        Finding::new(
            path,
            "its name says nothing about what is in it",
            "name it for its one idea (`foo.rs` beside `foo/` instead of `foo/mod.rs`)",
        )
    })
}

fn without_introduction(path: &str, text: &str) -> Option<Finding> {
    // The tests beside a file are introduced by the file.
    let needs_none = path.ends_with("/tests.rs");
    (!text.starts_with("//!") && !needs_none).then(|| {
        Finding::new(
            path,
            "a reader who comes here first is not told what it is for",
            "begin it with `//!` and a sentence",
        )
    })
}

/// Lines that are neither blank nor comment, up to the tests.
fn lines_of_code(text: &str) -> usize {
    text.split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default()
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .count()
}

fn too_long(path: &str, text: &str) -> Option<Finding> {
    let is_exempt = LONG.iter().any(|(exempt, _)| *exempt == path);
    let lines = lines_of_code(text);
    (lines > HARD_LIMIT && !is_exempt && !is_test(path)).then(|| {
        Finding::new(
            path,
            format!("{lines} lines of code: it has more than one idea"),
            "divide it by ideas, or add it to LONG in tests/tidy/src/modules.rs with the reason",
        )
    })
}

/// Whether a file holds nothing but tests.
pub(crate) fn is_test(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs")
}

fn rust(files: &Texts) -> impl Iterator<Item = (&String, &String)> {
    files.iter().filter(|(path, _)| path.ends_with(".rs"))
}

fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}

#[test]
fn every_rust_file_is_compiled() {
    let files = texts();
    // Targets of fuzzers are built with a compiler of their own, apart from the workspace.
    let fuzzers = files.keys().filter(|path| path.contains("/fuzz_targets/"));
    let crate_roots: Vec<String> = own_packages()
        .iter()
        .flat_map(|package| package["targets"].as_array().into_iter().flatten())
        .map(|target| from_root(field(target, "src_path")))
        .chain(fuzzers.cloned())
        .collect();
    assert_none(unreached(&files, &crate_roots));
}

#[test]
fn rust_files_are_named_for_what_is_in_them() {
    assert_none(rust(&texts()).filter_map(|(path, _)| badly_named(path)));
}

#[test]
fn rust_files_say_what_they_are_for() {
    assert_none(rust(&texts()).filter_map(|(path, text)| without_introduction(path, text)));
}

#[test]
fn rust_files_have_one_idea() {
    let files = texts();
    for (path, text) in rust(&files) {
        let lines = lines_of_code(text);
        if lines > SOFT_LIMIT && !is_test(path) {
            println!("{path}: {lines} lines of code; does it still have one idea?");
        }
    }
    assert_none(rust(&files).filter_map(|(path, text)| too_long(path, text)));
    for (path, _) in LONG {
        let lines = files.get(*path).map_or(0, |text| lines_of_code(text));
        assert!(
            lines > HARD_LIMIT,
            "{path}: take it out of LONG, it has {lines} lines of code"
        );
    }
}

#[test]
fn a_file_that_nothing_declares_is_found() {
    let files: Texts = [
        ("a/src/lib.rs", "mod one;\n    pub(crate) mod two;\n"),
        ("a/src/one.rs", "#[cfg(test)]\nmod tests;\nmod inline {}\n"),
        ("a/src/one/tests.rs", ""),
        ("a/src/one/inline.rs", ""),
        ("a/src/two.rs", "// mod three;\npub mod four;"),
        ("a/src/two/three.rs", ""),
        ("a/src/two/four.rs", ""),
        ("a/tests/wire/main.rs", "mod client;"),
        ("a/tests/wire/client.rs", ""),
        ("a/tests/wire/server.rs", ""),
        ("build.rs", "mod beside;"),
        ("beside.rs", ""),
    ]
    .map(|(path, text)| (path.to_owned(), text.to_owned()))
    .into();
    let crate_roots = ["a/src/lib.rs", "a/tests/wire/main.rs", "build.rs"].map(str::to_owned);
    assert_eq!(
        places(&unreached(&files, &crate_roots)),
        [
            "a/src/one/inline.rs",
            "a/src/two/three.rs",
            "a/tests/wire/server.rs"
        ]
    );
}

#[test]
fn a_file_with_an_empty_name_or_no_introduction_is_found() {
    assert!(badly_named("a/src/utils.rs").is_some());
    assert!(badly_named("a/tests/wire/mod.rs").is_some());
    assert!(badly_named("a/src/modules.rs").is_none());
    assert!(without_introduction("a/src/lib.rs", "mod one;\n").is_some());
    assert!(without_introduction("a/src/lib.rs", "//! For tests.\n").is_none());
    assert!(without_introduction("a/src/one/tests.rs", "use super::*;\n").is_none());
}

#[test]
fn a_long_file_is_found_by_its_code_alone() {
    let code = |lines: usize| "let x = 1;\n".repeat(lines);
    assert!(too_long("a/src/x.rs", &code(HARD_LIMIT + 1)).is_some());
    assert!(too_long("a/tests/x.rs", &code(HARD_LIMIT + 1)).is_none());
    let commented = format!("//! What.\n\n{}    // Why.\n", code(HARD_LIMIT));
    let tested = format!("{commented}\n#[cfg(test)]\nmod tests {{\n{}}}\n", code(100));
    assert!(too_long("a/src/x.rs", &tested).is_none());
}
