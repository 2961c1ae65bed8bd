//! Problems of translation.

use bowline_mesh::{Code, ObjectKey, Problem, Severity};

/// An object that is not, or not wholly, expressed.
pub(crate) struct Report<'a> {
    pub(crate) code: Code,
    pub(crate) object: Option<&'a ObjectKey>,
    pub(crate) field: &'a str,
    pub(crate) message: String,
    pub(crate) meanwhile: &'a str,
    pub(crate) hint: &'a str,
}

impl Report<'_> {
    /// It does not act as written.
    pub(crate) fn error(self) -> Problem {
        self.problem(Severity::Error)
    }

    /// It acts as written, but probably not as meant.
    pub(crate) fn warning(self) -> Problem {
        self.problem(Severity::Warning)
    }

    fn problem(self, severity: Severity) -> Problem {
        let Self {
            code,
            object,
            field,
            message,
            meanwhile,
            hint,
        } = self;
        Problem {
            code,
            severity,
            object: object.cloned(),
            source: None,
            field: field.into(),
            message: message.into(),
            meanwhile: meanwhile.into(),
            hint: hint.into(),
        }
    }
}
