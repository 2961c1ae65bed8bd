//! Requests to an API server, and what can become of them.

use std::{fmt::Write, time::Duration};

use bytes::{Buf, BytesMut};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use tokio::time::timeout;

use crate::access::with_causes;

/// Objects a page of a list.
const PAGE_ITEMS: usize = 500;
/// An API server refuses objects of 3 MiB: what is larger is not from one.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A page with objects of the usual size is a hundredth of this.
const PAGE_BYTES_MAX: usize = 512 * 1024 * 1024;
/// What stands in an error is for people.
const ERROR_BYTES_MAX: usize = 64 * 1024;
/// How long an answer may pause.
const ANSWER_PAUSE: Duration = Duration::from_secs(30);
/// A watch has a bookmark every minute; where nothing comes for so long, the connection may be dead.
const WATCH_PAUSE: Duration = Duration::from_secs(150);
/// How long an API server keeps up a watch. It ends sooner whenever the server likes.
const WATCH_SECONDS: u32 = 290;

/// Why a request has no good answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// What happened since then is not known any more: everything must be listed anew.
    #[error("changes since the last known version are not kept any more")]
    Expired,
    /// There is no such resource.
    #[error("the API server does not have it")]
    Missing,
    /// We may not.
    #[error("denied: {0}")]
    Denied(String),
    /// The API server does not know who we are.
    #[error("the API server does not accept the credentials: {0}")]
    Unauthorized(String),
    /// Something else is wrong, as the API server says.
    #[error("the API server answers {code}: {message}")]
    Refused {
        /// The status.
        code: u16,
        /// What it says.
        message: String,
    },
    /// There is no answer.
    #[error("the API server cannot be reached: {0}")]
    Unreachable(String),
    /// There is an answer, but no API server would give it.
    #[error("the API server's answer makes no sense: {0}")]
    Garbled(String),
}

/// What an API server says about a failure.
#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    message: String,
    #[serde(default)]
    code: u16,
}

#[derive(Deserialize)]
struct ListMetadata {
    #[serde(default, rename = "resourceVersion")]
    version: String,
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct ListPage<'p> {
    metadata: ListMetadata,
    #[serde(borrow)]
    items: Option<Vec<&'p RawValue>>,
}

/// What of a kind is asked for, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Collection {
    /// Where it is.
    pub(crate) path: String,
    /// Which of it, as queries have it.
    pub(crate) selector: Option<&'static str>,
    /// What of its objects.
    pub(crate) shown: Shown,
}

/// What of objects is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// All of them.
    Whole,
    /// Nothing but their metadata.
    Metadata,
}

impl Shown {
    /// What an answer may be that has a list. There is no second choice: it would be the whole objects.
    fn of_lists(self) -> &'static str {
        match self {
            Self::Whole => "application/json",
            Self::Metadata => "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        }
    }

    /// What an answer may be of which each event has an object.
    fn of_events(self) -> &'static str {
        match self {
            Self::Whole => "application/json",
            Self::Metadata => "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        }
    }
}

impl Collection {
    fn query(&self, first: &str) -> String {
        let mut query = format!("{}?{first}", self.path);
        if let Some(selector) = self.selector {
            query.push('&');
            query.push_str(selector);
        }
        query
    }
}

/// Asks for everything that is meant, page by page, and gives each object to `take`. Returns the version of the whole.
///
/// # Errors
/// When not everything can be had.
pub(crate) async fn list(
    client: &Client,
    collection: &Collection,
    mut take: impl FnMut(&str),
) -> Result<String, ApiError> {
    let mut next: Option<String> = None;
    loop {
        let mut query = collection.query(&format!("limit={PAGE_ITEMS}"));
        if let Some(token) = &next {
            query.push_str("&continue=");
            encode(token, &mut query);
        }
        let accept = collection.shown.of_lists();
        let text = get_as(client, &query, accept, PAGE_BYTES_MAX).await?;
        let page: ListPage<'_> = serde_json::from_slice(&text)
            .map_err(|error| ApiError::Garbled(format!("{}: {error}", collection.path)))?;
        for item in page.items.unwrap_or_default() {
            take(item.get());
        }
        match page.metadata.next {
            Some(token) if !token.is_empty() => next = Some(token),
            Some(_) | None => return Ok(page.metadata.version),
        }
    }
}

/// Asks for something.
///
/// # Errors
/// When there is no good answer.
pub(crate) async fn get(
    client: &Client,
    path_and_query: &str,
    bytes_max: usize,
) -> Result<Vec<u8>, ApiError> {
    get_as(client, path_and_query, "application/json", bytes_max).await
}

async fn get_as(
    client: &Client,
    path_and_query: &str,
    accept: &str,
    bytes_max: usize,
) -> Result<Vec<u8>, ApiError> {
    let request = Request::get(path_and_query)
        .header("accept", accept)
        .body(Body::empty())
        .map_err(|error| ApiError::Garbled(error.to_string()))?;
    let response = send(client, request).await?;
    collect(response.into_body(), bytes_max).await
}

/// Writes an object or a part of it. Returns the object as it is then.
///
/// # Errors
/// When it is not written, or that is not known.
pub(crate) async fn write(
    client: &Client,
    method: Method,
    path: &str,
    content: &Value,
) -> Result<Vec<u8>, ApiError> {
    let kind = match method {
        Method::PATCH => "application/merge-patch+json",
        _ => "application/json",
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", kind)
        .header("accept", "application/json")
        .body(Body::from(content.to_string().into_bytes()))
        .map_err(|error| ApiError::Garbled(error.to_string()))?;
    let response = send(client, request).await?;
    collect(response.into_body(), LINE_BYTES_MAX).await
}

/// Sends a request, and takes a failure for what it is.
///
/// # Errors
/// When there is no good answer.
pub(crate) async fn send(
    client: &Client,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let response = match timeout(ANSWER_PAUSE, client.send(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Err(ApiError::Unreachable(with_causes(&error))),
        Err(_) => return Err(unanswered()),
    };
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = collect(response.into_body(), ERROR_BYTES_MAX)
        .await
        .unwrap_or_default();
    let message = match serde_json::from_slice::<Status>(&body) {
        Ok(status) if !status.message.is_empty() => shortened(&status.message),
        Ok(_) | Err(_) => status.canonical_reason().unwrap_or("no reason").to_owned(),
    };
    Err(failure(status.as_u16(), message))
}

fn failure(code: u16, message: String) -> ApiError {
    match StatusCode::from_u16(code) {
        Ok(StatusCode::GONE) => ApiError::Expired,
        Ok(StatusCode::NOT_FOUND) => ApiError::Missing,
        Ok(StatusCode::FORBIDDEN) => ApiError::Denied(message),
        Ok(StatusCode::UNAUTHORIZED) => ApiError::Unauthorized(message),
        _ => ApiError::Refused { code, message },
    }
}

fn unanswered() -> ApiError {
    ApiError::Unreachable(format!("no answer for {} s", ANSWER_PAUSE.as_secs()))
}

/// Takes an answer as a whole.
///
/// # Errors
/// When it does not come to its end, or is too large.
pub(crate) async fn collect(mut body: Body, bytes_max: usize) -> Result<Vec<u8>, ApiError> {
    let mut collected = Vec::new();
    loop {
        let frame = timeout(ANSWER_PAUSE, body.frame()).await;
        match frame.map_err(|_| unanswered())? {
            None => return Ok(collected),
            Some(Err(error)) => return Err(ApiError::Unreachable(with_causes(&error))),
            Some(Ok(frame)) => {
                let data = frame.into_data().unwrap_or_default();
                if collected.len() + data.len() > bytes_max {
                    let message = format!("an answer has more than {bytes_max} bytes");
                    return Err(ApiError::Garbled(message));
                }
                collected.extend_from_slice(&data);
            }
        }
    }
}

/// From where something is watched.
#[derive(Debug, Clone, Copy)]
pub(crate) enum From<'v> {
    /// Everything that is there, and then what changes (a streaming list).
    Everything,
    /// What changed since a version.
    Version(&'v str),
}

/// Watches what is meant.
///
/// # Errors
/// When there is no good answer.
pub(crate) async fn watch(
    client: &Client,
    collection: &Collection,
    from: From<'_>,
) -> Result<WatchLines, ApiError> {
    let watch = format!("watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}");
    let mut query = collection.query(&watch);
    match from {
        From::Everything => {
            query.push_str("&sendInitialEvents=true&resourceVersionMatch=NotOlderThan");
        }
        From::Version(version) => {
            query.push_str("&resourceVersion=");
            encode(version, &mut query);
        }
    }
    let request = Request::get(query)
        .header("accept", collection.shown.of_events())
        .body(Body::empty())
        .map_err(|error| ApiError::Garbled(error.to_string()))?;
    let response = send(client, request).await?;
    Ok(WatchLines {
        body: response.into_body(),
        buffer: BytesMut::new(),
        searched: 0,
    })
}

/// The events of a watch, each a line of JSON.
#[derive(Debug)]
pub(crate) struct WatchLines {
    body: Body,
    buffer: BytesMut,
    /// How much of the buffer has no end of a line in it.
    searched: usize,
}

impl WatchLines {
    /// The next line; `None` when the API server ends the watch, which it does now and then. Cancel-safe.
    ///
    /// # Errors
    /// When the connection breaks, or is silent for too long.
    pub(crate) async fn next(&mut self) -> Result<Option<BytesMut>, ApiError> {
        loop {
            let rest = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(self.searched + end);
                self.buffer.advance(1);
                self.searched = 0;
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            if self.searched > LINE_BYTES_MAX {
                let message = format!("an object has more than {LINE_BYTES_MAX} bytes");
                return Err(ApiError::Garbled(message));
            }
            match timeout(WATCH_PAUSE, self.body.frame()).await {
                Err(_) => {
                    let message = format!("a watch was silent for {} s", WATCH_PAUSE.as_secs());
                    return Err(ApiError::Unreachable(message));
                }
                // What is left without an end is half an event, which will be sent again.
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(ApiError::Unreachable(with_causes(&error))),
                Ok(Some(Ok(frame))) => {
                    self.buffer
                        .extend_from_slice(&frame.into_data().unwrap_or_default());
                }
            }
        }
    }
}

/// One event of a watch.
#[derive(Debug)]
pub(crate) enum WatchEvent<'l> {
    /// An object is new or different: its JSON.
    Put(&'l RawValue),
    /// An object is gone: its last JSON.
    Gone(&'l RawValue),
    /// Nothing happened up to this version.
    Bookmark {
        version: &'l str,
        /// Everything that was there has been sent.
        is_initial_end: bool,
    },
}

#[derive(Deserialize)]
struct Line<'l> {
    r#type: &'l str,
    #[serde(borrow)]
    object: &'l RawValue,
}

#[derive(Deserialize)]
struct Versioned<'l> {
    #[serde(borrow)]
    metadata: VersionMetadata<'l>,
}

#[derive(Deserialize)]
struct VersionMetadata<'l> {
    #[serde(borrow, rename = "resourceVersion")]
    version: &'l str,
    #[serde(default)]
    annotations: Option<BookmarkAnnotations>,
}

#[derive(Deserialize)]
struct BookmarkAnnotations {
    #[serde(rename = "k8s.io/initial-events-end")]
    initial_end: Option<String>,
}

/// Reads a line of a watch.
///
/// # Errors
/// When it tells of a failure, or is no event.
pub(crate) fn event(line: &[u8]) -> Result<WatchEvent<'_>, ApiError> {
    let garbled = |error: serde_json::Error| ApiError::Garbled(error.to_string());
    let Line { r#type, object } = serde_json::from_slice(line).map_err(garbled)?;
    match r#type {
        "ADDED" | "MODIFIED" => Ok(WatchEvent::Put(object)),
        "DELETED" => Ok(WatchEvent::Gone(object)),
        "BOOKMARK" => {
            let Versioned { metadata } = serde_json::from_str(object.get()).map_err(garbled)?;
            let annotations = metadata.annotations;
            let end = annotations.and_then(|annotations| annotations.initial_end);
            Ok(WatchEvent::Bookmark {
                version: metadata.version,
                is_initial_end: end.as_deref() == Some("true"),
            })
        }
        "ERROR" => {
            let Status { message, code } = serde_json::from_str(object.get()).map_err(garbled)?;
            Err(failure(code, shortened(&message)))
        }
        other => Err(ApiError::Garbled(format!(
            "an event of type '{}'",
            shortened(other)
        ))),
    }
}

/// The version of an object.
///
/// # Errors
/// When it has none.
pub(crate) fn version(object: &RawValue) -> Result<&str, ApiError> {
    match serde_json::from_str::<Versioned<'_>>(object.get()) {
        Ok(versioned) => Ok(versioned.metadata.version),
        Err(error) => Err(ApiError::Garbled(error.to_string())),
    }
}

/// A value in a query.
fn encode(text: &str, query: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                query.push(char::from(byte));
            }
            // Writing to a String does not fail.
            _ => drop(write!(query, "%{byte:02X}")),
        }
    }
}

/// Texts from outside can be of any length; messages are for people.
fn shortened(text: &str) -> String {
    const CHARACTERS_MAX: usize = 300;
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_watch_are_events_or_say_what_is_wrong() {
        let put = br#"{"type":"ADDED","object":{"metadata":{"resourceVersion":"7","annotations":{"a":"b"}}}}"#;
        match event(put) {
            Ok(WatchEvent::Put(object)) => assert_eq!(version(object), Ok("7")),
            other => panic!("{other:?}"),
        }
        let bookmark = br#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true"}}}}"#;
        assert!(matches!(
            event(bookmark),
            Ok(WatchEvent::Bookmark {
                version: "9",
                is_initial_end: true
            })
        ));
        let expired = br#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}"#;
        assert_eq!(event(expired).err(), Some(ApiError::Expired));
        for garbage in [
            &b""[..],
            b"{}",
            b"[]",
            b"{\"type\":\"SURPRISE\",\"object\":{}}",
            b"{\"type\":\"BOOKMARK\",\"object\":null}",
            b"\xff\xfe",
        ] {
            assert!(
                matches!(event(garbage), Err(ApiError::Garbled(_))),
                "{garbage:?}"
            );
        }
    }

    #[test]
    fn what_stands_in_a_query_is_encoded() {
        let mut query = String::new();
        encode("a+b/c=&d é", &mut query);
        assert_eq!(query, "a%2Bb%2Fc%3D%26d%20%C3%A9");
    }
}
