//! Real parts for tests: a real Envoy, the real `bowline`, real backends, real load.
//!
//! A test puts them together on free ports, changes something, waits with [`eventually`] until a
//! condition holds, and asserts on traffic and on what Envoy's admin interface says. Whatever was
//! started ends with the value that started it; when the test fails, the log's end is printed.

mod backend;
mod bowline;
mod client;
pub mod consul;
mod envoy;
mod eventually;
pub mod kubernetes;
mod load;
mod port;
mod process;
mod relay;

pub use backend::{HttpBackend, TcpBackend, TlsBackend, TlsConnection};
pub use bowline::{Addresses, Bowline, program};
pub use client::{Answer, Request, Version};
pub use envoy::Envoy;
pub use eventually::{PATIENCE, eventually, within};
pub use load::{Connections, Load, Report, Seen};
pub use port::free_port;
pub use process::{Output, Process, User, run};
pub use relay::Relay;
