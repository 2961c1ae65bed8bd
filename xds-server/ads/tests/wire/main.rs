//! The service over real gRPC: a raw client sends and reads single messages.

mod client;
mod protocol;
mod server;
mod stream_end;
