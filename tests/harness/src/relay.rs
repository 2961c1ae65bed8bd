//! A network between a client and a server that a test can cut.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// Forwards TCP connections to an address, until it is dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    way: watch::Sender<Way>,
    _accepting: JoinSet<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    To(SocketAddr),
    Cut,
}

impl Relay {
    /// Starts it on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("the relay cannot listen")?;
        let address = listener.local_addr()?;
        let (way, follow) = watch::channel(Way::To(target));
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((stream, _)) = listener.accept() => {
                        let relayed = relayed(stream, follow.clone());
                        connections.spawn(async move { drop(relayed.await) });
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Self {
            address,
            way,
            _accepting: accepting,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on nothing gets through, and neither side is told: connections stay open, as when a machine vanishes.
    pub fn cut(&self) {
        self.way.send_replace(Way::Cut);
    }

    /// Closes all connections; new ones lead to this address.
    pub fn lead_to(&self, target: SocketAddr) {
        self.way.send_replace(Way::To(target));
    }
}

async fn relayed(mut client: TcpStream, mut way: watch::Receiver<Way>) -> Result<()> {
    let now = *way.borrow_and_update();
    // Kept open by being held, with what was not read on the way.
    let _server = match now {
        Way::To(target) => {
            let mut server = TcpStream::connect(target).await?;
            client.set_nodelay(true)?;
            server.set_nodelay(true)?;
            tokio::select! {
                ended = copy_bidirectional(&mut client, &mut server) => {
                    ended?;
                    return Ok(());
                }
                changed = way.changed() => changed?,
            }
            Some(server)
        }
        Way::Cut => None,
    };
    way.wait_for(|way| *way != Way::Cut).await?;
    Ok(())
}
