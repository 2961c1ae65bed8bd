//! Asking a running server.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use clap::Args;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::Usage;
use crate::admin::wire;
use crate::config::Config;

/// Which server is asked.
#[derive(Debug, Args)]
pub(super) struct ServerArguments {
    /// Ask the server that runs with this configuration
    #[arg(long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
    /// Ask the server whose admin API is here [default: http://127.0.0.1:15014]
    #[arg(long, value_name = "URL")]
    admin: Option<AdminUrl>,
}

/// Where an admin API is, such as `http://127.0.0.1:15014`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AdminUrl(String);

#[derive(Debug, thiserror::Error)]
#[error(
    "write it as `http://127.0.0.1:15014`: the admin API is plain HTTP, and its paths are known"
)]
pub(super) struct AdminUrlError;

impl std::str::FromStr for AdminUrl {
    type Err = AdminUrlError;

    fn from_str(text: &str) -> Result<Self, AdminUrlError> {
        let uri: Uri = text.parse().map_err(|_| AdminUrlError)?;
        let is_plain = uri.scheme_str() == Some("http") && uri.query().is_none();
        match uri.authority() {
            Some(authority) if is_plain && uri.path().trim_matches('/').is_empty() => {
                let port = authority.port_u16().unwrap_or(80);
                Ok(Self(format!("{}:{port}", authority.host())))
            }
            _ => Err(AdminUrlError),
        }
    }
}

impl AdminUrl {
    /// The server there.
    pub(super) fn server(&self) -> Server {
        Server::Address(self.0.clone())
    }
}

/// A server that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Server {
    /// Its admin API, by host and port.
    Address(String),
    /// Its socket for the owner of the state directory.
    OwnerSocket(PathBuf),
}

impl ServerArguments {
    /// The server that the command line names.
    pub(super) fn server(&self) -> Result<Server> {
        if let Some(url) = &self.admin {
            return Ok(url.server());
        }
        let Some(path) = &self.config else {
            return Ok(Server::Address("127.0.0.1:15014".to_owned()));
        };
        let config = Config::load(path)?;
        let address = config.admin.address;
        match config.state.admin_socket() {
            // Such a server chose its port when it started.
            Some(socket) if address.port() == 0 => Ok(Server::OwnerSocket(socket)),
            None if address.port() == 0 => Err(Usage::new(
                "`admin.address` has port 0, so any port may be the right one: give `--admin URL`",
            )
            .into()),
            _ if address.ip().is_unspecified() => {
                Ok(Server::Address(format!("127.0.0.1:{}", address.port())))
            }
            _ => Ok(Server::Address(address.to_string())),
        }
    }
}

/// The socket, for the owner of its state directory, of the server that runs with a configuration.
pub(super) fn owner_socket(config: &Path) -> Result<Server> {
    Config::load(config)?.state.admin_socket().map(Server::OwnerSocket).ok_or_else(|| {
        Usage::new("the server keeps its state in memory, so it has no state directory whose owner could do this").into()
    })
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "http://{address}"),
            Self::OwnerSocket(path) => write!(f, "{}", path.display()),
        }
    }
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    body: Bytes,
}

impl Answer {
    /// What it says, if the server did what was asked.
    pub(super) fn success<T: DeserializeOwned>(&self) -> Result<T> {
        self.text()?;
        self.content()
    }

    /// Its text, if the server did what was asked.
    pub(super) fn text(&self) -> Result<&str> {
        if !self.status.is_success() {
            let message = match serde_json::from_slice(&self.body) {
                Ok(wire::Error { error }) => error,
                Err(_) => format!("the server has answered {}", self.status),
            };
            bail!(message);
        }
        std::str::from_utf8(&self.body).context("the server's answer is not text")
    }

    /// What it says, whatever its status.
    pub(super) fn content<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).with_context(|| {
            format!(
                "the server's answer ({}) is not understood: is it another version of Bowline?",
                self.status
            )
        })
    }
}

impl Server {
    /// Reads something.
    pub(super) fn get(&self, path: &str) -> Result<Answer> {
        self.ask(Method::GET, path, Bytes::new())
    }

    /// Has something done.
    pub(super) fn post(&self, path: &str, content: &impl Serialize) -> Result<Answer> {
        self.ask(Method::POST, path, serde_json::to_vec(content)?.into())
    }

    fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Answer> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "bowline")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime
            .block_on(async {
                tokio::time::timeout(TIMEOUT, self.exchange(request))
                    .await
                    .map_err(|_| anyhow!("no answer within {} s", TIMEOUT.as_secs()))?
            })
            .with_context(|| format!("cannot ask the server at {self}"))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer> {
        match self {
            Self::Address(address) => {
                let stream = TcpStream::connect(address).await.map_err(not_running)?;
                exchange(stream, request).await
            }
            Self::OwnerSocket(path) => {
                let stream = UnixStream::connect(path).await.map_err(not_running)?;
                exchange(stream, request).await
            }
        }
    }
}

fn not_running(error: io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
            anyhow!("{error}; is `bowline serve` running there?")
        }
        io::ErrorKind::PermissionDenied => {
            anyhow!("{error}; run this as the user that the server runs as")
        }
        _ => error.into(),
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Answer> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(|error| {
            anyhow!("what answers there is no admin API ({error}): `admin.address` in the server's configuration says where that is")
        })?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| anyhow!("the answer breaks off: {error}"))?;
        Ok(Answer {
            status,
            body: body.to_bytes(),
        })
    };
    // The connection moves the bytes; it ends when the sender, which the answer owns, is gone.
    let (answer, _) = tokio::join!(answer, connection);
    answer
}

const TIMEOUT: Duration = Duration::from_secs(30);
/// A proxy's whole configuration in a mesh of a hundred thousand services.
const ANSWER_BYTES_MAX: usize = 2 << 30;
