//! A connection with the streams of one or several proxies, on bare HTTP/2.

use std::{
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::{StreamExt, stream::FuturesUnordered};
use h2::{RecvStream, SendStream, client::SendRequest};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::member::{Member, Shared};
use crate::proxy::request::{FRAME_HEAD, Request};

/// What Envoy offers by default since 1.36.
const STREAM_WINDOW: u32 = 16 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 24 * 1024 * 1024;

/// A server.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// How a proxy proves who it is, by its namespace; nothing for plaintext.
    pub tls: Option<Arc<Credentials>>,
}

/// Client certificates.
#[derive(Debug)]
pub struct Credentials {
    /// The server's name.
    pub server_name: ServerName<'static>,
    /// By the number of a namespace.
    pub namespaces: Vec<Arc<rustls::ClientConfig>>,
}

/// Serves the streams of some proxies until the server ends them or the connection. As an Envoy does, it comes again where it was not
/// let in: in a storm of connections a server refuses some.
pub(super) async fn run(
    target: Target,
    members: Vec<Rc<Member>>,
    shared: Rc<Shared>,
) -> Result<()> {
    let mut pause = FIRST_PAUSE;
    loop {
        let Err(error) = attempt(&target, &members, &shared).await else {
            return Ok(());
        };
        if members.iter().any(|member| member.is_answered()) || pause > LONGEST_PAUSE {
            return Err(error);
        }
        shared.refused();
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(125);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

async fn attempt(target: &Target, members: &[Rc<Member>], shared: &Shared) -> Result<()> {
    let permit = shared.connecting().acquire().await?;
    let tcp = TcpStream::connect(target.address)
        .await
        .with_context(|| format!("cannot connect to {}", target.address))?;
    tcp.set_nodelay(true)?;
    match &target.tls {
        None => {
            drop(permit);
            streams(tcp, members, shared).await
        }
        Some(credentials) => {
            let namespace = members.first().map_or(0, |member| member.namespace());
            let configuration = credentials
                .namespaces
                .get(namespace)
                .with_context(|| format!("namespace {namespace} has no certificate"))?;
            let tls = TlsConnector::from(configuration.clone())
                .connect(credentials.server_name.clone(), tcp)
                .await
                .context("the TLS handshake has failed")?;
            drop(permit);
            streams(tls, members, shared).await
        }
    }
}

async fn streams(
    io: impl AsyncRead + AsyncWrite + Unpin,
    members: &[Rc<Member>],
    shared: &Shared,
) -> Result<()> {
    let (client, connection) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .enable_push(false)
        .handshake::<_, Bytes>(io)
        .await
        .context("the HTTP/2 handshake has failed")?;
    let mut streams: FuturesUnordered<_> = members
        .iter()
        .map(|member| stream(client.clone(), member, shared))
        .collect();
    drop(client);
    let exchange = async {
        tokio::select! {
            biased;
            ended = connection => match ended {
                Ok(()) => bail!("the server has closed the connection"),
                Err(error) => Err(error).context("the connection has broken"),
            },
            Some(ended) = streams.next() => ended,
        }
    };
    let mut exchange = pin!(exchange);
    // A proxy that is stalled reads nothing at all, so that its sockets fill up.
    poll_fn(|context| {
        if members.iter().any(|member| member.is_stalled(context)) {
            return Poll::Pending;
        }
        exchange.as_mut().poll(context)
    })
    .await
}

async fn stream(client: SendRequest<Bytes>, member: &Member, shared: &Shared) -> Result<()> {
    let mut client = client.ready().await?;
    let path = member.variant().path();
    let request = http::Request::post(format!("http://fleet{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())?;
    let (response, mut sending) = client.send_request(request, false)?;
    drop(client);
    send(&mut sending, member.connect(shared), shared)?;
    let response = response.await?;
    if response.status() != http::StatusCode::OK {
        bail!("the server answers with status {}", response.status());
    }
    if let Some(status) = response.headers().get("grpc-status") {
        bail!(
            "the server refuses the stream: {}",
            refusal(status, response.headers())
        );
    }
    let mut body = response.into_body();
    let mut frames = Frames::default();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        frames.add(chunk);
        while let Some(message) = frames.next()? {
            let requests = member.receive(&message, shared)?;
            send(&mut sending, requests, shared)?;
        }
    }
    Err(end(body).await)
}

fn send(stream: &mut SendStream<Bytes>, requests: Vec<Request>, shared: &Shared) -> Result<()> {
    for request in requests {
        shared.traffic().sent(request.size());
        for part in request.into_parts() {
            stream.send_data(part, false)?;
        }
    }
    Ok(())
}

async fn end(mut body: RecvStream) -> anyhow::Error {
    match body.trailers().await {
        Ok(Some(trailers)) => match trailers.get("grpc-status") {
            Some(status) => anyhow::anyhow!(
                "the server ended the stream: {}",
                refusal(status, &trailers)
            ),
            None => anyhow::anyhow!("the server ended the stream without a status"),
        },
        Ok(None) => anyhow::anyhow!("the server ended the stream without trailers"),
        Err(error) => anyhow::Error::new(error).context("the stream has broken"),
    }
}

fn refusal(status: &http::HeaderValue, headers: &http::HeaderMap) -> String {
    let message = headers.get("grpc-message");
    format!(
        "status {} ({})",
        String::from_utf8_lossy(status.as_bytes()),
        message.map_or_else(
            || "no message".into(),
            |text| String::from_utf8_lossy(text.as_bytes())
        ),
    )
}

/// gRPC's messages out of chunks of a body.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    chunk: Bytes,
    /// A message that began in an earlier chunk. Nothing is kept of one that is complete.
    begun: BytesMut,
}

impl Frames {
    pub(crate) fn add(&mut self, chunk: Bytes) {
        if self.begun.is_empty() {
            self.chunk = chunk;
        } else {
            self.begun.extend_from_slice(&chunk);
        }
    }

    pub(crate) fn next(&mut self) -> Result<Option<Bytes>> {
        if self.begun.is_empty() {
            return match frame_len(&self.chunk)? {
                Some(len) if len <= self.chunk.len() => {
                    let mut frame = self.chunk.split_to(len);
                    frame.advance(FRAME_HEAD);
                    Ok(Some(frame))
                }
                _ if self.chunk.is_empty() => Ok(None),
                expected => {
                    let chunk = std::mem::take(&mut self.chunk);
                    self.begun
                        .reserve(expected.unwrap_or(FRAME_HEAD).min(BEGUN_MAX));
                    self.begun.extend_from_slice(&chunk);
                    Ok(None)
                }
            };
        }
        match frame_len(&self.begun)? {
            Some(len) if len <= self.begun.len() => {
                let mut begun = std::mem::take(&mut self.begun).freeze();
                let mut frame = begun.split_to(len);
                frame.advance(FRAME_HEAD);
                self.chunk = begun;
                Ok(Some(frame))
            }
            Some(_) | None => Ok(None),
        }
    }
}

/// How long a frame is with its head, as soon as its head is there.
fn frame_len(bytes: &[u8]) -> Result<Option<usize>> {
    let Some((&[compressed, a, b, c, d], _)) = bytes.split_first_chunk::<FRAME_HEAD>() else {
        return Ok(None);
    };
    if compressed != 0 {
        bail!("a message is compressed, which was not agreed on");
    }
    let len = usize::try_from(u32::from_be_bytes([a, b, c, d]))?;
    Ok(Some(len + FRAME_HEAD))
}

/// What is reserved at once for a message.
const BEGUN_MAX: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(message: &[u8]) -> Vec<u8> {
        let mut frame = vec![0];
        frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        frame.extend(message);
        frame
    }

    #[test]
    fn messages_are_found_however_they_are_cut() {
        let whole = [frame(b"one"), frame(b""), frame(b"three and more")].concat();
        for size in 1..=whole.len() {
            let mut frames = Frames::default();
            let mut found = Vec::new();
            for chunk in whole.chunks(size) {
                frames.add(Bytes::copy_from_slice(chunk));
                while let Some(message) = frames.next().unwrap() {
                    found.push(message);
                }
            }
            assert_eq!(
                found,
                [&b"one"[..], b"", b"three and more"],
                "chunks of {size}"
            );
            assert_eq!(frames.begun.capacity() + frames.chunk.len(), 0);
        }
    }

    #[test]
    fn a_compressed_message_is_an_error() {
        let mut frames = Frames::default();
        frames.add(Bytes::from_static(&[1, 0, 0, 0, 0]));
        assert!(frames.next().is_err());
    }
}
