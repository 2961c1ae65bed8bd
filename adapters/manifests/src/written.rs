//! Problems that are found after reading, at the place and in the words of what is written.
//!
//! The mesh and translation know routes of the model only: `rules[0].backends[1]` of an object that begins somewhere in a file. Where
//! that is, is looked up when somebody asks what is wrong, in the file as it is then.

use std::{collections::BTreeMap, sync::Arc};

use bowline_document::Node;
use bowline_mesh::{Kind, Problem};

use crate::file;

/// Gives problems with routes the fields that are written, and their lines where `read` has the file. Where a file says something else
/// by now, the line stays that of the object.
pub fn as_written(problems: &mut [Problem], read: impl Fn(&str) -> Option<Vec<u8>>) {
    let mut places: BTreeMap<Arc<str>, Vec<&mut Problem>> = BTreeMap::new();
    for problem in problems {
        let Some(field) = written_field(problem) else {
            continue;
        };
        problem.field = field.into();
        if let Some(source) = &problem.source
            && source.line.is_some()
        {
            places
                .entry(source.place.clone())
                .or_default()
                .push(problem);
        }
    }
    for (place, problems) in places {
        let Some(content) = read(&place) else {
            continue;
        };
        let Ok(documents) = file::documents(&content) else {
            continue;
        };
        let nodes: BTreeMap<u32, &Node> = file::objects(&documents)
            .map(|object| (object.node.line(), object.node))
            .collect();
        for problem in problems {
            place_in(&nodes, problem);
        }
    }
}

fn place_in(nodes: &BTreeMap<u32, &Node>, problem: &mut Problem) {
    let (Some(object), Some(source)) = (&problem.object, &mut problem.source) else {
        return;
    };
    let node = source.line.and_then(|line| nodes.get(&line));
    let is_the_object = |node: &&&Node| {
        let name = node.get("metadata.name").and_then(Node::as_str);
        name == Some(&*object.name)
    };
    if let Some(node) = node.filter(is_the_object) {
        source.line = Some(node.line_of(&problem.field));
    }
}

/// The field of a route as Gateway API has it; nothing where it already is that.
fn written_field(problem: &Problem) -> Option<String> {
    let field = &*problem.field;
    match problem.object.as_ref()?.kind {
        Kind::HttpRoute | Kind::StreamRoute if field == "parents" => {
            Some("spec.parentRefs".to_owned())
        }
        Kind::HttpRoute if is_or_in(field, "rules") => {
            let field = field.replace(".backends", ".backendRefs");
            Some(format!("spec.{field}"))
        }
        // It has one rule.
        Kind::StreamRoute if is_or_in(field, "backends") => {
            let rest = field.strip_prefix("backends")?;
            Some(format!("spec.rules[0].backendRefs{rest}"))
        }
        Kind::HttpRoute
        | Kind::StreamRoute
        | Kind::Service
        | Kind::Endpoints
        | Kind::Workload
        | Kind::Gateway
        | Kind::Policy
        | Kind::NetworkGateway => None,
    }
}

fn is_or_in(field: &str, name: &str) -> bool {
    field
        .strip_prefix(name)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', '.']))
}

#[cfg(test)]
mod tests {
    use bowline_mesh::{Code, ObjectKey, RegistryId, Severity, Source};

    use super::*;

    const FILE: &str = "
kind: HTTPRoute
metadata:
  name: cart
spec:
  parentRefs:
    - name: edge
    - name: other
  rules:
    - backendRefs:
        - name: a
        - name: b
    - matches: []
";

    fn written(kind: Kind, name: &str, field: &str) -> (String, Option<u32>) {
        let mut problems = [Problem {
            code: Code::UnknownBackend,
            severity: Severity::Error,
            object: Some(ObjectKey {
                registry: RegistryId::manifests(),
                partition: None,
                kind,
                namespace: "shop".parse().unwrap(),
                name: name.into(),
            }),
            source: Some(Source {
                place: "routes.yaml".into(),
                line: Some(2),
            }),
            field: field.into(),
            message: "m".into(),
            meanwhile: "w".into(),
            hint: "h".into(),
        }];
        as_written(&mut problems, |place| {
            (place == "routes.yaml").then(|| FILE.as_bytes().to_vec())
        });
        let [problem] = problems;
        let line = problem.source.and_then(|source| source.line);
        (problem.field.to_string(), line)
    }

    #[test]
    fn problems_with_routes_have_the_field_and_the_line_that_are_written() {
        let cases = [
            ("rules[0].backends[1]", "spec.rules[0].backendRefs[1]", 12),
            ("rules[0].backends", "spec.rules[0].backendRefs", 11),
            ("rules[1]", "spec.rules[1]", 13),
            ("parents", "spec.parentRefs", 7),
            // The deepest part that is there.
            ("rules[7].backends", "spec.rules[7].backendRefs", 10),
        ];
        for (field, expected, line) in cases {
            let found = written(Kind::HttpRoute, "cart", field);
            assert_eq!(found, (expected.to_owned(), Some(line)), "{field}");
        }
        let stream = written(Kind::StreamRoute, "cart", "backends[1]");
        assert_eq!(
            stream,
            ("spec.rules[0].backendRefs[1]".to_owned(), Some(12))
        );
    }

    #[test]
    fn what_is_already_written_so_or_has_changed_stays_as_it_is() {
        let same = written(Kind::HttpRoute, "cart", "spec.rules[0]");
        assert_eq!(same, ("spec.rules[0]".to_owned(), Some(2)));
        let service = written(Kind::Service, "cart", "ports");
        assert_eq!(service, ("ports".to_owned(), Some(2)));
        let moved = written(Kind::HttpRoute, "another", "rules[0]");
        assert_eq!(moved, ("spec.rules[0]".to_owned(), Some(2)));
    }
}
