//! Clusters as registries, against the API server of the test harness.

// Said once for all, so that Clippy knows the helpers for tests too.
#![cfg(test)]

mod contract;
mod preflight;
mod real;
mod scenario;
mod secrets;
mod status;
mod watching;
