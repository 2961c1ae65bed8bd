//! How many streams may start at once.
//!
//! After a restart or a network failure a whole fleet connects in the same second, and every stream begins with its dearest answers. A
//! stream is *starting* until its client has answered all that it was given, for at most a second; so many may be starting at the same
//! time, the next wait in a queue, in order, and when that is full, clients are told when to come back. Streams that cost little, because
//! their proxies hold what is current, leave at once: the pace is that of the cost.
//!
//! That they have to be answered makes the server finish with some proxies before it begins with others. Otherwise all of them would get
//! their clusters before the first gets its routes, and the first would be ready when the last is.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tonic::{Status, metadata::MetadataValue};

/// Longest time that a stream is starting, whatever its client does: slow ones must not keep the others out. With the usual number of places
/// this lets some hundred slow clients in each second, about as many as one processor core can serve that hold nothing.
const STARTING_MAX: Duration = Duration::from_secs(1);

/// How often it is looked at who has been starting for too long.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The entrance of a server.
pub(crate) struct Admission {
    starting: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    wait_max: Duration,
    /// Those that were given a place, and until when they may have it. In order.
    given: Mutex<VecDeque<(Instant, Weak<Place>)>>,
}

/// A stream that is starting. Dropped when it has started.
#[derive(Debug)]
pub(crate) struct Starting(
    #[expect(dead_code, reason = "it is held, and not looked at")] Arc<Place>,
);

/// Empty when the stream has been starting for too long.
#[derive(Debug)]
struct Place(Mutex<Option<OwnedSemaphorePermit>>);

impl Admission {
    pub(crate) fn new(starting_max: usize, waiting_max: usize, wait_max: Duration) -> Self {
        Self {
            starting: Arc::new(Semaphore::new(
                starting_max.clamp(1, Semaphore::MAX_PERMITS),
            )),
            waiting: Arc::new(Semaphore::new(waiting_max.min(Semaphore::MAX_PERMITS))),
            wait_max,
            given: Mutex::default(),
        }
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` when too many wait already, or the wait takes too long, with the time after which to come back.
    pub(crate) async fn enter(&self) -> Result<Starting, Status> {
        self.free_overdue(Instant::now());
        if let Ok(permit) = self.starting.clone().try_acquire_owned() {
            return Ok(self.give(permit));
        }
        let Ok(_queued) = self.waiting.clone().try_acquire_owned() else {
            return Err(self.refused());
        };
        match tokio::time::timeout(self.wait_max, self.starting.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(self.give(permit)),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(self.refused()),
        }
    }

    /// Takes places from those that have them for too long, for ever. They do not notice it themselves: a stream whose client does not
    /// read is not looked at by anybody.
    pub(crate) async fn free_overdue_places(&self) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            ticks.tick().await;
            self.free_overdue(Instant::now());
        }
    }

    fn give(&self, permit: OwnedSemaphorePermit) -> Starting {
        let place = Arc::new(Place(Mutex::new(Some(permit))));
        let until = Instant::now() + STARTING_MAX;
        self.given.lock().push_back((until, Arc::downgrade(&place)));
        Starting(place)
    }

    fn free_overdue(&self, now: Instant) {
        let mut given = self.given.lock();
        let is_over =
            |(until, place): &(Instant, Weak<Place>)| *until <= now || place.strong_count() == 0;
        while given.front().is_some_and(is_over) {
            let place = given.pop_front().and_then(|(_, place)| place.upgrade());
            if let Some(place) = place {
                drop(place.0.lock().take());
            }
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
    async fn a_stream_that_does_not_come_to_its_end_keeps_nobody_out_for_long() {
        let admission = Admission::new(1, 1, WAIT);
        let _unread = admission.enter().await.unwrap();
        let started = Instant::now();
        tokio::select! {
            biased;
            second = admission.enter() => assert!(second.is_ok()),
            () = admission.free_overdue_places() => {}
        }
        let waited = started.elapsed();
        assert!(
            (STARTING_MAX..STARTING_MAX + 2 * LOOK_EVERY).contains(&waited),
            "{waited:?}"
        );
        assert_eq!(
            admission.given.lock().len(),
            1,
            "nothing is kept of the first one"
        );
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
