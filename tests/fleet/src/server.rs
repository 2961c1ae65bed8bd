//! The servers that are measured, each a process of its own.

pub mod bowline;
pub mod child;
pub mod replay;

use std::time::Instant;

use anyhow::Result;

use self::{bowline::Bowline, replay::Replay};
use crate::{crowd::connection::Target, world::Change};

/// A server that runs.
#[derive(Debug)]
pub enum Server {
    /// The real program, with files as its registry.
    Bowline(Bowline),
    /// A server that is told what to serve: what the real program served.
    Replay(Replay),
}

impl Server {
    /// Where proxies connect to.
    pub fn target(&self) -> Target {
        match self {
            Self::Bowline(server) => server.target(),
            Self::Replay(server) => server.target(),
        }
    }

    /// The id of its process.
    pub fn process(&self) -> u32 {
        match self {
            Self::Bowline(server) => server.process(),
            Self::Replay(server) => server.process(),
        }
    }

    /// Gets ready to make a change.
    ///
    /// # Errors
    /// When the server does not take it.
    pub async fn prepare(&mut self, change: Change) -> Result<()> {
        match self {
            Self::Bowline(server) => server.prepare(change).await,
            Self::Replay(server) => server.prepare(change).await,
        }
    }

    /// Makes the change that was prepared: the moment from which it is real.
    ///
    /// # Errors
    /// When the server does not take it.
    pub async fn commit(&mut self) -> Result<Instant> {
        match self {
            Self::Bowline(server) => server.commit().await,
            Self::Replay(server) => server.commit().await,
        }
    }

    /// Ends the process and starts another one at the same place, which has everything that the first had.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&mut self) -> Result<()> {
        match self {
            Self::Bowline(server) => server.restart().await,
            Self::Replay(server) => server.restart().await,
        }
    }
}
