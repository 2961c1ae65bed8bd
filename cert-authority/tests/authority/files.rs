//! A certificate as files.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use bowline_cert_authority::write_files;

use crate::mesh::{authority, issue};

#[test]
fn the_files_are_whole_and_the_key_is_its_owners() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("envoy/certificates");
    let authority = authority();
    // Twice: the second one replaces the first, whatever a crash left behind.
    write_files(&directory, &issue(&authority)).unwrap();
    fs::write(directory.join("key.pem.new"), "half a key").unwrap();
    let issued = issue(&authority);
    write_files(&directory, &issued).unwrap();
    let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap();
    assert_eq!(read("cert.pem"), issued.chain_pem);
    assert_eq!(read("bundle.pem"), authority.bundle_pem());
    assert_eq!(read("key.pem"), issued.key.unwrap().expose_pem());
    let mode = |name: &str| {
        fs::metadata(directory.join(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode("key.pem"), 0o600);
    let mut names: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["bundle.pem", "cert.pem", "key.pem"]);
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir_all(directory.path().join("key.pem/in-the-way")).unwrap();
    let error = write_files(directory.path(), &issue(&authority())).unwrap_err();
    assert!(error.to_string().contains("key.pem: "), "{error}");
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = write_files(&file.join("out"), &issue(&authority())).unwrap_err();
    assert!(error.to_string().contains("file/out"), "{error}");
}
