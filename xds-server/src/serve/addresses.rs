//! The addresses that are listened on, for whoever started the server with port 0.

use std::{io::Write, net::SocketAddr, path::Path};

use anyhow::Context;
use serde::Serialize;

/// What is listened on.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Addresses {
    /// xDS without TLS.
    pub xds: Option<SocketAddr>,
    /// xDS over mutual TLS.
    pub xds_tls: Option<SocketAddr>,
    /// Health, metrics and the API behind the commands.
    pub admin: Option<SocketAddr>,
}

impl Addresses {
    /// Writes them as JSON. The file appears whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let failed = || format!("cannot write the addresses to {}", path.display());
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let mut file = std::fs::File::create(&temporary).with_context(failed)?;
        file.write_all(&serde_json::to_vec(self)?)
            .with_context(failed)?;
        std::fs::rename(&temporary, path).with_context(failed)
    }
}
