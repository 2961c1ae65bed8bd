//! A program that was started, with its log.

use std::{
    ffi::OsStr,
    fs::File,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::eventually::PATIENCE;

const LOG_LINES_SHOWN: usize = 60;

/// A running program. It is killed when this value is dropped, and its log is shown when that
/// happens because a test fails.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// As whom a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// As whoever runs the test.
    Ours,
    /// As the user with this id.
    Other(u32),
}

/// What a program that has ended said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Whether its exit status is 0.
    pub success: bool,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Process {
    /// Starts a program; standard output and standard error go to `{folder}/{name}.log`, after
    /// what is there already.
    ///
    /// # Errors
    /// When the log cannot be written or the program cannot be started.
    pub fn start<A: AsRef<OsStr>>(
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        folder: &Path,
    ) -> Result<Self> {
        Self::start_as(User::Ours, name, program, arguments, folder)
    }

    /// The same as another user.
    ///
    /// # Errors
    /// The same, and when we may not start programs as that user.
    pub fn start_as<A: AsRef<OsStr>>(
        user: User,
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        folder: &Path,
    ) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true);
        match user {
            User::Ours => {}
            User::Other(id) => {
                command.uid(id);
            }
        }
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// Fails when the program has ended, with the end of its log.
    ///
    /// # Errors
    /// When the program has ended.
    pub fn alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} has ended ({status}):\n{}", self.name, self.log_end()),
        }
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    /// When the program does not end in time.
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        if let Some(pid) = self
            .child
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()))
        {
            kill_process(pid, Signal::TERM)
                .with_context(|| format!("cannot signal {}", self.name))?;
        }
        match tokio::time::timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => bail!(
                "{} does not end after SIGTERM:\n{}",
                self.name,
                self.log_end()
            ),
        }
    }

    /// Sends SIGKILL and waits for the end.
    ///
    /// # Errors
    /// When the program cannot be signalled.
    pub async fn kill(&mut self) -> Result<()> {
        self.child
            .kill()
            .await
            .with_context(|| format!("cannot kill {}", self.name))
    }

    /// Everything that it has written.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> Result<String> {
        let bytes = std::fs::read(&self.log)
            .with_context(|| format!("cannot read {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn log_end(&self) -> String {
        let log = self.log().unwrap_or_else(|error| format!("{error:#}"));
        let skipped = log.lines().count().saturating_sub(LOG_LINES_SHOWN);
        log.lines().skip(skipped).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Process {
    #[expect(clippy::print_stderr, reason = "shown with the failing test's output")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- {}: end of its log\n{}", self.name, self.log_end());
        }
    }
}

/// Runs a program to its end.
///
/// # Errors
/// When it cannot be started or does not end in time.
pub async fn run<A: AsRef<OsStr>>(
    program: &Path,
    arguments: impl IntoIterator<Item = A>,
    folder: &Path,
) -> Result<Output> {
    let ended = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, ended)
        .await
        .with_context(|| format!("{} does not end", program.display()))?
        .with_context(|| format!("cannot run {}", program.display()))?;
    Ok(Output {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
