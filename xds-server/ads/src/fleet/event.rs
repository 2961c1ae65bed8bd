//! What happens on streams, as it happens: for metrics.

use std::{sync::Arc, time::Duration};

use bowline_snapshot::ResourceType;

use crate::session::Variant;

/// Called for every event, from the stream that it happens on: it must be quick and must not block.
pub type Observer = Arc<dyn Fn(&Event<'_>) + Send + Sync>;

/// Something that happened on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// A stream was let in.
    Connected {
        /// The variant of the protocol that it speaks.
        variant: Variant,
    },
    /// A stream that was let in has ended.
    Disconnected {
        /// The variant of the protocol that it spoke.
        variant: Variant,
    },
    /// A response goes out.
    Sent {
        /// The variant of the protocol.
        variant: Variant,
        /// Of what.
        resource_type: ResourceType,
        /// Length of the message.
        bytes: usize,
        /// Resources in it.
        resources: usize,
        /// Names of resources in it that are gone.
        removed: usize,
    },
    /// A proxy has taken over what it was sent.
    Acknowledged {
        /// Of what.
        resource_type: ResourceType,
        /// The generation that was sent: whoever published it knows since when it could have been acknowledged.
        generation: u64,
        /// Time since the response was sent.
        waited: Duration,
    },
    /// A proxy has rejected what it was sent.
    Rejected {
        /// Of what.
        resource_type: ResourceType,
        /// The proxy's reason.
        message: &'a str,
    },
    /// A request was about a response that is not the last one.
    Stale {
        /// Of what.
        resource_type: ResourceType,
    },
}
