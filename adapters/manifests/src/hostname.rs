//! Hostnames of listeners and routes.

use bowline_mesh::{HostPattern, Hostname};

use crate::report::{Field, Report};

/// A hostname, or a pattern such as `*.example.com`; not `*` alone, which an API server refuses.
pub(crate) fn pattern(
    text: &str,
    field: &Field<'_>,
    report: &mut Report<'_>,
) -> Option<HostPattern> {
    match text.parse() {
        Ok(HostPattern::Any) => {
            report.invalid(
                field,
                "'*' is not a hostname",
                "leave it out to mean all hosts",
            );
            None
        }
        Ok(pattern) => Some(pattern),
        Err(error) => {
            report.invalid(
                field,
                error.to_string(),
                "write it as shop.example.com or *.example.com",
            );
            None
        }
    }
}

/// All of a list's patterns.
pub(crate) fn patterns(
    texts: &[String],
    field: &Field<'_>,
    report: &mut Report<'_>,
) -> Vec<HostPattern> {
    let texts = texts.iter().enumerate();
    texts
        .filter_map(|(index, text)| pattern(text, &field.index(index), report))
        .collect()
}

/// One hostname, without wildcards.
pub(crate) fn precise(text: &str, field: &Field<'_>, report: &mut Report<'_>) -> Option<Hostname> {
    match text.parse() {
        Ok(hostname) => Some(hostname),
        Err(error) => {
            let error: bowline_mesh::NameError = error;
            report.invalid(field, error.to_string(), "write it as shop.example.com");
            None
        }
    }
}
