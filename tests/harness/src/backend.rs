//! Backends that say who they are.

mod http;
mod stream;

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

pub(crate) use self::http::NAME_HEADER;
pub use self::{
    http::HttpBackend,
    stream::{TcpBackend, TlsBackend, TlsConnection},
};

/// A listener on loopback whose connections are served until it is dropped.
#[derive(Debug)]
struct Server {
    address: SocketAddr,
    _accepting: JoinSet<()>,
}

impl Server {
    async fn start<S, F>(address: SocketAddr, serve: S) -> Result<Self>
    where
        S: Fn(TcpStream) -> F + Send + 'static,
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}"))?;
        let address = listener.local_addr()?;
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((stream, _)) = listener.accept() => {
                        // What a peer does wrong ends its connection, not the backend.
                        let served = serve(stream);
                        connections.spawn(async move { drop(served.await) });
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Self {
            address,
            _accepting: accepting,
        })
    }
}
