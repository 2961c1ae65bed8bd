//! What the API answers when it does not do what was asked: a `Status` with a reason.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{json::set, kind::Kind};

/// A refusal, as the body of an answer or as the object of an `ERROR` event.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) code: StatusCode,
    reason: &'static str,
    message: String,
    details: Map<String, Value>,
    continue_with: Option<String>,
}

impl Failure {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: Map::new(),
            continue_with: None,
        }
    }

    fn about(mut self, kind: &Kind, name: &str) -> Self {
        if !name.is_empty() {
            self.details.insert("name".into(), name.into());
        }
        if !kind.group.is_empty() {
            self.details
                .insert("group".into(), kind.group.clone().into());
        }
        self.details
            .insert("kind".into(), kind.plural.clone().into());
        self
    }

    fn retry_after_seconds(mut self, seconds: u64) -> Self {
        self.details
            .insert("retryAfterSeconds".into(), seconds.into());
        self
    }

    pub(super) fn not_found(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", kind.resource);
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).about(kind, name)
    }

    pub(super) fn already_exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", kind.resource);
        Self::new(StatusCode::CONFLICT, "AlreadyExists", message).about(kind, name)
    }

    pub(super) fn conflict(kind: &Kind, name: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": the object has been modified; please \
             apply your changes to the latest version and try again",
            kind.resource
        );
        Self::new(StatusCode::CONFLICT, "Conflict", message).about(kind, name)
    }

    /// `what` is the kind, with its group if it has one; `why` begins with the field.
    pub(super) fn invalid(what: &str, name: &str, why: &str) -> Self {
        let message = format!("{what} \"{name}\" is invalid: {why}");
        let mut failure = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message);
        let (kind, group) = what.split_once('.').unwrap_or((what, ""));
        if !group.is_empty() {
            failure.details.insert("group".into(), group.into());
        }
        failure.details.insert("kind".into(), kind.into());
        let (field, message) = why.split_once(": ").unwrap_or(("", why));
        let causes = json!([{"field": field, "message": message}]);
        failure.details.insert("causes".into(), causes);
        failure
    }

    pub(super) fn bad_request(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", why)
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
    }

    pub(super) fn forbidden(user: &str, verb: &str, kind: &Kind, place: (&str, &str)) -> Self {
        let (namespace, name) = place;
        let scope = match namespace {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace \"{namespace}\""),
        };
        let named = match name {
            "" => String::new(),
            name => format!(" \"{name}\""),
        };
        let message = format!(
            "{}{named} is forbidden: User \"{user}\" cannot {verb} resource \"{}\" in API group \
             \"{}\" {scope}",
            kind.resource, kind.plural, kind.group
        );
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message).about(kind, name)
    }

    /// A list's or a watch's resourceVersion of which the history is not there any more.
    pub(super) fn expired(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "Expired", message)
    }

    /// A page's token that is too old; `token` gives the rest as it is now.
    pub(super) fn expired_page(token: String) -> Self {
        let mut failure = Self::expired(
            "The provided continue parameter is too old to display a consistent list result. You \
             can start a new list without the continue parameter, or use the continue token in \
             this response to retrieve the remainder of the results. Continuing with the provided \
             token results in an inconsistent list - objects that were created, modified, or \
             deleted between the time the first chunk was returned and now may show up in the list.",
        );
        failure.continue_with = Some(token);
        failure
    }

    /// A resourceVersion that has not been reached yet.
    pub(super) fn too_large(wanted: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
        let mut failure = Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message);
        failure.details.insert(
            "causes".into(),
            json!([{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]),
        );
        failure.retry_after_seconds(1)
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
    }

    pub(super) fn not_acceptable(why: &str) -> Self {
        Self::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", why)
    }

    pub(super) fn unsupported_media_type(content: &str) -> Self {
        let message = format!("the body of the request was in an unknown format - {content}");
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaType",
            message,
        )
    }

    pub(super) fn too_many_requests() -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "TooManyRequests",
            "Too many requests, please try again later.",
        )
        .retry_after_seconds(1)
    }

    pub(super) fn unavailable() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            "apiserver is shutting down",
        )
    }

    /// The `Status` object.
    pub(super) fn status(&self) -> Value {
        let mut metadata = Map::new();
        if let Some(token) = &self.continue_with {
            metadata.insert("continue".into(), token.clone().into());
        }
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": metadata,
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code.as_u16(),
        });
        if !self.details.is_empty() {
            set(&mut status, &["details"], self.details.clone());
        }
        status
    }
}
