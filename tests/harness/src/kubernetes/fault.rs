//! What can be wrong with an API server, and with the way to it.

use std::time::Duration;

/// Something that is wrong until it is healed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Every answer waits this long, and so does every piece of its body.
    Slow(Duration),
    /// Bodies come in pieces of this many bytes.
    Pieces(usize),
    /// The connection breaks after this many bytes of a body.
    BreaksAfter(usize),
    /// Requests are taken and never answered.
    Silent,
    /// 401, whatever the credentials.
    Unauthorized,
    /// 403 for everything.
    Forbidden,
    /// 403 outside of this namespace: permissions by a Role instead of a ClusterRole.
    ForbiddenOutside(String),
    /// 403 for everything that writes.
    ReadOnly,
    /// 429 with `Retry-After`.
    Overloaded,
    /// 503.
    Unavailable,
    /// An error page of something in between, with the status 200.
    Garbage,
    /// A history that is gone is told by the answer's status instead of an event.
    GoneAsStatus,
    /// The clock is wrong by this many seconds.
    Clock(i64),
}

/// A fault, and the resource that it is confined to.
#[derive(Debug, Clone)]
pub(super) struct Confined {
    pub(super) resource: Option<String>,
    pub(super) fault: Fault,
}

/// The faults that concern one request.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn of(all: &[Confined], resource: &str) -> Self {
        Self(
            all.iter()
                .filter(|confined| confined.resource.as_deref().is_none_or(|of| of == resource))
                .map(|confined| confined.fault.clone())
                .collect(),
        )
    }

    pub(super) fn has(&self, fault: &Fault) -> bool {
        self.0.contains(fault)
    }

    /// How long every answer waits.
    pub(super) fn delay(&self) -> Option<Duration> {
        self.0.iter().find_map(|fault| match fault {
            Fault::Slow(delay) => Some(*delay),
            _ => None,
        })
    }

    pub(super) fn piece_bytes(&self) -> Option<usize> {
        self.0.iter().find_map(|fault| match fault {
            Fault::Pieces(bytes) => Some((*bytes).max(1)),
            _ => None,
        })
    }

    pub(super) fn break_after_bytes(&self) -> Option<usize> {
        self.0.iter().find_map(|fault| match fault {
            Fault::BreaksAfter(bytes) => Some(*bytes),
            _ => None,
        })
    }

    pub(super) fn clock_off_by(&self) -> Option<i64> {
        self.0.iter().find_map(|fault| match fault {
            Fault::Clock(seconds) => Some(*seconds),
            _ => None,
        })
    }

    /// Whether permissions allow something.
    pub(super) fn allow(&self, verb: &str, namespace: &str) -> bool {
        self.0.iter().all(|fault| match fault {
            Fault::Forbidden => false,
            Fault::ForbiddenOutside(only) => namespace == only,
            Fault::ReadOnly => matches!(verb, "get" | "list" | "watch"),
            _ => true,
        })
    }
}
