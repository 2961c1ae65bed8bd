//! What can be wrong with a file and with what stands in it.

use std::sync::Arc;

use bowline_document::{
    DecodeError, DecodeErrorKind, SyntaxError, SyntaxErrorKind,
    files::{FileError, FileErrorKind},
};
use bowline_mesh::{Code, Problem, RegistrySettings, Severity, Source};

use crate::{
    ManifestKind, ManifestName, convert::object_key, report::LAST_GOOD, watch::EXTENSIONS,
};

/// What a file that cannot be read means for the mesh.
const FILE_LAST_GOOD: &str =
    "what it said when it was last read well stays; if it never was, nothing is read from it";

/// What an object without a usable kind and name means.
pub(super) const LEFT_OUT: &str = "it is left out; the other objects act";

pub(super) fn wrong_field(
    error: DecodeError,
    file: &Arc<str>,
    name: &ManifestName,
    settings: &RegistrySettings,
) -> Problem {
    let DecodeError {
        kind,
        line,
        column: _,
        path,
        message,
        hint,
    } = error;
    // What a Secret holds may stand in it by mistake.
    let message = match (name.kind, kind) {
        (ManifestKind::Secret, DecodeErrorKind::InvalidField) => {
            "is not of the form that it has in a Secret".to_owned()
        }
        (_, _) => message,
    };
    let object = object_key(name, settings);
    Problem {
        code: match kind {
            DecodeErrorKind::UnknownField => Code::UnknownField,
            DecodeErrorKind::InvalidField => Code::InvalidField,
        },
        severity: Severity::Error,
        source: Some(Source {
            place: file.clone(),
            line: Some(line),
        }),
        field: path.into(),
        message: match &object {
            Some(_) => message.into(),
            None => format!("{name}: {message}").into(),
        },
        object,
        meanwhile: LAST_GOOD.into(),
        hint: match hint.as_str() {
            "" => "correct the field".into(),
            hint => hint.into(),
        },
    }
}

pub(super) fn unread(
    source: &Source,
    field: &str,
    message: String,
    severity: Severity,
    hint: String,
) -> Box<Problem> {
    Box::new(Problem {
        code: Code::UnsupportedKind,
        severity,
        object: None,
        source: Some(source.clone()),
        field: field.into(),
        message: message.into(),
        meanwhile: LEFT_OUT.into(),
        hint: hint.into(),
    })
}

pub(super) fn malformed(path: &Arc<str>, error: SyntaxError) -> Problem {
    let (code, hint) = match error.kind {
        SyntaxErrorKind::Malformed => (Code::Malformed, "correct the file"),
        SyntaxErrorKind::TooLarge => (Code::TooLarge, "divide it into several files"),
    };
    Problem {
        code,
        severity: Severity::Error,
        object: None,
        source: Some(Source {
            place: path.clone(),
            line: Some(error.line),
        }),
        field: "".into(),
        message: error.message.into(),
        meanwhile: FILE_LAST_GOOD.into(),
        hint: hint.into(),
    }
}

/// An empty file is one that somebody has begun to write. One that should say nothing has a comment.
pub(super) fn empty(path: &Arc<str>) -> Problem {
    Problem {
        code: Code::Malformed,
        severity: Severity::Error,
        object: None,
        source: Some(Source {
            place: path.clone(),
            line: None,
        }),
        field: "".into(),
        message: "the file is empty".into(),
        meanwhile: FILE_LAST_GOOD.into(),
        hint: "delete the file, or write a comment into it to say that it is meant to be empty"
            .into(),
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

/// A file whose content cannot be had.
pub(crate) fn unreadable(error: &FileError) -> Problem {
    let (code, hint) = match error.kind {
        FileErrorKind::Missing => (
            Code::Unreadable,
            "create it, or take the path out of the configuration",
        ),
        FileErrorKind::Unreadable => (Code::Unreadable, "let the server's user read it"),
        FileErrorKind::TooLarge => (Code::TooLarge, "divide it into several files"),
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
        meanwhile: FILE_LAST_GOOD.into(),
        hint: hint.into(),
    }
}
