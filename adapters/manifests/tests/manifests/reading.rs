//! What changes from one reading to the next, and what stays while something is wrong.

use std::sync::Arc;

use bowline_document::files::{File, FileError, FileErrorKind, Reading};
use bowline_manifests::{State, read};
use bowline_mesh::Change;
use proptest::prelude::*;

use crate::{reading, settings, text};

const CART: &str =
    "apiVersion: v1\nkind: Service\nmetadata: {name: cart}\nspec: {ports: [{port: 80}]}\n";
const DB: &str =
    "apiVersion: v1\nkind: Service\nmetadata: {name: db}\nspec: {ports: [{port: 5432}]}\n";

/// A registry that is read again and again.
#[derive(Default)]
struct Registry {
    state: State,
}

impl Registry {
    fn reads(&mut self, files: &[(&str, &str)]) -> String {
        let files: Vec<_> = files
            .iter()
            .map(|(path, text)| (*path, text.as_bytes()))
            .collect();
        self.takes(&reading(&files))
    }

    fn takes(&mut self, reading: &Reading) -> String {
        let (state, event) = read(reading, &self.state, &settings());
        self.state = state;
        event.map_or_else(String::new, |event| text::event(&event))
    }
}

fn service(name: &str, line: u32, port: u16) -> String {
    format!(
        "manifests: service default/{name} (a.yaml:{line})\n  balancing: everywhere\n  hostname: {name}.default.svc.cluster.local\n  ports: [{{number: {port}, protocol: auto}}]\n"
    )
}

#[test]
fn only_what_changes_is_said() {
    let mut registry = Registry::default();
    let both = format!("{CART}---\n{DB}");
    let first = registry.reads(&[("a.yaml", &both)]);
    assert_eq!(first, service("cart", 1, 80) + &service("db", 6, 5432));
    assert_eq!(registry.reads(&[("a.yaml", &both)]), "");
    let changed = both.replace("5432", "5433");
    assert_eq!(
        registry.reads(&[("a.yaml", &changed)]),
        service("db", 6, 5433)
    );
    assert_eq!(
        registry.reads(&[("a.yaml", CART)]),
        "removed manifests: service default/db\n"
    );
    assert_eq!(
        registry.reads(&[]),
        "removed manifests: service default/cart\n"
    );
}

#[test]
fn a_file_that_is_not_well_formed_keeps_what_it_last_said() {
    let mut registry = Registry::default();
    registry.reads(&[("a.yaml", CART)]);
    let broken = [
        ("kind: [", "BW0102 error a.yaml:1"),
        ("", "BW0102 error a.yaml the file is empty"),
        ("a: 1\na: 2\n", "BW0102 error a.yaml:2"),
        (" \n\n", "BW0102 error a.yaml the file is empty"),
    ];
    for (content, expected) in broken {
        let said = registry.reads(&[("a.yaml", content)]);
        assert!(said.starts_with(&format!("! {expected}")), "{said}");
        assert_eq!(said.lines().count(), 1, "nothing is removed: {said}");
    }
    let said = registry.takes(&reading(&[("a.yaml", b"kind: \xff")]));
    assert!(said.starts_with("! BW0102 error a.yaml:1"), "{said}");
    let (_, mended) = read(
        &reading(&[("a.yaml", CART.as_bytes())]),
        &registry.state,
        &settings(),
    );
    let mended = mended.expect("the problem is gone");
    assert_eq!(
        (text::event(&mended).as_str(), mended.problems.len()),
        ("", 0)
    );
    let empty_on_purpose = registry.reads(&[("a.yaml", "# nothing\n")]);
    assert_eq!(
        empty_on_purpose,
        "removed manifests: service default/cart\n"
    );
}

#[test]
fn an_object_that_is_invalid_keeps_its_last_good_version_and_harms_no_other() {
    let mut registry = Registry::default();
    registry.reads(&[("a.yaml", &format!("{CART}---\n{DB}"))]);
    for wrong in ["{port: 0}", "{port: 80, prot: x}", "{port: many}"] {
        let cart = CART.replace("{port: 80}", wrong);
        let said = registry.reads(&[("a.yaml", &format!("{cart}---\n{DB}"))]);
        let problem = said
            .strip_prefix("! BW020")
            .unwrap_or_else(|| panic!("{said}"));
        assert!(
            problem.contains("a.yaml:4 manifests: service default/cart"),
            "{said}"
        );
    }
    let changed = DB.replace("5432", "5433");
    let cart = CART.replace("80", "0");
    let said = registry.reads(&[("a.yaml", &format!("{cart}---\n{changed}"))]);
    assert!(said.starts_with(&service("db", 6, 5433)), "{said}");
    let said = registry.reads(&[("a.yaml", &changed)]);
    assert!(
        said.contains("removed manifests: service default/cart\n"),
        "{said}"
    );
    let said = registry.reads(&[("a.yaml", &format!("{cart}---\n{changed}"))]);
    assert!(
        !said.contains("cart.default"),
        "it was taken away before: {said}"
    );
}

#[test]
fn the_last_good_version_follows_what_it_refers_to() {
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\nspec:\n  parentRefs: [{name: edge}]\n  rules: [{backendRefs: [{name: cart, namespace: shop, port: 80}]}]\n";
    let grant = "apiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\nmetadata: {name: g, namespace: shop}\nspec:\n  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]\n  to: [{group: '', kind: Service}]\n";
    let mut registry = Registry::default();
    let first = registry.reads(&[("route.yaml", route)]);
    assert!(
        first.contains("unresolved") && first.contains("! BW0206 error route.yaml:6"),
        "{first}"
    );
    let granted = registry.reads(&[("grant.yaml", grant), ("route.yaml", route)]);
    assert!(
        granted.contains("cart.shop") && !granted.contains('!'),
        "{granted}"
    );
    let invalid = route.replace("[{name: edge}]", "[{name: edge, port: 0}]");
    let refused = registry.reads(&[("grant.yaml", grant), ("route.yaml", &invalid)]);
    assert!(refused.starts_with("! BW0201"), "{refused}");
    let revoked = registry.reads(&[("route.yaml", &invalid)]);
    assert!(revoked.contains("unresolved"), "{revoked}");
}

#[test]
fn of_objects_with_one_name_the_first_counts_and_both_places_are_named() {
    let mut registry = Registry::default();
    let other = CART.replace("80", "81");
    let said = registry.reads(&[("a.yaml", CART), ("b.yaml", &other)]);
    let expected = service("cart", 1, 80)
        + "! BW0204 error b.yaml:1 metadata.name: Service default/cart is written here and in a.yaml:1 (meanwhile: the one in the first place counts; hint: leave one of them out, or give it another name)\n";
    assert_eq!(said, expected);
    let said = registry.reads(&[("b.yaml", &other)]);
    assert!(said.contains("number: 81"), "{said}");
}

#[test]
fn a_path_that_is_missing_is_never_an_empty_registry() {
    let file = |text: &str| File {
        path: "d/a.yaml".into(),
        content: Ok(Arc::from(text.as_bytes())),
    };
    let missing = FileError {
        path: "e".into(),
        kind: FileErrorKind::Missing,
        message: "no such directory".to_owned(),
    };
    let reading = |text: &str, errors: &[&FileError]| Reading {
        files: vec![file(text)],
        errors: errors.iter().map(|error| (*error).clone()).collect(),
        empty: Vec::new(),
    };
    let mut registry = Registry::default();
    let said = registry.takes(&reading(CART, &[&missing]));
    assert!(
        said.starts_with("failing: e: no such directory\n! BW0101 error e"),
        "{said}"
    );
    let said = registry.takes(&reading(CART, &[]));
    assert!(
        said.starts_with("manifests: service default/cart"),
        "{said}"
    );
    let said = registry.takes(&reading(CART, &[&missing]));
    assert!(
        said.starts_with("failing: e: no such directory\n"),
        "{said}"
    );
    assert_eq!(registry.takes(&reading(CART, &[&missing])), "");
    let said = registry.takes(&reading(&CART.replace("80", "81"), &[&missing]));
    assert!(
        said.contains("number: 81") && said.contains("! BW0101"),
        "{said}"
    );
}

#[test]
fn a_directory_without_a_file_is_warned_of_until_it_has_one() {
    let mut registry = Registry::default();
    let said = registry.takes(&Reading {
        files: Vec::new(),
        errors: Vec::new(),
        empty: vec!["policies/".into()],
    });
    assert!(
        said.contains("! BW0106 warning policies/ the directory has no file"),
        "{said}"
    );
    let said = registry.reads(&[("policies/a.yaml", CART)]);
    assert!(!said.contains("BW0106"), "{said}");
}

#[test]
fn a_file_that_becomes_unreadable_or_too_large_keeps_what_it_last_said() {
    let mut registry = Registry::default();
    registry.reads(&[("a.yaml", CART)]);
    for (kind, code) in [
        (FileErrorKind::Unreadable, "BW0101"),
        (FileErrorKind::TooLarge, "BW0103"),
    ] {
        let error = FileError {
            path: "a.yaml".into(),
            kind,
            message: "no".to_owned(),
        };
        let said = registry.takes(&Reading {
            files: vec![File {
                path: "a.yaml".into(),
                content: Err(error),
            }],
            errors: Vec::new(),
            empty: Vec::new(),
        });
        assert!(
            said.starts_with(&format!("! {code} error a.yaml no")),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn what_is_wrong_at_the_start_is_as_it_was_before() {
    let gone = CART.replace("cart", "gone");
    let moved = CART.replace("cart", "moved");
    let external = "apiVersion: v1\nkind: Service\nmetadata: {name: ext}\nspec: {type: ExternalName, externalName: a.example, ports: [{port: 80}]}\n";
    let before = [
        ("a.yaml", CART),
        ("b.yaml", DB),
        ("c.yaml", &gone),
        ("d.yaml", external),
        ("e.yaml", &moved),
    ];
    let before = before.map(|(path, text)| (path, text.as_bytes()));
    let (_, event) = read(&reading(&before), &State::default(), &settings());
    let Some(Change::Replace(objects)) = event.map(|event| event.change) else {
        panic!("the first event has everything");
    };
    let mut registry = Registry {
        state: State::restored(objects),
    };
    let invalid = CART.replace("80", "0");
    let invalid_external = external.replace("a.example", "a..b");
    let said = registry.reads(&[
        ("a.yaml", &invalid),
        ("b.yaml", "kind: ["),
        ("d.yaml", &invalid_external),
        ("e.yaml", DB),
    ]);
    let names: Vec<_> = said
        .lines()
        .filter_map(|line| line.strip_prefix("manifests: "))
        .collect();
    let expected = [
        "service default/cart (a.yaml:1)",
        "service default/db (e.yaml:1)",
        "service default/ext (d.yaml:1)",
        "endpoints default/ext:external (d.yaml:1)",
    ];
    assert_eq!(names, expected, "{said}");
    let said = registry.reads(&[("b.yaml", DB)]);
    for name in [
        "service default/cart",
        "service default/ext",
        "endpoints default/ext:external",
    ] {
        assert!(
            said.contains(&format!("removed manifests: {name}\n")),
            "{said}"
        );
    }
    let said = registry.reads(&[("b.yaml", DB), ("a.yaml", &invalid)]);
    assert!(
        !said.contains("cart.default"),
        "it was taken away before: {said}"
    );
}

#[test]
fn a_service_with_thousands_of_ports_is_read_and_its_problems_are_few() {
    let ports = |range: std::ops::Range<u16>, protocol: &str| {
        let port =
            |number| format!("    - {{name: p{number}, port: {number}, protocol: {protocol}}}\n");
        range.map(port).collect::<String>()
    };
    let head = "apiVersion: v1\nkind: Service\nmetadata: {name: many}\nspec:\n  ports:\n";
    let content = format!(
        "{head}{}{}",
        ports(1..3001, "TCP"),
        ports(3001..6001, "UDP")
    );
    let said = Registry::default().reads(&[("a.yaml", &content)]);
    assert!(said.contains("name: p3000"));
    let problems: Vec<_> = said.lines().filter(|line| line.starts_with('!')).collect();
    assert_eq!(problems.len(), 20);
    assert!(
        problems[19].contains("(and 2980 more problems)"),
        "{}",
        problems[19]
    );
}

#[test]
fn a_file_of_fifty_megabytes_is_read() {
    let mut registry = Registry::default();
    let note = "x".repeat(50 << 20);
    let large = DB.replace(
        "{name: db}",
        &format!("{{name: db, annotations: {{note: {note}}}}}"),
    );
    let said = registry.reads(&[("a.yaml", CART), ("b.yaml", &large)]);
    assert_eq!(
        said,
        service("cart", 1, 80) + &service("db", 1, 5432).replace("a.yaml", "b.yaml")
    );
}

proptest! {
    #[test]
    fn whatever_stands_in_one_document_the_others_act(garbage in "[ -~]{0,40}(\n[ -~]{0,40}){0,6}") {
        let mut registry = Registry::default();
        registry.reads(&[("a.yaml", CART), ("b.yaml", DB)]);
        let said = registry.reads(&[("a.yaml", &format!("{CART}---\n{garbage}\n")), ("b.yaml", DB)]);
        prop_assert!(!said.contains("removed"), "{}", said);
    }

    #[test]
    fn a_file_cut_off_anywhere_is_no_panic_and_other_files_act(end in 0..400_usize) {
        let route = std::fs::read_to_string(crate::cases_directory().join("http_route.yaml")).unwrap();
        let mut registry = Registry::default();
        registry.reads(&[("a.yaml", CART), ("b.yaml", &route)]);
        let cut: String = route.chars().take(end * route.len() / 400).collect();
        let said = registry.reads(&[("a.yaml", CART), ("b.yaml", &cut)]);
        prop_assert!(!said.contains("removed manifests: service"), "{}", said);
    }
}
