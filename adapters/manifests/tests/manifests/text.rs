//! Events as text that is read in a review: keys, content without what is empty, problems.

use std::fmt::Write;

use bowline_mesh::{Change, Object, RegistryEvent};
use serde_json::{Map, Value};

pub(crate) fn event(event: &RegistryEvent) -> String {
    let mut text = String::new();
    match &event.change {
        Change::Replace(objects) => objects.iter().for_each(|each| object(each, &mut text)),
        Change::Update { upserts, removes } => {
            upserts.iter().for_each(|each| object(each, &mut text));
            removes
                .iter()
                .for_each(|key| writeln!(text, "removed {key}").unwrap());
        }
        Change::Failing { error } => writeln!(text, "failing: {error}").unwrap(),
    }
    for problem in &event.problems {
        writeln!(text, "! {problem}").unwrap();
    }
    text
}

fn object(object: &Object, text: &mut String) {
    writeln!(text, "{} ({})", object.key(), object.source).unwrap();
    let Value::Object(spec) = serde_json::to_value(object.spec()).unwrap() else {
        panic!("a spec is a map from its kind to its content");
    };
    spec.values().for_each(|content| value(content, 1, text));
}

fn value(content: &Value, depth: usize, text: &mut String) {
    match content {
        Value::Object(entries) => {
            for (name, value) in entries.iter().filter(|(_, value)| !is_empty(value)) {
                nested(name, ": ", value, depth, text);
            }
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| nested("-", " ", item, depth, text)),
        scalar => writeln!(text, "{}{scalar}", "  ".repeat(depth)).unwrap(),
    }
}

fn nested(name: &str, separator: &str, content: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    match content {
        Value::Object(_) | Value::Array(_) if !is_flat(content) => {
            writeln!(text, "{indent}{name}{}", separator.trim_end()).unwrap();
            value(content, depth + 1, text);
        }
        flat => writeln!(text, "{indent}{name}{separator}{}", in_a_line(flat)).unwrap(),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => !is_variant(entries) && entries.values().all(is_empty),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A variant of an enumeration says something also where there is nothing in it.
fn is_variant(entries: &Map<String, Value>) -> bool {
    entries.len() == 1 && entries.values().all(Value::is_array)
}

fn is_flat(value: &Value) -> bool {
    in_a_line(value).len() < 90
}

fn in_a_line(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(in_a_line).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(entries) => {
            let entries: Vec<_> = entries
                .iter()
                .filter(|(_, value)| is_variant(entries) || !is_empty(value))
                .map(|(name, value)| format!("{name}: {}", in_a_line(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        scalar => scalar.to_string(),
    }
}
