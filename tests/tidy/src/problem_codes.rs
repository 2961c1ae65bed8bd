//! docs/problems.md explains every problem that Bowline reports.

use std::collections::BTreeMap;

use bowline_mesh::Code;

use crate::{
    finding::{Finding, assert_none, places},
    repository::texts,
};

const PAGE: &str = "docs/problems.md";

/// Compares the page's table (code, meaning, meanwhile, what to do) with the codes and their meanings.
fn check(page: &str, codes: &[(&str, &str)]) -> Vec<Finding> {
    let rows: BTreeMap<&str, Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| BW"))
        .map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(str::trim);
            (cells.next().unwrap_or_default(), cells.collect())
        })
        .collect();
    let mut findings = Vec::new();
    for (code, meaning) in codes {
        match rows.get(code).map(Vec::as_slice) {
            None => findings.push(Finding::new(
                PAGE,
                format!("{code} ({meaning}) is not explained"),
                "add a row: code, meaning, what happens meanwhile, what to do",
            )),
            Some([stated, meanwhile, remedy]) if !meanwhile.is_empty() && !remedy.is_empty() => {
                if stated != meaning {
                    findings.push(Finding::new(
                        PAGE,
                        format!("{code} means \"{meaning}\" in the code and \"{stated}\" here"),
                        "make both say the same",
                    ));
                }
            }
            Some(cells) => findings.push(Finding::new(
                PAGE,
                format!("the row of {code} has the cells {cells:?}"),
                "fill in: code, meaning, what happens meanwhile, what to do",
            )),
        }
    }
    for code in rows.keys() {
        if !codes.iter().any(|(known, _)| known == code) {
            findings.push(Finding::new(
                PAGE,
                format!("there is no {code}"),
                "take the row out, or correct the code",
            ));
        }
    }
    findings
}

#[test]
fn every_problem_is_explained() {
    let codes: Vec<_> = Code::ALL
        .iter()
        .map(|code| (code.as_str(), code.meaning()))
        .collect();
    let texts = texts();
    let page = texts.get(PAGE).expect("docs/problems.md is missing");
    assert_none(check(page, &codes));
}

#[test]
fn a_code_that_is_not_or_badly_explained_is_found() {
    let page = "\
| Code | Meaning | Meanwhile | What to do |
| --- | --- | --- | --- |
| BW0001 | One. | Nothing. | Wait. |
| BW0002 | Too. | Nothing. | Wait. |
| BW0003 | Three. | | Wait. |
| BW0009 | Nine. | Nothing. | Wait. |
";
    let codes = [
        ("BW0001", "One."),
        ("BW0002", "Two."),
        ("BW0003", "Three."),
        ("BW0004", "Four."),
    ];
    let findings = check(page, &codes);
    assert_eq!(places(&findings), [PAGE; 4]);
    for (finding, code) in findings
        .iter()
        .zip(["BW0002", "BW0003", "BW0004", "BW0009"])
    {
        assert!(finding.what.contains(code), "{finding}");
    }
}
