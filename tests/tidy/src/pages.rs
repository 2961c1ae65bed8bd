//! Markdown: links lead somewhere, changes are noted, examples can be found.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    finding::{Finding, assert_none, places},
    repository::texts,
};

type Texts = BTreeMap<String, String>;

fn broken_links(files: &Texts) -> Vec<Finding> {
    let anchors: BTreeMap<&str, BTreeSet<String>> = pages(files)
        .map(|(path, text)| (path, anchors(text)))
        .collect();
    let mut findings = Vec::new();
    for (path, text) in pages(files) {
        for (line, target) in links(text) {
            let place = format!("{path}:{line}");
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = match target.split_once('#') {
                Some((file, anchor)) => (file, Some(anchor)),
                None => (target, None),
            };
            let Some(file) = resolve(path, file) else {
                findings.push(Finding::new(
                    place,
                    format!("{target} leads out of the repository"),
                    "link to a file of it, or to an address",
                ));
                continue;
            };
            let is_folder = || {
                file.is_empty()
                    || files
                        .keys()
                        .any(|known| known.starts_with(&format!("{file}/")))
            };
            if !files.contains_key(&file) && !is_folder() {
                findings.push(Finding::new(
                    place,
                    format!("{target} does not exist"),
                    "correct the link, or write the page",
                ));
            } else if let Some(anchor) = anchor
                && anchors
                    .get(file.as_str())
                    .is_some_and(|anchors| !anchors.contains(anchor))
            {
                findings.push(Finding::new(
                    place,
                    format!("{file} has no heading #{anchor}"),
                    "correct the anchor",
                ));
            }
        }
    }
    findings
}

fn pages(files: &Texts) -> impl Iterator<Item = (&str, &str)> {
    files
        .iter()
        .filter(|(path, _)| path.ends_with(".md"))
        .map(|(path, text)| (path.as_str(), text.as_str()))
}

/// Lines outside of code blocks, with code spans blanked out, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut in_code = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        (!in_code && !is_fence).then(|| {
            let outside = line.split('`').step_by(2).collect::<Vec<_>>();
            (index + 1, outside.join("``"))
        })
    })
}

/// Targets of `[text](target)` and `[name]: target`, with the line.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut links = Vec::new();
    let original: Vec<&str> = text.lines().collect();
    for (number, line) in prose(text) {
        let original = original[number - 1];
        let inline = line
            .match_indices("](")
            .map(|(at, _)| line.split_at(at + 2).1);
        let defined = line
            .strip_prefix('[')
            .and_then(|rest| rest.split_once("]: "))
            .map(|(_, target)| target);
        for rest in inline.chain(defined) {
            let target = rest
                .split([')', ' ', '\n'])
                .next()
                .unwrap_or_default()
                .trim_matches(['<', '>']);
            // Found in the line without code spans, given out as a part of the text.
            if let Some(at) = original.find(target) {
                let from = original.split_at(at).1;
                links.push((number, from.split_at(target.len()).0));
            }
        }
    }
    links
}

/// The anchors of a page's headings, as GitHub names them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let headings = prose(text)
        .map(|(number, _)| number)
        .collect::<BTreeSet<_>>();
    text.lines()
        .enumerate()
        .filter(|(index, line)| headings.contains(&(index + 1)) && line.starts_with('#'))
        .map(|(_, line)| {
            let slug = slug(line.trim_start_matches('#').trim());
            let times = seen.entry(slug.clone()).or_default();
            *times += 1;
            match *times {
                1 => slug,
                times => format!("{slug}-{}", times - 1),
            }
        })
        .collect()
}

fn slug(heading: &str) -> String {
    heading
        .chars()
        .filter_map(|character| match character {
            ' ' => Some('-'),
            '-' | '_' => Some(character),
            _ if character.is_alphanumeric() => Some(character.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}

/// A target as a path from the root; `None` if it is outside.
fn resolve(page: &str, target: &str) -> Option<String> {
    if target.is_empty() {
        return Some(page.to_owned());
    }
    let mut parts: Vec<&str> = match target.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => page.split('/').collect(),
    };
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn unlisted_examples(files: &Texts) -> Vec<Finding> {
    let folders: BTreeSet<&str> = files
        .keys()
        .filter_map(|path| Some(path.strip_prefix("examples/")?.split_once('/')?.0))
        .collect();
    let index = files
        .get("examples/README.md")
        .map(String::as_str)
        .unwrap_or_default();
    let named: BTreeSet<&str> = links(index)
        .into_iter()
        .filter_map(|(_, target)| target.trim_start_matches("./").split('/').next())
        .collect();
    folders
        .difference(&named)
        .map(|folder| {
            Finding::new(
                format!("examples/{folder}"),
                "nobody finds it",
                "link to it in examples/README.md with a sentence",
            )
        })
        .collect()
}

#[test]
fn links_lead_somewhere() {
    assert_none(broken_links(&texts()));
}

#[test]
fn examples_are_listed() {
    assert_none(unlisted_examples(&texts()));
}

#[test]
fn changes_have_a_place_to_be_noted() {
    let files = texts();
    let changelog = files
        .get("CHANGELOG.md")
        .expect("CHANGELOG.md is missing: write it, with a heading `## Unreleased`");
    assert!(
        anchors(changelog).contains("unreleased"),
        "CHANGELOG.md has no heading `## Unreleased`: add it above the newest release"
    );
}

#[cfg(test)]
fn texts_of(files: &[(&str, &str)]) -> Texts {
    files
        .iter()
        .map(|&(path, text)| (path.to_owned(), text.to_owned()))
        .collect()
}

#[test]
fn a_link_to_nothing_is_found() {
    let page = "\
# A page of `code`, twice
# A page of `code`, twice
[good](docs/a.md) [folder](docs/) [anchor](docs/a.md#what-it-is) [own](#a-page-of-code-twice-1) [web](https://envoyproxy.io)
[gone](docs/b.md)
[half](docs/a.md#gone) [own](#gone)
[out](../b.md)
`[code](gone.md)`
```
[code](gone.md)
# not-a-heading
```
[reference]: docs/c.md
[own](#not-a-heading)
";
    let files = texts_of(&[
        ("README.md", page),
        ("docs/a.md", "## What it is?\n[up](../README.md)\n"),
    ]);
    assert_eq!(
        places(&broken_links(&files)),
        [
            "README.md:4",
            "README.md:5",
            "README.md:5",
            "README.md:6",
            "README.md:12",
            "README.md:13"
        ]
    );
}

#[test]
fn an_example_that_is_not_listed_is_found() {
    let files = texts_of(&[
        ("examples/README.md", "[Files](files/README.md), not consul"),
        ("examples/files/bowline.yaml", ""),
        ("examples/consul/bowline.yaml", ""),
    ]);
    assert_eq!(places(&unlisted_examples(&files)), ["examples/consul"]);
}
