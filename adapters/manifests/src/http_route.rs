//! HTTPRoutes.

use std::{sync::Arc, time::Duration};

use bowline_mesh::{
    HeaderChanges, HttpAction, HttpRoute as MeshRoute, HttpRule, Object, PathChange, Rewrite, Spec,
    Timeouts,
};
use serde::Deserialize;

use crate::{
    Metadata,
    backend::{self, BackendRef},
    convert::Scope,
    filter::{self, Changes, Filter},
    hostname,
    matching::{self, RouteMatch},
    metadata::Present,
    parent::{self, ParentRef},
    report::{Field, Report},
};

/// Fields that mean nothing here.
pub(crate) const IGNORED: &[&str] = &[];

/// An HTTPRoute, as far as it is read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct HttpRoute {
    pub(crate) metadata: Metadata,
    spec: RouteSpec,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RouteSpec {
    #[serde(default)]
    parent_refs: Vec<ParentRef>,
    use_default_gateways: Option<Present>,
    #[serde(default)]
    hostnames: Vec<String>,
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    name: Option<Arc<str>>,
    #[serde(default)]
    matches: Vec<RouteMatch>,
    #[serde(default)]
    filters: Vec<Filter>,
    #[serde(default)]
    backend_refs: Vec<BackendRef>,
    #[serde(default)]
    timeouts: RuleTimeouts,
    retry: Option<Present>,
    session_persistence: Option<Present>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuleTimeouts {
    #[serde(default, with = "bowline_document::duration::option")]
    request: Option<Duration>,
    #[serde(default, with = "bowline_document::duration::option")]
    backend_request: Option<Duration>,
}

impl HttpRoute {
    pub(crate) fn parents(&self) -> &[ParentRef] {
        &self.spec.parent_refs
    }
}

pub(crate) fn objects(
    route: &HttpRoute,
    scope: &Scope<'_>,
    report: &mut Report<'_>,
) -> Vec<Object> {
    let RouteSpec {
        parent_refs,
        use_default_gateways,
        hostnames,
        rules,
    } = &route.spec;
    let field = Field::root("spec");
    parent::check_default_gateways(use_default_gateways.as_ref(), &field, report);
    let parents = parent::parents(parent_refs, &field.key("parentRefs"), scope, report);
    // Without rules there is one that matches every request and sends it nowhere.
    let default = [Rule::default()];
    let rules = if rules.is_empty() {
        &default
    } else {
        rules.as_slice()
    };
    let rules_field = field.key("rules");
    let rules = rules.iter().enumerate();
    let rules = rules
        .map(|(index, item)| rule(item, &rules_field.index(index), scope, report))
        .collect();
    let route = MeshRoute {
        parents,
        hostnames: hostname::patterns(hostnames, &field.key("hostnames"), report),
        rules,
        created: route.metadata.created(report),
    };
    if route.parents.is_empty() {
        return Vec::new();
    }
    vec![scope.object(Spec::HttpRoute(Arc::new(route)))]
}

fn rule(rule: &Rule, field: &Field<'_>, scope: &Scope<'_>, report: &mut Report<'_>) -> HttpRule {
    let Rule {
        name,
        matches,
        filters,
        backend_refs,
        timeouts,
        retry,
        session_persistence,
    } = rule;
    if retry.is_some() {
        report.unsupported(
            &field.key("retry"),
            "retries of a rule are not honoured yet",
            "failed requests are not tried again",
            "leave it out",
        );
    }
    if session_persistence.is_some() {
        report.unsupported(
            &field.key("sessionPersistence"),
            "requests of one session do not stay with one endpoint",
            "requests go to any endpoint",
            "leave it out",
        );
    }
    let filters_field = field.key("filters");
    let filters = filter::filters(filters, &filters_field, report);
    let backends = backend::backends(backend_refs, &field.key("backendRefs"), scope, report);
    let (action, request_headers, response_headers) = match filters {
        None => {
            let action = HttpAction::Forward {
                backends: vec![backend::unresolved()],
                rewrite: Rewrite::default(),
            };
            (action, HeaderChanges::default(), HeaderChanges::default())
        }
        Some(changes) => {
            check_prefix(&changes, matches, &filters_field, report);
            let Changes {
                request_headers,
                response_headers,
                redirect,
                rewrite,
            } = changes;
            if redirect.is_some() && !backends.is_empty() {
                report.invalid(
                    &field.key("backendRefs"),
                    "a rule that redirects sends nothing to backends",
                    "leave out the backends, or the redirect",
                );
            }
            let action = match redirect {
                Some(redirect) => HttpAction::Redirect(redirect),
                None => HttpAction::Forward {
                    backends,
                    rewrite: rewrite.unwrap_or_default(),
                },
            };
            (action, request_headers, response_headers)
        }
    };
    HttpRule {
        name: name.clone(),
        matches: matching::matches(matches, &field.key("matches"), report),
        action,
        request_headers,
        response_headers,
        timeouts: self::timeouts(*timeouts, &field.key("timeouts"), report),
    }
}

/// A prefix is replaced only where there is one to replace. A rule without matches has the prefix `/`.
fn check_prefix(
    changes: &Changes,
    matches: &[RouteMatch],
    field: &Field<'_>,
    report: &mut Report<'_>,
) {
    let redirect = changes
        .redirect
        .as_ref()
        .and_then(|redirect| redirect.path.as_ref());
    let rewrite = changes
        .rewrite
        .as_ref()
        .and_then(|rewrite| rewrite.path.as_ref());
    let replaces_prefix = [redirect, rewrite]
        .into_iter()
        .any(|path| matches!(path, Some(PathChange::Prefix(_))));
    let has_prefix = match matches {
        [] => true,
        [only] => only.is_prefix(),
        _ => false,
    };
    if replaces_prefix && !has_prefix {
        report.invalid(
            field,
            "a prefix is replaced, but the rule does not have exactly one match with a PathPrefix",
            "match one PathPrefix, or replace the full path",
        );
    }
}

/// Zero means no limit.
fn timeouts(timeouts: RuleTimeouts, field: &Field<'_>, report: &mut Report<'_>) -> Timeouts {
    let limit = |timeout: Option<Duration>| timeout.filter(|timeout| !timeout.is_zero());
    let RuleTimeouts {
        request,
        backend_request,
    } = timeouts;
    let (request, backend_request) = (limit(request), limit(backend_request));
    if let (Some(request), Some(backend_request)) = (request, backend_request)
        && backend_request > request
    {
        report.invalid(
            &field.key("backendRequest"),
            "one try may take longer than all tries together",
            "make it at most as long as `request`",
        );
    }
    Timeouts {
        request,
        backend_request,
    }
}
