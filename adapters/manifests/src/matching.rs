//! What requests a rule is for.

use std::{collections::BTreeSet, sync::Arc};

use bowline_mesh::{Code, HttpMatch, NamedMatch, PathMatch, ValueMatch};
use serde::Deserialize;

use crate::{
    header,
    metadata::shortened,
    regex,
    report::{Field, Report},
};

/// The longest path that Kubernetes accepts.
const PATH_BYTES_MAX: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RouteMatch {
    #[serde(default)]
    path: RoutePath,
    #[serde(default)]
    headers: Vec<NamedValue>,
    #[serde(default)]
    query_params: Vec<NamedValue>,
    method: Option<Method>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
struct RoutePath {
    #[serde(default)]
    r#type: PathType,
    value: Option<Arc<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
enum PathType {
    Exact,
    #[default]
    PathPrefix,
    RegularExpression,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct NamedValue {
    #[serde(default)]
    r#type: ValueType,
    name: Arc<str>,
    value: Arc<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
enum ValueType {
    #[default]
    Exact,
    RegularExpression,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
}

impl Method {
    fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
        }
    }
}

impl RouteMatch {
    /// Whether its path is a prefix, as it is where nothing is said.
    pub(crate) fn is_prefix(&self) -> bool {
        self.path.r#type == PathType::PathPrefix
    }
}

pub(crate) fn matches(
    matches: &[RouteMatch],
    field: &Field<'_>,
    report: &mut Report<'_>,
) -> Vec<HttpMatch> {
    let mut result = Vec::with_capacity(matches.len());
    for (index, item) in matches.iter().enumerate() {
        let field = field.index(index);
        let RouteMatch {
            path,
            headers,
            query_params,
            method,
        } = item;
        result.push(HttpMatch {
            path: self::path(path, &field.key("path"), report),
            method: method.map(|method| method.as_str().into()),
            headers: named(
                headers,
                &field.key("headers"),
                str::to_ascii_lowercase,
                report,
            ),
            query: named(
                query_params,
                &field.key("queryParams"),
                str::to_owned,
                report,
            ),
        });
    }
    result
}

fn path(path: &RoutePath, field: &Field<'_>, report: &mut Report<'_>) -> PathMatch {
    let value = path.value.clone().unwrap_or_else(|| "/".into());
    let field = field.key("value");
    match path.r#type {
        PathType::Exact => exact(value, &field, report),
        PathType::PathPrefix => prefix(value, &field, report),
        PathType::RegularExpression => {
            regex::check(&value, &field, report);
            PathMatch::Regex(value)
        }
    }
}

/// This path.
pub(crate) fn exact(value: Arc<str>, field: &Field<'_>, report: &mut Report<'_>) -> PathMatch {
    check_path(&value, field, report);
    PathMatch::Exact(value)
}

/// This path and all below it. Whole segments count, so a slash at the end says nothing.
pub(crate) fn prefix(value: Arc<str>, field: &Field<'_>, report: &mut Report<'_>) -> PathMatch {
    check_path(&value, field, report);
    PathMatch::Below(match value.trim_end_matches('/') {
        "" => "/".into(),
        trimmed if trimmed.len() < value.len() => trimmed.into(),
        _ => value,
    })
}

/// Such paths would never match, because Envoy normalises a request's path first; an API server refuses them.
fn check_path(value: &str, field: &Field<'_>, report: &mut Report<'_>) {
    let lower = value.to_ascii_lowercase();
    let contains = ["//", "/./", "/../", "%2f", "#"]
        .into_iter()
        .find(|part| lower.contains(part));
    let problem = match contains {
        Some(part) => Some(format!("a path to match cannot contain '{part}'")),
        None if !value.starts_with('/') => {
            Some(format!("'{}' does not begin with '/'", shortened(value)))
        }
        None if value.ends_with("/.") || value.ends_with("/..") => {
            Some("a path to match cannot end in '/.' or '/..'".to_owned())
        }
        None if value.len() > PATH_BYTES_MAX => {
            Some("the path is longer than 1024 bytes".to_owned())
        }
        None if !is_path_text(value) => Some(format!(
            "'{}' has characters that a path cannot have",
            shortened(value)
        )),
        None => None,
    };
    if let Some(problem) = problem {
        report.invalid(
            field,
            problem,
            "write the path as it is in a request, such as /cart/items",
        );
    }
}

/// `pchar` and `/` (RFC 3986, section 3.3).
fn is_path_text(value: &str) -> bool {
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        let is_escape = byte == b'%'
            && [bytes.next(), bytes.next()]
                .into_iter()
                .all(|digit| digit.is_some_and(|digit| digit.is_ascii_hexdigit()));
        if !is_escape && !byte.is_ascii_alphanumeric() && !b"-/._~!$&'()*+,;=:@".contains(&byte) {
            return false;
        }
    }
    true
}

/// Of several entries with one name only the first counts (Gateway API, HTTPHeaderMatch.name).
fn named(
    values: &[NamedValue],
    field: &Field<'_>,
    same_name: impl Fn(&str) -> String,
    report: &mut Report<'_>,
) -> Vec<NamedMatch> {
    let mut names = BTreeSet::new();
    let mut result = Vec::with_capacity(values.len());
    for (
        index,
        NamedValue {
            r#type,
            name,
            value,
        },
    ) in values.iter().enumerate()
    {
        let field = field.index(index);
        header::check_name(name, &field.key("name"), report);
        if !names.insert(same_name(name)) {
            report.warning(
                Code::InvalidField,
                &field.key("name"),
                format!("'{}' is matched twice", shortened(name)),
                "only the first counts",
                "leave one out",
            );
            continue;
        }
        let field = field.key("value");
        let value = match r#type {
            ValueType::Exact => {
                header::check_value(value, &field, report);
                ValueMatch::Exact(value.clone())
            }
            ValueType::RegularExpression => {
                regex::check(value, &field, report);
                ValueMatch::Regex(value.clone())
            }
        };
        result.push(NamedMatch {
            name: name.clone(),
            value,
        });
    }
    result
}
