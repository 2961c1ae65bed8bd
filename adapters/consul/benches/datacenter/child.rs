//! Processes beside this one.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    task::JoinSet,
};

/// A relay to Consul that counts. It ends with this value.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    counts: SocketAddr,
    _child: Child,
}

/// What a relay has counted so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    /// From Consul.
    pub(crate) bytes: u64,
    pub(crate) connections_peak: usize,
}

/// Health checks that change all the time, until this value is dropped.
pub(crate) struct Flipping {
    _child: Child,
}

fn child(arguments: [&str; 2]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments).kill_on_drop(true);
    Ok(command)
}

impl Flipping {
    pub(crate) fn start(consul: SocketAddr) -> Result<Self> {
        let child = child(["flip", &consul.to_string()])?.spawn()?;
        Ok(Self { _child: child })
    }
}

impl Relay {
    pub(crate) async fn start(to: SocketAddr) -> Result<Self> {
        let mut child = child(["relay", &to.to_string()])?
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("it has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = lines.next_line().await?.context("it says no address")?;
        let (address, counts) = line.split_once(' ').context("it says two addresses")?;
        Ok(Self {
            address: address.parse()?,
            counts: counts.parse()?,
            _child: child,
        })
    }

    pub(crate) async fn counts(&self) -> Result<Counts> {
        let mut text = String::new();
        let mut stream = TcpStream::connect(self.counts).await?;
        stream.read_to_string(&mut text).await?;
        let (bytes, connections) = text.split_once(' ').context("it counts two things")?;
        Ok(Counts {
            bytes: bytes.parse()?,
            connections_peak: connections.parse()?,
        })
    }
}

/// The relay itself: says where it listens, and where it tells its counts to who connects.
#[expect(clippy::print_stdout, reason = "its parent reads it")]
pub(crate) async fn relay(to: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let counts = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("{} {}", listener.local_addr()?, counts.local_addr()?);
    let bytes = Arc::new(AtomicU64::new(0));
    let open = Arc::new(AtomicUsize::new(0));
    let mut peak = 0;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (client, _) = accepted?;
                peak = peak.max(open.fetch_add(1, Ordering::Relaxed) + 1);
                let (bytes, open) = (bytes.clone(), open.clone());
                connections.spawn(async move {
                    // How a connection ends is nothing that is measured.
                    drop(pass(client, to, &bytes).await);
                    open.fetch_sub(1, Ordering::Relaxed);
                });
            }
            asked = counts.accept() => {
                let text = format!("{} {peak}", bytes.load(Ordering::Relaxed));
                asked?.0.write_all(text.as_bytes()).await?;
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn pass(mut client: TcpStream, to: SocketAddr, bytes: &AtomicU64) -> Result<()> {
    let mut consul = TcpStream::connect(to).await?;
    client.set_nodelay(true)?;
    consul.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_consul, mut to_consul) = consul.split();
    let forth = async {
        tokio::io::copy(&mut from_client, &mut to_consul).await?;
        to_consul.shutdown().await?;
        anyhow::Ok(())
    };
    let back = async {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = from_consul.read(&mut buffer).await?;
            let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else {
                return anyhow::Ok(to_client.shutdown().await?);
            };
            bytes.fetch_add(read as u64, Ordering::Relaxed);
            to_client.write_all(part).await?;
        }
    };
    tokio::try_join!(forth, back)?;
    Ok(())
}
