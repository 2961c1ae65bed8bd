//! Why a connection ends before its peer ends it.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, sleep, sleep_until};
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
/// A connection wakes with everything that is sent or received, and this must cost nothing then: it is looked at only when one of its
/// timers, or the shutdown, has woken it.
pub(super) struct Ends {
    watch: Watch,
    next: FuturesUnordered<Pin<Box<dyn Future<Output = Reason> + Send>>>,
}

/// What is waited for.
#[derive(Clone)]
struct Watch {
    heard: Arc<Heard>,
    has_asked: Arc<AtomicBool>,
    /// When the peer was last heard that is being asked for a sign of life.
    quiet_since: Option<Instant>,
    silent_at: Instant,
    proven_until: Option<SystemTime>,
    old_at: Option<Instant>,
    keepalive_interval: Duration,
    keepalive_timeout: Duration,
    shutdown: Option<CancellationToken>,
}

impl Ends {
    pub(super) fn new(
        heard: Arc<Heard>,
        proven_until: Option<SystemTime>,
        age_max: Option<Duration>,
        lifetime: &Lifetime,
        shutdown: CancellationToken,
    ) -> Self {
        let watch = Watch {
            heard,
            has_asked: Arc::default(),
            quiet_since: None,
            silent_at: Instant::now() + FIRST_REQUEST_MAX,
            proven_until,
            old_at: age_max.map(|age| Instant::now() + age),
            keepalive_interval: lifetime.keepalive_interval,
            keepalive_timeout: lifetime.keepalive_timeout,
            shutdown: Some(shutdown),
        };
        let next = FuturesUnordered::new();
        next.push(watch.clone().boxed());
        Self { watch, next }
    }

    /// To be set when the peer asks for something.
    pub(super) fn has_asked(&self) -> Arc<AtomicBool> {
        self.watch.has_asked.clone()
    }

    /// The next reason. After [`Reason::Old`] and [`Reason::Shutdown`], when the connection is let run out, those that end it at once;
    /// after [`Reason::Quiet`] all of them. Cancel-safe.
    pub(super) async fn next(&mut self) -> Reason {
        let Some(reason) = self.next.next().await else {
            return std::future::pending().await;
        };
        match reason {
            Reason::Quiet => self.watch.quiet_since = Some(self.watch.heard.last()),
            Reason::Old | Reason::Shutdown => {
                self.watch.old_at = None;
                self.watch.shutdown = None;
            }
            Reason::Expired | Reason::Lost | Reason::Silent => return reason,
        }
        self.next.push(self.watch.clone().boxed());
        reason
    }
}

impl Watch {
    fn boxed(self) -> Pin<Box<dyn Future<Output = Reason> + Send>> {
        Box::pin(self.reason())
    }

    async fn reason(self) -> Reason {
        let Self {
            heard,
            has_asked,
            quiet_since,
            silent_at,
            proven_until,
            old_at,
            keepalive_interval,
            keepalive_timeout,
            shutdown,
        } = self;
        tokio::select! {
            () = expired(proven_until) => Reason::Expired,
            reason = stillness(&heard, quiet_since, keepalive_interval, keepalive_timeout) => reason,
            () = silence(&has_asked, silent_at) => Reason::Silent,
            () = moment(old_at) => Reason::Old,
            () = cancelled(shutdown) => Reason::Shutdown,
        }
    }
}

async fn expired(until: Option<SystemTime>) {
    match until {
        Some(until) => sleep(until.duration_since(SystemTime::now()).unwrap_or_default()).await,
        None => std::future::pending().await,
    }
}

/// Whether a peer was asked for a sign of life, and has given none, or is to be asked.
async fn stillness(
    heard: &Heard,
    quiet_since: Option<Instant>,
    interval: Duration,
    timeout: Duration,
) -> Reason {
    if let Some(last) = quiet_since
        && !heard.answers(last, timeout).await
    {
        return Reason::Lost;
    }
    heard.quiet(interval).await;
    Reason::Quiet
}

async fn silence(has_asked: &AtomicBool, silent_at: Instant) {
    sleep_until(silent_at).await;
    if has_asked.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

async fn moment(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn cancelled(token: Option<CancellationToken>) {
    match token {
        Some(token) => token.cancelled_owned().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::alive::Watched, *};

    const HOUR: Duration = Duration::from_secs(3600);

    fn ends(proven_until: Option<SystemTime>, age_max: Option<Duration>) -> Ends {
        let (_, heard) = Watched::new(tokio::io::empty());
        let lifetime = Lifetime {
            age_max,
            keepalive_interval: HOUR * 100,
            keepalive_timeout: HOUR,
            lost: Default::default(),
        };
        Ends::new(
            heard,
            proven_until,
            age_max,
            &lifetime,
            CancellationToken::new(),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_asks_for_nothing_is_not_kept() {
        let started = Instant::now();
        assert_eq!(ends(None, None).next().await, Reason::Silent);
        assert_eq!(started.elapsed(), FIRST_REQUEST_MAX);
        let mut asks = ends(None, None);
        asks.has_asked().store(true, Ordering::Relaxed);
        assert!(tokio::time::timeout(HOUR, asks.next()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_with_its_clients_certificate() {
        let mut ends_later = ends(Some(SystemTime::now() + HOUR), None);
        ends_later.has_asked().store(true, Ordering::Relaxed);
        let started = Instant::now();
        assert_eq!(ends_later.next().await, Reason::Expired);
        let lasted = started.elapsed().as_secs();
        assert!((3590..=3601).contains(&lasted), "{lasted}");
        let mut expired = ends(Some(SystemTime::UNIX_EPOCH), None);
        assert_eq!(expired.next().await, Reason::Expired);
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_connection_that_runs_out_still_ends_when_it_has_to() {
        let mut old = ends(Some(SystemTime::now() + HOUR * 2), Some(HOUR));
        old.has_asked().store(true, Ordering::Relaxed);
        assert_eq!(old.next().await, Reason::Old);
        assert_eq!(old.next().await, Reason::Expired);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_is_quiet_is_asked_and_then_lost() {
        let started = Instant::now();
        let mut quiet = ends(None, None);
        quiet.has_asked().store(true, Ordering::Relaxed);
        assert_eq!(quiet.next().await, Reason::Quiet);
        assert_eq!(started.elapsed(), HOUR * 100);
        assert_eq!(quiet.next().await, Reason::Lost);
        assert_eq!(started.elapsed(), HOUR * 101);
    }

    #[tokio::test(start_paused = true)]
    async fn to_ask_a_peer_again_and_again_does_not_make_up_for_its_first_request() {
        let mut ends = ends(None, None);
        ends.watch.keepalive_interval = FIRST_REQUEST_MAX / 2;
        ends.next.clear();
        ends.next.push(ends.watch.clone().boxed());
        assert_eq!(ends.next().await, Reason::Quiet);
        assert_eq!(ends.next().await, Reason::Silent);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_is_heard_once() {
        let mut ends = ends(None, None);
        ends.has_asked().store(true, Ordering::Relaxed);
        ends.watch.shutdown.clone().unwrap().cancel();
        assert_eq!(ends.next().await, Reason::Shutdown);
        assert!(tokio::time::timeout(HOUR, ends.next()).await.is_err());
    }
}
