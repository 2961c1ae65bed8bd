//! The real `bowline`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::OnceCell;
use xtask::{cargo, workspace};

use crate::{
    client::{Answer, Request},
    eventually::eventually,
    port::free_port,
    process::{Output, Process, run},
};

/// The environment variable that names a program which is up to date already.
const PROGRAM: &str = "BOWLINE_PROGRAM";

const CONFIGURATION: &str = "bowline.yaml";

/// Where a `bowline serve` listens. The ports stay the same over restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Addresses {
    /// xDS without TLS.
    pub xds: SocketAddr,
    /// xDS over mutual TLS.
    pub xds_tls: SocketAddr,
    /// The admin interface.
    pub admin: SocketAddr,
}

/// A `bowline serve`. It ends with this value.
#[derive(Debug)]
pub struct Bowline {
    program: PathBuf,
    folder: PathBuf,
    addresses: Addresses,
    process: Option<Process>,
}

impl Bowline {
    /// Starts `bowline serve` in a folder and returns when it is ready.
    ///
    /// `configuration` is that part of the configuration file that says what is served:
    /// everything but `xds`, `admin` and `state`. Paths in it are relative to the folder.
    ///
    /// # Errors
    /// When it cannot be built or started, or does not become ready.
    pub async fn start(configuration: &str, folder: &Path) -> Result<Self> {
        let mut bowline = Self::prepare(configuration, folder).await?;
        bowline.launch().await?;
        bowline.ready().await?;
        Ok(bowline)
    }

    /// Starts `bowline serve` with the file `bowline.yaml` of a folder as it is, and returns when
    /// it is ready. The file says where xDS is served with and without TLS.
    ///
    /// # Errors
    /// When it cannot be built or started, or does not become ready.
    pub async fn start_as_configured(folder: &Path) -> Result<Self> {
        let program = program().await?;
        let (process, addresses) = serve(&program, folder).await?;
        let mut bowline = Self {
            program,
            folder: folder.to_path_buf(),
            addresses,
            process: Some(process),
        };
        bowline.ready().await?;
        Ok(bowline)
    }

    /// Writes the configuration and starts nothing.
    ///
    /// # Errors
    /// When it cannot be built, or the configuration cannot be written.
    pub async fn prepare(configuration: &str, folder: &Path) -> Result<Self> {
        let bowline = Self {
            program: program().await?,
            folder: folder.to_path_buf(),
            addresses: Addresses {
                xds: loopback(free_port()?),
                xds_tls: loopback(free_port()?),
                admin: loopback(free_port()?),
            },
            process: None,
        };
        bowline.configure(configuration)?;
        Ok(bowline)
    }

    /// Writes another configuration with the same addresses; a running server notices by itself.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn configure(&self, configuration: &str) -> Result<()> {
        let Addresses {
            xds,
            xds_tls,
            admin,
        } = self.addresses;
        let text = format!(
            "xds:\n  address: {xds}\n  tls: {{address: \"{xds_tls}\"}}\nadmin:\n  address: {admin}\n\
             state:\n  path: ./state\n{configuration}"
        );
        let file = self.configuration();
        let fresh = file.with_extension("fresh");
        std::fs::write(&fresh, text)
            .and_then(|()| std::fs::rename(&fresh, &file))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// The path of its configuration file.
    pub fn configuration(&self) -> PathBuf {
        self.folder.join(CONFIGURATION)
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Starts the server and returns when it listens.
    ///
    /// # Errors
    /// When it ends or does not listen in time.
    pub async fn launch(&mut self) -> Result<()> {
        let (process, addresses) = serve(&self.program, &self.folder).await?;
        self.process = Some(process);
        self.addresses = addresses;
        Ok(())
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// When it is not in time: the blockers that it names.
    pub async fn ready(&mut self) -> Result<()> {
        let admin = self.addresses.admin;
        let process = self.process.as_mut().context("it was not started")?;
        eventually("bowline is ready", async || {
            if let Err(ended) = process.alive() {
                return Ok(Err(ended));
            }
            let answer = Request::get(admin, "admin", "/readyz").send().await?;
            if !answer.status.is_success() {
                bail!("status {}: {}", answer.status, answer.text());
            }
            Ok(Ok(()))
        })
        .await?
    }

    /// Ends it by SIGTERM.
    ///
    /// # Errors
    /// When it does not end in time, or not with success.
    pub async fn terminate(&mut self) -> Result<()> {
        let mut process = self.process.take().context("it was not started")?;
        let status = process.terminate().await?;
        if !status.success() {
            bail!("bowline ended with {status}");
        }
        Ok(())
    }

    /// Ends it by SIGKILL.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub async fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("it was not started")?;
        process.kill().await
    }

    /// Asks its admin interface.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn admin(&self, path: &str) -> Result<Answer> {
        Request::get(self.addresses.admin, "admin", path)
            .send()
            .await
    }

    /// Its admin interface's answer as JSON.
    ///
    /// # Errors
    /// When it does not answer with success and JSON.
    pub async fn admin_json(&self, path: &str) -> Result<Value> {
        let answer = self.admin(path).await?;
        if !answer.status.is_success() {
            bail!("{path}: status {}: {}", answer.status, answer.text());
        }
        answer.json()
    }

    /// A number among its metrics, such as `bowline_xds_pushes_total{type="CDS"}`.
    ///
    /// # Errors
    /// When the admin interface does not answer, or has no such number.
    pub async fn metric(&self, series: &str) -> Result<f64> {
        let text = self.admin("/metrics").await?.text();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let value = value.with_context(|| format!("no metric {series} in\n{text}"))?;
        value
            .parse()
            .with_context(|| format!("{series} is {value}"))
    }

    /// Runs another command of the program in the same folder, with the same configuration.
    ///
    /// # Errors
    /// When it cannot be run or does not end. Whether it succeeded is in the output.
    pub async fn command(&self, command: &[&str]) -> Result<Output> {
        let configuration = self.configuration();
        let arguments = command
            .iter()
            .map(AsRef::as_ref)
            .chain(["--config".as_ref(), configuration.as_os_str()]);
        run(&self.program, arguments, &self.folder).await
    }

    /// The same for a command that has to succeed: its standard output.
    ///
    /// # Errors
    /// When it fails: what it said.
    pub async fn output(&self, command: &[&str]) -> Result<String> {
        let output = self.command(command).await?;
        if !output.success {
            bail!("bowline {} failed:\n{}", command.join(" "), output.stderr);
        }
        Ok(output.stdout)
    }

    /// Succeeds while it runs.
    ///
    /// # Errors
    /// When it has ended, with the end of its log.
    pub fn alive(&mut self) -> Result<()> {
        self.process.as_mut().context("it was not started")?.alive()
    }

    /// Its log until now.
    ///
    /// # Errors
    /// When it was not started, or the log cannot be read.
    pub fn log(&self) -> Result<String> {
        self.process.as_ref().context("it was not started")?.log()
    }
}

async fn serve(program: &Path, folder: &Path) -> Result<(Process, Addresses)> {
    let listening = folder.join("addresses.json");
    // Those of an earlier run would be believed.
    drop(std::fs::remove_file(&listening));
    let arguments = [
        "serve".as_ref(),
        "--config".as_ref(),
        CONFIGURATION.as_ref(),
        "--addresses-file".as_ref(),
        listening.as_os_str(),
    ];
    let mut process = Process::start("bowline", program, arguments, folder)?;
    let said = eventually("bowline listens", async || {
        if let Err(ended) = process.alive() {
            return Ok(Err(ended));
        }
        std::fs::read(&listening)
            .context("it has not said where it listens")
            .map(Ok)
    })
    .await??;
    let addresses = serde_json::from_slice(&said)
        .with_context(|| format!("not addresses: {}", String::from_utf8_lossy(&said)))?;
    Ok((process, addresses))
}

/// The path of the program, built if need be.
///
/// # Errors
/// When it cannot be built.
pub async fn program() -> Result<PathBuf> {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    BUILT
        .get_or_try_init(async || match std::env::var_os(PROGRAM) {
            Some(program) => Ok(PathBuf::from(program)),
            None => build().await,
        })
        .await
        .cloned()
}

/// Cargo says whether the program is up to date; a stale one would prove nothing.
async fn build() -> Result<PathBuf> {
    let mut command = tokio::process::Command::from(cargo::command());
    let built = command
        .args([
            "build",
            "--quiet",
            "--package",
            "bowline",
            "--bin",
            "bowline",
        ])
        .output()
        .await
        .context("cannot run cargo")?;
    if !built.status.success() {
        bail!(
            "cannot build bowline:\n{}",
            String::from_utf8_lossy(&built.stderr)
        );
    }
    Ok(workspace::target().join("debug/bowline"))
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
