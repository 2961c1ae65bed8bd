//! A client that hides nothing: a connection for every request, bodies as they come.

use std::{fs, sync::Arc};

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
};
use tokio_rustls::TlsConnector;

use bowline_harness::{PATIENCE, kubernetes::ApiServer};

/// What was answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A client of a server with the files beside its kubeconfig.
pub(super) struct Client<'a> {
    server: &'a ApiServer,
    secure: bool,
}

impl<'a> Client<'a> {
    pub(super) fn open(server: &'a ApiServer) -> Self {
        let kubeconfig = fs::read_to_string(server.kubeconfig()).unwrap();
        let secure = kubeconfig.contains("https://");
        Self { server, secure }
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, "", Value::Null).await.unwrap()
    }

    pub(super) async fn get_as(&self, path: &str, accept: &str) -> Answer {
        let response = self.request(Method::GET, path, "", accept, Value::Null);
        read(response.await.unwrap()).await.unwrap()
    }

    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        content: &str,
        body: Value,
    ) -> Result<Answer> {
        read(
            self.request(method, path, content, "application/json", body)
                .await?,
        )
        .await
    }

    pub(super) async fn watch(&self, path: &str) -> Watch {
        let response = self.request(Method::GET, path, "", "application/json", Value::Null);
        let (response, driver) = response.await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        Watch {
            body: response.into_body(),
            read: BytesMut::new(),
            pieces: 0,
            _driver: driver,
        }
    }

    pub(super) async fn watch_status(&self, path: &str) -> StatusCode {
        let response = self.request(Method::GET, path, "", "application/json", Value::Null);
        response.await.unwrap().0.status()
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        content: &str,
        accept: &str,
        body: Value,
    ) -> Result<(http::Response<Incoming>, JoinSet<()>)> {
        let body = match body {
            Value::Null => Bytes::new(),
            body => Bytes::from(body.to_string()),
        };
        let mut request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "kubernetes")
            .header(header::ACCEPT, accept);
        if !content.is_empty() {
            request = request.header(header::CONTENT_TYPE, content);
        }
        if self.secure {
            let token = fs::read_to_string(self.server.folder().join("token"))?;
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(body))?;
        let stream = TcpStream::connect(self.server.address()).await?;
        let exchange = async {
            if self.secure {
                let name = ServerName::try_from("localhost")?;
                let connector = TlsConnector::from(Arc::new(self.tls()?));
                exchange(connector.connect(name, stream).await?, request).await
            } else {
                exchange(stream, request).await
            }
        };
        tokio::time::timeout(PATIENCE, exchange)
            .await
            .context("no answer")?
    }

    fn tls(&self) -> Result<ClientConfig> {
        let file = |name: &str| self.server.folder().join(name);
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(file("ca.crt"))?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let certificate = CertificateDer::from_pem_file(file("client.crt"))?;
        let key = PrivateKeyDer::from_pem_file(file("client.key"))?;
        Ok(ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate], key)?)
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: http::Request<Full<Bytes>>,
) -> Result<(http::Response<Incoming>, JoinSet<()>)> {
    let (mut sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { drop(driver.await) });
    Ok((sender.send_request(request).await?, tasks))
}

async fn read((response, _driver): (http::Response<Incoming>, JoinSet<()>)) -> Result<Answer> {
    let (parts, body) = response.into_parts();
    let body = tokio::time::timeout(PATIENCE, body.collect()).await??;
    Ok(Answer {
        status: parts.status,
        headers: parts.headers,
        body: body.to_bytes(),
    })
}

/// An open watch.
pub(super) struct Watch {
    body: Incoming,
    read: BytesMut,
    pub(super) pieces: usize,
    _driver: JoinSet<()>,
}

impl Watch {
    /// The next event, or nothing when the server has ended it.
    pub(super) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.read.iter().position(|&byte| byte == b'\n') {
                let line = self.read.split_to(end + 1);
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame());
            match frame.await.expect("an event comes, or the end")? {
                Ok(frame) => {
                    self.read.extend_from_slice(&frame.into_data().unwrap());
                    self.pieces += 1;
                }
                Err(_) => return None,
            }
        }
    }

    /// The next event's type and its object's name.
    pub(super) async fn next_change(&mut self) -> (String, String) {
        let event = self.next().await.expect("an event comes");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (
            text(&event["type"]),
            text(&event["object"]["metadata"]["name"]),
        )
    }
}

/// What [`Watch::next_change`] gives.
pub(super) fn change(what: &str, name: &str) -> (String, String) {
    (what.to_owned(), name.to_owned())
}
