//! docs/xds-conformance.md has a row for every rule, and names tests that there are.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    finding::{Finding, assert_none, places},
    repository::texts,
};

const PAGE: &str = "docs/xds-conformance.md";
const RULES: u32 = 107;

/// What is not served yet: list collections, LEDS, REST, files, HDS.
const NOT_YET: [u32; 5] = [74, 75, 100, 101, 104];

/// Compares the rows (number, what the rule says, status, tests) with the tests that exist.
fn check(page: &str, tests: &BTreeSet<&str>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find =
        |what: String, remedy: &'static str| findings.push(Finding::new(PAGE, what, remedy));
    let mut rows: BTreeMap<u32, u32> = BTreeMap::new();
    for line in page.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let Some(Ok(rule)) = cells.first().map(|cell| cell.parse::<u32>()) else {
            continue;
        };
        *rows.entry(rule).or_default() += 1;
        let [_, _, status, shown_by] = cells[..] else {
            find(
                format!("the row of rule {rule} has {} cells", cells.len()),
                "write four",
            );
            continue;
        };
        let named: Vec<&str> = shown_by.split('`').skip(1).step_by(2).collect();
        match status {
            "kept" if named.is_empty() => {
                find(
                    format!("nothing shows that rule {rule} is kept"),
                    "name a test",
                );
            }
            "kept" | "not a server's matter" => {}
            "not yet" if NOT_YET.contains(&rule) => {}
            other => find(
                format!("rule {rule} is '{other}'"),
                "keep it, or say why that is not a server's matter",
            ),
        }
        for name in named {
            if !tests.contains(name) {
                find(
                    format!("rule {rule} names the test {name}, which does not exist"),
                    "name the test as it is called now",
                );
            }
        }
    }
    for rule in 1..=RULES {
        match rows.get(&rule) {
            Some(1) => {}
            Some(count) => find(format!("rule {rule} has {count} rows"), "leave one"),
            None => find(format!("rule {rule} has no row"), "add one"),
        }
    }
    findings
}

/// The names of functions in a source.
fn functions(source: &str) -> impl Iterator<Item = &str> {
    let after = source.split("fn ").skip(1);
    after.filter_map(|text| text.split(['(', '<']).next())
}

#[test]
fn every_rule_of_the_protocol_has_a_row_with_tests_that_exist() {
    let texts = texts();
    let sources = texts.iter().filter(|(path, _)| path.ends_with(".rs"));
    let tests: BTreeSet<&str> = sources.flat_map(|(_, text)| functions(text)).collect();
    let page = texts.get(PAGE).map_or("", String::as_str);
    assert_none(check(page, &tests));
}

#[test]
fn rows_that_are_missing_double_or_show_nothing_are_found() {
    let tests = BTreeSet::from(["shown"]);
    let rest = |first: u32| -> String {
        (first..=RULES)
            .map(|rule| format!("| {rule} | it | kept | `shown` |\n"))
            .collect()
    };
    for (rows, expected) in [
        ("| 1 | it | kept | `shown` |", 0),
        ("| 1 | it | not a server's matter | - |", 0),
        ("", 1),
        (
            "| 1 | it | kept | `shown` |\n| 1 | it | kept | `shown` |",
            1,
        ),
        ("| 1 | it | kept | - |", 1),
        ("| 1 | it | kept | `shown`, `gone` |", 1),
        ("| 1 | it | not yet | - |", 1),
        ("| 1 | it | - |", 1),
    ] {
        let page = format!("{rows}\n{}", rest(2));
        let findings = check(&page, &tests);
        assert_eq!(findings.len(), expected, "{rows}: {:?}", places(&findings));
    }
}
