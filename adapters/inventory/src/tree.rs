//! A YAML or JSON file: its sections, and the entries in them.

use std::sync::Arc;

use bowline_document::{DecodeError, DecodeErrorKind, Kind, Limits, Node, SyntaxErrorKind, parse};
use bowline_mesh::{Code, RegistrySettings};
use serde::{Deserialize, de::IgnoredAny};

use crate::{
    entry::{Context, Effect, Entry, Finding},
    network::network,
    service::service,
    workload::workload,
};

/// What a file has besides its entries.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Frame {
    #[serde(rename = "namespace")]
    _namespace: Option<IgnoredAny>,
    #[serde(rename = "services")]
    _services: Option<IgnoredAny>,
    #[serde(rename = "workloads")]
    _workloads: Option<IgnoredAny>,
    #[serde(rename = "networks")]
    _networks: Option<IgnoredAny>,
}

/// Reads all entries. What is wrong with the frame is an entry without a subject.
///
/// # Errors
/// When it cannot be said what the file contains: it is not well-formed, or empty, which nobody writes on purpose.
pub(crate) fn entries(
    text: &[u8],
    place: &Arc<str>,
    settings: &RegistrySettings,
) -> Result<Vec<Entry>, Finding> {
    let documents = parse(text, &Limits::default()).map_err(|error| Finding {
        code: match error.kind {
            SyntaxErrorKind::Malformed => Code::Malformed,
            SyntaxErrorKind::TooLarge => Code::TooLarge,
        },
        line: error.line,
        field: String::new(),
        message: error.message,
        hint: match error.kind {
            SyntaxErrorKind::Malformed => "correct the file; it is read again when it changes",
            SyntaxErrorKind::TooLarge => "split it into several files in a directory",
        }
        .to_owned(),
        effect: Effect::Refused,
    })?;
    if documents.is_empty() {
        return Err(unread(1, "the file is empty"));
    }
    let mut entries = Vec::new();
    for document in &documents {
        document_entries(document, place, settings, &mut entries)?;
    }
    Ok(entries)
}

/// A file that says nothing at all.
pub(crate) fn unread(line: u32, message: &str) -> Finding {
    Finding {
        code: Code::Malformed,
        line,
        field: String::new(),
        message: message.to_owned(),
        hint: "to say that there is nothing, write `services: []`".to_owned(),
        effect: Effect::Refused,
    }
}

fn document_entries(
    document: &Node,
    place: &Arc<str>,
    settings: &RegistrySettings,
    entries: &mut Vec<Entry>,
) -> Result<(), Finding> {
    let Some(sections) = document.as_map() else {
        return Err(unread(
            document.line(),
            "it has no `services`, no `workloads` and no `networks`",
        ));
    };
    let namespace = document.get("namespace").map(Node::decode);
    let namespace = match namespace {
        None | Some(Ok(None)) => settings.namespace.clone(),
        Some(Ok(Some(namespace))) => namespace,
        Some(Err(error)) => {
            return Err(Finding {
                field: "namespace".to_owned(),
                ..error.into()
            });
        }
    };
    let context = Context {
        settings,
        place,
        namespace,
    };
    if let Err(error) = document.decode::<Frame>() {
        entries.push(frame_error(error));
    }
    let mut any_section = false;
    for (key, section) in sections {
        let read = match key.as_str() {
            "services" => service,
            "workloads" => workload,
            "networks" => network,
            _ => continue,
        };
        any_section = true;
        match section.kind() {
            Kind::List(items) => entries.extend(items.iter().map(|item| read(item, &context))),
            _ => entries.push(frame_error(DecodeError {
                kind: DecodeErrorKind::InvalidField,
                line: key.line(),
                column: key.column(),
                path: key.as_str().to_owned(),
                message: format!("expected a list, found {}", section.described()),
                hint: "write `[]` if there are none".to_owned(),
            })),
        }
    }
    match any_section {
        true => Ok(()),
        false => Err(unread(
            document.line(),
            "it has no `services`, no `workloads` and no `networks`",
        )),
    }
}

fn frame_error(error: DecodeError) -> Entry {
    Entry {
        subject: None,
        line: error.line,
        objects: None,
        findings: vec![error.into()],
    }
}
