//! What is written in files, whatever they are.

use crate::{
    finding::{Finding, assert_none, places},
    modules::is_test,
    repository::{files, texts},
};

/// The rules themselves name what they look for.
const OWN_FOLDER: &str = "tests/tidy/";

/// Files of tests that may wait for time to pass, with the reason.
const MAY_SLEEP: &[(&str, &str)] = &[
    (
        "tests/harness/src/eventually.rs",
        "the one place where tests wait for a condition, between two looks at it",
    ),
    (
        "tests/harness/src/backend/http.rs",
        "a backend that answers late because the test asks it to",
    ),
    (
        "tests/harness/src/kubernetes/serve.rs",
        "an API server that answers late because the test asks it to",
    ),
    (
        "tests/harness/src/kubernetes/server.rs",
        "it waits for a port as `eventually` does, whose future is not known to be Send",
    ),
    (
        "tests/harness/src/kubernetes/watch.rs",
        "an API server ends watches when their time is over",
    ),
    (
        "tests/fleet/src/crowd.rs",
        "a fleet is measured for a time, and says when something has not happened in it",
    ),
    (
        "tests/fleet/src/crowd/connection.rs",
        "a proxy that was not let in comes again after a pause, as Envoy does",
    ),
    (
        "tests/fleet/src/datacenter.rs",
        "between two changes that are measured everything is idle",
    ),
    (
        "tests/fleet/src/server/child.rs",
        "it waits for servers that say where they listen by a file, between two looks at it",
    ),
];

/// A word that must not stand in some files, and why.
struct Forbidden {
    word: &'static str,
    why: &'static str,
    remedy: &'static str,
}

const IN_RUST: &[Forbidden] = &[
    Forbidden {
        word: "todo!(",
        why: "a user meets a panic there",
        remedy: "write the real part",
    },
    Forbidden {
        word: "unimplemented!(",
        why: "a user meets a panic there",
        remedy: "write the real part",
    },
    Forbidden {
        word: "dbg!(",
        why: "it prints to whoever runs it",
        remedy: "take it out",
    },
    Forbidden {
        word: "#[ignore",
        why: "a test that does not run proves nothing and looks as if it did",
        remedy: "make it run, or delete it",
    },
    Forbidden {
        word: "#[should_panic",
        why: "it also passes when something else panics",
        remedy: "assert on what is returned",
    },
    Forbidden {
        word: "#[path",
        why: "a module is where its name says",
        remedy: "move the file",
    },
];

const IN_ANY: &[Forbidden] = &[
    Forbidden {
        // With the dot of `.cargo` and the like: `/root/` alone is a path of requests too.
        word: "/root/.",
        why: "there is no such folder on others' machines",
        remedy: "write a path from the repository's root, or from `~`",
    },
    Forbidden {
        word: "/home/",
        why: "there is no such folder on others' machines",
        remedy: "write a path from the repository's root, or from `~`",
    },
    Forbidden {
        word: "/Users/",
        why: "there is no such folder on others' machines",
        remedy: "write a path from the repository's root, or from `~`",
    },
    Forbidden {
        word: "/work/",
        why: "there is no such folder on others' machines",
        remedy: "write a path from the repository's root, or from `~`",
    },
    Forbidden {
        word: "FIXME",
        why: "what is committed is finished",
        remedy: "mend it, or open an issue",
    },
    Forbidden {
        word: "TODO",
        why: "what is committed is finished",
        remedy: "do it, or open an issue",
    },
];

/// Settings that send package managers to a registry of somebody's own.
const REGISTRY_SETTINGS: &[&str] = &[
    "index-url",
    "INDEX_URL",
    "CARGO_REGISTRIES",
    "replace-with",
    "[source.",
    "[registries",
    "proxy.golang",
];

fn forbidden(path: &str, text: &str) -> Vec<Finding> {
    let lists: &[&[Forbidden]] = if path.ends_with(".rs") {
        &[IN_ANY, IN_RUST]
    } else {
        &[IN_ANY]
    };
    let mut findings = Vec::new();
    for (number, line) in numbered(text) {
        for Forbidden { word, why, remedy } in lists.iter().copied().flatten() {
            if stands_alone(line, word) {
                findings.push(Finding::new(
                    format!("{path}:{number}"),
                    format!("'{word}': {why}"),
                    remedy,
                ));
            }
        }
        let names_registry = REGISTRY_SETTINGS.iter().any(|word| line.contains(word));
        if names_registry && (line.contains("://") || path.starts_with(".cargo/")) {
            findings.push(Finding::new(
                format!("{path}:{number}"),
                "a registry that others may not reach",
                "leave registries to each machine's own configuration",
            ));
        }
    }
    findings
}

/// Whether a line has a word that is not the end of a longer one: `todo!(` but not `my_todo!(`, `/root/` but not `target/root/`.
fn stands_alone(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        !line.split_at(at).0.ends_with(|before: char| {
            before.is_alphanumeric() || matches!(before, '_' | '.' | '}' | '~' | '-')
        })
    })
}

fn sleeps(path: &str, text: &str) -> Vec<Finding> {
    if !path.ends_with(".rs") || MAY_SLEEP.iter().any(|(exempt, _)| *exempt == path) {
        return Vec::new();
    }
    let tests_from = if is_test(path) {
        Some(0)
    } else {
        text.find("#[cfg(test)]\nmod tests")
            .map(|at| text.split_at(at).0.lines().count())
    };
    let Some(tests_from) = tests_from else {
        return Vec::new();
    };
    numbered(text)
        .filter(|(number, line)| {
            *number > tests_from
                && ["sleep(", "sleep_until("].into_iter().any(|call| {
                    line.match_indices(call).any(|(at, _)| {
                        !line
                            .split_at(at)
                            .0
                            .ends_with(|before: char| before.is_alphanumeric() || before == '_')
                    })
                })
        })
        .map(|(number, _)| {
            Finding::new(
                format!("{path}:{number}"),
                "a test that sleeps is slow on a fast machine and fails on a slow one",
                "wait for the condition (the harness's `eventually`), or pause the clock",
            )
        })
        .collect()
}

/// A file that is not text, or that a machine wrote.
fn not_written(path: &str, bytes: &[u8]) -> Option<Finding> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Some(Finding::new(
            path,
            "it is not UTF-8 text, so nobody can review it",
            "make it when it is needed (a build script, a test), or write it as text",
        ));
    };
    if text.contains('\0') {
        return Some(Finding::new(
            path,
            "it contains NUL bytes, so nobody can review it",
            "make it when it is needed (a build script, a test)",
        ));
    }
    let head = text.lines().take(5);
    let is_marked = head
        .into_iter()
        .any(|line| line.contains("@generated") || line.contains("Code generated by"));
    let is_generated = [".pb.rs", "_pb2.py", ".pb.go"]
        .iter()
        .any(|ending| path.ends_with(ending))
        || is_marked && path != "Cargo.lock";
    is_generated.then(|| {
        Finding::new(
            path,
            "it is generated, so it can differ from what generates it",
            "generate it when it is built",
        )
    })
}

fn badly_spaced(path: &str, text: &str) -> Vec<Finding> {
    let mut findings: Vec<Finding> = numbered(text)
        .filter(|(_, line)| line.ends_with([' ', '\t', '\r']))
        .map(|(number, _)| {
            Finding::new(
                format!("{path}:{number}"),
                "white space at the end of the line, which every editor shows as a change",
                "remove it",
            )
        })
        .collect();
    if !text.is_empty() && (!text.ends_with('\n') || text.ends_with("\n\n")) {
        findings.push(Finding::new(
            path,
            "it does not end in one line break",
            "end it in one",
        ));
    }
    findings
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split('\n')
        .enumerate()
        .map(|(index, line)| (index + 1, line))
}

#[test]
fn nothing_is_unfinished_or_of_one_machine() {
    assert_none(
        texts()
            .iter()
            .filter(|(path, _)| !path.starts_with(OWN_FOLDER))
            .flat_map(|(path, text)| forbidden(path, text)),
    );
}

#[test]
fn tests_wait_for_conditions() {
    assert_none(
        texts()
            .iter()
            .filter(|(path, _)| !path.starts_with(OWN_FOLDER))
            .flat_map(|(path, text)| sleeps(path, text)),
    );
}

#[test]
fn files_are_written_by_people() {
    assert_none(
        files()
            .iter()
            .filter_map(|(path, bytes)| not_written(path, bytes)),
    );
}

#[test]
fn lines_end_where_their_text_ends() {
    assert_none(
        texts()
            .iter()
            .flat_map(|(path, text)| badly_spaced(path, text)),
    );
}

#[test]
fn what_is_unfinished_or_of_one_machine_is_found() {
    for bad in [
        "    todo!(\"later\")",
        "x = dbg!(x);",
        "#[ignore = \"slow\"]",
        "#[should_panic]",
        "const P: &str = \"/home/me/x\";",
        "// TODO later",
        "pip install --index-url https://pypi.example",
    ] {
        assert_eq!(
            places(&forbidden("a/src/x.rs", bad)),
            ["a/src/x.rs:1"],
            "{bad}"
        );
    }
    for good in [
        "not_a_todo!(1)",
        "target/work/x",
        "~/home/x",
        "https://example.com/root/",
        "the index-url is the machine's own",
    ] {
        assert!(forbidden("a/src/x.rs", good).is_empty(), "{good}");
    }
    assert!(forbidden("a.md", "dbg!(x)").is_empty());
    assert_eq!(forbidden(".cargo/config.toml", "[source.mine]").len(), 1);
}

#[test]
fn a_test_that_sleeps_is_found() {
    let tested =
        "//! X.\nsleep(A);\n#[cfg(test)]\nmod tests {\n    tokio::time::sleep(B).await;\n}\n";
    assert_eq!(places(&sleeps("a/src/x.rs", tested)), ["a/src/x.rs:5"]);
    assert_eq!(
        sleeps("a/tests/x.rs", "thread::sleep(A);\nsleep_until(B);").len(),
        2
    );
    assert!(sleeps("a/src/x.rs", "sleep(A);").is_empty());
    assert!(sleeps("a/tests/x.rs", "no_sleep(A); // sleeping").is_empty());
    assert!(sleeps(MAY_SLEEP[0].0, "sleep(A);").is_empty());
}

#[test]
fn what_is_not_text_or_generated_is_found() {
    for (path, bytes, found) in [
        ("a.bin", &b"\xff\xfe"[..], true),
        ("a.txt", b"a\0b", true),
        ("a.pb.rs", b"", true),
        ("a.rs", b"// Code generated by x. DO NOT EDIT.", true),
        ("Cargo.lock", b"# @generated by Cargo", false),
        ("a.rs", b"//! A.\n", false),
    ] {
        assert_eq!(not_written(path, bytes).is_some(), found, "{path}");
    }
}

#[test]
fn bad_spacing_is_found() {
    for (text, found) in [
        ("a \nb\n", 1),
        ("a\r\n", 1),
        ("a", 1),
        ("a\n\n", 1),
        ("a\n", 0),
        ("", 0),
    ] {
        assert_eq!(badly_spaced("a.txt", text).len(), found, "{text:?}");
    }
}
