//! A client that only asks about one service, again and again: what knowing a change costs at least.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use bowline_harness::Request;
use tokio::{sync::mpsc, task::JoinSet};

/// After an answer that is none.
const AGAIN: Duration = Duration::from_millis(100);

/// What the client sees, until this value is dropped.
pub(crate) struct Bare {
    seen: mpsc::Receiver<Seen>,
    _task: JoinSet<()>,
}

#[derive(Debug)]
struct Seen {
    at: Instant,
    is_critical: bool,
}

impl Bare {
    pub(crate) fn start(consul: SocketAddr, service: &'static str) -> Self {
        let (sender, seen) = mpsc::channel(64);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut index = String::from("0");
            loop {
                match ask(consul, service, &mut index).await {
                    Ok(seen) => match sender.send(seen).await {
                        Ok(()) => {}
                        Err(_) => return,
                    },
                    Err(_) => tokio::time::sleep(AGAIN).await,
                }
            }
        });
        Self { seen, _task: task }
    }

    /// When it saw that an instance is critical, or that none is.
    pub(crate) async fn until(&mut self, is_critical: bool) -> Result<Instant> {
        loop {
            let seen = self.seen.recv().await.context("the client has ended")?;
            if seen.is_critical == is_critical {
                return Ok(seen.at);
            }
        }
    }
}

async fn ask(consul: SocketAddr, service: &str, index: &mut String) -> Result<Seen> {
    let path = format!("/v1/health/service/{service}?stale&wait=15s&index={index}");
    let answer = Request::get(consul, "consul", &path).send().await?;
    let at = Instant::now();
    let next = answer.headers.get("x-consul-index");
    *index = next.context("no index")?.to_str()?.to_owned();
    Ok(Seen {
        at,
        is_critical: answer.text().contains("critical"),
    })
}
