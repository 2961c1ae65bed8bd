//! What a rule finds.

use std::fmt;

/// A place that breaks a rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// The file, with `:line` where there is one.
    pub(crate) place: String,
    /// What is wrong there, and why that matters.
    pub(crate) what: String,
    /// What to do.
    pub(crate) remedy: &'static str,
}

impl Finding {
    pub(crate) fn new(
        place: impl Into<String>,
        what: impl Into<String>,
        remedy: &'static str,
    ) -> Self {
        Self {
            place: place.into(),
            what: what.into(),
            remedy,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            what,
            remedy,
        } = self;
        write!(f, "{place}: {what}; {remedy}")
    }
}

/// Fails with everything that was found.
#[track_caller]
pub(crate) fn assert_none(findings: impl IntoIterator<Item = Finding>) {
    let mut findings: Vec<Finding> = findings.into_iter().collect();
    findings.sort();
    let lines: String = findings
        .iter()
        .map(|finding| format!("\n  {finding}"))
        .collect();
    assert!(findings.is_empty(), "{} found:{lines}", findings.len());
}

/// The places of what was found, for a rule's own tests.
pub(crate) fn places(findings: &[Finding]) -> Vec<&str> {
    findings
        .iter()
        .map(|finding| finding.place.as_str())
        .collect()
}
