//! The floor on bare HTTP/2.

use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use h2::{
    RecvStream, SendStream,
    server::{self, SendResponse},
};
use tokio::task::JoinSet;

use super::{
    Stream,
    book::Book,
    session::{Parts, Session},
};
use crate::{crowd::connection::Frames, proxy::response::Variant};

/// Serves a connection.
pub(super) async fn serve(io: Box<dyn Stream>, book: Arc<Book>) -> Result<()> {
    let mut connection = server::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .handshake(io)
        .await?;
    let mut streams = JoinSet::new();
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        streams.spawn(stream(request, respond, book.clone()));
    }
    Ok(())
}

async fn stream(
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    book: Arc<Book>,
) -> Result<()> {
    let path = request.uri().path();
    let variant = [Variant::Delta, Variant::StateOfTheWorld]
        .into_iter()
        .find(|variant| variant.path() == path)
        .with_context(|| format!("no such method: {path}"))?;
    let response = http::Response::builder()
        .header("content-type", "application/grpc")
        .body(())?;
    let mut sending = respond.send_response(response, false)?;
    let mut changes = book.changes();
    let mut session = Session::new(book, variant);
    let mut body = request.into_body();
    let mut frames = Frames::default();
    loop {
        tokio::select! {
            chunk = body.data() => {
                let Some(chunk) = chunk else {
                    return Ok(());
                };
                let chunk = chunk?;
                body.flow_control().release_capacity(chunk.len())?;
                frames.add(chunk);
                while let Some(message) = frames.next()? {
                    if let Some(parts) = session.receive(&message)? {
                        send(&mut sending, parts)?;
                    }
                }
            }
            changed = changes.changed() => {
                changed?;
                for parts in session.news() {
                    send(&mut sending, parts)?;
                }
            }
        }
    }
}

fn send(stream: &mut SendStream<Bytes>, parts: Parts) -> Result<()> {
    for part in parts {
        stream.send_data(part, false)?;
    }
    Ok(())
}

/// As the real program offers.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// It never waits for room: responses are shared, and so cost nothing while they wait.
const SEND_BUFFER: usize = u32::MAX as usize;
