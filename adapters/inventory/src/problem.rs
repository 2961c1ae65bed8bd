//! What is wrong, as the mesh reports it.

use std::sync::Arc;

use bowline_document::files::{FileError, FileErrorKind};
use bowline_mesh::{Code, ObjectKey, Problem, Severity, Source};

use crate::{
    entry::{Effect, Finding, Identity},
    inventory::EXTENSIONS,
};

/// What was found about an entry; `refused` says what happens where it is not taken.
pub(crate) fn problem(
    finding: Finding,
    place: &Arc<str>,
    object: Option<ObjectKey>,
    refused: &'static str,
) -> Problem {
    let Finding {
        code,
        line,
        field,
        message,
        hint,
        effect,
    } = finding;
    let (severity, meanwhile) = match effect {
        Effect::Refused => (Severity::Error, refused),
        Effect::Taken(severity, meanwhile) => (severity, meanwhile),
    };
    let hint = match hint.is_empty() {
        true => "correct it; the file is read again when it changes".into(),
        false => hint.into(),
    };
    Problem {
        code,
        severity,
        object,
        source: Some(Source {
            place: place.clone(),
            line: Some(line),
        }),
        field: field.into(),
        message: message.into(),
        meanwhile: meanwhile.into(),
        hint,
    }
}

/// What was found about a file as a whole.
pub(crate) fn malformed(finding: Finding, place: &Arc<str>) -> Problem {
    problem(finding, place, None, FILE_KEPT)
}

/// A file or directory that cannot be read.
pub(crate) fn file_problem(error: &FileError) -> Problem {
    let (code, hint) = match error.kind {
        FileErrorKind::Missing => (Code::Unreadable, "create it, or correct the path"),
        FileErrorKind::Unreadable => (Code::Unreadable, "let the control plane read it"),
        FileErrorKind::TooLarge => (Code::TooLarge, "split it into several files in a directory"),
    };
    Problem {
        code,
        severity: Severity::Error,
        object: None,
        source: Some(Source {
            place: error.path.clone(),
            line: None,
        }),
        field: "".into(),
        message: error.message.as_str().into(),
        meanwhile: FILE_KEPT.into(),
        hint: hint.into(),
    }
}

/// A directory without a file.
pub(crate) fn empty_directory(path: &Arc<str>) -> Problem {
    Problem {
        code: Code::EmptyDirectory,
        severity: Severity::Warning,
        object: None,
        source: Some(Source {
            place: path.clone(),
            line: None,
        }),
        field: "".into(),
        message: format!(
            "the directory has no file with one of the extensions {}",
            EXTENSIONS.join(", ")
        )
        .into(),
        meanwhile: "nothing is taken from it".into(),
        hint: "put files there, or correct the path".into(),
    }
}

/// An entry about something that an earlier one is about.
pub(crate) fn duplicate(
    identity: &Identity,
    key: &ObjectKey,
    place: &Arc<str>,
    line: u32,
    first: &str,
) -> Problem {
    Problem {
        code: Code::Duplicate,
        severity: Severity::Error,
        object: Some(key.clone()),
        source: Some(Source {
            place: place.clone(),
            line: Some(line),
        }),
        field: "name".into(),
        message: format!("{identity} is already at {first}").into(),
        meanwhile: "the first one counts".into(),
        hint: "rename or remove one of them".into(),
    }
}

const FILE_KEPT: &str = "what it last contained stays in use";
