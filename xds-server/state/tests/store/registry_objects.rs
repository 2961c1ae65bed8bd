//! Registries' last good objects.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bowline_state::{Embedded, LastGood, Memory, RegistryObjects, Store, WriteBehind};

fn objects(store: Arc<dyn Store>) -> (RegistryObjects, WriteBehind) {
    let writer = WriteBehind::start(Arc::clone(&store)).unwrap();
    (RegistryObjects::new(store, writer.clone()), writer)
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn last_good<const N: usize>(
    entries: [(&'static str, &'static str); N],
    seconds: u64,
) -> Option<LastGood> {
    let objects = entries
        .into_iter()
        .map(|(key, value)| (key.into(), value.into()))
        .collect();
    Some(LastGood {
        objects,
        seen: at(seconds),
    })
}

#[tokio::test]
async fn a_registry_comes_back_as_it_was_last() {
    let (registries, writer) = objects(Arc::new(Memory::new()));
    assert_eq!(registries.load("vms").unwrap(), None);
    registries.replace("vms", [("a", "1"), ("b", "1"), ("c", "1")], at(10));
    registries.apply("vms", [("b", "2")], ["c"], at(20));
    writer.flush().await.unwrap();
    assert_eq!(
        registries.load("vms").unwrap(),
        last_good([("a", "1"), ("b", "2")], 20)
    );
    registries.replace("vms", [("d", "1")], at(30));
    registries.seen("vms", at(40));
    writer.flush().await.unwrap();
    assert_eq!(registries.load("vms").unwrap(), last_good([("d", "1")], 40));
}

#[tokio::test]
async fn an_empty_registry_is_not_an_unknown_one() {
    let (registries, writer) = objects(Arc::new(Memory::new()));
    registries.replace("vms", [("a", "1")], at(10));
    registries.replace("vms", [] as [(&str, &str); 0], at(20));
    writer.flush().await.unwrap();
    assert_eq!(registries.load("vms").unwrap(), last_good([], 20));
    registries.forget("vms");
    writer.flush().await.unwrap();
    assert_eq!(registries.load("vms").unwrap(), None);
}

#[tokio::test]
async fn no_name_reaches_into_another_registry() {
    let (registries, writer) = objects(Arc::new(Memory::new()));
    let names = ["a", "a/b", "a%2Fb", "", "a/", "ä"];
    for name in names {
        registries.replace(name, [("b/x", "1"), ("x", name)], at(10));
    }
    registries.forget("a");
    writer.flush().await.unwrap();
    assert_eq!(registries.load("a").unwrap(), None);
    for name in &names[1..] {
        assert_eq!(
            registries.load(name).unwrap(),
            last_good([("b/x", "1"), ("x", name)], 10),
            "{name}"
        );
    }
    let mut known = registries.registries().unwrap();
    known.sort_unstable();
    assert_eq!(known, ["", "a%2Fb", "a/", "a/b", "ä"]);
}

#[tokio::test]
async fn a_hundred_thousand_objects_are_one_replacement() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(Embedded::open(directory.path()).unwrap());
    let (registries, writer) = objects(store);
    let all = |value: &'static str| {
        (0..100_000).map(move |n| (format!("service/ns-{}/name-{n}", n % 50), value.repeat(20)))
    };
    registries.replace("big", all("content"), at(10));
    writer.flush().await.unwrap();
    let commits = writer.status().borrow().commits;
    assert_eq!(commits, 1);
    assert_eq!(
        registries.load("big").unwrap().unwrap().objects.len(),
        100_000
    );
    // The same again, as after every reconnect, and a change.
    registries.replace("big", all("content"), at(20));
    registries.apply(
        "big",
        [("service/ns-0/name-0".to_owned(), "new".to_owned())],
        [],
        at(30),
    );
    writer.flush().await.unwrap();
    let kept = registries.load("big").unwrap().unwrap();
    assert_eq!((kept.objects.len(), kept.seen), (100_000, at(30)));
    assert_eq!(kept.objects[0].1, "new");
}
