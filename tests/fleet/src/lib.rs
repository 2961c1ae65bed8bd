//! A simulated fleet: thousands of honest xDS clients in one process, and the servers that they measure.
//!
//! Started by `cargo xtask fleet`. What it finds is in docs/benchmarks.md.
//!
//! - [`world`]: the mesh that is served, and who is connected.
//! - [`proxy`]: one proxy as a server sees it, without I/O.
//! - [`crowd`]: thousands of them on one thread.
//! - [`server`]: what is measured: the real program, and servers that replay a [`recording`] of it.
//! - [`floor`]: servers that do nothing but send.
//! - [`scenario`]: what happens to servers and proxies, and what is measured.
//! - [`report`]: the figures.
//! - [`cluster`]: the same questions for a large Kubernetes cluster.
//! - [`datacenter`]: and for a Consul datacenter.

pub mod cluster;
pub mod control;
pub mod crowd;
pub mod datacenter;
pub mod floor;
pub mod measure;
pub mod proxy;
pub mod recording;
pub mod report;
pub mod run;
pub mod scenario;
pub mod security;
pub mod server;
pub mod statistics;
pub mod world;
