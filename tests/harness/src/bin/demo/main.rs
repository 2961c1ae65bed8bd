//! `cargo xtask demo`: a shop of three backends behind real Envoys that Bowline configures.

mod shop;
mod story;

use std::process::ExitCode;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use self::shop::Shop;

/// What a shell says of a program that Ctrl-C has ended.
const INTERRUPTED: u8 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    let stay = std::env::args().any(|argument| argument == "--stay");
    let shown = tokio::select! {
        shown = show(stay) => shown,
        // Dropping the show ends everything that it has started.
        interrupted = interruption() => match interrupted {
            Ok(()) if stay => return ExitCode::SUCCESS,
            Ok(()) => return ExitCode::from(INTERRUPTED),
            Err(error) => Err(error),
        },
    };
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            say(&format!("The logs are in {}", shop::folder().display()));
            ExitCode::FAILURE
        }
    }
}

async fn show(stay: bool) -> Result<()> {
    let mut shop = Shop::open().await?;
    story::tell(&mut shop).await?;
    if stay {
        say(&shop.what_to_try());
        shop.stays_up().await?;
    }
    Ok(())
}

async fn interruption() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        pressed = tokio::signal::ctrl_c() => pressed.context("cannot wait for Ctrl-C"),
    }
}

#[expect(clippy::print_stdout, reason = "what the demo is there for")]
fn say(text: &str) {
    println!("{text}");
}
