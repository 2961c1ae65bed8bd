//! `bowline serve`: the server.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::Outcome;
use crate::{
    serve::{self, Options},
    threads::Threads,
};

/// Serve proxies until told to end (SIGTERM); the configuration is followed while running
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Command {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Write the addresses that are listened on to this file, as JSON, once they are: for ports that the system chose
    #[arg(long, value_name = "FILE")]
    addresses_file: Option<PathBuf>,
}

const EXAMPLE: &str = "Example:
  bowline serve --config bowline.yaml";

pub(super) fn run(command: Command) -> Result<Outcome> {
    let Command {
        config,
        addresses_file,
    } = command;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the threads of the server")?;
    let streams = Threads::for_all_cores().context("cannot start the threads of the streams")?;
    let options = Options {
        config,
        addresses_file,
    };
    runtime.block_on(serve::run(options, &streams.places()))?;
    Ok(Outcome::Success)
}
