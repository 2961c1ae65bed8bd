//! What a request must look like.

use bowline_mesh::{HttpMatch, NamedMatch, PathMatch, ValueMatch};
use bowline_proto::envoy::{
    config::route::v3::{
        HeaderMatcher, QueryParameterMatcher, RouteMatch, header_matcher, query_parameter_matcher,
        route_match::PathSpecifier,
    },
    r#type::matcher::v3::{RegexMatcher, StringMatcher, string_matcher},
};

use super::headers::is_name;

/// Envoy's match. An error says why Envoy would refuse it: one refused route takes all routes of the proxy with it.
pub(super) fn route_match(matching: &HttpMatch) -> Result<RouteMatch, String> {
    let HttpMatch {
        path,
        method,
        headers,
        query,
    } = matching;
    let mut matched = RouteMatch {
        path_specifier: Some(path_specifier(path)?),
        ..RouteMatch::default()
    };
    if let Some(method) = method {
        matched.headers.push(header(":method", exactly(method)));
    }
    for NamedMatch { name, value } in headers {
        if !is_name(name) {
            return Err(format!("'{name}' is not a header name"));
        }
        // Envoy knows the Host header by its name in HTTP/2 only.
        let name = if name.eq_ignore_ascii_case("host") {
            ":authority"
        } else {
            name
        };
        matched.headers.push(header(name, value_matcher(value)?));
    }
    for NamedMatch { name, value } in query {
        if name.is_empty() {
            return Err("a query parameter has no name".to_owned());
        }
        let matcher = value_matcher(value)?;
        matched.query_parameters.push(QueryParameterMatcher {
            name: name.to_string(),
            query_parameter_match_specifier: Some(
                query_parameter_matcher::QueryParameterMatchSpecifier::StringMatch(matcher),
            ),
        });
    }
    Ok(matched)
}

fn path_specifier(path: &PathMatch) -> Result<PathSpecifier, String> {
    let plain = |path: &str| match path.contains(['?', '#']) || !path.starts_with('/') {
        true => Err(format!("'{path}' is not a path")),
        false => Ok(path.to_owned()),
    };
    Ok(match path {
        PathMatch::Exact(path) => PathSpecifier::Path(plain(path)?),
        PathMatch::Below(path) => match plain(path)?.trim_end_matches('/') {
            "" => PathSpecifier::Prefix("/".to_owned()),
            prefix => PathSpecifier::PathSeparatedPrefix(prefix.to_owned()),
        },
        PathMatch::Regex(expression) => PathSpecifier::SafeRegex(regex(expression)?),
    })
}

fn header(name: &str, matcher: StringMatcher) -> HeaderMatcher {
    HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(header_matcher::HeaderMatchSpecifier::StringMatch(matcher)),
        ..HeaderMatcher::default()
    }
}

fn value_matcher(value: &ValueMatch) -> Result<StringMatcher, String> {
    match value {
        ValueMatch::Exact(text) => Ok(exactly(text)),
        ValueMatch::Regex(expression) => Ok(StringMatcher {
            match_pattern: Some(string_matcher::MatchPattern::SafeRegex(regex(expression)?)),
            ..StringMatcher::default()
        }),
    }
}

fn exactly(text: &str) -> StringMatcher {
    StringMatcher {
        match_pattern: Some(string_matcher::MatchPattern::Exact(text.to_owned())),
        ..StringMatcher::default()
    }
}

/// Envoy's expressions are RE2's, in which what the standard parser of Rust refuses is refused too.
fn regex(expression: &str) -> Result<RegexMatcher, String> {
    match regex_syntax::Parser::new().parse(expression) {
        Ok(_) if !expression.is_empty() => Ok(RegexMatcher {
            regex: expression.to_owned(),
            ..RegexMatcher::default()
        }),
        Ok(_) => Err("an expression is empty".to_owned()),
        Err(_) => Err(format!("'{expression}' is not a regular expression")),
    }
}
