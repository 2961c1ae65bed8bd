//! Why a request to the admin API fails.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::wire;
use crate::pipeline::PipelineEnded;

/// A request that fails. The text is for the person who asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{what} '{name}' is not known here; {hint}")]
    NotFound {
        what: &'static str,
        name: String,
        hint: &'static str,
    },
    #[error("{0}")]
    Invalid(String),
    #[error("there is nothing at {0}; `GET /` lists what there is")]
    NoRoute(String),
    #[error("this path does not take {0} requests; `GET /` lists what there is")]
    Method(String),
    #[error("the server is starting: it reads its saved state")]
    Starting,
    #[error("the request took too long")]
    Timeout,
    #[error(transparent)]
    Ended(#[from] PipelineEnded),
    #[error("the server has failed to answer: {0}")]
    Internal(String),
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match self {
            Self::NotFound { .. } | Self::NoRoute(_) => StatusCode::NOT_FOUND,
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Starting | Self::Timeout | Self::Ended(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let error = self.to_string();
        (status, Json(wire::Error { error })).into_response()
    }
}
