//! Waiting for a condition. Nothing else in the tests waits.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long a condition may take that normally holds at once: long enough for a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Tries until the attempt succeeds, and answers with what it gave.
///
/// # Errors
/// When it has not succeeded within [`PATIENCE`]: what was awaited and the last attempt's error.
pub async fn eventually<T, E>(what: &str, attempt: impl AsyncFnMut() -> Result<T, E>) -> Result<T>
where
    E: std::fmt::Display,
{
    within(PATIENCE, what, attempt).await
}

/// Tries until the attempt succeeds or the time is over.
///
/// # Errors
/// When it has not succeeded in time: what was awaited and the last attempt's error.
pub async fn within<T, E>(
    patience: Duration,
    what: &str,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T>
where
    E: std::fmt::Display,
{
    let deadline = Instant::now() + patience;
    let mut pause = FIRST_PAUSE;
    let mut last = "it was never tried to its end".to_owned();
    loop {
        let remaining = deadline.saturating_duration_since(Instant::now());
        match tokio::time::timeout(remaining, attempt()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => last = format!("{error:#}"),
            Err(_) => bail!("{what}: not within {patience:?}: {last}"),
        }
        if Instant::now() >= deadline {
            bail!("{what}: not within {patience:?}: {last}");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
