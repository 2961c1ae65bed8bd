//! Manifests as their users see them: text in, objects and problems out.

#![cfg(test)]

mod cases;
mod contract;
mod incremental;
mod reading;
mod status;
mod text;
mod watching;

use std::{path::Path, sync::Arc};

use bowline_document::files::{File, Reading};
use bowline_manifests::{State, read};
use bowline_mesh::{RegistryEvent, RegistrySettings};

fn settings() -> RegistrySettings {
    RegistrySettings::new(
        "manifests".parse().unwrap(),
        "mesh.example".parse().unwrap(),
        "cluster.local".parse().unwrap(),
        "default".parse().unwrap(),
    )
}

fn reading(files: &[(&str, &[u8])]) -> Reading {
    let files = files.iter().map(|(path, content)| File {
        path: (*path).into(),
        content: Ok(Arc::from(*content)),
    });
    Reading {
        files: files.collect(),
        errors: Vec::new(),
        empty: Vec::new(),
    }
}

/// What one file says to a registry that knows nothing else.
fn first_event(content: &[u8]) -> RegistryEvent {
    let (_, event) = read(
        &reading(&[("a.yaml", content)]),
        &State::default(),
        &settings(),
    );
    event.expect("the first reading is always an event")
}

fn cases_directory() -> &'static Path {
    Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/manifests/cases"
    ))
}
