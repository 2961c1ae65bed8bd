//! Why a connection ends before its peer ends it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Lifetime, alive::Heard};

/// A connection on which nothing is asked for so long is ended. Keepalive begins only after the preface of HTTP/2, so that one without any
/// would stay for ever.
const FIRST_REQUEST_MAX: Duration = Duration::from_secs(30);

/// What has happened to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// The client's certificate is not valid any more. A proxy whose certificate was renewed in time connects again with the new one;
    /// one that was not has no business here.
    Expired,
    /// Nothing was heard of the peer for a while: it is to be asked for a sign of life.
    Quiet,
    /// The peer gives no sign of life.
    Lost,
    /// The peer has not asked for anything.
    Silent,
    /// It has lived long enough.
    Old,
    Shutdown,
}

/// Waits for the reasons to end one connection.
///
/// A connection wakes with everything that is sent or received, and this must cost nothing then: it is looked at only when its timer, or
/// the shutdown, has woken it.
pub(super) struct Ends {
    has_asked: Arc<AtomicBool>,
    next: FuturesUnordered<BoxFuture<'static, (Watch, Reason)>>,
}

/// What is waited for.
struct Watch {
    heard: Arc<Heard>,
    keepalive_interval: Duration,
    keepalive_timeout: Duration,
    /// Whether the peer was asked for a sign of life.
    question: Option<Question>,
    has_asked: Arc<AtomicBool>,
    /// When it must have asked for something; `None` once it has.
    silent_at: Option<Instant>,
    expires_at: Option<Instant>,
    old_at: Option<Instant>,
    shutdown: Option<CancellationToken>,
}

#[derive(Clone, Copy)]
struct Question {
    /// When the peer was last heard.
    last: Instant,
    /// When it was asked, which may be much later: a process that was stopped in between has not sent its PING either.
    asked: Instant,
}

impl Ends {
    pub(super) fn new(
        heard: Arc<Heard>,
        proven_until: Option<SystemTime>,
        age_max: Option<Duration>,
        lifetime: &Lifetime,
        shutdown: CancellationToken,
    ) -> Self {
        let now = Instant::now();
        let left = |until: SystemTime| until.duration_since(SystemTime::now()).unwrap_or_default();
        let has_asked = Arc::<AtomicBool>::default();
        let watch = Watch {
            heard,
            keepalive_interval: lifetime.keepalive_interval,
            keepalive_timeout: lifetime.keepalive_timeout,
            question: None,
            has_asked: has_asked.clone(),
            silent_at: Some(now + FIRST_REQUEST_MAX),
            expires_at: proven_until.map(|until| after(now, left(until))),
            old_at: age_max.map(|age| after(now, age)),
            shutdown: Some(shutdown),
        };
        let next = FuturesUnordered::new();
        next.push(watch.reason().boxed());
        Self { has_asked, next }
    }

    /// To be set when the peer asks for something.
    pub(super) fn has_asked(&self) -> Arc<AtomicBool> {
        self.has_asked.clone()
    }

    /// The next reason. After [`Reason::Old`] and [`Reason::Shutdown`], when the connection is let run out, those that end it at once;
    /// after [`Reason::Quiet`] all of them. Cancel-safe.
    pub(super) async fn next(&mut self) -> Reason {
        let Some((watch, reason)) = self.next.next().await else {
            return std::future::pending().await;
        };
        match reason {
            Reason::Quiet | Reason::Old | Reason::Shutdown => {
                self.next.push(watch.reason().boxed());
            }
            Reason::Expired | Reason::Lost | Reason::Silent => {}
        }
        reason
    }
}

impl Watch {
    async fn reason(mut self) -> (Self, Reason) {
        loop {
            let next = match self.look(Instant::now()) {
                Ok(reason) => return (self, reason),
                Err(next) => next,
            };
            let is_shutdown = tokio::select! {
                () = cancelled(self.shutdown.as_ref()) => true,
                () = sleep_until(next) => false,
            };
            if is_shutdown {
                self.let_run_out();
                return (self, Reason::Shutdown);
            }
        }
    }

    /// What is the case by now; where nothing is, when to look again.
    fn look(&mut self, now: Instant) -> Result<Reason, Instant> {
        let is_due = |at: &Instant| *at <= now;
        if self.expires_at.as_ref().is_some_and(is_due) {
            return Ok(Reason::Expired);
        }
        let last = self.heard.last();
        self.question = self.question.filter(|question| question.last == last);
        let keepalive = match self.question {
            Some(Question { asked, .. }) => match after(asked, self.keepalive_timeout) {
                due if is_due(&due) => return Ok(Reason::Lost),
                later => later,
            },
            None => match after(last, self.keepalive_interval) {
                due if is_due(&due) => {
                    self.question = Some(Question { last, asked: now });
                    return Ok(Reason::Quiet);
                }
                later => later,
            },
        };
        if self.silent_at.as_ref().is_some_and(is_due) {
            if !self.has_asked.load(Ordering::Relaxed) {
                return Ok(Reason::Silent);
            }
            self.silent_at = None;
        }
        if self.old_at.as_ref().is_some_and(is_due) {
            self.let_run_out();
            return Ok(Reason::Old);
        }
        let moments = [self.expires_at, self.silent_at, self.old_at];
        Err(moments.into_iter().flatten().fold(keepalive, Instant::min))
    }

    /// It is asked to come again, which is done once.
    fn let_run_out(&mut self) {
        self.old_at = None;
        self.shutdown = None;
    }
}

/// So much later; where no clock goes so far, later than anything lasts.
fn after(moment: Instant, time: Duration) -> Instant {
    const LONG: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    moment + time.min(LONG)
}

async fn cancelled(token: Option<&CancellationToken>) {
    match token {
        Some(token) => token.cancelled().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::{super::alive::Watched, *};

    const HOUR: Duration = Duration::from_secs(3600);

    fn lifetime(age_max: Option<Duration>) -> Lifetime {
        Lifetime {
            age_max,
            keepalive_interval: HOUR * 100,
            keepalive_timeout: HOUR,
            lost: Default::default(),
        }
    }

    fn ends_with(lifetime: &Lifetime, proven_until: Option<SystemTime>) -> Ends {
        let (_, heard) = Watched::new(tokio::io::empty());
        let shutdown = CancellationToken::new();
        Ends::new(heard, proven_until, lifetime.age_max, lifetime, shutdown)
    }

    /// Of a connection on which something is asked for.
    fn ends(proven_until: Option<SystemTime>, age_max: Option<Duration>) -> Ends {
        let ends = ends_with(&lifetime(age_max), proven_until);
        ends.has_asked().store(true, Ordering::Relaxed);
        ends
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_asks_for_nothing_is_not_kept() {
        let started = Instant::now();
        let mut asks_nothing = ends_with(&lifetime(None), None);
        assert_eq!(asks_nothing.next().await, Reason::Silent);
        assert_eq!(started.elapsed(), FIRST_REQUEST_MAX);
        let mut asks = ends(None, None);
        assert!(tokio::time::timeout(HOUR, asks.next()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_with_its_clients_certificate() {
        let started = Instant::now();
        let mut ends_later = ends(Some(SystemTime::now() + HOUR), None);
        assert_eq!(ends_later.next().await, Reason::Expired);
        let lasted = started.elapsed().as_secs();
        assert!((3590..=3601).contains(&lasted), "{lasted}");
        let mut expired = ends(Some(SystemTime::UNIX_EPOCH), None);
        assert_eq!(expired.next().await, Reason::Expired);
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_connection_that_runs_out_still_ends_when_it_has_to() {
        let mut old = ends(Some(SystemTime::now() + HOUR * 2), Some(HOUR));
        assert_eq!(old.next().await, Reason::Old);
        assert_eq!(old.next().await, Reason::Expired);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_is_heard_once() {
        let (_, heard) = Watched::new(tokio::io::empty());
        let shutdown = CancellationToken::new();
        let mut ends = Ends::new(heard, None, None, &lifetime(None), shutdown.clone());
        ends.has_asked().store(true, Ordering::Relaxed);
        shutdown.cancel();
        assert_eq!(ends.next().await, Reason::Shutdown);
        assert!(tokio::time::timeout(HOUR, ends.next()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_is_quiet_is_asked_and_then_lost() {
        let started = Instant::now();
        let mut quiet = ends(None, None);
        assert_eq!(quiet.next().await, Reason::Quiet);
        assert_eq!(started.elapsed(), HOUR * 100);
        assert_eq!(quiet.next().await, Reason::Lost);
        assert_eq!(started.elapsed(), HOUR * 101);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_answers_is_asked_again_when_it_has_been_quiet_again() {
        let (mut peer, stream) = tokio::io::duplex(8);
        let (mut watched, heard) = Watched::new(stream);
        let shutdown = CancellationToken::new();
        let mut ends = Ends::new(heard, None, None, &lifetime(None), shutdown);
        ends.has_asked().store(true, Ordering::Relaxed);
        assert_eq!(ends.next().await, Reason::Quiet);
        assert!(tokio::time::timeout(HOUR / 2, ends.next()).await.is_err());
        peer.write_all(b"x").await.unwrap();
        watched.read_u8().await.unwrap();
        let heard_at = Instant::now();
        assert_eq!(ends.next().await, Reason::Quiet);
        assert_eq!(heard_at.elapsed(), HOUR * 100);
    }

    #[tokio::test(start_paused = true)]
    async fn to_ask_a_peer_again_and_again_does_not_make_up_for_its_first_request() {
        let often = Lifetime {
            keepalive_interval: FIRST_REQUEST_MAX / 2,
            ..lifetime(None)
        };
        let mut ends = ends_with(&often, None);
        assert_eq!(ends.next().await, Reason::Quiet);
        assert_eq!(ends.next().await, Reason::Silent);
    }
}
