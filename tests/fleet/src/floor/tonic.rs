//! The floor on tonic.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    sync::Arc,
};

use anyhow::Result;
use bytes::{Buf, BufMut, Bytes};
use futures_util::stream;
use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::watch;
use tonic::{
    Status, Streaming,
    body::Body,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::{Grpc, StreamingService},
};

use super::{
    Stream,
    book::Book,
    session::{Parts, Session},
};
use crate::proxy::{request::FRAME_HEAD, response::Variant};

/// Serves a connection.
pub(super) async fn serve(io: Box<dyn Stream>, book: Arc<Book>) -> Result<()> {
    let service = service_fn(move |request: Request<Incoming>| call(request, book.clone()));
    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(io), service)
        .await?;
    Ok(())
}

async fn call(request: Request<Incoming>, book: Arc<Book>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path();
    let known = [Variant::Delta, Variant::StateOfTheWorld]
        .into_iter()
        .find(|variant| variant.path() == path);
    let Some(variant) = known else {
        return Ok(Status::unimplemented("no such method").into_http());
    };
    let mut grpc = Grpc::new(Raw).max_decoding_message_size(REQUEST_MAX);
    let call = Call { book, variant };
    Ok(grpc.streaming(call, request.map(Body::new)).await)
}

struct Call {
    book: Arc<Book>,
    variant: Variant,
}

type Responses = Pin<Box<dyn stream::Stream<Item = Result<Parts, Status>> + Send>>;

impl StreamingService<Bytes> for Call {
    type Response = Parts;
    type ResponseStream = Responses;
    type Future = Ready<Result<tonic::Response<Responses>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<Bytes>>) -> Self::Future {
        let running = Running {
            changes: self.book.changes(),
            session: Session::new(self.book.clone(), self.variant),
            requests: request.into_inner(),
            ready: VecDeque::new(),
        };
        let responses = stream::try_unfold(running, |mut running| async {
            let next = running.next().await?;
            Ok(next.map(|parts| (parts, running)))
        });
        ready(Ok(tonic::Response::new(Box::pin(responses))))
    }
}

struct Running {
    changes: watch::Receiver<usize>,
    session: Session,
    requests: Streaming<Bytes>,
    ready: VecDeque<Parts>,
}

impl Running {
    async fn next(&mut self) -> Result<Option<Parts>, Status> {
        loop {
            if let Some(parts) = self.ready.pop_front() {
                return Ok(Some(parts));
            }
            tokio::select! {
                request = self.requests.message() => {
                    let Some(request) = request? else {
                        return Ok(None);
                    };
                    let answer = self.session.receive(&request);
                    self.ready.extend(answer.map_err(|error| Status::internal(format!("{error:#}")))?);
                }
                changed = self.changes.changed() => {
                    changed.map_err(|error| Status::internal(error.to_string()))?;
                    self.ready.extend(self.session.news());
                }
            }
        }
    }
}

/// Bytes as they are.
#[derive(Debug, Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Parts;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Parts;
    type Error = Status;

    /// tonic writes the framing, so that of the first part is left out.
    fn encode(&mut self, parts: Parts, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let mut head = FRAME_HEAD;
        for mut part in parts {
            let skipped = head.min(part.len());
            part.advance(skipped);
            head -= skipped;
            buffer.put(part);
        }
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// The first request of a proxy that comes back lists all that it holds.
const REQUEST_MAX: usize = 64 * 1024 * 1024;
