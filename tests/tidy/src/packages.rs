//! Third-party packages: where they come from, under which licences, and that the big ones are there once.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use crate::{
    finding::{Finding, assert_none},
    repository::{all_packages, field, texts},
};

/// Licences whose terms our own (Apache-2.0) can be combined with in one binary.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    // For data: the roots of public authorities, as they are (webpki-root-certs).
    "CDLA-Permissive-2.0",
    // For data, such as the roots of public authorities: what is made with it is not bound.
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    // Weak: binds changes of the package's own files, which we do not make (imbl).
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Packages of which two versions would be two stacks, or two kinds of one type, in one binary.
const ONCE: &[&str] = &[
    "axum",
    "bytes",
    "h2",
    "http",
    "http-body",
    "hyper",
    "hyper-util",
    "imbl",
    "prost",
    "prost-types",
    "rcgen",
    "redb",
    "ring",
    "rustls",
    "rustls-pki-types",
    "serde_json",
    "socket2",
    "time",
    "tokio",
    "tokio-rustls",
    "tonic",
    "tower",
    "tracing",
    "x509-parser",
];

/// Packages that must not come in, with the reason.
const BANNED: &[(&str, &str)] = &[
    ("aws-lc-rs", "there is one crypto provider, ring"),
    ("aws-lc-sys", "there is one crypto provider, ring"),
    ("native-tls", "TLS is rustls"),
    ("openssl", "TLS is rustls"),
    ("openssl-sys", "TLS is rustls"),
];

/// Whether a licence expression leaves a choice that is allowed.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    let allowed = either(&mut words);
    allowed && words.next().is_none()
}

type Words<'w> = std::iter::Peekable<std::str::SplitWhitespace<'w>>;

fn either(words: &mut Words) -> bool {
    let mut allowed = both(words);
    while words.next_if_eq(&"OR").is_some() {
        allowed |= both(words);
    }
    allowed
}

fn both(words: &mut Words) -> bool {
    let mut allowed = licence(words);
    while words.next_if_eq(&"AND").is_some() {
        allowed &= licence(words);
    }
    allowed
}

fn licence(words: &mut Words) -> bool {
    if words.next_if_eq(&"(").is_some() {
        let allowed = either(words);
        return words.next_if_eq(&")").is_some() && allowed;
    }
    // "or later" includes the version itself; an exception only permits more.
    let name = words.next().unwrap_or_default().trim_end_matches('+');
    if words.next_if_eq(&"WITH").is_some() {
        words.next();
    }
    LICENCES.contains(&name)
}

/// Name, version and source of every package in Cargo.lock.
fn locked(text: &str) -> Vec<(String, String, Option<String>)> {
    let lock: Table = text.parse().expect("Cargo.lock is TOML");
    let packages = lock.get("package").and_then(Value::as_array);
    let text = |package: &Value, field: &str| package.get(field)?.as_str().map(str::to_owned);
    packages
        .into_iter()
        .flatten()
        .filter_map(|package| {
            Some((
                text(package, "name")?,
                text(package, "version")?,
                text(package, "source"),
            ))
        })
        .collect()
}

fn elsewhere(lock: &str) -> Vec<Finding> {
    locked(lock)
        .into_iter()
        .filter_map(|(name, version, source)| {
            let source = source?;
            let is_public = source == "registry+https://github.com/rust-lang/crates.io-index";
            (!is_public).then(|| {
                Finding::new(
                    "Cargo.lock",
                    format!("{name} {version} comes from {source}, which others may not reach"),
                    "take a release from crates.io",
                )
            })
        })
        .collect()
}

fn versions<'p>(
    packages: impl IntoIterator<Item = (&'p str, &'p str)>,
) -> BTreeMap<&'p str, BTreeSet<&'p str>> {
    let mut versions: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (name, version) in packages {
        versions.entry(name).or_default().insert(version);
    }
    versions
}

fn unwanted(versions: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<Finding> {
    let twice = versions
        .iter()
        .filter(|(name, versions)| ONCE.contains(name) && versions.len() > 1)
        .map(|(name, versions)| {
            Finding::new(
                "Cargo.lock",
                format!("{name} is built in the versions {versions:?}"),
                "bring its users to one version (`cargo tree -d`)",
            )
        });
    let banned = BANNED
        .iter()
        .filter(|(name, _)| versions.contains_key(name))
        .map(|(name, why)| {
            Finding::new(
                "Cargo.lock",
                format!("{name} is built: {why}"),
                "find who needs it (`cargo tree -i`) and switch it off or replace it",
            )
        });
    twice.chain(banned).collect()
}

#[test]
fn licences_can_be_combined_with_ours() {
    assert_none(all_packages().iter().filter_map(|package| {
        let licence = field(package, "license");
        (!is_allowed(licence)).then(|| {
            Finding::new(
                format!("{} {}", field(package, "name"), field(package, "version")),
                format!("its licence is '{licence}'"),
                "use another package, or add the licence to LICENCES in tests/tidy/src/packages.rs if its terms allow it",
            )
        })
    }));
}

#[test]
fn packages_come_from_the_public_registry() {
    assert_none(elsewhere(&texts()["Cargo.lock"]));
}

#[test]
fn big_packages_are_built_once_and_banned_ones_never() {
    let packages = all_packages();
    let versions = versions(
        packages
            .iter()
            .map(|package| (field(package, "name"), field(package, "version"))),
    );
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        println!("{name} is built in the versions {versions:?}");
    }
    assert_none(unwanted(&versions));
}

#[test]
fn a_licence_expression_is_understood() {
    for (expression, allowed) in [
        ("MIT", true),
        ("MIT/Apache-2.0", true),
        ("GPL-3.0 OR MIT", true),
        ("MPL-2.0+", true),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("(MIT OR GPL-3.0) AND Unicode-3.0", true),
        ("MIT AND (Apache-2.0 OR ISC)", true),
        ("GPL-3.0", false),
        ("MIT AND GPL-3.0", false),
        ("(MIT OR ISC) AND GPL-3.0", false),
        ("AGPL-3.0-only OR SSPL-1.0", false),
        ("(MIT", false),
        ("MIT MIT", false),
        ("", false),
    ] {
        assert_eq!(is_allowed(expression), allowed, "{expression:?}");
    }
}

#[test]
fn a_package_from_elsewhere_twice_or_banned_is_found() {
    let lock = "\
[[package]]
name = 'own'
version = '0.1.0'
[[package]]
name = 'public'
version = '1.0.0'
source = 'registry+https://github.com/rust-lang/crates.io-index'
[[package]]
name = 'fork'
version = '1.0.0'
source = 'git+https://example.com/fork'
";
    let findings = elsewhere(lock);
    assert_eq!(findings.len(), 1);
    assert!(findings[0].what.contains("fork 1.0.0"));

    let found = |packages: &[(&'static str, &'static str)]| {
        unwanted(&versions(packages.iter().copied())).len()
    };
    assert_eq!(found(&[("hyper", "1.0.0"), ("hyper", "0.14.0")]), 1);
    assert_eq!(found(&[("openssl", "0.10.0")]), 1);
    assert_eq!(
        found(&[("hyper", "1.0.0"), ("syn", "1.0.0"), ("syn", "2.0.0")]),
        0
    );
}
