//! A Kubernetes API server for tests: lists, watches, writes, discovery, and everything that can
//! go wrong with them.
//!
//! Objects are JSON and go in as they are, also those that a real server would refuse. Clients
//! find it by its kubeconfig and see what a real one would show them: one revision over all
//! kinds, pages of one moment, watches with bookmarks and streamed lists, conflicts, kinds that
//! CustomResourceDefinitions bring and take. The test holds the other end: it changes objects,
//! breaks things by [`Fault`]s, and reads what was asked.
//!
//! Where a real server is stricter (validation, admission, managers of fields), this one lets
//! through. No controllers run: nobody makes EndpointSlices but the test.

mod accept;
mod api;
mod credentials;
mod discovery;
mod failure;
mod fault;
mod json;
mod kind;
mod list;
pub mod objects;
mod query;
mod selector;
mod serve;
mod server;
mod shared;
mod store;
mod target;
mod watch;
mod write;

pub use self::{credentials::Access, fault::Fault, server::ApiServer, shared::Asked};
