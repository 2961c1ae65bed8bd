//! Requests out of a body.

use std::{
    future::poll_fn,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bowline_proto::Message;
use bytes::Bytes;
use http_body::Body;
use tonic::Status;

use super::deframer::Deframer;

/// The requests of one client.
pub(crate) struct Requests<B, R> {
    body: B,
    deframer: Deframer,
    bytes_max: usize,
    request: PhantomData<fn() -> R>,
}

impl<B, R> Requests<B, R>
where
    B: Body<Data = Bytes> + Unpin,
    R: Message + Default,
{
    /// Requests of at most so many bytes each.
    pub(crate) fn new(body: B, bytes_max: usize) -> Self {
        Self {
            body,
            deframer: Deframer::default(),
            bytes_max,
            request: PhantomData,
        }
    }

    /// The next request; `None` when the client has gone, in whatever manner. Cancel-safe.
    ///
    /// # Errors
    /// When what the client sends cannot be read; it is to be told so.
    pub(crate) async fn next(&mut self) -> Result<Option<R>, Status> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// As [`Self::next`].
    pub(crate) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<R>, Status>> {
        loop {
            if let Some(message) = self.deframer.next(self.bytes_max)? {
                let request = R::decode(message).map_err(|error| {
                    Status::invalid_argument(format!("cannot decode a request: {error}"))
                })?;
                return Poll::Ready(Ok(Some(request)));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => {
                    // Trailers of a request say nothing.
                    if let Ok(chunk) = frame.into_data() {
                        self.deframer.push(chunk);
                    }
                }
                // A reset is how clients go.
                Some(Err(_)) => return Poll::Ready(Ok(None)),
                None if self.deframer.is_between_messages() => return Poll::Ready(Ok(None)),
                None => {
                    return Poll::Ready(Err(Status::invalid_argument(
                        "the stream of requests ended within a message",
                    )));
                }
            }
        }
    }
}
