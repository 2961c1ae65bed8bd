//! An HTTP backend: HTTP/1.1, HTTP/2 without TLS, and enough of gRPC to echo a message.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicU64, Ordering},
    },
    time::Duration,
};

use ::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use anyhow::{Result, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::{Map, Value, json};

use super::Server;

/// The header of an answer that says which backend gave it.
pub(crate) const NAME_HEADER: &str = "x-backend";

/// The header of a request that makes the backend wait before it answers.
const DELAY_HEADER: &str = "x-delay-ms";

/// The header of a request that chooses the answer's status.
const STATUS_HEADER: &str = "x-status";

/// An HTTP backend that answers with its name and with the request as it arrived.
///
/// The request's header `x-delay-ms` delays the answer, `x-status` chooses its status.
#[derive(Debug)]
pub struct HttpBackend {
    server: Server,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    name: HeaderValue,
    requests: AtomicU64,
    status: AtomicU16,
}

impl HttpBackend {
    /// Starts it on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When it cannot listen, or the name is not fit for a header.
    pub async fn start(name: &str) -> Result<Self> {
        Self::start_on(name, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
    }

    /// Starts it on an address.
    ///
    /// # Errors
    /// When it cannot listen there, or the name is not fit for a header.
    pub async fn start_on(name: &str, address: SocketAddr) -> Result<Self> {
        let state = Arc::new(State {
            name: HeaderValue::from_str(name)?,
            requests: AtomicU64::new(0),
            status: AtomicU16::new(StatusCode::OK.as_u16()),
        });
        let shared = Arc::clone(&state);
        let server = Server::start(address, move |stream| {
            let state = Arc::clone(&shared);
            async move {
                stream.set_nodelay(true)?;
                let service = service_fn(move |request| {
                    let state = Arc::clone(&state);
                    async move { Ok::<_, Infallible>(state.answer(request).await) }
                });
                auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await
                    .map_err(|error| anyhow!(error))
            }
        })
        .await?;
        Ok(Self { server, state })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// The port on which it listens.
    pub fn port(&self) -> u16 {
        self.server.address.port()
    }

    /// How many requests it has answered.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// From now on it answers every request with this status.
    pub fn answer_with(&self, status: StatusCode) {
        self.state.status.store(status.as_u16(), Ordering::Relaxed);
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

impl State {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let (parts, body) = request.into_parts();
        if let Some(delay_ms) = number(&parts.headers, DELAY_HEADER) {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        }
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => Bytes::new(),
        };
        let grpc = parts
            .headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        if grpc {
            return self.grpc_answer(body);
        }
        let status = number(&parts.headers, STATUS_HEADER)
            .and_then(|status| u16::try_from(status).ok())
            .unwrap_or_else(|| self.status.load(Ordering::Relaxed));
        let echo = json!({
            "backend": self.name.to_str().unwrap_or_default(),
            "protocol": format!("{:?}", parts.version),
            "method": parts.method.as_str(),
            "host": parts.uri.authority().map(ToString::to_string)
                .or_else(|| text(&parts.headers, header::HOST)),
            "path": parts.uri.path_and_query().map(ToString::to_string),
            "headers": headers(&parts.headers),
            "body": String::from_utf8_lossy(&body),
        });
        let mut response =
            Response::new(Full::new(Bytes::from(format!("{echo}\n"))).boxed_unsync());
        *response.status_mut() =
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        self.sign(response.headers_mut(), "application/json");
        response
    }

    /// The same message back, with the trailers that gRPC wants.
    fn grpc_answer(&self, body: Bytes) -> Response<Body> {
        let trailers = HeaderMap::from_iter([(
            HeaderName::from_static("grpc-status"),
            HeaderValue::from_static("0"),
        )]);
        let body = Full::new(body).with_trailers(std::future::ready(Some(Ok(trailers))));
        let mut response = Response::new(body.boxed_unsync());
        self.sign(response.headers_mut(), "application/grpc");
        response
    }

    fn sign(&self, headers: &mut HeaderMap, content: &'static str) {
        headers.insert(NAME_HEADER, self.name.clone());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content));
    }
}

fn headers(headers: &HeaderMap) -> Map<String, Value> {
    headers
        .keys()
        .map(|name| {
            let values: Vec<_> = headers
                .get_all(name)
                .iter()
                .map(|value| String::from_utf8_lossy(value.as_bytes()))
                .collect();
            (name.to_string(), Value::from(values.join(",")))
        })
        .collect()
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

fn number(headers: &HeaderMap, name: &'static str) -> Option<u64> {
    text(headers, HeaderName::from_static(name))?.parse().ok()
}
