//! What is told of one reading after another.

use bowline_document::files::FileErrorKind;

use super::*;

#[test]
fn a_wrong_entry_keeps_its_last_good_version() {
    let mut steps = Steps::default();
    steps.read(SHOP);
    let wrong = SHOP.replace("address: 10.0.0.1", "address: 10.0.0.300");
    let event = steps.read(&wrong);
    assert_eq!(update(&event), (vec![], vec![]));
    let event = event.unwrap();
    assert_eq!(
        problems(&event),
        ["BW0201 7 address: '10.0.0.300' is not an IP address"]
    );
    assert_eq!(
        &*event.problems[0].meanwhile,
        "its last version that was right stays in use"
    );
    assert_eq!(steps.read(&wrong), None, "nothing is new");
    let still = wrong.replace("10.0.0.2", "10.0.0.3");
    let event = steps.read(&still);
    assert_eq!(
        update(&event).0,
        [
            "endpoints vm-2/cart.shop.svc.cluster.local",
            "workload vm-2"
        ]
    );
    let event = steps.read(&still.replace("10.0.0.300", "10.0.0.4"));
    assert_eq!(update(&event).0.len(), 2);
    assert_eq!(problems(&event.unwrap()), [""; 0]);
}

#[test]
fn an_entry_whose_name_cannot_be_read_removes_nothing() {
    let mut steps = Steps::default();
    steps.read(SHOP);
    let event = steps.read(&SHOP.replace("name: vm-2", "nmae: vm-2"));
    assert_eq!(update(&event), (vec![], vec![]));
    assert_eq!(event.unwrap().problems.len(), 1);
    let event = steps.read(&SHOP.replace("workloads:", "worklods:"));
    assert_eq!(update(&event), (vec![], vec![]));
    assert_eq!(
        problems(&event.unwrap()),
        ["BW0202 6 worklods: unknown field `worklods`"]
    );
    let event = steps.read(&SHOP.replace("services:\n", "services:\nother:\n"));
    assert_eq!(update(&event), (vec![], vec![]));
    assert_eq!(event.unwrap().problems.len(), 2);
    let event = steps.read("services: []\nworkloads: []\n");
    assert_eq!(update(&event).1.len(), 5, "this says that there is nothing");
}

#[test]
fn a_file_that_says_nothing_keeps_what_it_had() {
    let half = SHOP.split_at(SHOP.len() - 10).0;
    for text in [
        "",
        "\n# nothing\n",
        "namespace: shop\n",
        "just text",
        "a: [",
        "services:\n\tx",
        "\0\0\0\0",
        half,
        "namespace: SHOP\nservices: []\n",
    ] {
        let mut steps = Steps::default();
        steps.read(SHOP);
        let event = steps.read(text);
        assert_eq!(update(&event), (vec![], vec![]), "{text:?}");
        let [problem] = &event.unwrap().problems[..] else {
            panic!("{text:?}");
        };
        assert!(problem.object.is_none());
        assert_eq!(&*problem.meanwhile, "what it last contained stays in use");
        let event = steps.read(SHOP);
        assert_eq!(update(&event), (vec![], vec![]));
        assert_eq!(problems(&event.unwrap()), [""; 0]);
    }
}

#[test]
fn an_inventory_that_was_never_good_is_failing_not_empty() {
    let mut steps = Steps::default();
    let event = steps.read("services: [").unwrap();
    assert!(matches!(&event.change, Change::Failing { error } if error.contains("i.yaml:1")));
    assert_eq!(steps.read("services: ["), None);
    let event = steps.read(SHOP).unwrap();
    assert_eq!(objects(&event).len(), 5);
    let good_and_bad: [(&str, &[u8]); 2] = [("a.yaml", SHOP.as_bytes()), ("b.yaml", b"")];
    let event = Steps::default().read_files(&good_and_bad).unwrap();
    assert_eq!(objects(&event).len(), 5);
    assert_eq!(event.problems.len(), 1);
    let empty = Steps::default().read_files(&[]).unwrap();
    assert_eq!(objects(&empty).len(), 0, "an empty directory is empty");
}

#[test]
fn a_directory_without_a_file_is_warned_of_until_it_has_one() {
    let mut steps = Steps::default();
    let mut empty = reading(&[]);
    empty.empty.push("inventory/".into());
    let event = steps.take(&empty).unwrap();
    assert_eq!(event.change, Change::Replace(Vec::new()));
    let warning = event.problems[0].to_string();
    assert!(
        warning.starts_with("BW0106 warning inventory/ the directory has no file"),
        "{warning}"
    );
    let event = steps.read(SHOP).unwrap();
    assert_eq!(problems(&event), [""; 0]);
}

#[test]
fn what_is_missing_is_failing_until_it_is_back() {
    let mut steps = Steps::default();
    steps.read(SHOP);
    let mut missing = reading(&[("i.yaml", SHOP.as_bytes())]);
    missing.errors.push(FileError {
        path: "i.yaml".into(),
        kind: FileErrorKind::Missing,
        message: "gone".to_owned(),
    });
    let event = steps.take(&missing).unwrap();
    assert_eq!(
        event.change,
        Change::Failing {
            error: "i.yaml: gone".to_owned()
        }
    );
    assert_eq!(event.problems.len(), 1);
    assert_eq!(steps.take(&missing), None);
    let event = steps.read(SHOP).unwrap();
    assert_eq!(objects(&event).len(), 5);
    assert_eq!(problems(&event), [""; 0]);
}

#[test]
fn a_directory_that_cannot_be_read_keeps_its_files_and_others_go_on() {
    let mut steps = Steps::default();
    let other = "workloads: [{name: other, address: 10.0.0.9}]";
    let both: [(&str, &[u8]); 2] = [
        ("d/i.yaml", other.as_bytes()),
        ("d/sub/i.yaml", SHOP.as_bytes()),
    ];
    steps.read_files(&both);
    let changed = other.replace(".9", ".10");
    let mut reading = reading(&[("d/i.yaml", changed.as_bytes())]);
    reading.errors.push(FileError {
        path: "d/sub".into(),
        kind: FileErrorKind::Unreadable,
        message: "permission denied".to_owned(),
    });
    let event = steps.take(&reading);
    assert_eq!(update(&event), (vec!["workload other".to_owned()], vec![]));
    assert_eq!(event.unwrap().problems.len(), 1);
}

#[test]
fn only_what_changed_is_told() {
    let mut steps = Steps::default();
    steps.read(SHOP);
    assert_eq!(steps.read(SHOP), None);
    assert_eq!(steps.read(&format!("# moved\n\n{SHOP}")), None);
    let event = steps.read(&SHOP.replace("10.0.0.2,", "10.0.0.2, weight: 5,"));
    assert_eq!(
        update(&event),
        (
            vec!["endpoints vm-2/cart.shop.svc.cluster.local".to_owned()],
            vec![]
        )
    );
    let without = SHOP.lines().filter(|line| !line.contains("vm-1"));
    let event = steps.read(&without.collect::<Vec<_>>().join("\n"));
    assert_eq!(
        update(&event).1,
        [
            "endpoints vm-1/cart.shop.svc.cluster.local",
            "workload vm-1"
        ]
    );
}

#[test]
fn a_deleted_file_removes_its_objects() {
    let mut steps = Steps::default();
    let other = "workloads: [{name: other, address: 10.0.0.9}]";
    let both: [(&str, &[u8]); 2] = [("a.yaml", other.as_bytes()), ("b.yaml", SHOP.as_bytes())];
    steps.read_files(&both);
    let event = steps.read_files(&both[1..]);
    assert_eq!(update(&event), (vec![], vec!["workload other".to_owned()]));
}

#[test]
fn of_two_entries_of_one_name_the_first_counts() {
    let again = "namespace: shop\nworkloads:\n  - {name: vm-1, address: 10.9.9.9}\nservices:\n  - {hostname: cart.shop.svc.cluster.local, ports: [{number: 1}]}\n";
    let files: [(&str, &[u8]); 2] = [("a.yaml", SHOP.as_bytes()), ("b.yaml", again.as_bytes())];
    let mut steps = Steps::default();
    let event = steps.read_files(&files).unwrap();
    assert_eq!(objects(&event).len(), 5);
    assert_eq!(
        problems(&event),
        [
            "BW0204 5 name: service cart.shop.svc.cluster.local is already at a.yaml:4",
            "BW0204 3 name: workload shop/vm-1 is already at a.yaml:7",
        ]
    );
    let event = steps.read_files(&files[1..]);
    let (upserts, removes) = update(&event);
    assert!(upserts.contains(&"workload vm-1".to_owned()), "{upserts:?}");
    assert!(!removes.contains(&"workload vm-1".to_owned()));
    assert_eq!(problems(&event.unwrap()), [""; 0]);
}

#[test]
fn an_entry_that_is_kept_gives_way_to_one_that_is_written() {
    let mut steps = Steps::default();
    steps.read_files(&[("a.yaml", SHOP.as_bytes())]);
    let moved = "namespace: shop\nworkloads: [{name: vm-2, address: 10.9.9.9}]";
    let event = steps.read_files(&[("a.yaml", b"services: ["), ("b.yaml", moved.as_bytes())]);
    let (upserts, removes) = update(&event);
    assert_eq!(upserts, ["workload vm-2"]);
    assert_eq!(removes, ["endpoints vm-2/cart.shop.svc.cluster.local"]);
    assert_eq!(event.unwrap().problems.len(), 1, "only the syntax error");
}

#[test]
fn last_good_versions_outlive_the_process() {
    let objects_of_before = objects(&first(SHOP)).to_vec();
    let mut steps = Steps {
        state: State::restored(objects_of_before.clone()),
    };
    let broken = SHOP.replace("address: 10.0.0.1", "address: 10.0.0.300");
    let event = steps.read(&broken).unwrap();
    assert_eq!(objects(&event), objects_of_before);
    assert_eq!(event.problems.len(), 1);
    let mut steps = Steps {
        state: State::restored(objects_of_before.clone()),
    };
    let event = steps.read("services: [").unwrap();
    assert_eq!(objects(&event), objects_of_before);
    let mut steps = Steps {
        state: State::restored(objects_of_before),
    };
    let event = steps.read("services: []").unwrap();
    assert_eq!(objects(&event), [], "what is well written is believed");
}
