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
    /// The next request, which nobody has looked at.
    arrived: Option<Bytes>,
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
            arrived: None,
            bytes_max,
            request: PhantomData,
        }
    }

    /// Whether there is a next request, once it has come. It is left as it is, which takes far less memory than to read it: the first
    /// request of a proxy that comes back lists thousands of names. Cancel-safe.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub(crate) async fn arrived(&mut self) -> Result<bool, Status> {
        if self.arrived.is_none() {
            self.arrived = poll_fn(|context| self.poll_message(context)).await?;
        }
        Ok(self.arrived.is_some())
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
        let message = match self.arrived.take() {
            Some(message) => Some(message),
            None => ready!(self.poll_message(context))?,
        };
        let request = message.map(R::decode).transpose().map_err(|error| {
            Status::invalid_argument(format!("cannot decode a request: {error}"))
        })?;
        Poll::Ready(Ok(request))
    }

    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Status>> {
        loop {
            if let Some(message) = self.deframer.next(self.bytes_max)? {
                return Poll::Ready(Ok(Some(message)));
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
