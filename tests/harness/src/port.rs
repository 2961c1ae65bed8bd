//! Ports that nobody uses.

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

use anyhow::{Result, bail};

/// Below the range from which Linux takes the local ports of outgoing connections (32768 and up),
/// so that no request of a load takes a port that was promised to a listener.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// A port on which nobody listens, and which this process gives out once.
///
/// For listeners whose port must be known before they are there, such as those of an Envoy.
///
/// # Errors
/// When every port is taken.
pub fn free_port() -> Result<u16> {
    // Envoy listens with SO_REUSEPORT: two that were given the same port would not notice, and
    // share its connections. So no port is given twice, and processes start at different places.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id().wrapping_mul(97) % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (start + offset) % COUNT;
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between {FIRST} and {}", FIRST + COUNT)
}
