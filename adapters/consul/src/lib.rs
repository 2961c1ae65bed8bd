//! Consul as a registry: datacenters whose catalogue and health are in the mesh within milliseconds.
//!
//! ```text
//! agents ──HTTP──► answers ──► cores (what is known, what to ask next) ──► model objects ──► what is not told yet, as RegistryEvents
//! ```
//!
//! An error is never an empty answer: what Consul said last stays until it says something else. docs/consul.md says what of a registration
//! means what. Reading order: [`ConsulSettings`]; `mapping`, what an instance is in the mesh; `watch`, the rules of blocking queries one by
//! one; `watcher`, the core; `told`, the events; [`Consul`], the shell; `http`, how agents are asked.

mod ask;
mod consul;
mod greet;
mod http;
mod mapping;
mod part;
mod problem;
mod remembered;
mod scope;
mod settings;
mod told;
mod watch;
mod watcher;
mod wire;

pub use consul::Consul;
pub use settings::{AgentAddress, AgentAddressError, ConsulSettings, HostPort, TlsFiles};
