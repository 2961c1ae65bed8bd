//! The query of a request.

use std::collections::BTreeMap;

use super::failure::Failure;

/// Parameters by name.
#[derive(Debug, Clone, Default)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    pub(super) fn parse(text: &str) -> Self {
        Self(
            form_urlencoded::parse(text.as_bytes())
                .into_owned()
                .collect(),
        )
    }

    /// A parameter; empty if it is not given.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Whether a parameter is given and true.
    pub(super) fn is(&self, name: &str) -> bool {
        matches!(self.get(name), "true" | "1")
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Failure> {
        match self.get(name) {
            "" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|_| Failure::bad_request(format!("{name}: {text:?} is not a number"))),
        }
    }

    /// `resourceVersion`.
    pub(super) fn revision(&self) -> Result<Option<u64>, Failure> {
        self.number("resourceVersion").map_err(|_| {
            Failure::bad_request(format!(
                "invalid resource version: resourceVersion: Invalid value: \"{}\"",
                self.get("resourceVersion")
            ))
        })
    }
}
