//! Messages between tonic and the sessions: requests are decoded, responses are written from encoded resources.

use std::{fmt, marker::PhantomData, sync::Arc};

use bowline_proto::Message;
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

use crate::{response::Response, session::Protocol};

/// The codec of one variant.
pub(crate) struct SessionCodec<P> {
    control_plane: Arc<str>,
    protocol: PhantomData<P>,
}

impl<P> SessionCodec<P> {
    pub(crate) fn new(control_plane: Arc<str>) -> Self {
        Self {
            control_plane,
            protocol: PhantomData,
        }
    }
}

impl<P: Protocol> Codec for SessionCodec<P> {
    type Encode = Response;
    type Decode = P::Request;
    type Encoder = ResponseEncoder<P>;
    type Decoder = RequestDecoder<P>;

    fn encoder(&mut self) -> ResponseEncoder<P> {
        ResponseEncoder {
            control_plane: self.control_plane.clone(),
            protocol: PhantomData,
        }
    }

    fn decoder(&mut self) -> RequestDecoder<P> {
        RequestDecoder(PhantomData)
    }
}

/// Writes responses.
pub(crate) struct ResponseEncoder<P> {
    control_plane: Arc<str>,
    protocol: PhantomData<P>,
}

impl<P: Protocol> Encoder for ResponseEncoder<P> {
    type Item = Response;
    type Error = Status;

    fn encode(&mut self, response: Response, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(P::encoded_len(&response, &self.control_plane));
        P::write(&response, &self.control_plane, buffer);
        Ok(())
    }
}

/// Reads requests.
pub(crate) struct RequestDecoder<P>(PhantomData<P>);

impl<P: Protocol> Decoder for RequestDecoder<P> {
    type Item = P::Request;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<P::Request>, Status> {
        P::Request::decode(buffer)
            .map(Some)
            .map_err(|error| Status::invalid_argument(format!("cannot decode a request: {error}")))
    }
}

impl<P> fmt::Debug for SessionCodec<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionCodec").finish_non_exhaustive()
    }
}
