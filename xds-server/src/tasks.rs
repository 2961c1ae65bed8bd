//! Tasks that are named, owned and awaited: one that ends unexpectedly ends the process, instead of leaving it half alive.

use std::time::Duration;

use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

/// The tasks of the process.
#[derive(Debug)]
pub struct Tasks {
    running: JoinSet<(&'static str, anyhow::Result<()>)>,
    names: Vec<(&'static str, AbortHandle)>,
    shutdown: CancellationToken,
}

impl Tasks {
    /// Tasks that end when the token is cancelled.
    pub fn new(shutdown: CancellationToken) -> Self {
        Self {
            running: JoinSet::new(),
            names: Vec::new(),
            shutdown,
        }
    }

    /// Starts a task. It must end soon after the token is cancelled, and not before.
    pub fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let handle = self.running.spawn(async move { (name, task.await) });
        self.names.push((name, handle));
    }

    /// Waits until the token is cancelled, or a task ends that should not have.
    ///
    /// # Errors
    /// What the task that ended failed with.
    pub async fn supervise(&mut self) -> anyhow::Result<()> {
        tokio::select! {
            () = self.shutdown.cancelled() => Ok(()),
            Some(ended) = self.running.join_next() => match outcome(ended) {
                Ok(name) if self.shutdown.is_cancelled() => {
                    debug!(task = name, "ended");
                    Ok(())
                }
                Ok(name) => anyhow::bail!("task '{name}' ended although nothing asked it to"),
                Err(error) => Err(error),
            },
        }
    }

    /// Cancels the token and waits for all tasks; those that are not done by the deadline are cut off, and named.
    pub async fn end(mut self, deadline: Duration) {
        self.shutdown.cancel();
        let all_ended = async {
            while let Some(ended) = self.running.join_next().await {
                match outcome(ended) {
                    Ok(name) => debug!(task = name, "ended"),
                    Err(error) => error!(%error, "a task failed while shutting down"),
                }
            }
        };
        if tokio::time::timeout(deadline, all_ended).await.is_err() {
            self.names.retain(|(_, handle)| !handle.is_finished());
            let late: Vec<_> = self.names.iter().map(|(name, _)| *name).collect();
            warn!(
                ?late,
                ?deadline,
                "tasks were not done in time and are cut off"
            );
            self.running.shutdown().await;
        }
    }
}

fn outcome(
    ended: Result<(&'static str, anyhow::Result<()>), JoinError>,
) -> anyhow::Result<&'static str> {
    match ended {
        Ok((name, Ok(()))) => Ok(name),
        Ok((name, Err(error))) => Err(error.context(format!("task '{name}' failed"))),
        Err(error) => Err(anyhow::Error::new(error).context("a task panicked")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_by_itself_is_an_error_and_one_that_is_asked_to_is_not() {
        let mut tasks = Tasks::new(CancellationToken::new());
        tasks.spawn("early", async { Ok(()) });
        assert!(
            tasks
                .supervise()
                .await
                .unwrap_err()
                .to_string()
                .contains("'early'")
        );

        let token = CancellationToken::new();
        let mut tasks = Tasks::new(token.clone());
        let cancelled = token.clone();
        tasks.spawn("good", async move {
            cancelled.cancelled().await;
            Ok(())
        });
        token.cancel();
        tasks.supervise().await.unwrap();
        tasks.end(Duration::from_secs(5)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_end_is_cut_off_at_the_deadline() {
        let mut tasks = Tasks::new(CancellationToken::new());
        tasks.spawn("stuck", async {
            std::future::pending::<()>().await;
            Ok(())
        });
        tasks.end(Duration::from_secs(5)).await;
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let mut tasks = Tasks::new(CancellationToken::new());
        tasks.spawn("broken", async { panic!("broken") });
        assert!(tasks.supervise().await.is_err());
    }
}
