//! Backends without HTTP: they say their name and a line feed, then send back what they get.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

use super::Server;
use crate::eventually::PATIENCE;

/// A TCP backend.
#[derive(Debug)]
pub struct TcpBackend {
    server: Server,
}

impl TcpBackend {
    /// Starts it on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(name: &str) -> Result<Self> {
        Self::start_on(name, (Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// Starts it on an address.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub async fn start_on(name: &str, address: SocketAddr) -> Result<Self> {
        let name: Arc<str> = Arc::from(name);
        let server = Server::start(address, move |stream| {
            introduce_and_echo(stream, Arc::clone(&name))
        })
        .await?;
        Ok(Self { server })
    }

    /// The port on which it listens.
    pub fn port(&self) -> u16 {
        self.server.address.port()
    }

    /// Connects to an address and says which backend is behind it, after it has echoed a line.
    ///
    /// # Errors
    /// When there is no connection, or nothing that speaks like our backends behind it.
    pub async fn who_is_behind(address: SocketAddr) -> Result<String> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("cannot connect to {address}"))?;
        converse(&mut BufReader::new(stream)).await
    }
}

/// A TLS backend, with a certificate of its own for its name.
#[derive(Debug)]
pub struct TlsBackend {
    server: Server,
    certificate: CertificateDer<'static>,
}

impl TlsBackend {
    /// Starts it on a free port of 127.0.0.1. `name` is the server name in its certificate.
    ///
    /// # Errors
    /// When it cannot listen, or the name is not fit for a certificate.
    pub async fn start(name: &str) -> Result<Self> {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()])?;
        let certificate = cert.der().clone();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let configuration = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)?;
        let acceptor = TlsAcceptor::from(Arc::new(configuration));
        let name: Arc<str> = Arc::from(name);
        let server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), move |stream| {
            let acceptor = acceptor.clone();
            let name = Arc::clone(&name);
            async move { introduce_and_echo(acceptor.accept(stream).await?, name).await }
        })
        .await?;
        Ok(Self {
            server,
            certificate,
        })
    }

    /// The port on which it listens.
    pub fn port(&self) -> u16 {
        self.server.address.port()
    }

    /// Connects to an address with a server name and says which backend is behind it. Only this
    /// backend's certificate is trusted.
    ///
    /// # Errors
    /// When there is no connection, or another backend behind it.
    pub async fn who_is_behind(&self, address: SocketAddr, server_name: &str) -> Result<String> {
        let (_, name) = self.connect(address, server_name).await?;
        Ok(name)
    }

    /// The same, and keeps the connection.
    ///
    /// # Errors
    /// The same.
    pub async fn connect(
        &self,
        address: SocketAddr,
        server_name: &str,
    ) -> Result<(TlsConnection, String)> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        let configuration = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("cannot connect to {address}"))?;
        let name = ServerName::try_from(server_name.to_owned())?;
        let connecting = TlsConnector::from(Arc::new(configuration)).connect(name, stream);
        let stream = tokio::time::timeout(PATIENCE, connecting)
            .await
            .with_context(|| format!("no TLS handshake with {address}"))?
            .with_context(|| format!("no TLS with {server_name} at {address}"))?;
        let mut connection = TlsConnection(BufReader::new(stream));
        let name = converse(&mut connection.0).await?;
        Ok((connection, name))
    }
}

/// A connection to a TLS backend that has said its name.
#[derive(Debug)]
pub struct TlsConnection(BufReader<TlsStream<TcpStream>>);

impl TlsConnection {
    /// Has a line echoed.
    ///
    /// # Errors
    /// When the connection is closed, or nobody echoes.
    pub async fn echo(&mut self) -> Result<()> {
        in_time(echo(&mut self.0)).await
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

async fn introduce_and_echo(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    name: Arc<str>,
) -> Result<()> {
    let (mut from, mut to) = tokio::io::split(stream);
    to.write_all(format!("{name}\n").as_bytes()).await?;
    tokio::io::copy(&mut from, &mut to).await?;
    to.shutdown().await?;
    Ok(())
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufReader<S>) -> Result<String> {
    in_time(async {
        let mut name = String::new();
        stream.read_line(&mut name).await?;
        if !name.ends_with('\n') {
            bail!("the connection was closed after {name:?}");
        }
        echo(stream).await?;
        Ok(name.trim_end().to_owned())
    })
    .await
}

async fn echo<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufReader<S>) -> Result<()> {
    const SAID: &str = "are you there\n";
    stream.write_all(SAID.as_bytes()).await?;
    stream.flush().await?;
    let mut echoed = String::new();
    stream.read_line(&mut echoed).await?;
    if echoed != SAID {
        bail!("sent {SAID:?}, came back as {echoed:?}");
    }
    Ok(())
}

async fn in_time<T>(conversation: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(PATIENCE, conversation)
        .await
        .context("nobody answers on the connection")?
}
