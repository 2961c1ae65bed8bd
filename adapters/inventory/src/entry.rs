//! Entries: what one item of a file says, and what is wrong with it.

use std::{fmt, sync::Arc};

use bowline_document::{DecodeError, DecodeErrorKind, Node};
use bowline_mesh::{
    Code, Hostname, Kind, Namespace, Network, Object, ObjectKey, RegistrySettings, Severity,
    Source, Spec,
};
use serde::Deserialize;

/// What an entry is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) identity: Identity,
    /// Of the object that its problems are about.
    pub(crate) key: ObjectKey,
}

/// What tells entries apart: an inventory has one for each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Identity {
    Service(Hostname),
    Workload(Namespace, Arc<str>),
    Network(Network),
}

impl Identity {
    /// Of the entry that an object was made from.
    pub(crate) fn of(object: &Object) -> Option<Self> {
        let ObjectKey {
            namespace, name, ..
        } = object.key();
        match object.spec() {
            Spec::Service(service) => Some(Self::Service(service.hostname.clone())),
            Spec::Policy(policy) => Some(Self::Service(policy.service.clone())),
            Spec::Workload(_) => Some(Self::Workload(namespace.clone(), name.clone())),
            Spec::Endpoints(_) => {
                let (workload, _) = name.split_once(GROUP_SEPARATOR)?;
                Some(Self::Workload(namespace.clone(), workload.into()))
            }
            Spec::NetworkGateway(gateway) => Some(Self::Network(gateway.network.clone())),
            Spec::HttpRoute(_) | Spec::StreamRoute(_) | Spec::Gateway(_) => None,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(hostname) => write!(f, "service {hostname}"),
            Self::Workload(namespace, name) => write!(f, "workload {namespace}/{name}"),
            Self::Network(network) => write!(f, "network {network}"),
        }
    }
}

/// Between a workload's name, which cannot contain it, and a service's in the names of endpoint groups.
pub(crate) const GROUP_SEPARATOR: char = '/';

/// One item of a file.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// `None` where not even that can be read.
    pub(crate) subject: Option<Subject>,
    pub(crate) line: u32,
    /// What it contributes; `None` if it is wrong.
    pub(crate) objects: Option<Vec<Object>>,
    pub(crate) findings: Vec<Finding>,
}

impl Entry {
    /// Reads an item: its fields first, then what they mean, which is told the item's line and where to put what it finds.
    pub(crate) fn read<'n, T: Deserialize<'n>>(
        node: &'n Node,
        subject: Option<Subject>,
        meaning: impl FnOnce(T, u32, &mut Findings) -> Option<Vec<Object>>,
    ) -> Self {
        let line = node.line();
        match node.decode() {
            Err(error) => Self {
                subject,
                line,
                objects: None,
                findings: vec![error.into()],
            },
            Ok(entry) => Self::of_fields(
                subject,
                line,
                |field| node.line_of(field),
                |findings| meaning(entry, line, findings),
            ),
        }
    }

    /// The same where the fields have been read; `line_of` says where each is.
    pub(crate) fn of_fields(
        subject: Option<Subject>,
        line: u32,
        line_of: impl Fn(&str) -> u32,
        meaning: impl FnOnce(&mut Findings) -> Option<Vec<Object>>,
    ) -> Self {
        let mut findings = Findings::default();
        let objects = meaning(&mut findings);
        Self {
            subject,
            line,
            objects: objects.filter(|_| !findings.refused()),
            findings: findings.placed(line_of),
        }
    }
}

/// Something wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) code: Code,
    pub(crate) line: u32,
    /// The field, as a path from the entry.
    pub(crate) field: String,
    pub(crate) message: String,
    pub(crate) hint: String,
    pub(crate) effect: Effect,
}

/// What a finding means for its entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The entry is not taken.
    Refused,
    /// The entry is taken; the text says what happens.
    Taken(Severity, &'static str),
}

/// What is found while an entry is read.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<Finding>);

impl Findings {
    /// A value that the entry cannot have.
    pub(crate) fn refuse(
        &mut self,
        field: impl Into<String>,
        message: impl fmt::Display,
        hint: impl Into<String>,
    ) {
        self.0.push(Finding {
            code: Code::InvalidField,
            line: 0,
            field: field.into(),
            message: message.to_string(),
            hint: hint.into(),
            effect: Effect::Refused,
        });
    }

    /// A value that is taken although it is probably not meant so, or that does not act.
    pub(crate) fn remark(
        &mut self,
        code: Code,
        field: impl Into<String>,
        message: impl fmt::Display,
        meanwhile: &'static str,
        hint: impl Into<String>,
    ) {
        self.0.push(Finding {
            code,
            line: 0,
            field: field.into(),
            message: message.to_string(),
            hint: hint.into(),
            effect: Effect::Taken(Severity::Warning, meanwhile),
        });
    }

    /// The value, or its error as a finding.
    pub(crate) fn take<T, E: fmt::Display>(
        &mut self,
        field: &str,
        hint: &str,
        value: Result<T, E>,
    ) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(error) => {
                self.refuse(field, error, hint);
                None
            }
        }
    }

    /// Whether the entry cannot be taken.
    pub(crate) fn refused(&self) -> bool {
        self.0
            .iter()
            .any(|finding| finding.effect == Effect::Refused)
    }

    /// All, each in the line of its field.
    pub(crate) fn placed(self, line: impl Fn(&str) -> u32) -> Vec<Finding> {
        let place = |finding: Finding| Finding {
            line: line(&finding.field),
            ..finding
        };
        self.0.into_iter().map(place).collect()
    }
}

impl From<DecodeError> for Finding {
    fn from(error: DecodeError) -> Self {
        let DecodeError {
            kind,
            line,
            column: _,
            path,
            message,
            hint,
        } = error;
        Self {
            code: match kind {
                DecodeErrorKind::UnknownField => Code::UnknownField,
                DecodeErrorKind::InvalidField => Code::InvalidField,
            },
            line,
            field: path,
            message,
            hint,
            effect: Effect::Refused,
        }
    }
}

/// The text of an entry's field. `None` if it is not given, which an empty value is too; `Some(None)` if it is not text.
pub(crate) fn text<'a>(entry: &'a Node, field: &str) -> Option<Option<&'a str>> {
    let value = entry.get(field)?;
    match value.kind() {
        bowline_document::Kind::Null => None,
        _ => Some(value.as_str()),
    }
}

/// Where the entries of one document of a file are: what they share.
#[derive(Debug, Clone)]
pub(crate) struct Context<'a> {
    pub(crate) settings: &'a RegistrySettings,
    pub(crate) place: &'a Arc<str>,
    /// Of entries that name none.
    pub(crate) namespace: Namespace,
}

impl Context<'_> {
    /// A model object that is written in a line.
    pub(crate) fn object(
        &self,
        namespace: &Namespace,
        name: impl Into<Arc<str>>,
        line: u32,
        spec: Spec,
    ) -> Object {
        let source = Source {
            place: self.place.clone(),
            line: Some(line),
        };
        let registry = self.settings.id.clone();
        Object::new(registry, None, namespace.clone(), name, source, spec)
    }

    /// The key of a model object.
    pub(crate) fn key(&self, kind: Kind, namespace: &Namespace, name: &str) -> ObjectKey {
        ObjectKey {
            registry: self.settings.id.clone(),
            partition: None,
            kind,
            namespace: namespace.clone(),
            name: name.into(),
        }
    }
}
