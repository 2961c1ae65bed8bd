//! What wakes a stream besides its client and its snapshots: a moment, or the end.
//!
//! A stream begins to wait with every message. To enter the lists of timers and tokens each time, and to leave them, would cost more than
//! all else that a message costs, because each touches what belongs to other streams.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// Wakes at a moment, which moves on with nearly every message. It stays set to the moment from before, and is woken once in vain.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Whether the moment has come. Where there is none, it never does.
    pub(crate) fn poll(&mut self, at: Option<Instant>, context: &mut Context<'_>) -> Poll<()> {
        let Some(at) = at else {
            return Poll::Pending;
        };
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(at)));
        loop {
            if at < sleep.deadline() || sleep.is_elapsed() && at > sleep.deadline() {
                sleep.as_mut().reset(at);
            }
            ready!(sleep.as_mut().poll(context));
            if sleep.deadline() >= at {
                return Poll::Ready(());
            }
        }
    }
}

/// Wakes a stream that is to end, by itself or with its connection. It only wakes: what has happened is asked of the tokens.
pub(crate) struct Ending {
    /// None when there is nothing more to wait for.
    cancelled: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Whom it wakes.
    waker: Option<Waker>,
}

impl Ending {
    pub(crate) fn new(shutdown: CancellationToken, retiring: Option<CancellationToken>) -> Self {
        let retired = async {
            match retiring {
                Some(retiring) => retiring.cancelled_owned().await,
                None => std::future::pending().await,
            }
        };
        let both = futures_util::future::join(shutdown.cancelled_owned(), retired);
        Self {
            cancelled: Some(Box::pin(async {
                both.await;
            })),
            waker: None,
        }
    }

    /// Sees to it that the task is woken.
    pub(crate) fn watch(&mut self, context: &mut Context<'_>) {
        let is_watched = |waker: &Waker| waker.will_wake(context.waker());
        if self.waker.as_ref().is_some_and(is_watched) {
            return;
        }
        self.waker = Some(context.waker().clone());
        if let Some(cancelled) = &mut self.cancelled
            && cancelled.as_mut().poll(context).is_ready()
        {
            self.cancelled = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
        time::Duration,
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_alarm_goes_off_at_the_moment_that_was_named_last() {
        let start = Instant::now();
        let at = |seconds| Some(start + Duration::from_secs(seconds));
        let mut alarm = Alarm::default();
        let noop = &mut Context::from_waker(Waker::noop());
        assert!(alarm.poll(None, noop).is_pending());
        assert!(alarm.poll(at(5), noop).is_pending());
        // Later, and earlier than before.
        poll_fn(|context| alarm.poll(at(9), context)).await;
        assert_eq!(start.elapsed().as_secs(), 9);
        assert!(alarm.poll(at(20), noop).is_pending());
        poll_fn(|context| alarm.poll(at(12), context)).await;
        assert_eq!(start.elapsed().as_secs(), 12);
        assert!(alarm.poll(at(3), noop).is_ready(), "it is over already");
    }

    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn each_reason_to_end_wakes_the_task_that_watched_last() {
        let [shutdown, retiring] = [(); 2].map(|()| CancellationToken::new());
        let [one, other] = [(); 2].map(|()| Arc::new(Woken(AtomicUsize::new(0))));
        let mut ending = Ending::new(shutdown.clone(), Some(retiring.clone()));
        let count = |woken: &Arc<Woken>| woken.0.load(Ordering::Relaxed);
        for woken in [&one, &other, &other] {
            ending.watch(&mut Context::from_waker(&woken.clone().into()));
        }
        retiring.cancel();
        assert_eq!((count(&one), count(&other)), (0, 1));
        shutdown.cancel();
        assert_eq!((count(&one), count(&other)), (0, 2));
    }
}
