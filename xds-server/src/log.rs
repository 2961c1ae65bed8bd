//! Logs: what is logged can be changed while running, how it looks cannot.

use std::io;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::{LogConfig, LogFilter, LogFormat};

/// Changes what is logged.
#[derive(Debug, Clone)]
pub struct LogControl {
    filter: reload::Handle<Targets, Registry>,
}

impl LogControl {
    /// From now on, this is logged.
    pub fn set(&self, filter: &LogFilter) {
        // It fails only where the subscriber is gone, and then nothing is logged at all.
        let _ = self.filter.reload(filter.targets());
    }
}

/// Logs to standard error from now on.
///
/// # Errors
/// When something else logs already.
pub fn start(config: &LogConfig) -> Result<LogControl, TryInitError> {
    let (filter, control) = reload::Layer::new(config.level.targets());
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = match config.format {
        LogFormat::Text => lines
            .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
            .boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // The filter is innermost: what it refuses is not even looked at by the other layer.
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()?;
    Ok(LogControl { filter: control })
}
