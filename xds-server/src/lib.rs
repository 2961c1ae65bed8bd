//! The program `bowline`: reads its configuration, starts the parts in the order in which data flows through them, and holds the
//! commands. It has no domain logic: what a mesh is, how it becomes Envoy configuration and how that is served is in crates of their own.

pub mod cli;
pub mod config;
pub mod serve;
pub mod services;
pub mod tasks;
pub mod threads;

pub mod registries;

pub mod pipeline;

pub mod node;
pub mod source;

pub mod grpc;
pub mod tls;

pub mod admin;
pub mod log;
pub mod metrics;
