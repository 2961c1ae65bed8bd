//! A process that is killed in the middle of writing leaves a whole store.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;

use bowline_state::{Embedded, Prefix, Store, WriteBehind, Writes};

/// Names the directory in which a child process writes.
const DIRECTORY: &str = "BOWLINE_TEST_CRASH_DIRECTORY";

#[test]
fn a_killed_writer_leaves_whole_commits() {
    if let Ok(directory) = std::env::var(DIRECTORY) {
        return write_until_killed(directory.as_ref());
    }
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "crash::a_killed_writer_leaves_whole_commits",
                "--nocapture",
            ])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let committed: Vec<u64> = lines.filter_map(|line| line.parse().ok()).take(5).collect();
        child.kill().unwrap();
        child.wait().unwrap();

        let store = Embedded::open(directory.path()).unwrap();
        let entries = store.list(&Prefix::of("area")).unwrap().entries;
        assert_eq!(entries.len(), 100);
        let rounds: Vec<u64> = entries
            .iter()
            .map(|(_, stored)| {
                String::from_utf8(stored.value.to_vec())
                    .unwrap()
                    .parse()
                    .unwrap()
            })
            .collect();
        assert!(
            rounds.iter().all(|round| *round == rounds[0]),
            "half a commit: {rounds:?}"
        );
        assert!(
            rounds[0] >= *committed.last().unwrap(),
            "a commit was lost: {rounds:?} {committed:?}"
        );
    }
}

/// Writes the same number to a hundred keys, again and again, and prints it when it is kept.
fn write_until_killed(directory: &std::path::Path) {
    let store = Arc::new(Embedded::open(directory).unwrap());
    let writer = WriteBehind::start(store).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for round in 0_u64.. {
        let mut writes = Writes::new();
        for key in 0..100 {
            writes.put(Prefix::of("area").key(key.to_string()), round.to_string());
        }
        writer.write(writes);
        runtime.block_on(writer.flush()).unwrap();
        println!("{round}");
    }
}
