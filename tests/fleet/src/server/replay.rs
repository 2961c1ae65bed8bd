//! A server that is told what to serve, over a control port.

use std::{
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::child::Server;
use crate::{
    control::Control,
    crowd::connection::Target,
    recording::Recording,
    security::Security,
    world::{Change, World},
};

/// A server that is told what to serve.
#[derive(Debug)]
pub struct Replay {
    world: World,
    recording: Recording,
    program: Program,
    folder: PathBuf,
    security: Security,
    running: Running,
    is_prepared: bool,
}

/// How it is started.
#[derive(Debug, Clone)]
pub struct Program {
    /// A name for its log.
    pub name: &'static str,
    /// The program.
    pub path: PathBuf,
    /// What it is told on its command line, before what all of them are told.
    pub arguments: Vec<OsString>,
}

#[derive(Debug)]
struct Running {
    process: Server,
    control: Control,
    xds: SocketAddr,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Addresses {
    xds: SocketAddr,
    control: SocketAddr,
}

const READY_MAX: Duration = Duration::from_secs(60);

impl Replay {
    /// Starts a server that serves a recording.
    ///
    /// # Errors
    /// When it does not start, or does not take the recording.
    pub async fn start(
        world: World,
        recording: Recording,
        program: Program,
        folder: &Path,
        security: &Security,
    ) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let running = launch(&recording, &program, folder, security).await?;
        Ok(Self {
            world,
            recording,
            program,
            folder: folder.to_path_buf(),
            security: security.clone(),
            running,
            is_prepared: false,
        })
    }

    pub(super) fn target(&self) -> Target {
        Target {
            address: self.running.xds,
            tls: self.security.credentials(),
        }
    }

    pub(super) fn process(&self) -> u32 {
        self.running.process.id()
    }

    pub(super) async fn prepare(&mut self, change: Change) -> Result<()> {
        let updates = self.recording.change(&self.world, change)?;
        let body = serde_json::to_vec(&updates)?;
        self.running.control.post("/prepare", body).await?;
        self.is_prepared = true;
        Ok(())
    }

    pub(super) async fn commit(&mut self) -> Result<Instant> {
        std::mem::take(&mut self.is_prepared)
            .then_some(())
            .context("no change was prepared")?;
        let now = Instant::now();
        self.running.control.post("/commit", "").await?;
        Ok(now)
    }

    pub(super) async fn restart(&mut self) -> Result<()> {
        self.running.process.kill();
        self.running = launch(&self.recording, &self.program, &self.folder, &self.security).await?;
        Ok(())
    }
}

async fn launch(
    recording: &Recording,
    program: &Program,
    folder: &Path,
    security: &Security,
) -> Result<Running> {
    let listening = folder.join(format!("{}.json", program.name));
    // Those of an earlier run would be believed.
    drop(fs::remove_file(&listening));
    let mut arguments = program.arguments.clone();
    arguments.extend(["--addresses-file".into(), listening.clone().into()]);
    if let Security::MutualTls(files) = security {
        arguments.extend(["--certificates".into(), files.folder().into()]);
    }
    let mut process = Server::start(program.name, &program.path, &arguments, &[], folder)?;
    let addresses: Addresses = process.addresses(&listening, READY_MAX).await?;
    let mut control = Control::connect(addresses.control).await?;
    let script = serde_json::to_vec(&recording.script())?;
    control.post("/script", script).await?;
    Ok(Running {
        process,
        control,
        xds: addresses.xds,
    })
}
