//! What holds of every store.

use std::sync::Arc;

use bowline_state::{
    Changes, CommitError, Embedded, Expected, Key, Memory, Prefix, Revision, Store, Watch, Writes,
};

/// Runs the same check on each kind of store.
fn check(promise: impl Fn(&Arc<dyn Store>)) {
    promise(&(Arc::new(Memory::new()) as Arc<dyn Store>));
    let directory = tempfile::tempdir().unwrap();
    promise(&(Arc::new(Embedded::open(directory.path()).unwrap()) as Arc<dyn Store>));
}

fn area() -> Prefix {
    Prefix::of("area")
}

fn put(name: &str, value: &str) -> Writes {
    let mut writes = Writes::new();
    writes.put(area().key(name), value.to_owned());
    writes
}

fn delete(name: &str) -> Writes {
    let mut writes = Writes::new();
    writes.delete(area().key(name));
    writes
}

fn names(store: &dyn Store, prefix: &Prefix) -> Vec<String> {
    let listing = store.list(prefix).unwrap();
    let text = |key: &Key| String::from_utf8(key.name()).unwrap();
    listing.entries.iter().map(|(key, _)| text(key)).collect()
}

#[test]
fn a_value_is_there_until_it_is_deleted() {
    check(|store| {
        let key = area().key("a");
        assert_eq!(store.get(&key).unwrap(), None);
        let first = store.commit(&[], &put("a", "1")).unwrap();
        let second = store.commit(&[], &put("a", "2")).unwrap();
        assert!(first < second);
        let stored = store.get(&key).unwrap().unwrap();
        assert_eq!(
            (stored.value.as_ref(), stored.revision),
            (b"2".as_ref(), second)
        );
        store.commit(&[], &delete("a")).unwrap();
        assert_eq!(store.get(&key).unwrap(), None);
    });
}

#[test]
fn a_commit_that_finds_something_else_writes_nothing() {
    check(|store| {
        let key = area().key("a");
        let absent = [(key.clone(), Expected::Absent)];
        let first = store.commit(&absent, &put("a", "1")).unwrap();
        for expected in [absent, [(key.clone(), Expected::At(Revision::default()))]] {
            let mut writes = put("a", "2");
            writes.put(area().key("b"), "2");
            let error = store.commit(&expected, &writes).unwrap_err();
            assert!(matches!(&error, CommitError::Conflict { key: found } if *found == key));
            assert_eq!(error.to_string(), "'area/a' has changed meanwhile");
        }
        assert_eq!(names(&**store, &area()), ["a"]);
        store
            .commit(&[(key.clone(), Expected::At(first))], &put("a", "2"))
            .unwrap();
        assert_eq!(store.get(&key).unwrap().unwrap().value, "2");
    });
}

#[test]
fn only_one_of_many_that_expect_absence_wins() {
    check(|store| {
        let absent = [(area().key("root"), Expected::Absent)];
        let wins = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..4)
                .map(|n| {
                    let absent = &absent;
                    scope.spawn(move || store.commit(absent, &put("root", &n.to_string())).is_ok())
                })
                .collect();
            tries
                .into_iter()
                .map(|it| it.join().unwrap())
                .filter(|won| *won)
                .count()
        });
        assert_eq!(wins, 1);
    });
}

#[test]
fn clearing_takes_what_is_below_and_nothing_else() {
    check(|store| {
        let mut writes = Writes::new();
        for (prefix, name) in [("a", "1"), ("a", "2"), ("a/b", "1"), ("ab", "1")] {
            writes.put(area().child(prefix).key(name), "x");
        }
        let first = store.commit(&[], &writes).unwrap();
        let mut writes = Writes::new();
        writes.clear(area().child("a"));
        writes.put(area().child("a").key("2"), "x");
        writes.put(area().child("a").key("3"), "x");
        store.commit(&[], &writes).unwrap();
        assert_eq!(names(&**store, &area().child("a")), ["2", "3"]);
        assert_eq!(names(&**store, &area().child("a/b")), ["1"]);
        assert_eq!(names(&**store, &area().child("ab")), ["1"]);
        let kept = store.get(&area().child("a").key("2")).unwrap().unwrap();
        assert_eq!(
            kept.revision, first,
            "a value that is put again unchanged is not written"
        );
    });
}

#[test]
fn what_changes_nothing_is_no_revision() {
    check(|store| {
        let first = store.commit(&[], &put("a", "1")).unwrap();
        assert_eq!(store.commit(&[], &put("a", "1")).unwrap(), first);
        assert_eq!(store.commit(&[], &delete("b")).unwrap(), first);
        assert_eq!(store.commit(&[], &Writes::new()).unwrap(), first);
    });
}

#[test]
fn a_watch_tells_the_newest_state_of_what_changed_below_its_prefix() {
    check(|store| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let start = store.list(&area()).unwrap().revision;
        let mut watch = Watch::after(Arc::clone(store), area(), start);
        let mut elsewhere = Writes::new();
        elsewhere.put(Prefix::of("other").key("a"), "1");
        store.commit(&[], &put("a", "1")).unwrap();
        store.commit(&[], &elsewhere).unwrap();
        store.commit(&[], &put("a", "2")).unwrap();
        store.commit(&[], &put("b", "1")).unwrap();
        store.commit(&[], &delete("b")).unwrap();
        let told = runtime.block_on(watch.next()).unwrap();
        let Changes::Since { changes, .. } = told else {
            panic!("{told:?}")
        };
        let told: Vec<_> = changes
            .into_iter()
            .map(|(key, now)| (key.to_string(), now.map(|stored| stored.value)))
            .collect();
        assert_eq!(
            told,
            [
                ("area/a".to_owned(), Some("2".into())),
                ("area/b".to_owned(), None)
            ]
        );
        // A later change wakes a watch that has nothing to tell.
        runtime.block_on(async {
            let wait = watch.next();
            tokio::pin!(wait);
            assert!(poll_once(&mut wait).is_none());
            store.commit(&[], &put("c", "1")).unwrap();
            assert!(
                matches!(wait.await.unwrap(), Changes::Since { changes, .. } if changes.len() == 1)
            );
        });
    });
}

#[test]
fn a_watch_that_fell_too_far_behind_is_told_to_list_again() {
    check(|store| {
        let start = store.commit(&[], &put("a", "1")).unwrap();
        let mut many = Writes::new();
        for n in 0..5000 {
            many.put(area().key(format!("{n}")), "x");
        }
        let end = store.commit(&[], &many).unwrap();
        assert_eq!(store.changes(&area(), start).unwrap(), Changes::Compacted);
        let nothing = Changes::Since {
            changes: Vec::new(),
            revision: end,
        };
        assert_eq!(store.changes(&area(), end).unwrap(), nothing);
    });
}

/// Polls once.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(future).poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}
