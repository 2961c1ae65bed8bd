//! Changes of headers.

use bowline_mesh::HeaderChanges;
use bowline_proto::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction,
};

/// Changes as Envoy has them. It removes first, then sets and adds in order.
pub(super) struct EnvoyChanges {
    pub(super) add: Vec<HeaderValueOption>,
    pub(super) remove: Vec<String>,
}

/// What Envoy would refuse is left out and said.
pub(super) fn changes(changes: &HeaderChanges, refused: &mut Vec<String>) -> EnvoyChanges {
    let HeaderChanges { remove, set, add } = changes;
    let mut is_changeable = |name: &str| {
        let fits = is_name(name) && !name.eq_ignore_ascii_case("host");
        if !fits {
            refused.push(format!("the header '{name}' cannot be changed"));
        }
        fits
    };
    let remove = remove
        .iter()
        .filter(|name| is_changeable(name))
        .map(ToString::to_string)
        .collect();
    let set = set
        .iter()
        .map(|pair| (pair, HeaderAppendAction::OverwriteIfExistsOrAdd));
    let add = add
        .iter()
        .map(|pair| (pair, HeaderAppendAction::AppendIfExistsOrAdd));
    let kept: Vec<_> = set
        .chain(add)
        .filter(|((name, _), _)| is_changeable(name))
        .collect();
    let add = kept
        .into_iter()
        .filter_map(|((name, value), action)| {
            if !is_value(value) {
                refused.push(format!(
                    "the value of the header '{name}' has characters that no header can have"
                ));
                return None;
            }
            Some(HeaderValueOption {
                header: Some(HeaderValue {
                    key: name.to_string(),
                    // Envoy reads `%NAME%` as a command; a value is only text here.
                    value: value.replace('%', "%%"),
                    ..HeaderValue::default()
                }),
                append_action: action.into(),
                keep_empty_value: true,
                ..HeaderValueOption::default()
            })
        })
        .collect();
    EnvoyChanges { add, remove }
}

/// Whether a text is a header name (RFC 9110, "token").
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

pub(super) fn is_value(value: &str) -> bool {
    !value.bytes().any(|byte| matches!(byte, 0 | b'\r' | b'\n'))
}
