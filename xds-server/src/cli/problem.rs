//! Problems as a person reads them.

use bowline_mesh::{ObjectKey, Source};
use serde::{Deserialize, Serialize};

/// A problem as the API tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ListedProblem {
    pub(super) code: String,
    pub(super) severity: String,
    object: Option<ObjectKey>,
    source: Option<Source>,
    field: String,
    message: String,
    meanwhile: String,
    hint: String,
}

impl ListedProblem {
    pub(super) fn is_error(&self) -> bool {
        self.severity == "error"
    }

    /// ```text
    /// error BW0304 routes.yaml:12: manifests: http route shop/cart
    ///     spec.rules[0].backendRefs[0]: …
    ///     meanwhile: requests are answered with 500
    ///     hint: …
    /// ```
    pub(super) fn to_text(&self) -> String {
        let Self {
            code,
            severity,
            object,
            source,
            field,
            message,
            meanwhile,
            hint,
        } = self;
        let mut text = format!("{severity} {code}");
        if let Some(source) = source {
            text.push_str(&format!(" {source}"));
        }
        if let Some(object) = object {
            let colon = if source.is_some() { ":" } else { "" };
            text.push_str(&format!("{colon} {object}"));
        }
        match field.as_str() {
            "" => text.push_str(&format!("\n    {message}")),
            field => text.push_str(&format!("\n    {field}: {message}")),
        }
        for (name, line) in [("meanwhile", meanwhile), ("hint", hint)] {
            if !line.is_empty() {
                text.push_str(&format!("\n    {name}: {line}"));
            }
        }
        text.push('\n');
        text
    }
}
