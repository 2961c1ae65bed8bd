//! From an address to a stream of bytes.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{
    settings::{AgentAddress, HostPort, TlsFiles},
    watch::Transport,
};

/// To connect, and to shake hands.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(5);

/// A stream of bytes to an agent.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A stream, what is spoken on it, and to whom it leads.
pub(super) struct Connected {
    pub(super) stream: Box<dyn Stream>,
    pub(super) transport: Transport,
    pub(super) peer: Option<SocketAddr>,
}

/// Connects to an agent. Of several addresses that a name has, the preferred one is tried first.
///
/// # Errors
/// Why none of them can be reached.
pub(super) async fn connect(
    address: &AgentAddress,
    tls: &TlsFiles,
    preferred: Option<SocketAddr>,
) -> io::Result<Connected> {
    match address {
        AgentAddress::Unix(path) => {
            let stream = within(CONNECT_PATIENCE, UnixStream::connect(path)).await?;
            Ok(Connected {
                stream: Box::new(stream),
                transport: Transport::Http1,
                peer: None,
            })
        }
        AgentAddress::Http(host) => {
            let (stream, peer) = dial(host, preferred).await?;
            Ok(Connected {
                stream: Box::new(stream),
                transport: Transport::Http1,
                peer: Some(peer),
            })
        }
        AgentAddress::Https(host) => {
            let config = client_config(tls).await?;
            let name = tls.server_name.as_deref().unwrap_or(&host.host).to_owned();
            let name = ServerName::try_from(name).map_err(io::Error::other)?;
            let (stream, peer) = dial(host, preferred).await?;
            let connector = TlsConnector::from(Arc::new(config));
            let stream = within(HANDSHAKE_PATIENCE, connector.connect(name, stream)).await?;
            let transport = match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => Transport::Http2,
                _ => Transport::Http1,
            };
            Ok(Connected {
                stream: Box::new(stream),
                transport,
                peer: Some(peer),
            })
        }
    }
}

async fn dial(
    host: &HostPort,
    preferred: Option<SocketAddr>,
) -> io::Result<(TcpStream, SocketAddr)> {
    let lookup = tokio::net::lookup_host((host.host.as_str(), host.port));
    let mut addresses: Vec<SocketAddr> = within(CONNECT_PATIENCE, lookup).await?.collect();
    // The one that answered until now first: another agent has other indexes.
    addresses.sort_by_key(|address| (Some(*address) != preferred, *address));
    addresses.dedup();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match within(CONNECT_PATIENCE, TcpStream::connect(address)).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok((stream, address));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn within<T>(patience: Duration, what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match timeout(patience, what).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {} s", patience.as_secs()),
        )),
    }
}

/// From the files as they are now: certificates are renewed while we run.
async fn client_config(files: &TlsFiles) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    if let Some(ca) = &files.ca {
        for certificate in certificates(ca).await? {
            roots.add(certificate).map_err(|error| in_file(ca, error))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots);
    let mut config = match (&files.certificate, &files.key) {
        (Some(certificate), Some(key_file)) => {
            let chain = certificates(certificate).await?;
            let pem = read(key_file).await?;
            let key =
                PrivateKeyDer::from_pem_slice(&pem).map_err(|error| in_file(key_file, error))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| in_file(certificate, error))?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

async fn certificates(path: &std::path::Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let pem = read(path).await?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| in_file(path, error))?;
    match certificates.is_empty() {
        true => Err(in_file(path, "it has no certificate in PEM form")),
        false => Ok(certificates),
    }
}

async fn read(path: &std::path::Path) -> io::Result<Vec<u8>> {
    let bytes = tokio::fs::read(path).await;
    bytes.map_err(|error| in_file(path, error))
}

fn in_file(path: &std::path::Path, error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}
