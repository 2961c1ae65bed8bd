use bowline_mesh::{
    HeaderChanges, HttpAction, HttpRule, NamedMatch, ObjectKey, PathChange, Redirect,
    RedirectScheme, Rewrite, Timeouts, ValueMatch,
};
use bowline_proto::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use serde_json::{Value, json};

use super::*;
use crate::testing::*;

fn key(name: &str) -> ObjectKey {
    let route = std::sync::Arc::new(http_route(Vec::new(), Vec::new()));
    object(name, bowline_mesh::Spec::HttpRoute(route))
        .key()
        .clone()
}

fn view(name: &str, rules: Vec<HttpRule>) -> RouteView {
    RouteView {
        key: key(name),
        hostnames: Vec::new(),
        port: None,
        route: std::sync::Arc::new(http_route(Vec::new(), rules)),
        missing: Vec::new(),
    }
}

fn check(views: &[RouteView]) -> (Vec<Value>, Vec<Code>) {
    let mut problems = Vec::new();
    let candidates = views.iter().map(|view| Candidate { view, host_rank: 0 });
    let routes = routes(candidates, Parent::Gateway { port: 80 }, &mut problems);
    let host = VirtualHost {
        routes,
        ..VirtualHost::default()
    };
    let configuration = RouteConfiguration {
        virtual_hosts: vec![host],
        ..RouteConfiguration::default()
    };
    let routes = json_of(&configuration)["virtual_hosts"][0]["routes"].clone();
    let codes = problems.iter().map(|problem| problem.code).collect();
    (routes.as_array().cloned().unwrap_or_default(), codes)
}

/// The only route of a rule that matches below `/a`.
fn route_of(action: HttpAction) -> Value {
    let (routes, codes) = check(&[view("r", vec![rule(vec![below("/a")], action)])]);
    assert_eq!(codes, []);
    routes[0].clone()
}

fn rewritten(matched: &str, change: PathChange) -> Value {
    let rewrite = Rewrite {
        host: None,
        path: Some(change),
    };
    let action = HttpAction::Forward {
        backends: vec![backend("cart", 1)],
        rewrite,
    };
    let (routes, codes) = check(&[view("r", vec![rule(vec![below(matched)], action)])]);
    assert_eq!(codes, []);
    routes[0]["route"].clone()
}

#[test]
fn the_more_specific_match_is_tried_first() {
    let header = |name: &str| NamedMatch {
        name: name.into(),
        value: ValueMatch::Exact("x".into()),
    };
    let matches = [
        ("least", below("/")),
        ("long", below("/a/b")),
        ("short", below("/a/")),
        ("exact", path(PathMatch::Exact("/a".into()))),
        ("regex", path(PathMatch::Regex("/a.*".into()))),
        (
            "method",
            HttpMatch {
                method: Some("GET".into()),
                ..below("/a")
            },
        ),
        (
            "headers",
            HttpMatch {
                headers: vec![header("a"), header("b")],
                ..below("/a")
            },
        ),
        (
            "header",
            HttpMatch {
                headers: vec![header("a")],
                query: vec![header("q")],
                ..below("/a")
            },
        ),
    ];
    let rules = matches.map(|(name, matching)| HttpRule {
        name: Some(name.into()),
        ..rule(vec![matching], forward(vec![backend("cart", 1)]))
    });
    let (routes, codes) = check(&[view("r", rules.into())]);
    let order: Vec<_> = routes
        .iter()
        .map(|route| route["name"].as_str().unwrap())
        .collect();
    let expected = [
        "exact", "regex", "long", "method", "headers", "header", "short", "least",
    ];
    assert_eq!(order, expected.map(|name| format!("shop/r/{name}")));
    assert_eq!(codes, []);
}

#[test]
fn of_two_equal_matches_the_first_acts_and_the_other_is_a_problem() {
    let to = |service: &str| {
        view(
            service,
            vec![rule(Vec::new(), forward(vec![backend(service, 1)]))],
        )
    };
    let (routes, codes) = check(&[to("a"), to("b")]);
    assert_eq!(routes[0]["name"], "shop/a/0");
    assert_eq!(codes, [Code::Shadowed]);
}

#[test]
fn a_prefix_is_matched_by_whole_segments() {
    let path_of = |matching: HttpMatch| {
        let (routes, _) = check(&[view(
            "r",
            vec![rule(vec![matching], forward(vec![backend("cart", 1)]))],
        )]);
        routes[0]["match"].clone()
    };
    assert_eq!(path_of(below("/")), json!({"prefix": "/"}));
    assert_eq!(
        path_of(below("/a/")),
        json!({"path_separated_prefix": "/a"})
    );
    assert_eq!(
        path_of(path(PathMatch::Exact("/a/".into()))),
        json!({"path": "/a/"})
    );
}

#[test]
fn what_envoy_would_refuse_is_left_out_and_said() {
    let bad = [
        path(PathMatch::Regex("(".into())),
        path(PathMatch::Exact("/a?b".into())),
        path(PathMatch::Below("a".into())),
        HttpMatch {
            headers: vec![NamedMatch {
                name: "a b".into(),
                value: ValueMatch::Exact("x".into()),
            }],
            ..below("/")
        },
        HttpMatch {
            query: vec![NamedMatch {
                name: "".into(),
                value: ValueMatch::Exact("x".into()),
            }],
            ..below("/")
        },
    ];
    for matching in bad {
        let matches = vec![matching, below("/good")];
        let (routes, codes) = check(&[view(
            "r",
            vec![rule(matches, forward(vec![backend("cart", 1)]))],
        )]);
        assert_eq!(routes.len(), 1);
        assert_eq!(codes, [Code::NotTranslatable]);
    }
}

#[test]
fn weights_are_shares_and_zero_is_none() {
    let of = |weights: &[(&str, u32)]| {
        let backends = weights
            .iter()
            .map(|(name, weight)| backend(name, *weight))
            .collect();
        check(&[view("r", vec![rule(Vec::new(), forward(backends))])])
    };
    let (routes, codes) = of(&[("a", 90), ("b", 10), ("c", 0)]);
    assert_eq!(codes, []);
    assert_eq!(
        routes[0]["route"]["weighted_clusters"],
        json!({"clusters": [
            {"name": "outbound|80||a.shop.svc.cluster.local", "weight": 90},
            {"name": "outbound|80||b.shop.svc.cluster.local", "weight": 10},
        ]})
    );
    let (routes, _) = of(&[("a", 1), ("c", 0)]);
    assert_eq!(
        routes[0]["route"]["cluster"],
        "outbound|80||a.shop.svc.cluster.local"
    );
    for none in [&[("a", 0), ("b", 0)][..], &[]] {
        let (routes, codes) = of(none);
        assert_eq!(routes[0]["direct_response"], json!({"status": 500}));
        assert_eq!(codes, [Code::NoWeight]);
    }
    // Envoy refuses weights whose sum does not fit into 32 bits.
    let (routes, _) = of(&[("a", u32::MAX), ("b", u32::MAX), ("c", 1)]);
    let clusters = routes[0]["route"]["weighted_clusters"]["clusters"]
        .as_array()
        .unwrap()
        .clone();
    let sum: u64 = clusters
        .iter()
        .map(|cluster| cluster["weight"].as_u64().unwrap())
        .sum();
    assert!(sum <= u64::from(u32::MAX), "{sum}");
    assert_eq!(clusters.len(), 3);
}

#[test]
fn a_backend_that_is_not_there_answers_500() {
    let missing = bowline_mesh::Backend {
        destination: bowline_mesh::Destination::Unresolved,
        ..backend("x", 1)
    };
    let route = route_of(forward(vec![missing, backend("cart", 1)]));
    assert_eq!(
        route["route"]["cluster_not_found_response_code"],
        "INTERNAL_SERVER_ERROR"
    );
    assert_eq!(
        route["route"]["weighted_clusters"]["clusters"][0]["name"],
        "unresolved"
    );
}

#[test]
fn paths_are_rewritten_by_segments() {
    let prefix = |text: &str| PathChange::Prefix(text.into());
    assert_eq!(rewritten("/a", prefix("/x"))["prefix_rewrite"], "/x");
    assert_eq!(rewritten("/a/", prefix("/x/"))["prefix_rewrite"], "/x");
    assert_eq!(rewritten("/", prefix("/x"))["prefix_rewrite"], "/x/");
    assert_eq!(rewritten("/", prefix("/"))["prefix_rewrite"], Value::Null);
    assert_eq!(
        rewritten("/a.b", prefix("/"))["regex_rewrite"],
        json!({"pattern": {"regex": r"^/a\.b/*"}, "substitution": "/"})
    );
    assert_eq!(
        rewritten("/a", PathChange::Full(r"/x\1".into()))["regex_rewrite"],
        json!({"pattern": {"regex": "^/.*$"}, "substitution": r"/x\\1"})
    );
}

#[test]
fn a_prefix_cannot_be_replaced_where_none_is_matched() {
    let rewrite = Rewrite {
        host: None,
        path: Some(PathChange::Prefix("/x".into())),
    };
    let action = HttpAction::Forward {
        backends: vec![backend("cart", 1)],
        rewrite,
    };
    let matches = vec![path(PathMatch::Exact("/a".into()))];
    let (routes, codes) = check(&[view("r", vec![rule(matches, action)])]);
    assert_eq!(codes, [Code::NotTranslatable]);
    assert_eq!(
        routes[0]["route"]["cluster"],
        "outbound|80||cart.shop.svc.cluster.local"
    );
}

#[test]
fn a_redirect_says_a_port_only_where_it_must() {
    use RedirectScheme::{Http, Https};
    let port = |listener, scheme, host: Option<&str>, port| {
        let redirect = Redirect {
            scheme,
            host: host.map(|host| host.parse().unwrap()),
            port,
            path: None,
            status: 302,
        };
        let view = view("r", vec![rule(Vec::new(), HttpAction::Redirect(redirect))]);
        let parent = Parent::Gateway { port: listener };
        let routes = routes(
            [Candidate {
                view: &view,
                host_rank: 0,
            }],
            parent,
            &mut Vec::new(),
        );
        match routes[0].action.clone() {
            Some(route::Action::Redirect(redirect)) => redirect.port_redirect,
            other => panic!("{other:?}"),
        }
    };
    let other = Some("other.example");
    assert_eq!(port(80, Some(Https), None, None), 0);
    assert_eq!(port(80, Some(Https), other, None), 0);
    assert_eq!(port(8080, Some(Https), other, None), 0);
    // The Host may be `example.com:8080`, which https does not listen on.
    assert_eq!(port(8080, Some(Https), None, None), 443);
    assert_eq!(port(8080, Some(Http), None, Some(80)), 80);
    assert_eq!(port(8080, None, other, None), 8080);
    assert_eq!(port(8080, None, None, None), 0);
    assert_eq!(port(80, Some(Http), other, Some(443)), 443);
    assert_eq!(port(80, None, None, Some(9000)), 9000);
}

#[test]
fn a_redirect_has_its_status_and_path() {
    let redirect = HttpAction::Redirect(Redirect {
        scheme: Some(RedirectScheme::Https),
        host: Some("example.com".parse().unwrap()),
        port: None,
        path: Some(PathChange::Prefix("/x".into())),
        status: 308,
    });
    assert_eq!(
        route_of(redirect)["redirect"],
        json!({
            "host_redirect": "example.com",
            "scheme_redirect": "https",
            "prefix_rewrite": "/x",
            "response_code": "PERMANENT_REDIRECT",
        })
    );
}

#[test]
fn headers_are_changed_and_their_values_are_only_text() {
    let pair = |name: &str, value: &str| (name.into(), value.into());
    let changes = HeaderChanges {
        remove: vec!["x-gone".into(), ":path".into()],
        set: vec![pair("x-set", "100%"), pair("Host", "other")],
        add: vec![pair("x-add", "b"), pair("x-bad", "a\r\nb: c")],
    };
    let changed = HttpRule {
        request_headers: changes,
        ..rule(Vec::new(), forward(vec![backend("cart", 1)]))
    };
    let (routes, codes) = check(&[view("r", vec![changed])]);
    assert_eq!(routes[0]["request_headers_to_remove"], json!(["x-gone"]));
    let add = &routes[0]["request_headers_to_add"];
    assert_eq!(add[0]["header"], json!({"key": "x-set", "value": "100%%"}));
    assert_eq!(add[0]["append_action"], "OVERWRITE_IF_EXISTS_OR_ADD");
    assert_eq!(add[1]["header"], json!({"key": "x-add", "value": "b"}));
    assert_eq!(add.as_array().unwrap().len(), 2);
    assert_eq!(codes, [Code::NotTranslatable; 3]);
}

#[test]
fn timeouts_are_as_the_rule_says_and_otherwise_none() {
    use std::time::Duration;
    let with = |timeouts| HttpRule {
        timeouts,
        ..rule(Vec::new(), forward(vec![backend("cart", 1)]))
    };
    let (routes, _) = check(&[view(
        "r",
        vec![with(Timeouts {
            request: Some(Duration::from_secs(10)),
            backend_request: Some(Duration::from_millis(1500)),
        })],
    )]);
    assert_eq!(routes[0]["route"]["timeout"], "10s");
    // Envoy would not look at the timeout beside it.
    assert_eq!(routes[0]["route"]["max_stream_duration"], Value::Null);
    assert_eq!(
        routes[0]["route"]["retry_policy"]["per_try_timeout"],
        "1.500s"
    );
    let (routes, _) = check(&[view(
        "r",
        vec![with(Timeouts {
            request: None,
            backend_request: None,
        })],
    )]);
    assert_eq!(routes[0]["route"]["timeout"], "0s");
}
