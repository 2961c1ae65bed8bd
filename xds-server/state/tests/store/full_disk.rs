//! A file that cannot grow any more, for real: the database is opened again and goes on.

use std::process::Command;
use std::sync::Arc;

use bowline_state::{Embedded, Prefix, Store, WriteBehind, Writes};

/// Names the directory in which a child process writes.
const DIRECTORY: &str = "BOWLINE_TEST_FULL_DISK_DIRECTORY";

#[test]
fn a_file_that_cannot_grow_is_written_again_when_what_waits_fits() {
    if let Ok(directory) = std::env::var(DIRECTORY) {
        return outgrow_the_limit(directory.as_ref());
    }
    let directory = tempfile::tempdir().unwrap();
    // At most 8192 blocks of 512 or 1024 bytes; with the signal ignored, a longer file is an error of the write.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 8192; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "full_disk::a_file_that_cannot_grow_is_written_again_when_what_waits_fits",
        ])
        .env(DIRECTORY, directory.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );

    let store = Embedded::open(directory.path()).unwrap();
    let entries = store.list(&Prefix::of("area")).unwrap().entries;
    let lengths: Vec<usize> = entries
        .iter()
        .map(|(_, stored)| stored.value.len())
        .collect();
    assert_eq!(lengths, [1, 1, 1]);
}

fn outgrow_the_limit(directory: &std::path::Path) {
    let store = Arc::new(Embedded::open(directory).unwrap());
    let writer = WriteBehind::start(store.clone()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let put = |name: &str, length: usize| {
        let mut writes = Writes::new();
        writes.put(Prefix::of("area").key(name), vec![b'x'; length]);
        writer.write(writes);
        runtime.block_on(writer.flush())
    };
    put("a", 1).unwrap();
    let error = put("b", 64 * 1024 * 1024).unwrap_err();
    assert!(error.to_string().contains("state.redb"), "{error}");
    assert_eq!(
        store.list(&Prefix::of("area")).unwrap().entries.len(),
        1,
        "what is there can be read"
    );
    put("c", 1).unwrap_err();
    put("b", 1).unwrap();
    assert_eq!(store.list(&Prefix::of("area")).unwrap().entries.len(), 3);
}
