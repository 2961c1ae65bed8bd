//! Problems, collected while one object is converted.

use std::{fmt, sync::Arc};

use bowline_mesh::{Code, ObjectKey, Problem, Severity, Source};

/// What an invalid object means for the mesh.
pub(crate) const LAST_GOOD: &str =
    "the last good version of the object stays; if there was none, it is left out";

/// Nobody reads more about one object, and an object can have a thousand wrong ports.
const PROBLEMS_MAX: usize = 20;

/// The path of a field within its object. It borrows its parent, so that nothing is allocated while all is well.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    parent: Option<&'a Field<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

impl<'a> Field<'a> {
    pub(crate) const fn root(key: &'a str) -> Self {
        Self {
            parent: None,
            step: Step::Key(key),
        }
    }

    pub(crate) const fn key(&'a self, key: &'a str) -> Self {
        Self {
            parent: Some(self),
            step: Step::Key(key),
        }
    }

    pub(crate) const fn index(&'a self, index: usize) -> Self {
        Self {
            parent: Some(self),
            step: Step::Index(index),
        }
    }
}

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            write!(f, "{parent}")?;
        }
        match self.step {
            Step::Key(key) if self.parent.is_some() => write!(f, ".{key}"),
            Step::Key(key) => f.write_str(key),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// What is wrong with one object.
pub(crate) struct Report<'a> {
    object: Option<ObjectKey>,
    source: &'a Source,
    problems: Vec<Problem>,
    left_out: usize,
    refused: bool,
}

impl<'a> Report<'a> {
    pub(crate) fn new(object: Option<ObjectKey>, source: &'a Source) -> Self {
        Self {
            object,
            source,
            problems: Vec::new(),
            left_out: 0,
            refused: false,
        }
    }

    /// The object cannot be what it says: an API server would not have accepted it.
    pub(crate) fn invalid(&mut self, field: &Field<'_>, message: impl Into<Arc<str>>, hint: &str) {
        self.refused = true;
        self.add(
            Code::InvalidField,
            Severity::Error,
            field,
            message.into(),
            LAST_GOOD,
            hint,
        );
    }

    /// The field is valid, but does not act as written.
    pub(crate) fn unsupported(
        &mut self,
        field: &Field<'_>,
        message: impl Into<Arc<str>>,
        meanwhile: &str,
        hint: &str,
    ) {
        self.add(
            Code::UnsupportedField,
            Severity::Error,
            field,
            message.into(),
            meanwhile,
            hint,
        );
    }

    /// A part of the object does not act as written.
    pub(crate) fn error(
        &mut self,
        code: Code,
        field: &Field<'_>,
        message: impl Into<Arc<str>>,
        meanwhile: &str,
        hint: &str,
    ) {
        self.add(
            code,
            Severity::Error,
            field,
            message.into(),
            meanwhile,
            hint,
        );
    }

    /// All acts as written, but probably not as meant.
    pub(crate) fn warning(
        &mut self,
        code: Code,
        field: &Field<'_>,
        message: impl Into<Arc<str>>,
        meanwhile: &str,
        hint: &str,
    ) {
        self.add(
            code,
            Severity::Warning,
            field,
            message.into(),
            meanwhile,
            hint,
        );
    }

    fn add(
        &mut self,
        code: Code,
        severity: Severity,
        field: &Field<'_>,
        message: Arc<str>,
        meanwhile: &str,
        hint: &str,
    ) {
        if self.problems.len() >= PROBLEMS_MAX {
            self.left_out += 1;
            return;
        }
        self.problems.push(Problem {
            code,
            severity,
            object: self.object.clone(),
            source: Some(self.source.clone()),
            field: field.to_string().into(),
            message,
            meanwhile: meanwhile.into(),
            hint: hint.into(),
        });
    }

    /// The problems, and whether the object is valid.
    pub(crate) fn finish(mut self) -> (Vec<Problem>, bool) {
        if let (Some(last), 1..) = (self.problems.last_mut(), self.left_out) {
            last.message = format!("{} (and {} more problems)", last.message, self.left_out).into();
        }
        (self.problems, !self.refused)
    }
}
