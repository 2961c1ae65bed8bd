//! Following the configuration file while running.

use bowline_document::files::{FileSet, Pace, Watch};
use tokio::{signal::unix::Signal, sync::watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    config::{Config, ConfigurationStatus},
    log::LogControl,
    serve::clusters::Configured,
};

/// A larger file is not a configuration.
const CONFIGURATION_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a changed configuration is applied to.
#[derive(Debug)]
pub(super) struct Reload {
    pub(super) config: Config,
    pub(super) configured: watch::Sender<Configured>,
    pub(super) status: watch::Sender<ConfigurationStatus>,
    pub(super) log: LogControl,
    pub(super) hangup: Signal,
}

impl Reload {
    /// Applies what changes in the file, at once and on SIGHUP, until the token is cancelled. A file that is wrong changes nothing.
    pub(super) async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let set = FileSet {
            paths: vec![self.config.path.clone()],
            extensions: &[],
            bytes_max: CONFIGURATION_BYTES_MAX,
        };
        let mut file = Watch::new(set, Pace::default());
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                _ = self.hangup.recv() => info!("SIGHUP received: reading the configuration again"),
                _ = file.next() => {}
            }
            self.apply();
        }
    }

    fn apply(&mut self) {
        let new = match Config::load(&self.config.path) {
            Ok(new) => new,
            Err(errors) => {
                error!(%errors, "the changed configuration is wrong; the server goes on with the one it has");
                self.status
                    .send_modify(|status| status.error = Some(errors.to_string()));
                return;
            }
        };
        let difference = self.config.difference(&new);
        let before = self.status.send_replace(ConfigurationStatus {
            error: None,
            needs_restart: difference.needs_restart.clone(),
        });
        if before.error.is_some() {
            info!("the configuration is right again");
        }
        for field in &difference.needs_restart {
            warn!(
                field,
                "this change of the configuration takes effect with the next restart"
            );
        }
        let new = self.config.applied_live(new);
        if difference.log_level {
            self.log.set(&new.log.level);
            info!(level = %new.log.level, "log level changed");
        }
        if difference.registries || difference.mesh {
            self.configured.send_replace(Configured {
                mesh: new.mesh.clone(),
                registries: new.registries.clone(),
            });
            info!(registries = new.registries.len(), "configuration changed");
        }
        self.config = new;
    }
}
