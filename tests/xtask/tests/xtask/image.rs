//! The container image.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde_json::Value;
use xtask::{
    image::{self, files, layout, layout::About},
    workspace,
};

/// The smallest program that says it needs no other: a head and one segment.
fn program(segment: u32) -> Vec<u8> {
    let mut program = vec![0; 64 + 56];
    program[..6].copy_from_slice(b"\x7fELF\x02\x01");
    program[32..40].copy_from_slice(&64_u64.to_le_bytes());
    program[54..56].copy_from_slice(&56_u16.to_le_bytes());
    program[56..58].copy_from_slice(&1_u16.to_le_bytes());
    program[64..68].copy_from_slice(&segment.to_le_bytes());
    program
}

fn about() -> About {
    About {
        version: "1.2.3".to_owned(),
        revision: "0123abc".to_owned(),
        created: "2026-01-02T03:04:05Z".to_owned(),
        architecture: "amd64".to_owned(),
    }
}

fn make(folder: &Path) {
    let binary = folder.join("bowline");
    fs::write(&binary, program(1)).unwrap();
    image::make(&binary, &folder.join("image"), &about()).unwrap();
}

fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut contents = BTreeMap::new();
    for folder in [folder.to_path_buf(), folder.join("blobs/sha256")] {
        for file in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if file.path().is_file() {
                let name = file.file_name().to_string_lossy().into_owned();
                contents.insert(name, fs::read(file.path()).unwrap());
            }
        }
    }
    contents
}

#[test]
fn the_same_source_is_the_same_image() {
    let [one, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    make(one.path());
    make(other.path());
    make(other.path());
    let image = contents(&one.path().join("image"));
    assert_eq!(
        image.len(),
        5,
        "index, layout, manifest, configuration, layer"
    );
    assert_eq!(image, contents(&other.path().join("image")));
}

#[test]
fn what_is_wrong_with_an_image_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    make(folder.path());
    layout::check(&image).unwrap();
    let blobs = fs::read_dir(image.join("blobs/sha256")).unwrap();
    for blob in blobs.map(|blob| blob.unwrap().path()) {
        let bytes = fs::read(&blob).unwrap();
        fs::write(&blob, [&bytes[1..], &bytes[..1]].concat()).unwrap();
        assert!(
            layout::check(&image).is_err(),
            "{} was changed",
            blob.display()
        );
        fs::write(&blob, bytes).unwrap();
    }
    layout::check(&image).unwrap();
    fs::remove_file(image.join("oci-layout")).unwrap();
    assert!(layout::check(&image).is_err());
}

#[test]
fn every_tar_program_reads_the_layer() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    let layer = contents(&folder.path().join("image"))
        .into_values()
        .max_by_key(Vec::len)
        .unwrap();
    let archive = folder.path().join("layer.tar");
    fs::write(&archive, layer).unwrap();

    let listed = Command::new("tar")
        .args(["--list", "--verbose", "--numeric-owner", "--file"])
        .arg(&archive)
        .output()
        .unwrap();

    assert!(
        listed.status.success(),
        "{}",
        String::from_utf8_lossy(&listed.stderr)
    );
    let listed = String::from_utf8(listed.stdout).unwrap();
    let line = |path: &str| {
        let found = listed
            .lines()
            .find(|line| line.ends_with(&format!(" {path}")));
        found.unwrap_or_else(|| panic!("{path} is not in\n{listed}"))
    };
    assert!(line(files::PROGRAM).starts_with("-rwxr-xr-x 0/0"));
    assert!(line("var/lib/bowline/").starts_with("drwx------ 65532/65532"));
    assert!(line("tmp/").starts_with("drwxrwxrwt 0/0"));
    let unpacked = folder.path().join("unpacked");
    fs::create_dir(&unpacked).unwrap();
    let status = Command::new("tar")
        .args(["--extract", "--no-same-owner", "--file"])
        .arg(&archive)
        .arg("--directory")
        .arg(&unpacked)
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(fs::read(unpacked.join(files::PROGRAM)).unwrap(), program(1));
    let roots = fs::read_to_string(unpacked.join("etc/ssl/certs/ca-certificates.crt")).unwrap();
    assert!(roots.matches("BEGIN CERTIFICATE").count() > 50);
    assert!(roots.lines().all(|line| line.len() <= 64));
}

#[test]
fn a_program_that_needs_others_is_refused() {
    let check = |program: &[u8], expected: &str| {
        let found = files::check_static(program).map_err(|error| error.to_string());
        assert_eq!(found.err().as_deref().unwrap_or("static"), expected);
    };
    check(&program(1), "static");
    check(
        &program(3),
        "the program is not static: there is nothing in the image that could start it",
    );
    check(&program(1)[..90], "static");
    check(&program(1)[..66], "not a complete program");
    check(b"#!/bin/sh\n", "not a 64-bit program for Linux");
    check(b"", "not a 64-bit program for Linux");
}

#[test]
fn the_containerfile_makes_it_with_the_same_toolchain_and_says_the_same_of_it() {
    let containerfile = fs::read_to_string(workspace::root().join("Containerfile")).unwrap();
    let toolchain = fs::read_to_string(workspace::root().join("rust-toolchain.toml")).unwrap();
    let channel = toolchain.split('"').nth(1).unwrap();
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    let config = contents(&folder.path().join("image"))
        .into_values()
        .filter_map(|file| serde_json::from_slice::<Value>(&file).ok())
        .find_map(|file| {
            file.get("config")?
                .get("User")
                .and(file.get("config"))
                .cloned()
        })
        .unwrap();
    let text = |field: &str| config[field].as_str().unwrap();
    let environment: Vec<_> = config["Env"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variable| variable.as_str().unwrap())
        .collect();
    let list = |field: &str| config[field].to_string().replace(',', ", ");
    for expected in [
        format!("FROM docker.io/library/rust:{channel}-bookworm AS build"),
        format!("USER {}", text("User")),
        format!("ENV {}", environment.join(" ")),
        format!("WORKDIR {}", text("WorkingDir")),
        format!("ENTRYPOINT {}", list("Entrypoint")),
        format!("CMD {}", list("Cmd")),
    ] {
        assert!(
            containerfile.lines().any(|line| line == expected),
            "{expected} is not in\n{containerfile}"
        );
    }
}
