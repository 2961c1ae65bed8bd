//! One file of input and one of output for each case.

use std::fs;

#[test]
fn each_case_becomes_what_is_written_beside_it() {
    let mut names: Vec<_> = fs::read_dir(crate::cases_directory())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    names.sort();
    assert!(!names.is_empty());
    for path in names {
        let content = fs::read(&path).unwrap();
        let event = crate::text::event(&crate::first_event(&content));
        let name = path.file_stem().unwrap().to_str().unwrap();
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(crate::cases_directory());
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name, event));
    }
}

#[test]
fn the_example_in_the_readme_has_no_problems() {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once("# policies/shop.yaml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let event = crate::first_event(example.as_bytes());
    assert_eq!(event.problems, []);
    assert_eq!(crate::text::event(&event).matches("manifests: ").count(), 4);
}
