//! The real `bowline` and real Envoys. Each test has its own, on ports of its own, and says in its
//! name what a user may rely on.

// Said once for all, so that Clippy knows the helpers for tests too.
#![cfg(test)]

mod accepted;
mod away;
mod capture;
mod central;
mod change;
mod cluster_networks;
mod consul;
mod exchange;
mod follow;
mod grpc;
mod hosts;
mod identity;
mod kubernetes;
mod library;
mod loads;
mod loops;
mod mistake;
mod networks;
mod node_local;
mod operate;
mod protocol;
mod replica;
mod restart;
mod route;
mod services;
mod silent;
mod status;
mod strange;
mod unknown;
mod world;
