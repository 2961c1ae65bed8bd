//! Responses as the body of an HTTP/2 response.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    vec,
};

use bytes::Bytes;
use futures_util::Stream;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

use super::Encoded;

/// The responses of a stream, and how it ended.
pub(crate) struct ResponseBody<S> {
    responses: S,
    /// The rest of the last response.
    rest: vec::IntoIter<Bytes>,
    has_ended: bool,
}

impl<S> ResponseBody<S> {
    pub(crate) fn new(responses: S) -> Self {
        Self {
            responses,
            rest: Vec::new().into_iter(),
            has_ended: false,
        }
    }
}

impl<S> Body for ResponseBody<S>
where
    S: Stream<Item = Result<Encoded, Status>> + Unpin,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(piece) = self.rest.next() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        // Not kept while the stream is silent.
        self.rest = Vec::new().into_iter();
        if self.has_ended {
            return Poll::Ready(None);
        }
        let status = match ready!(Pin::new(&mut self.responses).poll_next(context)) {
            Some(Ok(encoded)) => {
                self.rest = encoded.pieces.into_iter();
                let first = self.rest.next().unwrap_or_default();
                return Poll::Ready(Some(Ok(Frame::data(first))));
            }
            Some(Err(status)) => status,
            None => Status::ok(""),
        };
        self.has_ended = true;
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
