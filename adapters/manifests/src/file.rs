//! One file: its objects, each decoded by itself.

mod problem;

use std::sync::Arc;

use bowline_document::{Limits, Node, SyntaxError};
use bowline_mesh::{Code, Problem, RegistrySettings, Severity, Source};
use serde::Deserialize;

use crate::{Manifest, ManifestKind, ManifestName, Metadata, metadata::shortened};

use problem::{LEFT_OUT, empty, malformed, unread, wrong_field};

pub(crate) use problem::{empty_directory, unreadable};

/// Groups whose objects are about traffic: to leave one out changes where requests go.
const TRAFFIC_GROUPS: &[&str] = &[
    "gateway.networking.k8s.io",
    "networking.istio.io",
    "security.istio.io",
    "networking.k8s.io",
];

/// What stands in a file.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Contents {
    pub(crate) entries: Vec<Arc<Entry>>,
    /// What is wrong besides the entries.
    pub(crate) problems: Vec<Problem>,
}

/// The part of the metadata that must be right for an object to have a last good version.
#[derive(Default, Deserialize)]
struct Identity {
    name: Option<Arc<str>>,
    namespace: Option<String>,
}

/// One object with a usable name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) name: ManifestName,
    pub(crate) source: Source,
    /// `None` if it cannot be decoded.
    pub(crate) manifest: Option<Arc<Manifest>>,
    pub(crate) problems: Vec<Problem>,
}

/// Reads a file.
///
/// # Errors
/// When it is not well-formed as a whole, as a half-written one is.
pub(crate) fn parse(
    path: &Arc<str>,
    content: &[u8],
    settings: &RegistrySettings,
) -> Result<Contents, Box<Problem>> {
    if content.trim_ascii().is_empty() {
        return Err(Box::new(empty(path)));
    }
    let documents = documents(content).map_err(|error| Box::new(malformed(path, error)))?;
    let mut contents = Contents::default();
    for object in objects(&documents) {
        match entry(path, &object, settings) {
            Ok(entry) => contents.entries.push(Arc::new(entry)),
            Err(problem) => contents.problems.push(*problem),
        }
    }
    Ok(contents)
}

/// Gives problems of a file's objects the lines of their fields. Lines are looked up only when there is something to say: to keep
/// them for every field would take more memory than the objects.
pub(crate) fn place<'a>(content: &[u8], problems: impl Iterator<Item = &'a mut Problem>) {
    let mut problems = problems
        .filter(|problem| !problem.field.is_empty())
        .peekable();
    if problems.peek().is_none() {
        return;
    }
    let Ok(documents) = documents(content) else {
        return;
    };
    let nodes: std::collections::BTreeMap<u32, &Node> = objects(&documents)
        .map(|object| (object.node.line(), object.node))
        .collect();
    for problem in problems {
        if let Some(source) = &mut problem.source
            && let Some(node) = source.line.and_then(|line| nodes.get(&line))
        {
            source.line = Some(node.line_of(&problem.field));
        }
    }
}

pub(crate) fn documents(content: &[u8]) -> Result<Vec<Node>, SyntaxError> {
    bowline_document::parse(content, &Limits::default())
}

/// An object as it is written.
pub(crate) struct Written<'a> {
    pub(crate) node: &'a Node,
    /// What the list in which it stands says its items are, such as `Service` for a `ServiceList`.
    listed_as: Option<(&'a str, &'a str)>,
}

/// The objects of a file, those in lists one by one.
pub(crate) fn objects(documents: &[Node]) -> impl Iterator<Item = Written<'_>> {
    let written = |node| Written {
        node,
        listed_as: None,
    };
    let mut rest: Vec<Written<'_>> = documents.iter().rev().map(written).collect();
    std::iter::from_fn(move || {
        loop {
            let next = rest.pop()?;
            match items(next.node) {
                Some(items) => rest.extend(items.rev()),
                None => return Some(next),
            }
        }
    })
}

/// The items of a `List`, or of a list of one kind, as `kubectl get -o yaml` writes them.
fn items(node: &Node) -> Option<impl DoubleEndedIterator<Item = Written<'_>>> {
    let kind = text(node, "kind")?.strip_suffix("List")?;
    let (_, items) = node.entry("items")?;
    let api_version = text(node, "apiVersion").filter(|_| !kind.is_empty());
    let listed_as = api_version.map(|api_version| (api_version, kind));
    let items = items.as_list()?.iter();
    Some(items.map(move |node| Written { node, listed_as }))
}

fn text<'a>(node: &'a Node, name: &str) -> Option<&'a str> {
    node.entry(name).and_then(|(_, value)| value.as_str())
}

fn entry(
    path: &Arc<str>,
    written: &Written<'_>,
    settings: &RegistrySettings,
) -> Result<Entry, Box<Problem>> {
    let node = written.node;
    let source = Source {
        place: path.clone(),
        line: Some(node.line()),
    };
    let kind = kind(written, &source)?;
    let name = name(kind, node, settings, &source)?;
    let wrong_field = |error| wrong_field(error, &source.place, &name, settings);
    let (manifest, problems) = match kind.decode(node) {
        Ok((manifest, unknown)) => {
            let unknown = unknown.into_iter();
            let problems: Vec<_> = unknown
                .filter(|field| !kind.is_known_field(&field.path))
                .map(wrong_field)
                .collect();
            (problems.is_empty().then(|| Arc::new(manifest)), problems)
        }
        Err(error) => (None, vec![wrong_field(error)]),
    };
    Ok(Entry {
        name,
        source,
        manifest,
        problems,
    })
}

fn kind(written: &Written<'_>, source: &Source) -> Result<ManifestKind, Box<Problem>> {
    let node = written.node;
    let own = text(node, "apiVersion").zip(text(node, "kind"));
    let Some((api_version, kind)) = own.or(written.listed_as) else {
        let (field, message) = match node.as_map() {
            None => (
                "",
                format!("expected an object, found {}", node.described()),
            ),
            Some(_) if text(node, "kind").is_none() => {
                ("kind", "the object does not say its kind".to_owned())
            }
            Some(_) => (
                "apiVersion",
                "the object does not say its API version".to_owned(),
            ),
        };
        return Err(Box::new(Problem {
            code: Code::InvalidField,
            severity: Severity::Error,
            object: None,
            source: Some(source.clone()),
            field: field.into(),
            message: message.into(),
            meanwhile: LEFT_OUT.into(),
            hint: "write apiVersion, kind and metadata, as for kubectl apply".into(),
        }));
    };
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let same_kind = ManifestKind::ALL
        .iter()
        .find(|known| known.as_str() == kind && known.group() == group);
    match same_kind {
        Some(known) if known.versions().contains(&version) => Ok(*known),
        Some(known) => Err(unread(
            source,
            "apiVersion",
            format!("version {} of {kind} is not read", shortened(version)),
            Severity::Error,
            format!("write it as {}", known.api_version()),
        )),
        None => {
            let kind_and_group = format!("{} of {}", shortened(kind), shortened(api_version));
            let severity = if TRAFFIC_GROUPS.contains(&group) {
                Severity::Error
            } else {
                Severity::Warning
            };
            let hint = match ManifestKind::ALL
                .iter()
                .find(|known| known.as_str() == kind)
            {
                Some(known) => format!("write apiVersion: {}", known.api_version()),
                None => "move it to where Bowline does not read".to_owned(),
            };
            Err(unread(
                source,
                "kind",
                format!("{kind_and_group} is not read"),
                severity,
                hint,
            ))
        }
    }
}

fn name(
    kind: ManifestKind,
    node: &Node,
    settings: &RegistrySettings,
    source: &Source,
) -> Result<ManifestName, Box<Problem>> {
    let left_out = |field: &str, line: u32, message: String, hint: &str| {
        Box::new(Problem {
            code: Code::InvalidField,
            severity: Severity::Error,
            object: None,
            source: Some(Source {
                place: source.place.clone(),
                line: Some(line),
            }),
            field: field.into(),
            message: format!("{kind}: {message}").into(),
            meanwhile: LEFT_OUT.into(),
            hint: hint.into(),
        })
    };
    let identity = match node.entry("metadata") {
        Some((_, metadata)) => metadata.decode_noting::<Identity>().map_err(|error| {
            left_out(
                format!("metadata.{}", error.path).trim_end_matches('.'),
                error.line,
                error.message,
                "correct it",
            )
        }),
        None => Ok((Identity::default(), Vec::new())),
    };
    let (Identity { name, namespace }, _) = identity?;
    let metadata = Metadata {
        name,
        namespace,
        ..Metadata::default()
    };
    ManifestName::new(kind, &metadata, settings).map_err(|error| {
        let field = error.field();
        left_out(
            field,
            node.line_of(field),
            error.to_string(),
            "give it a name and namespace that Kubernetes accepts",
        )
    })
}
