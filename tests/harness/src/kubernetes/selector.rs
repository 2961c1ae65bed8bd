//! Label and field selectors.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{failure::Failure, kind::Kind};

/// Which objects a list or a watch is about.
#[derive(Debug, Clone, Default)]
pub(super) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<FieldRequirement>,
}

#[derive(Debug, Clone)]
struct Requirement {
    label: String,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Exists,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
}

#[derive(Debug, Clone)]
struct FieldRequirement {
    pointer: &'static str,
    value: String,
    wanted: Wanted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Equal,
    Different,
}

impl Selector {
    pub(super) fn parse(kind: &Kind, labels: &str, fields: &str) -> Result<Self, Failure> {
        let labels = outside_of_parentheses(labels)
            .into_iter()
            .map(requirement)
            .collect::<Result<_, _>>()?;
        let fields = fields
            .split(',')
            .filter(|field| !field.is_empty())
            .map(|field| field_requirement(kind, field))
            .collect::<Result<_, _>>()?;
        Ok(Self { labels, fields })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether an object is selected; it is parsed only if a field is asked for.
    pub(super) fn selects(
        &self,
        labels: &BTreeMap<String, String>,
        object: impl FnOnce() -> Value,
    ) -> bool {
        let labelled = self.labels.iter().all(|requirement| {
            let value = labels.get(&requirement.label);
            match &requirement.test {
                Test::Exists => value.is_some(),
                Test::Absent => value.is_none(),
                Test::In(values) => value.is_some_and(|value| values.contains(value)),
                Test::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            }
        });
        if !labelled || self.fields.is_empty() {
            return labelled;
        }
        let object = object();
        self.fields.iter().all(|field| {
            let value = object.pointer(field.pointer).and_then(Value::as_str);
            match field.wanted {
                Wanted::Equal => value.unwrap_or_default() == field.value,
                Wanted::Different => value.unwrap_or_default() != field.value,
            }
        })
    }
}

fn outside_of_parentheses(text: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    text.split(|character| {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
    .collect()
}

fn requirement(text: &str) -> Result<Requirement, Failure> {
    let (label, test) = if let Some((label, values)) = in_set(text, " notin ") {
        (label, Test::NotIn(values))
    } else if let Some((label, values)) = in_set(text, " in ") {
        (label, Test::In(values))
    } else if let Some((label, value)) = text.split_once("!=") {
        (label, Test::NotIn(vec![value.trim().to_owned()]))
    } else if let Some((label, value)) = text.split_once('=') {
        let value = value.strip_prefix('=').unwrap_or(value);
        (label, Test::In(vec![value.trim().to_owned()]))
    } else if let Some(label) = text.strip_prefix('!') {
        (label, Test::Absent)
    } else {
        (text, Test::Exists)
    };
    let label = label.trim();
    if label.is_empty() || label.contains([' ', '(', ')', '!']) {
        let message = format!("unable to parse requirement: found '{text}', expected: identifier");
        return Err(Failure::bad_request(message));
    }
    Ok(Requirement {
        label: label.to_owned(),
        test,
    })
}

fn in_set<'a>(text: &'a str, operator: &str) -> Option<(&'a str, Vec<String>)> {
    let (label, values) = text.split_once(operator)?;
    let values = values.trim().strip_prefix('(')?.strip_suffix(')')?;
    let values = values.split(',').map(|value| value.trim().to_owned());
    Some((label, values.collect()))
}

fn field_requirement(kind: &Kind, text: &str) -> Result<FieldRequirement, Failure> {
    let (field, value, wanted) = if let Some((field, value)) = text.split_once("!=") {
        (field, value, Wanted::Different)
    } else if let Some((field, value)) = text.split_once('=') {
        (field, value.trim_start_matches('='), Wanted::Equal)
    } else {
        let message = format!("invalid selector: '{text}'; can't understand '{text}'");
        return Err(Failure::bad_request(message));
    };
    let pointer = match (kind.resource.as_str(), field) {
        (_, "metadata.name") => "/metadata/name",
        (_, "metadata.namespace") => "/metadata/namespace",
        ("pods", "spec.nodeName") => "/spec/nodeName",
        ("pods", "status.phase") => "/status/phase",
        ("pods", "status.podIP") => "/status/podIP",
        ("pods", "spec.serviceAccountName") => "/spec/serviceAccountName",
        ("secrets", "type") => "/type",
        ("services", "spec.type") => "/spec/type",
        ("services", "spec.clusterIP") => "/spec/clusterIP",
        ("namespaces", "status.phase") => "/status/phase",
        ("nodes", "spec.unschedulable") => "/spec/unschedulable",
        _ => {
            let message = format!("field label not supported: {field}");
            return Err(Failure::bad_request(message));
        }
    };
    Ok(FieldRequirement {
        pointer,
        value: value.to_owned(),
        wanted,
    })
}
