//! A small HTTP client: servers that are measured are told by it what to serve.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

/// A connection to a control port.
#[derive(Debug)]
pub struct Control {
    sender: SendRequest<Full<Bytes>>,
    _driver: JoinSet<hyper::Result<()>>,
}

impl Control {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        Ok(Self {
            sender,
            _driver: driver,
        })
    }

    /// Sends something.
    ///
    /// # Errors
    /// When it is not taken.
    pub async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> Result<Bytes> {
        self.send(http::Method::POST, path, body.into()).await
    }

    async fn send(&mut self, method: http::Method, path: &str, body: Bytes) -> Result<Bytes> {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "control")
            .body(Full::new(body))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!("{path}: {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(body)
    }
}

/// Asks for something once.
///
/// # Errors
/// When it is not answered with success.
pub async fn get(address: SocketAddr, path: &str) -> Result<Bytes> {
    let mut control = Control::connect(address).await?;
    control.send(http::Method::GET, path, Bytes::new()).await
}
