//! How soon one service is asked about again.

use std::time::{Duration, Instant};

/// What one service may cost, in bytes a second, while it changes all the time.
const BYTES_PER_SECOND: u64 = 4 << 20;
/// The least that an answer costs that says something new.
const NEWS_COST: Duration = Duration::from_millis(2);
/// What an answer costs at least that says nothing new: only output of checks changed, or a server does not wait.
const NO_NEWS_COST: Duration = Duration::from_millis(25);
/// What it costs after many such in a row.
const NO_NEWS_COST_MAX: Duration = Duration::from_millis(200);
/// What may be owed before anything waits, so that some small changes in a row are all seen at once.
const CREDIT: Duration = Duration::from_millis(50);
/// No service waits longer.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// What an answer was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) bytes: usize,
    /// Whether it says something that is used and was not known.
    pub(crate) is_news: bool,
    /// Endpoints in it that get requests.
    pub(crate) endpoints: usize,
}

/// The adaptive least interval between two answers: a debt that grows with every answer by what it costs, and is paid off by time.
///
/// The first change after a while always comes at once; a service that changes all the time waits the longer the larger it is; and one
/// with at most one endpoint, whose next change may be its first or its last, never waits after news.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pace {
    debt: Duration,
    since: Option<Instant>,
    /// Answers in a row that said nothing new.
    without_news: u32,
}

impl Pace {
    /// Takes in an answer; says how long to wait before asking again.
    pub(crate) fn answered(&mut self, answer: Answered, now: Instant) -> Duration {
        let elapsed = self
            .since
            .map_or(Duration::MAX, |since| now.saturating_duration_since(since));
        self.since = Some(now);
        self.without_news = match answer.is_news {
            true => 0,
            false => self.without_news.saturating_add(1),
        };
        let least = match self.without_news {
            0 => NEWS_COST,
            count => (NO_NEWS_COST * (1 + count / 8)).min(NO_NEWS_COST_MAX),
        };
        let bytes = u64::try_from(answer.bytes).unwrap_or(u64::MAX);
        let cost = Duration::from_micros(bytes.saturating_mul(1_000_000) / BYTES_PER_SECOND);
        let cost = cost.clamp(least, WAIT_MAX);
        self.debt = self.debt.saturating_sub(elapsed);
        // The first answer is free: what it costs is owed only by those that follow soon.
        let free = cost.max(CREDIT);
        self.debt = (self.debt + cost).min(free + WAIT_MAX);
        if answer.is_news && answer.endpoints <= 1 {
            return Duration::ZERO;
        }
        self.debt.saturating_sub(free).min(WAIT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Answers at once whenever it is asked; says how many answers and bytes there are in ten seconds.
    fn ten_seconds_of(answer: Answered) -> (usize, usize) {
        let start = Instant::now();
        let (mut now, mut pace, mut count) = (start, Pace::default(), 0);
        while now < start + Duration::from_secs(10) && count < 100_000 {
            count += 1;
            now += Duration::from_millis(5) + pace.answered(answer, now);
        }
        (count, count * answer.bytes)
    }

    #[test]
    fn a_large_service_that_never_rests_costs_a_bounded_rate_and_a_small_one_is_seen_at_once() {
        let large = Answered {
            bytes: 2_600_000,
            is_news: true,
            endpoints: 2_000,
        };
        let (answers, bytes) = ten_seconds_of(large);
        assert!(answers >= 10, "{answers} answers in 10 s");
        assert!(bytes < 10 * 10_000_000, "{bytes} bytes in 10 s");
        let small = Answered {
            bytes: 6_500,
            is_news: true,
            endpoints: 5,
        };
        assert!(ten_seconds_of(small).0 > 1_500);
        let noise = Answered {
            is_news: false,
            ..small
        };
        assert!(ten_seconds_of(noise).0 < 150);
    }

    #[test]
    fn the_first_change_after_a_while_never_waits() {
        let start = Instant::now();
        let mut pace = Pace::default();
        let large = Answered {
            bytes: 100 << 20,
            is_news: true,
            endpoints: 9,
        };
        assert_eq!(pace.answered(large, start), Duration::ZERO);
        assert_eq!(pace.answered(large, start), WAIT_MAX);
        assert_eq!(pace.answered(large, start + 3 * WAIT_MAX), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn nothing_waits_long_and_first_and_last_endpoints_never_do(
            answers in prop::collection::vec((0_usize..5_000_000, any::<bool>(), 0_usize..3, 0_u64..100), 1..200)
        ) {
            let (mut now, mut pace) = (Instant::now(), Pace::default());
            for (bytes, is_news, endpoints, later) in answers {
                now += Duration::from_millis(later);
                let wait = pace.answered(Answered { bytes, is_news, endpoints }, now);
                prop_assert!(wait <= WAIT_MAX);
                if is_news && endpoints < 2 {
                    prop_assert_eq!(wait, Duration::ZERO);
                }
            }
        }
    }
}
