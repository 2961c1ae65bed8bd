//! The embedded store's file: who may read it, who may open it, what becomes of a damaged one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bowline_state::{Embedded, OpenError, Prefix, Store, Writes};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn filled(directory: &Path, entries: usize) {
    let store = Embedded::open(directory).unwrap();
    let mut writes = Writes::new();
    for n in 0..entries {
        writes.put(
            Prefix::of("area").key(format!("key {n}")),
            format!("value {n}").repeat(10),
        );
    }
    store.commit(&[], &writes).unwrap();
}

#[test]
fn only_the_owner_may_read_it() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("deep/data");
    let store = Embedded::open(&directory).unwrap();
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(store.path()), 0o600);
    let path = store.path().to_owned();
    drop(store);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    drop(Embedded::open(&directory).unwrap());
    assert_eq!(
        mode(&path),
        0o600,
        "a file restored from a backup is closed to others"
    );
}

#[test]
fn content_and_revision_outlive_the_process() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 3);
    let store = Embedded::open(directory.path()).unwrap();
    let listing = store.list(&Prefix::of("area")).unwrap();
    assert_eq!(listing.entries.len(), 3);
    let mut writes = Writes::new();
    writes.put(Prefix::of("area").key("later"), "x");
    assert!(store.commit(&[], &writes).unwrap() > listing.revision);
}

#[test]
fn a_second_one_on_the_same_file_is_told_so() {
    let directory = tempfile::tempdir().unwrap();
    let first = Embedded::open(directory.path()).unwrap();
    let error = Embedded::open(directory.path()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert!(
        error.to_string().contains("in use by another process"),
        "{error}"
    );
    drop(first);
    Embedded::open(directory.path()).unwrap();
}

#[test]
fn a_file_that_is_no_store_is_refused_and_kept() {
    for content in [
        "# not a database\n".repeat(1000),
        "x".to_owned(),
        "\0".repeat(100_000),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.redb");
        fs::write(&path, &content).unwrap();
        let error = Embedded::open(directory.path()).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
        assert!(
            error.to_string().contains("restore it from a backup"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
}

#[test]
fn a_file_that_was_cut_off_or_altered_never_panics_and_never_lies() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 300);
    let path = directory.path().join("state.redb");
    let whole = fs::read(&path).unwrap();
    let mut damaged = Vec::new();
    for part in 1..16 {
        damaged.push(whole[..whole.len() * part / 16].to_vec());
        let mut flipped = whole.clone();
        flipped[whole.len() * part / 16 + 77] ^= 0x55;
        damaged.push(flipped);
    }
    for content in damaged {
        fs::write(&path, &content).unwrap();
        let Ok(store) = Embedded::open(directory.path()) else {
            continue;
        };
        let listing = store.list(&Prefix::of("area")).unwrap();
        for (key, stored) in listing.entries {
            let value = String::from_utf8(key.name())
                .unwrap()
                .replace("key", "value")
                .repeat(10);
            assert_eq!(stored.value, value.as_bytes());
        }
    }
}

#[test]
fn what_is_in_the_way_is_named() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = Embedded::open(&file.join("data")).unwrap_err();
    assert!(matches!(error, OpenError::Directory { .. }), "{error:?}");
    assert!(error.to_string().contains("file/data"), "{error}");
    fs::create_dir(parent.path().join("state.redb")).unwrap();
    let error = Embedded::open(parent.path()).unwrap_err();
    assert!(matches!(error, OpenError::File { .. }), "{error:?}");
}
