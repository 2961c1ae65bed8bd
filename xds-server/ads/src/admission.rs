//! How many streams may start at once.
//!
//! After a restart or a network failure a whole fleet connects in the same second, and every stream begins with its dearest answers. A
//! stream is *starting* until it first waits for its client; so many may be starting at the same time, the next wait in a queue, in
//! order, and when that is full, clients are told when to come back. Streams that cost little, because their proxies hold what is current,
//! leave at once: the pace is that of the cost.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tonic::{Status, metadata::MetadataValue};

/// The entrance of a server.
pub(crate) struct Admission {
    starting: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    wait_max: Duration,
}

/// A stream that is starting. Dropped when it has started.
#[derive(Debug)]
pub(crate) struct Starting {
    /// When it counts as started, whatever its client does: slow clients must not keep the others out.
    pub(crate) until: Instant,
    _place: OwnedSemaphorePermit,
}

/// Longest time that a stream is starting. With the usual number of places this lets some hundred slow clients in each second, about as
/// many as one processor core can serve that hold nothing.
const STARTING_MAX: Duration = Duration::from_secs(1);

impl Admission {
    pub(crate) fn new(starting_max: usize, waiting_max: usize, wait_max: Duration) -> Self {
        Self {
            starting: Arc::new(Semaphore::new(
                starting_max.clamp(1, Semaphore::MAX_PERMITS),
            )),
            waiting: Arc::new(Semaphore::new(waiting_max.min(Semaphore::MAX_PERMITS))),
            wait_max,
        }
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` when too many wait already, or the wait takes too long, with the time after which to come back.
    pub(crate) async fn enter(&self) -> Result<Starting, Status> {
        if let Ok(place) = self.starting.clone().try_acquire_owned() {
            return Ok(Starting::at(place));
        }
        let Ok(_queued) = self.waiting.clone().try_acquire_owned() else {
            return Err(self.refused());
        };
        match tokio::time::timeout(self.wait_max, self.starting.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok(Starting::at(place)),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(self.refused()),
        }
    }

    fn refused(&self) -> Status {
        let mut status = Status::resource_exhausted(format!(
            "too many streams are starting at the same time (xds.limits.starting_streams_max): try again in {} s, or at another replica",
            self.wait_max.as_secs_f32()
        ));
        // What gRPC clients look at (gRFC A6); Envoy backs off by itself.
        let pushback =
            MetadataValue::from(u64::try_from(self.wait_max.as_millis()).unwrap_or(u64::MAX));
        status
            .metadata_mut()
            .insert("grpc-retry-pushback-ms", pushback);
        status
    }
}

impl Starting {
    fn at(place: OwnedSemaphorePermit) -> Self {
        Self {
            until: Instant::now() + STARTING_MAX,
            _place: place,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::poll;
    use tonic::Code;

    use super::*;

    const WAIT: Duration = Duration::from_secs(3);

    #[tokio::test(start_paused = true)]
    async fn streams_start_in_order_as_others_have_started() {
        let admission = Admission::new(1, 1, WAIT);
        let first = admission.enter().await.unwrap();
        let mut second = pin!(admission.enter());
        assert!(poll!(&mut second).is_pending());
        drop(first);
        assert!(second.await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_cannot_wait_is_told_when_to_come_back() {
        let admission = Admission::new(1, 1, WAIT);
        let _first = admission.enter().await.unwrap();
        let mut second = pin!(admission.enter());
        assert!(poll!(&mut second).is_pending());
        for refused in [admission.enter().await, second.await] {
            let status = refused.unwrap_err();
            assert_eq!(status.code(), Code::ResourceExhausted);
            let pushback = status.metadata().get("grpc-retry-pushback-ms");
            assert_eq!(pushback.unwrap().to_str().unwrap(), "3000");
        }
    }
}
