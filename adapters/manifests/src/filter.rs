//! Filters of rules and backends: changes of headers, redirects, rewrites.

use std::{collections::BTreeSet, sync::Arc};

use bowline_mesh::{HeaderChanges, PathChange, Redirect, RedirectScheme, Rewrite};
use serde::Deserialize;

use crate::{
    header, hostname,
    metadata::{Present, shortened},
    report::{Field, Report},
};

/// The longest path that Kubernetes accepts.
const PATH_BYTES_MAX: usize = 1024;

/// A filter: `type` says which of the fields is set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Filter {
    r#type: String,
    request_header_modifier: Option<HeaderFilter>,
    response_header_modifier: Option<HeaderFilter>,
    request_redirect: Option<RedirectFilter>,
    #[serde(rename = "urlRewrite")]
    url_rewrite: Option<RewriteFilter>,
    request_mirror: Option<Present>,
    extension_ref: Option<Present>,
    cors: Option<Present>,
    external_auth: Option<Present>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct HeaderFilter {
    #[serde(default)]
    set: Vec<Header>,
    #[serde(default)]
    add: Vec<Header>,
    #[serde(default)]
    remove: Vec<Arc<str>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Header {
    name: Arc<str>,
    value: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RedirectFilter {
    scheme: Option<RedirectScheme>,
    hostname: Option<String>,
    path: Option<PathFilter>,
    port: Option<u16>,
    status_code: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct RewriteFilter {
    hostname: Option<String>,
    path: Option<PathFilter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PathFilter {
    r#type: PathFilterType,
    replace_full_path: Option<Arc<str>>,
    replace_prefix_match: Option<Arc<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum PathFilterType {
    ReplaceFullPath,
    ReplacePrefixMatch,
}

/// What the filters of a rule or a backend do together.
#[derive(Default)]
pub(crate) struct Changes {
    pub(crate) request_headers: HeaderChanges,
    pub(crate) response_headers: HeaderChanges,
    pub(crate) redirect: Option<Redirect>,
    pub(crate) rewrite: Option<Rewrite>,
}

/// `None` if one of the filters cannot be honoured. The Gateway API forbids to go on without it: what it belongs to answers with
/// 500.
pub(crate) fn filters(
    filters: &[Filter],
    field: &Field<'_>,
    report: &mut Report<'_>,
) -> Option<Changes> {
    let mut changes = Changes::default();
    let mut all_honoured = true;
    let mut types = BTreeSet::new();
    for (index, filter) in filters.iter().enumerate() {
        let field = field.index(index);
        if !types.insert(&filter.r#type) {
            report.invalid(
                &field.key("type"),
                format!("the filter {} is given twice", shortened(&filter.r#type)),
                "put both into one",
            );
            continue;
        }
        all_honoured &= apply(filter, &field, &mut changes, report);
    }
    if changes.redirect.is_some() && changes.rewrite.is_some() {
        report.invalid(
            field,
            "a request is either redirected or rewritten",
            "leave out RequestRedirect or URLRewrite",
        );
    }
    all_honoured.then_some(changes)
}

/// Whether it can be honoured.
fn apply(
    filter: &Filter,
    field: &Field<'_>,
    changes: &mut Changes,
    report: &mut Report<'_>,
) -> bool {
    let Filter {
        r#type,
        request_header_modifier,
        response_header_modifier,
        request_redirect,
        url_rewrite,
        request_mirror: _,
        extension_ref: _,
        cors: _,
        external_auth: _,
    } = filter;
    match r#type.as_str() {
        "RequestHeaderModifier" => {
            let field = field.key("requestHeaderModifier");
            let Some(filter) = given(request_header_modifier, &field, report) else {
                return true;
            };
            header_changes(filter, &field, &mut changes.request_headers, report)
        }
        "ResponseHeaderModifier" => {
            let field = field.key("responseHeaderModifier");
            let Some(filter) = given(response_header_modifier, &field, report) else {
                return true;
            };
            header_changes(filter, &field, &mut changes.response_headers, report)
        }
        "RequestRedirect" => {
            let field = field.key("requestRedirect");
            let filter = given(request_redirect, &field, report);
            changes.redirect = filter.map(|filter| redirect(filter, &field, report));
            true
        }
        "URLRewrite" => {
            let field = field.key("urlRewrite");
            let filter = given(url_rewrite, &field, report);
            changes.rewrite = filter.map(|filter| rewrite(filter, &field, report));
            true
        }
        other => {
            report.unsupported(
                &field.key("type"),
                format!("the filter '{}' is not honoured yet", shortened(other)),
                "requests that would pass it are answered with 500",
                "use RequestHeaderModifier, ResponseHeaderModifier, RequestRedirect or URLRewrite",
            );
            false
        }
    }
}

fn given<'a, T>(value: &'a Option<T>, field: &Field<'_>, report: &mut Report<'_>) -> Option<&'a T> {
    if value.is_none() {
        report.invalid(
            field,
            "a filter of this type needs this field",
            "say what it does",
        );
    }
    value.as_ref()
}

fn header_changes(
    filter: &HeaderFilter,
    field: &Field<'_>,
    changes: &mut HeaderChanges,
    report: &mut Report<'_>,
) -> bool {
    let HeaderFilter { set, add, remove } = filter;
    let mut honoured = true;
    let mut check = |name: &str, field: &Field<'_>, report: &mut Report<'_>| {
        header::check_name(name, field, report);
        // Envoy refuses a whole configuration that changes it so.
        if name.eq_ignore_ascii_case("host") {
            honoured = false;
            report.unsupported(
                field,
                "the Host header is not changed by a header modifier",
                "requests that would pass the filter are answered with 500",
                "use the filter URLRewrite with a hostname",
            );
        }
    };
    for (list, name) in [(set, "set"), (add, "add")] {
        let field = field.key(name);
        for (index, header) in list.iter().enumerate() {
            let field = field.index(index);
            check(&header.name, &field.key("name"), report);
            header::check_value(&header.value, &field.key("value"), report);
        }
    }
    let removed = field.key("remove");
    for (index, name) in remove.iter().enumerate() {
        check(name, &removed.index(index), report);
    }
    let pairs = |list: &[Header]| {
        let pairs = list
            .iter()
            .map(|header| (header.name.clone(), header.value.clone()));
        pairs.collect()
    };
    *changes = HeaderChanges {
        remove: remove.clone(),
        set: pairs(set),
        add: pairs(add),
    };
    honoured
}

fn redirect(filter: &RedirectFilter, field: &Field<'_>, report: &mut Report<'_>) -> Redirect {
    let RedirectFilter {
        scheme,
        hostname,
        path,
        port,
        status_code,
    } = filter;
    let status = status_code.unwrap_or(302);
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        report.invalid(
            &field.key("statusCode"),
            format!("{status} is not the status of a redirect"),
            "use 301, 302, 303, 307 or 308",
        );
    }
    if *port == Some(0) {
        report.invalid(
            &field.key("port"),
            "0 is not a port",
            "give a number from 1 to 65535",
        );
    }
    let host = hostname.as_deref();
    Redirect {
        scheme: *scheme,
        host: host.and_then(|text| hostname::precise(text, &field.key("hostname"), report)),
        port: *port,
        path: path
            .as_ref()
            .and_then(|path| path_change(path, &field.key("path"), report)),
        status,
    }
}

fn rewrite(filter: &RewriteFilter, field: &Field<'_>, report: &mut Report<'_>) -> Rewrite {
    let RewriteFilter { hostname, path } = filter;
    let host = hostname.as_deref();
    Rewrite {
        host: host.and_then(|text| hostname::precise(text, &field.key("hostname"), report)),
        path: path
            .as_ref()
            .and_then(|path| path_change(path, &field.key("path"), report)),
    }
}

fn path_change(
    path: &PathFilter,
    field: &Field<'_>,
    report: &mut Report<'_>,
) -> Option<PathChange> {
    let PathFilter {
        r#type,
        replace_full_path,
        replace_prefix_match,
    } = path;
    let (text, other, field, other_field) = match r#type {
        PathFilterType::ReplaceFullPath => (
            replace_full_path,
            replace_prefix_match,
            field.key("replaceFullPath"),
            field.key("replacePrefixMatch"),
        ),
        PathFilterType::ReplacePrefixMatch => (
            replace_prefix_match,
            replace_full_path,
            field.key("replacePrefixMatch"),
            field.key("replaceFullPath"),
        ),
    };
    if other.is_some() {
        report.invalid(
            &other_field,
            "the type says that something else is replaced",
            "leave it out",
        );
    }
    let text = given(text, &field, report)?;
    let may_be_empty = *r#type == PathFilterType::ReplacePrefixMatch;
    let is_path = text.starts_with('/') || may_be_empty && text.is_empty();
    let is_visible = |byte: u8| byte.is_ascii_graphic();
    if !is_path || text.len() > PATH_BYTES_MAX || !text.bytes().all(is_visible) {
        report.invalid(
            &field,
            format!("'{}' is not a path", shortened(text)),
            "begin it with '/', and write other than visible ASCII characters as %20",
        );
        return None;
    }
    Some(match r#type {
        PathFilterType::ReplaceFullPath => PathChange::Full(text.clone()),
        PathFilterType::ReplacePrefixMatch => PathChange::Prefix(text.clone()),
    })
}
