//! The service over real gRPC: a raw client sends and reads single messages.

#[cfg(test)]
mod client;
#[cfg(test)]
mod client_status;
#[cfg(test)]
mod protocol;
#[cfg(test)]
mod server;
#[cfg(test)]
mod stream_end;
#[cfg(test)]
mod transport;
