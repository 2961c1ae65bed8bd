//! An answer, before it is on the wire.

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;

/// An answer before it is on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) fn plain(status: StatusCode, text: &str) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::copy_from_slice(text.as_bytes()),
        }
    }

    pub(super) fn bad(text: &str) -> Self {
        Self::plain(StatusCode::BAD_REQUEST, text)
    }

    pub(super) fn denied(text: &str) -> Self {
        Self::plain(StatusCode::FORBIDDEN, text)
    }

    pub(super) fn failure(text: &str) -> Self {
        Self::plain(StatusCode::INTERNAL_SERVER_ERROR, text)
    }

    pub(super) fn not_found() -> Self {
        let text = "Invalid URL path: not a recognized HTTP API endpoint";
        Self::plain(StatusCode::NOT_FOUND, text)
    }

    pub(super) fn json(value: &impl Serialize) -> Self {
        Self::with_headers(Vec::new(), written(value))
    }

    pub(super) fn with_headers(headers: Vec<(&'static str, String)>, body: Bytes) -> Self {
        Self {
            status: StatusCode::OK,
            headers,
            body,
        }
    }
}

/// Rows as JSON.
pub(super) fn written(value: &impl Serialize) -> Bytes {
    Bytes::from(serde_json::to_vec(value).expect("rows have string keys only, so they are JSON"))
}
