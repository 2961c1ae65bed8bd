//! A real Envoy.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    client::Request,
    eventually::eventually,
    process::{Output, Process, User, run},
};

/// A running Envoy. It ends with this value.
#[derive(Debug)]
pub struct Envoy {
    process: Process,
    admin: SocketAddr,
}

impl Envoy {
    /// Starts an Envoy and returns when its admin interface answers.
    ///
    /// The bootstrap is YAML or JSON; its admin interface should be on port 0. The folder takes
    /// the bootstrap and the log, both by the name.
    ///
    /// # Errors
    /// When Envoy cannot be fetched or started, or refuses the bootstrap.
    pub async fn start(name: &str, bootstrap: &str, folder: &Path) -> Result<Self> {
        Self::start_as(User::Ours, name, bootstrap, folder).await
    }

    /// The same as another user, who must be able to write to the folder.
    ///
    /// # Errors
    /// The same, and when we may not start programs as that user.
    pub async fn start_as(user: User, name: &str, bootstrap: &str, folder: &Path) -> Result<Self> {
        let binary = Self::binary().await?;
        let configuration = folder.join(format!("{name}.yaml"));
        let address_file = folder.join(format!("{name}.admin"));
        std::fs::write(&configuration, bootstrap)
            .with_context(|| format!("cannot write {}", configuration.display()))?;
        // That of an earlier run would be believed.
        drop(std::fs::remove_file(&address_file));
        let arguments = [
            "--config-path".as_ref(),
            configuration.as_os_str(),
            "--admin-address-path".as_ref(),
            address_file.as_os_str(),
            "--concurrency".as_ref(),
            "1".as_ref(),
            "--disable-hot-restart".as_ref(),
            // It would begin with a hundred lines on what it is built with.
            "--component-log-level".as_ref(),
            "main:warning".as_ref(),
            // Only how long a removed listener lingers; a test does not want ten minutes.
            "--drain-time-s".as_ref(),
            "2".as_ref(),
        ];
        let mut process = Process::start_as(user, name, &binary, arguments, folder)?;
        let admin = eventually(&format!("{name} tells its admin address"), async || {
            if let Err(ended) = process.alive() {
                return Ok(Err(ended));
            }
            let text = std::fs::read_to_string(&address_file)?;
            Ok::<_, anyhow::Error>(Ok(text.trim().parse::<SocketAddr>()?))
        })
        .await??;
        Ok(Self { process, admin })
    }

    /// Asks a real Envoy whether it would accept a configuration, without running it.
    ///
    /// # Errors
    /// When Envoy cannot be fetched or started.
    pub async fn validate(configuration: &str, folder: &Path) -> Result<Output> {
        let file = folder.join("validate.yaml");
        std::fs::write(&file, configuration)
            .with_context(|| format!("cannot write {}", file.display()))?;
        let arguments = [
            "--mode".as_ref(),
            "validate".as_ref(),
            "--config-path".as_ref(),
            file.as_os_str(),
        ];
        run(&Self::binary().await?, arguments, folder).await
    }

    /// The path of the binary, which is fetched if it is not there.
    ///
    /// # Errors
    /// When it cannot be fetched.
    pub async fn binary() -> Result<PathBuf> {
        tokio::task::spawn_blocking(xtask::envoy::binary).await?
    }

    /// Where its admin interface is.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Waits until it is live: it has its first configuration and listens.
    ///
    /// # Errors
    /// When it is not in time, or has ended.
    pub async fn ready(&mut self) -> Result<()> {
        eventually("Envoy is live", async || {
            if let Err(ended) = self.process.alive() {
                return Ok(Err(ended));
            }
            let answer = Request::get(self.admin, "admin", "/ready").send().await?;
            match answer.text().trim() {
                "LIVE" => Ok(Ok(())),
                state => bail!("it is {state}"),
            }
        })
        .await?
    }

    /// What its admin interface answers for a path.
    ///
    /// # Errors
    /// When it does not answer with success.
    pub async fn admin_text(&self, path: &str) -> Result<String> {
        let answer = Request::get(self.admin, "admin", path).send().await?;
        if !answer.status.is_success() {
            bail!("{path}: status {}: {}", answer.status, answer.text());
        }
        Ok(answer.text())
    }

    /// Every counter and gauge that has been used.
    ///
    /// # Errors
    /// When the admin interface does not answer.
    pub async fn stats(&self) -> Result<BTreeMap<String, u64>> {
        let text = self.admin_text("/stats?usedonly").await?;
        Ok(text
            .lines()
            .filter_map(|line| line.rsplit_once(": "))
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect())
    }

    /// A counter or gauge; one that was never used is 0.
    ///
    /// # Errors
    /// When the admin interface does not answer.
    pub async fn stat(&self, name: &str) -> Result<u64> {
        Ok(self.stats().await?.get(name).copied().unwrap_or(0))
    }

    /// Succeeds when it has rejected no configuration.
    ///
    /// # Errors
    /// What it has rejected, and its log's word on it.
    pub async fn rejected_nothing(&self) -> Result<()> {
        let rejected: Vec<String> = self
            .stats()
            .await?
            .into_iter()
            .filter(|(name, value)| name.ends_with(".update_rejected") && *value > 0)
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        if !rejected.is_empty() {
            let log = self.process.log()?;
            let said: Vec<_> = log.lines().filter(|line| line.contains("reject")).collect();
            bail!("{}\n{}", rejected.join("\n"), said.join("\n"));
        }
        Ok(())
    }

    /// Its configuration, with the endpoints.
    ///
    /// # Errors
    /// When the admin interface does not answer.
    pub async fn config_dump(&self) -> Result<Value> {
        let text = self.admin_text("/config_dump?include_eds").await?;
        serde_json::from_str(&text).context("the config dump is not JSON")
    }

    /// The names of its active listeners, and where they really listen.
    ///
    /// # Errors
    /// When the admin interface does not answer.
    pub async fn listeners(&self) -> Result<BTreeMap<String, SocketAddr>> {
        let text = self.admin_text("/listeners").await?;
        Ok(text
            .lines()
            .filter_map(|line| line.split_once("::"))
            .filter_map(|(name, address)| Some((name.to_owned(), address.parse().ok()?)))
            .collect())
    }

    /// The names of its clusters.
    ///
    /// # Errors
    /// When the admin interface does not answer.
    pub async fn clusters(&self) -> Result<Vec<String>> {
        let text = self.admin_text("/clusters").await?;
        let mut names: Vec<String> = text
            .lines()
            .filter_map(|line| line.split_once("::"))
            .map(|(name, _)| name.to_owned())
            .collect();
        names.dedup();
        Ok(names)
    }

    /// Succeeds while it runs.
    ///
    /// # Errors
    /// When it has ended, with the end of its log.
    pub fn alive(&mut self) -> Result<()> {
        self.process.alive()
    }

    /// Its log until now.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> Result<String> {
        self.process.log()
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub async fn kill(mut self) -> Result<()> {
        self.process.kill().await
    }
}
