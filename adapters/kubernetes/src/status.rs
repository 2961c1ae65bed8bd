//! Writing back what is said of objects: by one elected replica, only what differs, and only what is ours.
//!
//! The state says what should be said ([`ClusterState::status_write`](crate::ClusterState)); [`Duty`] looks at that now and then, the
//! `writer` sends it, and `election` says who may. What is compared and merged is pure (`merge`), and so is who leads (`lease`).

mod duty;
mod election;
mod lease;
mod merge;
mod writer;

use std::{sync::Arc, time::Duration};

use bowline_mesh::{Namespace, PartState, RegistryPart, Served};
use tokio::{sync::watch, time::Instant};

pub(crate) use duty::Duty;
pub(crate) use election::Election;
pub use merge::Seen;
pub(crate) use merge::merged;
pub(crate) use writer::{StatusWrite, Writer};

/// What is written into a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Writing {
    /// Nothing.
    Nothing,
    /// What is said of Gateways, routes and Ingresses.
    Statuses {
        /// Where the Lease is by which one of several replicas is elected; `None` means the namespace of the credentials.
        lease_namespace: Option<Namespace>,
    },
}

/// How statuses are written.
#[derive(Debug, Clone)]
pub struct Statuses {
    /// What is served, once something is.
    pub served: watch::Receiver<Option<Served>>,
    /// Where the Lease is by which one of several replicas is elected; `None` means the namespace of the credentials.
    pub lease_namespace: Option<Namespace>,
    /// How long things take.
    pub timing: Timing,
}

/// How long the parts of an election, and of writing, take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// A Lease that was not renewed for so long is anybody's.
    pub lease: Duration,
    /// Who could not renew its Lease for so long writes no more; shorter than `lease`, so that two never do.
    pub renew: Duration,
    /// Between renewals, and between looks at somebody else's Lease.
    pub retry: Duration,
    /// Between looks at what should be written.
    pub look: Duration,
    /// Between looks at everything, whether or not anything changed.
    pub again: Duration,
    /// After a request was denied.
    pub denied: Duration,
}

impl Default for Timing {
    /// As Kubernetes' own controllers have it.
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            renew: Duration::from_secs(10),
            retry: Duration::from_secs(2),
            look: Duration::from_millis(250),
            again: Duration::from_secs(60),
            denied: Duration::from_secs(60),
        }
    }
}

/// Until when this replica may write; `None` where another does.
pub(crate) type Leadership = watch::Receiver<Option<Instant>>;

/// Whether this replica may write now.
pub(crate) fn leads(leadership: &Leadership) -> bool {
    leadership
        .borrow()
        .is_some_and(|until| Instant::now() < until)
}

/// How the writing is doing, for people.
#[derive(Debug, Clone)]
pub(crate) struct Health(Arc<watch::Sender<Standing>>);

#[derive(Debug, Clone, Default)]
struct Standing {
    /// Who writes; nothing before there is anything to write.
    writer: Option<Arc<str>>,
    trouble: Option<PartState>,
    denied: u64,
    throttled: u64,
    last_error: Option<Arc<str>>,
}

impl Health {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::default()))
    }

    /// Notes who writes.
    fn written_by(&self, writer: Option<Arc<str>>) {
        self.0.send_modify(|standing| standing.writer = writer);
    }

    /// Notes that all is well.
    fn well(&self) {
        self.0.send_modify(|standing| standing.trouble = None);
    }

    /// Notes a failure. Says whether it is another than the last.
    fn failed(&self, state: PartState, error: &str) -> bool {
        let mut is_new = false;
        self.0.send_modify(|standing| {
            match state {
                PartState::Denied => standing.denied += 1,
                PartState::Throttled => standing.throttled += 1,
                PartState::Starting
                | PartState::Live
                | PartState::Stale
                | PartState::NotPermitted
                | PartState::Down => {}
            }
            is_new = standing.last_error.as_deref() != Some(error);
            standing.trouble = Some(state);
            standing.last_error = Some(error.into());
        });
        is_new
    }

    /// As a part of the registry; `None` while there is nothing to write.
    pub(crate) fn part(&self) -> Option<RegistryPart> {
        let standing = self.0.borrow();
        let Standing {
            writer,
            trouble,
            denied,
            throttled,
            last_error,
        } = &*standing;
        if writer.is_none() && trouble.is_none() {
            return None;
        }
        Some(RegistryPart {
            name: "status".into(),
            state: trouble.unwrap_or(PartState::Live),
            stale_for: None,
            services: 0,
            instances: 0,
            changes_per_second_milli: 0,
            throttled: *throttled,
            denied: *denied,
            drift: 0,
            mode: match writer {
                Some(writer) => format!("written by {writer}").into(),
                None => "".into(),
            },
            last_error: last_error.clone(),
        })
    }
}
