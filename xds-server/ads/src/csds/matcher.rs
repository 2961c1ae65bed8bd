//! Which clients a question is about.
//!
//! They are told apart by the ids of their Nodes. A question by their metadata (`node_metadatas`) is refused: to answer it as if it were
//! about all would be wrong, and the metadata is not there to look at. Of a Node a stream keeps a fingerprint, by which it notices another
//! one; what the metadata said is in the keys of its layers by then. To keep it would cost every proxy some hundred bytes and more (Istio's
//! agents put all labels of their pod into it) for a question that is asked now and then, and role, address, name and namespace are in
//! the id already.

use bowline_proto::envoy::r#type::matcher::v3::{
    NodeMatcher, RegexMatcher, StringMatcher, string_matcher::MatchPattern,
};
use regex::{Regex, RegexBuilder};

/// A client is meant where any of them matches; without any, all are.
pub(super) struct Matchers(Vec<Pattern>);

enum Pattern {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    Expression(Regex),
    /// Without regard to case; the inner pattern is in lower case.
    AnyCase(Box<Pattern>),
    /// It says nothing about the id.
    All,
}

impl Matchers {
    /// Matchers of node ids.
    ///
    /// # Errors
    /// Where one looks at something else, or is not understood: what is wrong.
    pub(super) fn new(matchers: &[NodeMatcher]) -> Result<Self, String> {
        let pattern = |matcher: &NodeMatcher| {
            let NodeMatcher {
                node_id,
                node_metadatas,
            } = matcher;
            if !node_metadatas.is_empty() {
                return Err(
                    "clients are told apart by `node_id`: their metadata is not kept".to_owned(),
                );
            }
            node_id.as_ref().map_or(Ok(Pattern::All), Pattern::of)
        };
        Ok(Self(
            matchers.iter().map(pattern).collect::<Result<_, _>>()?,
        ))
    }

    pub(super) fn matches(&self, id: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|pattern| pattern.matches(id))
    }
}

impl Pattern {
    fn of(matcher: &StringMatcher) -> Result<Self, String> {
        let StringMatcher {
            ignore_case,
            match_pattern,
        } = matcher;
        let text = |text: &String| match ignore_case {
            true => text.to_lowercase(),
            false => text.clone(),
        };
        let pattern = match match_pattern {
            Some(MatchPattern::Exact(exact)) => Self::Exact(text(exact)),
            Some(MatchPattern::Prefix(prefix)) => Self::Prefix(text(prefix)),
            Some(MatchPattern::Suffix(suffix)) => Self::Suffix(text(suffix)),
            Some(MatchPattern::Contains(part)) => Self::Contains(text(part)),
            // It has no regard for `ignore_case` (StringMatcher, `ignore_case`).
            Some(MatchPattern::SafeRegex(RegexMatcher { regex, .. })) => {
                return expression(regex).map(Self::Expression);
            }
            Some(MatchPattern::Custom(_)) => {
                return Err("custom matchers are not known".to_owned());
            }
            None => return Err("a matcher needs a pattern".to_owned()),
        };
        Ok(match ignore_case {
            true => Self::AnyCase(Box::new(pattern)),
            false => pattern,
        })
    }

    fn matches(&self, id: &str) -> bool {
        match self {
            Self::Exact(exact) => id == exact,
            Self::Prefix(prefix) => id.starts_with(prefix),
            Self::Suffix(suffix) => id.ends_with(suffix),
            Self::Contains(part) => id.contains(part),
            Self::Expression(expression) => expression.is_match(id),
            Self::AnyCase(pattern) => pattern.matches(&id.to_lowercase()),
            Self::All => true,
        }
    }
}

/// The whole text must match.
fn expression(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(&format!("^(?:{text})$"))
        .size_limit(EXPRESSION_BYTES_MAX)
        .build()
        .map_err(|error| format!("the expression '{text}' is not understood: {error}"))
}

const EXPRESSION_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(pattern: MatchPattern, ignore_case: bool) -> NodeMatcher {
        NodeMatcher {
            node_id: Some(StringMatcher {
                ignore_case,
                match_pattern: Some(pattern),
            }),
            node_metadatas: Vec::new(),
        }
    }

    fn check(matchers: &[NodeMatcher], expected: &[&str]) {
        let matchers = Matchers::new(matchers).unwrap();
        let ids = ["web-1", "web-2", "cart-1"];
        let matched: Vec<_> = ids.into_iter().filter(|id| matchers.matches(id)).collect();
        assert_eq!(matched, expected);
    }

    #[test]
    fn a_client_is_meant_where_any_matcher_matches() {
        let exact = |text: &str| matcher(MatchPattern::Exact(text.to_owned()), false);
        check(&[], &["web-1", "web-2", "cart-1"]);
        check(&[exact("web-1"), exact("cart-1")], &["web-1", "cart-1"]);
        check(&[exact("WEB-1")], &[]);
        check(
            &[matcher(MatchPattern::Prefix("WEB".to_owned()), true)],
            &["web-1", "web-2"],
        );
        check(
            &[matcher(MatchPattern::Suffix("-1".to_owned()), false)],
            &["web-1", "cart-1"],
        );
        check(
            &[matcher(MatchPattern::Contains("b-".to_owned()), false)],
            &["web-1", "web-2"],
        );
        check(&[NodeMatcher::default()], &["web-1", "web-2", "cart-1"]);
    }

    #[test]
    fn an_expression_matches_the_whole_id() {
        let of = |regex: &str| {
            let regex = RegexMatcher {
                regex: regex.to_owned(),
                ..RegexMatcher::default()
            };
            matcher(MatchPattern::SafeRegex(regex), false)
        };
        check(&[of("web-[12]")], &["web-1", "web-2"]);
        check(&[of("web")], &[]);
        check(&[of("x|cart-.")], &["cart-1"]);
        assert!(Matchers::new(&[of("(")]).is_err());
        assert!(Matchers::new(&[of("((a{1000}){1000}){1000}")]).is_err());
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let metadata = NodeMatcher {
            node_metadatas: vec![Default::default()],
            ..NodeMatcher::default()
        };
        let nothing = NodeMatcher {
            node_id: Some(StringMatcher::default()),
            ..NodeMatcher::default()
        };
        for matcher in [metadata, nothing] {
            assert!(Matchers::new(&[matcher]).is_err());
        }
    }
}
