//! Changes of paths.

use bowline_mesh::{PathChange, PathMatch};
use bowline_proto::envoy::r#type::matcher::v3::{RegexMatchAndSubstitute, RegexMatcher};

/// How Envoy changes a path.
pub(super) enum EnvoyPathChange {
    /// What the match matched becomes this.
    Prefix(String),
    Regex(RegexMatchAndSubstitute),
}

/// The change for requests that a match has found; `None` where nothing changes. Envoy replaces bytes, Gateway API replaces segments
/// (HTTPPathModifier, the table of examples), so the cases in which a slash would be lost or doubled are expressions.
pub(super) fn path_change(
    change: &PathChange,
    matched: &PathMatch,
) -> Result<Option<EnvoyPathChange>, String> {
    match change {
        PathChange::Full(path) => Ok(Some(substitute("^/.*$".to_owned(), path))),
        PathChange::Prefix(replacement) => {
            let PathMatch::Below(prefix) = matched else {
                return Err("a prefix can be replaced only where a prefix is matched".to_owned());
            };
            Ok(prefix_change(
                prefix.trim_end_matches('/'),
                replacement.trim_end_matches('/'),
            ))
        }
    }
}

fn prefix_change(prefix: &str, replacement: &str) -> Option<EnvoyPathChange> {
    match (prefix, replacement) {
        ("", "") => None,
        // The match is "/", which is to stay between the replacement and the rest.
        ("", replacement) => Some(EnvoyPathChange::Prefix(format!("{replacement}/"))),
        // `/a/b` becomes `/b` and `/a` becomes `/`.
        (prefix, "") => {
            let pattern = format!("^{}/*", regex_syntax::escape(prefix));
            Some(substitute(pattern, "/"))
        }
        (_, replacement) => Some(EnvoyPathChange::Prefix(replacement.to_owned())),
    }
}

fn substitute(regex: String, substitution: &str) -> EnvoyPathChange {
    EnvoyPathChange::Regex(RegexMatchAndSubstitute {
        pattern: Some(RegexMatcher {
            regex,
            ..RegexMatcher::default()
        }),
        // A backslash would refer to a group.
        substitution: substitution.replace('\\', r"\\"),
    })
}
