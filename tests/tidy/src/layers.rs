//! Who may depend on whom (ARCHITECTURE.md, "Code map").

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    finding::{Finding, assert_none, places},
    repository::{field, from_root, own_packages},
};

/// A crate, what it may use of our other crates, and why no more than that.
struct Layer {
    name: &'static str,
    may_use: &'static [&'static str],
    why: &'static str,
}

const LAYERS: &[Layer] = &[
    Layer {
        name: "bowline-proto",
        may_use: &[],
        why: "messages know nothing of who sends them",
    },
    Layer {
        name: "bowline-identity",
        may_use: &[],
        why: "mesh, ads and the authority agree on it, so it may know none of them",
    },
    Layer {
        name: "bowline-mesh",
        may_use: &["bowline-identity"],
        why: "the model has no I/O, no Envoy and no registry's API in it",
    },
    Layer {
        name: "bowline-snapshot",
        may_use: &["bowline-proto"],
        why: "it carries encodings and knows nothing of what is in them",
    },
    Layer {
        name: "bowline-state",
        may_use: &[],
        why: "it keeps bytes under names, whatever they mean",
    },
    Layer {
        name: "bowline-translate",
        may_use: &["bowline-mesh", "bowline-proto", "bowline-snapshot"],
        why: "pure functions from views to layers: no session, no registry, no state",
    },
    Layer {
        name: "bowline-ads",
        may_use: &["bowline-identity", "bowline-proto", "bowline-snapshot"],
        why: "it knows the protocol, not services",
    },
    Layer {
        name: "bowline-cert-authority",
        may_use: &["bowline-identity", "bowline-proto", "bowline-state"],
        why: "it must be able to run without a mesh",
    },
    Layer {
        name: "bowline-document",
        may_use: &[],
        why: "it reads files, whatever is in them",
    },
    Layer {
        name: "bowline-inventory",
        may_use: &["bowline-document", "bowline-identity", "bowline-mesh"],
        why: "a registry speaks the mesh's words only; an entry may name an identity",
    },
    Layer {
        name: "bowline-manifests",
        may_use: &["bowline-document", "bowline-identity", "bowline-mesh"],
        why: "a registry speaks the mesh's words only; an entry may name an identity",
    },
    Layer {
        name: "bowline-consul",
        may_use: &["bowline-identity", "bowline-mesh"],
        why: "a registry speaks the mesh's words only; metadata may name an identity",
    },
    Layer {
        name: "bowline-kubernetes",
        may_use: &[
            "bowline-document",
            "bowline-identity",
            "bowline-manifests",
            "bowline-mesh",
        ],
        why: "a registry speaks the mesh's words only; what its objects mean is said once, for files and clusters",
    },
    Layer {
        name: "bowline-conformance",
        may_use: &["bowline-identity", "bowline-mesh"],
        why: "it is the contract of every adapter, so it may know none of them",
    },
    Layer {
        name: "bowline",
        may_use: &[
            "bowline-ads",
            "bowline-cert-authority",
            "bowline-consul",
            "bowline-document",
            "bowline-identity",
            "bowline-inventory",
            "bowline-kubernetes",
            "bowline-manifests",
            "bowline-mesh",
            "bowline-proto",
            "bowline-snapshot",
            "bowline-state",
            "bowline-translate",
        ],
        why: "the program wires everything, except what is there for tests only",
    },
    Layer {
        name: "bowline-example-embedded-server",
        may_use: &[
            "bowline-ads",
            "bowline-identity",
            "bowline-proto",
            "bowline-snapshot",
        ],
        why: "it shows what a control plane needs that is not ours",
    },
];

/// A crate, where it is, and our other crates that it is built from: not those that only its tests use.
struct Crate {
    name: String,
    manifest: String,
    uses: BTreeSet<String>,
}

fn check(layers: &[Layer], crates: &[Crate]) -> Vec<Finding> {
    let layers: BTreeMap<&str, &Layer> = layers.iter().map(|layer| (layer.name, layer)).collect();
    let mut findings = Vec::new();
    for Crate {
        name,
        manifest,
        uses,
    } in crates
    {
        if manifest.starts_with("tests/") {
            continue;
        }
        let Some(layer) = layers.get(name.as_str()) else {
            findings.push(Finding::new(
                manifest,
                format!("{name} has no place in the layer table"),
                "add it to LAYERS in tests/tidy/src/layers.rs with what it may use and why",
            ));
            continue;
        };
        for used in uses {
            if !layer.may_use.contains(&used.as_str()) {
                findings.push(Finding::new(
                    manifest,
                    format!("{name} must not use {used}: {}", layer.why),
                    "pass what is needed as a value, or argue for another table in docs/decisions",
                ));
            }
        }
    }
    for layer in layers.values() {
        if !crates.iter().any(|known| known.name == layer.name) {
            findings.push(Finding::new(
                "tests/tidy/src/layers.rs",
                format!("there is no crate {}", layer.name),
                "take it out of LAYERS",
            ));
        }
    }
    findings
}

fn crates() -> Vec<Crate> {
    let packages = own_packages();
    let own: BTreeSet<&str> = packages
        .iter()
        .map(|package| field(package, "name"))
        .collect();
    packages
        .iter()
        .map(|package| Crate {
            name: field(package, "name").to_owned(),
            manifest: from_root(field(package, "manifest_path")),
            uses: package["dependencies"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|dependency| field(dependency, "kind") != "dev")
                .map(|dependency| field(dependency, "name").to_owned())
                .filter(|name| own.contains(name.as_str()))
                .collect(),
        })
        .collect()
}

#[test]
fn crates_use_only_the_layers_below_them() {
    assert_none(check(LAYERS, &crates()));
}

#[test]
fn a_crate_that_reaches_up_or_is_unknown_is_found() {
    let table = [
        Layer {
            name: "low",
            may_use: &[],
            why: "it is low",
        },
        Layer {
            name: "gone",
            may_use: &[],
            why: "it was renamed",
        },
    ];
    let krate = |name: &str, manifest: &str, uses: &[&str]| Crate {
        name: name.to_owned(),
        manifest: manifest.to_owned(),
        uses: uses.iter().map(|&name| name.to_owned()).collect(),
    };
    let findings = check(
        &table,
        &[
            krate("low", "low/Cargo.toml", &["high"]),
            krate("high", "high/Cargo.toml", &["low"]),
            krate("bench", "tests/bench/Cargo.toml", &["low", "high"]),
        ],
    );
    assert_eq!(
        places(&findings),
        [
            "low/Cargo.toml",
            "high/Cargo.toml",
            "tests/tidy/src/layers.rs"
        ]
    );
    assert!(findings[0].what.contains("low must not use high"));
}
