//! The floor: servers that do nothing but send what was recorded and take acknowledgements.
//!
//! What a server costs is what it costs more than these. One is on bare HTTP/2; the other on tonic, because the memory of a stream is
//! that of its layers.

pub mod bare;
pub mod book;
pub mod session;
pub mod tonic;

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::ServerConfig;
use serde::Serialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use self::book::Book;
use crate::{
    recording::{Script, Update},
    security,
};

/// How a floor runs.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Where to write the addresses that are listened on, as JSON
    #[arg(long)]
    addresses_file: PathBuf,
    /// The folder with certificates, for mutual TLS
    #[arg(long)]
    certificates: Option<PathBuf>,
    /// What carries the streams
    #[arg(long, value_enum, default_value = "bare")]
    carrier: Carrier,
}

/// What carries the streams of a floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Carrier {
    /// Bare HTTP/2.
    Bare,
    /// tonic, as in the real program.
    Tonic,
}

#[derive(Debug, Serialize)]
struct Addresses {
    xds: SocketAddr,
    control: SocketAddr,
}

/// What proxies connect through.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Serves until it is killed.
///
/// # Errors
/// When it cannot listen.
pub async fn run(options: Options) -> Result<()> {
    let Options {
        addresses_file,
        certificates,
        carrier,
    } = options;
    let tls = match certificates {
        Some(folder) => Some(security::server(&folder)?),
        None => None,
    };
    let xds = TcpListener::bind(("127.0.0.1", 0)).await?;
    let control = TcpListener::bind(("127.0.0.1", 0)).await?;
    let book = Arc::new(Book::default());
    let addresses = Addresses {
        xds: xds.local_addr()?,
        control: control.local_addr()?,
    };
    let fresh = addresses_file.with_extension("fresh");
    std::fs::write(&fresh, serde_json::to_vec(&addresses)?)
        .and_then(|()| std::fs::rename(&fresh, &addresses_file))
        .with_context(|| format!("cannot write {}", addresses_file.display()))?;
    tokio::try_join!(
        serve(xds, tls, carrier, book.clone()),
        serve_control(control, book)
    )?;
    Ok(())
}

async fn serve(
    socket: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    carrier: Carrier,
    book: Arc<Book>,
) -> Result<()> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = socket.accept() => {
                let (stream, _) = accepted?;
                stream.set_nodelay(true)?;
                connections.spawn(connection(stream, tls.clone(), carrier, book.clone()));
            }
            // How a connection ends is the client's business.
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    carrier: Carrier,
    book: Arc<Book>,
) -> Result<()> {
    let stream: Box<dyn Stream> = match tls {
        Some(tls) => Box::new(TlsAcceptor::from(tls).accept(stream).await?),
        None => Box::new(stream),
    };
    match carrier {
        Carrier::Bare => bare::serve(stream, book).await,
        Carrier::Tonic => tonic::serve(stream, book).await,
    }
}

async fn serve_control(socket: TcpListener, book: Arc<Book>) -> Result<()> {
    let prepared = Mutex::new(Vec::new());
    loop {
        let (stream, _) = socket.accept().await?;
        stream.set_nodelay(true)?;
        let service = service_fn(async |request| control(request, &book, &prepared).await);
        // One client, which comes again only after a failure of its own.
        drop(
            http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await,
        );
    }
}

async fn control(
    request: Request<Incoming>,
    book: &Book,
    prepared: &Mutex<Vec<Update>>,
) -> Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_MAX).collect().await;
    let body = body.map_err(anyhow::Error::from_boxed)?.to_bytes();
    let (status, text) = match told(head.uri.path(), &body, book, prepared) {
        Ok(()) => (StatusCode::OK, String::new()),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error:#}")),
    };
    Ok(Response::builder()
        .status(status)
        .body(text.into_bytes().into())?)
}

fn told(path: &str, body: &[u8], book: &Book, prepared: &Mutex<Vec<Update>>) -> Result<()> {
    match path {
        "/script" => book.load(&serde_json::from_slice::<Script>(body)?),
        "/prepare" => {
            *prepared.lock() = serde_json::from_slice(body)?;
            Ok(())
        }
        "/commit" => {
            let updates = std::mem::take(&mut *prepared.lock());
            book.update(&updates)
        }
        other => bail!("nothing is known about {other}"),
    }
}

/// A recording of ten thousand services is a tenth of this.
const BODY_MAX: usize = 1024 * 1024 * 1024;
