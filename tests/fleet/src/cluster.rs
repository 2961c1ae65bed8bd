//! A Kubernetes cluster as large as a company's, and what it costs to follow it.
//!
//! - [`scale`]: its objects, as values.
//! - [`api`]: an API server that has them: a real one, or the double of the harness.
//! - [`proxies`]: proxies that say when a change has arrived.
//! - [`rollout`]: a rolling restart, as controllers write it.
//! - [`run`]: what is measured.

pub mod api;
pub mod proxies;
pub mod rollout;
pub mod run;
pub mod scale;
