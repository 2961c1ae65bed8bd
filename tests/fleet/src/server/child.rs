//! A process that is measured, with its log.

use std::{
    ffi::OsString,
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;

/// A process, which ends with this value.
#[derive(Debug)]
pub struct Server {
    child: Child,
    log: PathBuf,
}

/// How often it is looked whether something is so.
const LOOK: Duration = Duration::from_millis(20);

impl Server {
    /// Starts a program in a folder. Its log is `{name}.log` there.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        name: &str,
        program: &Path,
        arguments: &[OsString],
        environment: &[(&str, &str)],
        folder: &Path,
    ) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let child = Command::new(program)
            .args(arguments)
            .envs(environment.iter().copied())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { child, log })
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the process has written a JSON file that says where it listens.
    ///
    /// # Errors
    /// When the process ends, takes too long, or writes something else.
    pub async fn addresses<T: DeserializeOwned>(
        &mut self,
        file: &Path,
        limit: Duration,
    ) -> Result<T> {
        self.until(limit, "it listens", async || {
            std::fs::read(file).ok().map(|said| {
                serde_json::from_slice(&said)
                    .with_context(|| format!("not addresses: {}", String::from_utf8_lossy(&said)))
            })
        })
        .await?
    }

    /// Waits until something of the process is there.
    ///
    /// # Errors
    /// When the process ends or it takes too long.
    pub async fn until<T>(
        &mut self,
        limit: Duration,
        what: &str,
        look: impl AsyncFn() -> Option<T>,
    ) -> Result<T> {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            if let Some(found) = look().await {
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the server has ended ({status}):\n{}", self.log_end());
            }
            if tokio::time::Instant::now() > deadline {
                bail!("not within {limit:?}: {what}\n{}", self.log_end());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    fn log_end(&self) -> String {
        const LINES: usize = 30;
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(LINES);
        lines.get(from..).unwrap_or_default().join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
