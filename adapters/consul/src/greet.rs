//! The first question: which datacenter the agents are in.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bowline_mesh::{RegistryEvent, RegistryPart};
use tokio::sync::{mpsc, watch};

use crate::{
    http::{Agent, Ask, TokenFile},
    part,
    scope::Scope,
    settings::ConsulSettings,
    told::Told,
    watch::{Backoff, Random},
    watcher::Failure,
    wire::{AgentSelf, Entry, list},
};

const PATIENCE: Duration = Duration::from_secs(10);
const BYTES_MAX: usize = 4 << 20;

/// Asks until somebody answers. `None` only if nobody listens any more.
pub(crate) async fn greet(
    consul: &ConsulSettings,
    agents: &[Arc<Agent>],
    token: &mut TokenFile,
    told: &mut Told,
    events: &mpsc::Sender<RegistryEvent>,
    parts: &watch::Sender<Vec<RegistryPart>>,
) -> Option<Arc<str>> {
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
    let mut random = Random::new(u64::from(std::process::id()));
    loop {
        let read = token.read().await;
        if let Some(datacenter) = &consul.datacenter {
            return Some(datacenter.clone());
        }
        let mut error = match read {
            Err(error) => Failure::Denied(error),
            Ok(_) => Failure::Unreachable("there is no agent".to_owned()),
        };
        for agent in agents {
            match datacenter(agent, token).await {
                Ok(datacenter) => return Some(datacenter),
                Err(failure) => error = failure,
            }
        }
        parts.send_replace(unreached(consul, told, &error));
        if let Some(event) = told.failing(error.message().to_owned())
            && events.send(event).await.is_err()
        {
            return None;
        }
        tokio::select! {
            () = events.closed() => return None,
            () = tokio::time::sleep(backoff.failed(&mut random)) => {}
        }
    }
}

/// The datacenter of an agent: from itself or, where the token may not ask that, from the servers' own service.
async fn datacenter(agent: &Agent, token: &TokenFile) -> Result<Arc<str>, Failure> {
    let ask = |path: &str| Ask {
        path: path.to_owned(),
        token: token.token().cloned(),
        host: None,
        patience: PATIENCE,
        bytes_max: BYTES_MAX,
    };
    let garbage = |error: serde_json::Error| {
        Failure::Garbage(format!(
            "{} does not answer as Consul does: {error}",
            agent.address()
        ))
    };
    match agent.ask(&ask("/v1/agent/self")).await {
        Ok(answer) => {
            let read: AgentSelf = serde_json::from_slice(&answer.body).map_err(garbage)?;
            Ok(read.config.datacenter.as_str().into())
        }
        Err(denied @ Failure::Denied(_)) => {
            let answer = agent.ask(&ask("/v1/health/service/consul?stale")).await?;
            let (servers, _) = list::<Entry>(&answer.body).map_err(garbage)?;
            let mut named = servers.iter().map(|server| server.node.datacenter.as_str());
            let named = named.find(|datacenter| !datacenter.is_empty());
            named.map(Into::into).ok_or(denied)
        }
        Err(failure) => Err(failure),
    }
}

/// Which parts there are is not known before the datacenter is; what is served is of those that were known before the start.
fn unreached(consul: &ConsulSettings, told: &Told, failure: &Failure) -> Vec<RegistryPart> {
    let now = Instant::now();
    let mut own = told.remembered_datacenters();
    if own.is_empty() || !consul.datacenters.is_empty() {
        own = ["own datacenter".into()].into();
    }
    let scopes = own.iter().flat_map(|own| Scope::all(consul, own));
    scopes
        .map(|scope| part::unreached(&scope, failure, told.remembered(&scope, now)))
        .collect()
}
