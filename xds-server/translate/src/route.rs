//! HTTP routes: rules of Gateway API as Envoy's routes, in the order in which Envoy must try them.

mod action;
mod headers;
mod matching;
mod path;
mod redirect;

use std::{cmp::Reverse, collections::BTreeMap};

use bowline_mesh::{Code, HttpMatch, HttpRule, PathMatch, Problem, view::RouteView};
use bowline_proto::envoy::config::core::v3::{DataSource, data_source};
use bowline_proto::envoy::config::route::v3::{
    DirectResponseAction, Route, RouteMatch, route, route_match,
};

pub(crate) use action::{cluster_route, weights};

use crate::problem::Report;

/// A route to a cluster that is not there (yet) is answered with 500; refusing the whole configuration would punish all others. It is
/// Envoy's default where routes come by RDS, and said for configurations that are written into a file.
pub(crate) const VALIDATE_CLUSTERS: Option<bool> = Some(false);

/// A route that acts on some hosts, and how specifically it names them: of two routes, the one with the lower rank is tried first,
/// whatever else they look at.
pub(crate) struct Candidate<'a> {
    pub(crate) view: &'a RouteView,
    pub(crate) host_rank: usize,
}

/// Who has attached the routes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parent {
    /// A gateway's listeners on a port.
    Gateway { port: u16 },
    /// Callers put routes of their own before the service's, on purpose.
    Service,
}

/// One way to match one rule.
struct Entry<'a> {
    view: &'a RouteView,
    host_rank: usize,
    index: usize,
    rule: &'a HttpRule,
    matching: &'a HttpMatch,
}

/// The routes of one virtual host, from routes in the order in which they win ties.
pub(crate) fn routes<'a>(
    candidates: impl IntoIterator<Item = Candidate<'a>>,
    parent: Parent,
    problems: &mut Vec<Problem>,
) -> Vec<Route> {
    let everything = HttpMatch {
        path: PathMatch::Below("/".into()),
        method: None,
        headers: Vec::new(),
        query: Vec::new(),
    };
    let mut entries = Vec::new();
    for Candidate { view, host_rank } in candidates {
        for (index, rule) in view.route.rules.iter().enumerate() {
            let matches = match rule.matches.as_slice() {
                [] => std::slice::from_ref(&everything),
                matches => matches,
            };
            entries.extend(matches.iter().map(|matching| Entry {
                view,
                host_rank,
                index,
                rule,
                matching,
            }));
        }
    }
    // Stable: ties stay in the order of routes and rules.
    entries.sort_by_key(|entry| (entry.host_rank, precedence(entry.matching)));
    report_shadowed(&entries, parent, problems);
    entries
        .iter()
        .filter_map(|entry| translate(entry, parent, problems))
        .collect()
}

/// Gateway API, HTTPRouteRule.matches: exact path, longest path, method, most headers, most query parameters. Where expressions stand
/// is left to implementations: before prefixes, because who writes one means something special.
fn precedence(matching: &HttpMatch) -> impl Ord + use<> {
    let HttpMatch {
        path,
        method,
        headers,
        query,
    } = matching;
    let (kind, length) = match path {
        PathMatch::Exact(path) => (0, path.len()),
        PathMatch::Regex(expression) => (1, expression.len()),
        PathMatch::Below(path) => (2, path.trim_end_matches('/').len()),
    };
    (
        kind,
        Reverse(length),
        Reverse(method.is_some()),
        Reverse(headers.len()),
        Reverse(query.len()),
    )
}

fn report_shadowed(entries: &[Entry<'_>], parent: Parent, problems: &mut Vec<Problem>) {
    let mut seen: BTreeMap<(usize, String), &Entry<'_>> = BTreeMap::new();
    for entry in entries {
        let same = (entry.host_rank, format!("{:?}", entry.matching));
        let Some(first) = seen.get(&same) else {
            seen.insert(same, entry);
            continue;
        };
        let is_override =
            parent == Parent::Service && first.view.key.namespace != entry.view.key.namespace;
        let is_same_rule = first.view.key == entry.view.key && first.index == entry.index;
        if is_override || is_same_rule {
            continue;
        }
        problems.push(
            Report {
                code: Code::Shadowed,
                object: Some(&entry.view.key),
                field: &format!("rules[{}]", entry.index),
                message: format!(
                    "{} matches the same requests in its rules[{}] and goes before",
                    first.view.key, first.index
                ),
                meanwhile: "this rule never acts on them",
                hint: "make the matches differ, or remove one of the rules",
            }
            .warning(),
        );
    }
}

fn translate(entry: &Entry<'_>, parent: Parent, problems: &mut Vec<Problem>) -> Option<Route> {
    let Entry {
        view,
        host_rank: _,
        index,
        rule,
        matching,
    } = entry;
    let field = format!("rules[{index}]");
    let mut complain = |field_in_rule: &str, message: String, meanwhile: &str, hint: &str| {
        problems.push(
            Report {
                code: Code::NotTranslatable,
                object: Some(&view.key),
                field: &format!("{field}.{field_in_rule}"),
                message,
                meanwhile,
                hint,
            }
            .error(),
        );
    };
    let r#match = match matching::route_match(matching) {
        Ok(found) => found,
        Err(why) => {
            complain(
                "matches",
                why,
                "no request matches here",
                "correct the match",
            );
            return None;
        }
    };
    let mut route = Route {
        name: match &rule.name {
            Some(name) => format!("{}/{}/{name}", view.key.namespace, view.key.name),
            None => format!("{}/{}/{index}", view.key.namespace, view.key.name),
        },
        r#match: Some(r#match),
        ..Route::default()
    };
    let mut refused = Vec::new();
    let request = headers::changes(&rule.request_headers, &mut refused);
    let response = headers::changes(&rule.response_headers, &mut refused);
    (
        route.request_headers_to_add,
        route.request_headers_to_remove,
    ) = (request.add, request.remove);
    (
        route.response_headers_to_add,
        route.response_headers_to_remove,
    ) = (response.add, response.remove);
    let made = action::action(rule, &matching.path, parent, &mut refused);
    route.action = Some(made.action);
    for why in refused {
        complain(
            "",
            why,
            "this part is left out, the rest of the rule acts",
            "correct it",
        );
    }
    if let Some(why) = made.no_weight {
        problems.push(
            Report {
                code: Code::NoWeight,
                object: Some(&view.key),
                field: &format!("{field}.backends"),
                message: why.to_owned(),
                meanwhile: "its requests are answered with 500",
                hint: "give at least one backend a weight above 0",
            }
            .error(),
        );
    }
    Some(route)
}

/// A route for every request.
pub(crate) fn catch_all(name: &str, action: route::Action) -> Route {
    Route {
        name: name.to_owned(),
        r#match: Some(RouteMatch {
            path_specifier: Some(route_match::PathSpecifier::Prefix("/".to_owned())),
            ..RouteMatch::default()
        }),
        action: Some(action),
        ..Route::default()
    }
}

/// An answer that the proxy gives by itself.
pub(crate) fn direct_response(status: u32, body: &str) -> route::Action {
    let body = (!body.is_empty()).then(|| DataSource {
        specifier: Some(data_source::Specifier::InlineString(body.to_owned())),
        ..DataSource::default()
    });
    route::Action::DirectResponse(DirectResponseAction {
        status,
        body,
        ..DirectResponseAction::default()
    })
}

#[cfg(test)]
mod tests;
