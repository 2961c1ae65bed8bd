//! Mutual TLS of the xDS listener.
//!
//! A [`TlsSource`] says where certificate and client authorities come from; [`load`] reads it and gives [`Tls`], what is in use now, and
//! [`TlsUpkeep`], the task that renews it. [`TlsListener`] accepts connections of clients that prove an identity, and of no others.

mod listener;
mod material;
mod source;
mod verifier;

pub use listener::{TlsCounts, TlsListener, TlsPeer};
pub use material::TlsError;
pub use source::{Tls, TlsFiles, TlsSource, TlsStatus, TlsUpkeep, load};

#[cfg(test)]
mod tests;
