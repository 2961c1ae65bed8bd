//! A small HTTP client that hides nothing: one request, one connection unless asked otherwise.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, task::JoinSet};

/// Longer than any answer should take, short enough to tell a hang from a slow machine.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// A request to send.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where to connect to.
    pub address: SocketAddr,
    /// The authority: `Host`, or `:authority`.
    pub host: String,
    /// `GET` unless said otherwise.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// The protocol.
    pub version: Version,
}

/// HTTP's versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS, known beforehand.
    Http2,
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The trailers, empty when there were none.
    pub trailers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Request {
    /// A `GET` over HTTP/1.1.
    pub fn get(address: SocketAddr, host: &str, path: &str) -> Self {
        Self {
            address,
            host: host.to_owned(),
            method: Method::GET,
            path: path.to_owned(),
            headers: Vec::new(),
            body: Bytes::new(),
            version: Version::Http1,
        }
    }

    /// The same with a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with another method.
    #[must_use]
    pub fn method(self, method: Method) -> Self {
        Self { method, ..self }
    }

    /// The same over HTTP/2.
    #[must_use]
    pub fn http2(self) -> Self {
        Self {
            version: Version::Http2,
            ..self
        }
    }

    /// A gRPC call of one message, without its protobuf.
    pub fn grpc(address: SocketAddr, host: &str, path: &str, message: &[u8]) -> Self {
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
        let framed = [&[0], length.to_be_bytes().as_slice(), message].concat();
        Self {
            method: Method::POST,
            body: Bytes::from(framed),
            ..Self::get(address, host, path).http2()
        }
        .header("content-type", "application/grpc")
        .header("te", "trailers")
    }

    /// Sends it on a connection of its own.
    ///
    /// # Errors
    /// When there is no connection or no complete answer.
    pub async fn send(&self) -> Result<Answer> {
        let mut connection = Connection::open(self.address, self.version).await?;
        connection.send(self).await
    }

    fn message(&self) -> Result<http::Request<Full<Bytes>>> {
        let mut builder = http::Request::builder().method(self.method.clone());
        match self.version {
            Version::Http1 => {
                builder = builder
                    .uri(&self.path)
                    .header(http::header::HOST, &self.host);
            }
            Version::Http2 => {
                builder = builder
                    .version(http::Version::HTTP_2)
                    .uri(format!("http://{}{}", self.host, self.path));
            }
        }
        for (name, value) in &self.headers {
            builder = builder.header(name, value);
        }
        builder
            .body(Full::new(self.body.clone()))
            .with_context(|| format!("not a request: {} {}", self.host, self.path))
    }
}

impl Answer {
    /// Which backend answered, or nothing when it was not one of ours.
    pub fn backend(&self) -> Option<&str> {
        self.headers.get(crate::backend::NAME_HEADER)?.to_str().ok()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("not JSON (status {}): {}", self.status, self.text()))
    }

    /// A header's value, or nothing when it is not there.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A connection that is used for one request after the other.
pub(crate) struct Connection {
    sender: Sender,
    /// hyper's half that moves the bytes; it ends with this value.
    _driver: JoinSet<hyper::Result<()>>,
}

enum Sender {
    Http1(conn::http1::SendRequest<Full<Bytes>>),
    Http2(conn::http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr, version: Version) -> Result<Self> {
        let stream = tokio::time::timeout(ANSWER_WITHIN, TcpStream::connect(address))
            .await
            .with_context(|| format!("no connection to {address} within {ANSWER_WITHIN:?}"))?
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        let io = TokioIo::new(stream);
        let mut tasks = JoinSet::new();
        let sender = match version {
            Version::Http1 => {
                let (sender, driver) = conn::http1::handshake(io).await?;
                tasks.spawn(driver);
                Sender::Http1(sender)
            }
            Version::Http2 => {
                let (sender, driver) = conn::http2::handshake(TokioExecutor::new(), io).await?;
                tasks.spawn(driver);
                Sender::Http2(sender)
            }
        };
        Ok(Self {
            sender,
            _driver: tasks,
        })
    }

    /// Whether the other side has not closed it.
    pub(crate) async fn usable(&mut self) -> bool {
        match &mut self.sender {
            Sender::Http1(sender) => sender.ready().await.is_ok(),
            Sender::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    pub(crate) async fn send(&mut self, request: &Request) -> Result<Answer> {
        let message = request.message()?;
        let exchange = async {
            let response = match &mut self.sender {
                Sender::Http1(sender) => sender.send_request(message).await?,
                Sender::Http2(sender) => sender.send_request(message).await?,
            };
            read(response).await
        };
        match tokio::time::timeout(ANSWER_WITHIN, exchange).await {
            Ok(answer) => answer,
            Err(_) => bail!(
                "no answer from {} within {ANSWER_WITHIN:?}",
                request.address
            ),
        }
    }
}

async fn read(response: http::Response<Incoming>) -> Result<Answer> {
    let (parts, body) = response.into_parts();
    let body = body
        .collect()
        .await
        .context("the answer's body is cut off")?;
    Ok(Answer {
        status: parts.status,
        headers: parts.headers,
        trailers: body.trailers().cloned().unwrap_or_default(),
        body: body.to_bytes(),
    })
}
