//! Names and values of headers. What Envoy would refuse must not reach it: it refuses the whole configuration.

use crate::{
    metadata::shortened,
    report::{Field, Report},
};

const NAME_BYTES_MAX: usize = 256;
const VALUE_BYTES_MAX: usize = 4096;

/// Whether it is a token (RFC 9110, section 5.6.2), which pseudo-headers such as `:path` are not.
pub(crate) fn check_name(name: &str, field: &Field<'_>, report: &mut Report<'_>) {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_token) {
        report.invalid(
            field,
            format!(
                "'{}' is not a header's or parameter's name",
                shortened(name)
            ),
            "use up to 256 letters, digits and '-'",
        );
    }
}

/// Whether it can be a header's value.
pub(crate) fn check_value(value: &str, field: &Field<'_>, report: &mut Report<'_>) {
    if value.len() > VALUE_BYTES_MAX || value.chars().any(char::is_control) {
        report.invalid(
            field,
            format!("'{}' is not a header's value", shortened(value)),
            "use up to 4096 bytes without control characters",
        );
    }
}
