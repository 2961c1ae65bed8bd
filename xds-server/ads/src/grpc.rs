//! gRPC over an HTTP/2 body, no more of it than a discovery service needs.
//!
//! tonic's codec copies every message into a buffer of the stream, which keeps the size of the largest message that it ever saw. Here a
//! large response is a reference to bytes that all streams share, and a stream that is silent holds no buffer at all.

mod body;
mod deframer;
mod encodings;
mod requests;

pub(crate) use self::{
    body::ResponseBody,
    encodings::{Encoded, Encodings, KEPT_FOR},
    requests::Requests,
};

/// In front of every message: whether it is compressed (one byte), and its length (four).
const PREFIX_LEN: usize = 5;
