//! A token bucket: how fast services are read that nobody waits for yet.

use std::time::{Duration, Instant};

/// The slowest that a bucket becomes.
const RATE_MIN: f64 = 10.0;
/// For so long a bucket that was slowed down stays so.
const SLOW_FOR: Duration = Duration::from_secs(30);

/// Tokens that come at a rate, and are kept up to a burst.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    filled: Instant,
    slowed: Option<(f64, Instant)>,
}

impl Bucket {
    /// Full, with so many tokens a second.
    pub(crate) fn new(rate: f64, burst: f64, now: Instant) -> Self {
        Self {
            rate,
            burst,
            tokens: burst,
            filled: now,
            slowed: None,
        }
    }

    /// Takes a token; where there is none, says when there will be.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let rate = match self.slowed {
            Some((rate, until)) if now < until => rate,
            _ => {
                self.slowed = None;
                self.rate
            }
        };
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + elapsed * rate).min(self.burst);
        self.filled = self.filled.max(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        let missing = Duration::from_secs_f64((1.0 - self.tokens) / rate);
        Err(now + missing.max(Duration::from_millis(1)))
    }

    /// Halves the rate for a while: somebody says that it is too much.
    pub(crate) fn slow_down(&mut self, now: Instant) {
        let rate = match self.slowed {
            // One busy moment refuses many requests at once, and counts once.
            Some((rate, until)) if now + SLOW_FOR < until + Duration::from_secs(1) => rate,
            Some((rate, _)) => rate / 2.0,
            None => self.rate / 2.0,
        };
        self.tokens = self.tokens.min(1.0);
        self.slowed = Some((rate.max(RATE_MIN), now + SLOW_FOR));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken_in_a_second(bucket: &mut Bucket, from: Instant) -> usize {
        (0..10_000)
            .filter(|step| {
                bucket
                    .take(from + Duration::from_micros(100 * step))
                    .is_ok()
            })
            .count()
    }

    #[test]
    fn there_is_a_burst_and_then_a_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(100.0, 20.0, start);
        let taken = taken_in_a_second(&mut bucket, start);
        assert!((119..=121).contains(&taken), "{taken}");
        let later = start + Duration::from_secs(1);
        let free = (0..3).find_map(|_| bucket.take(later).err()).unwrap();
        assert!(free > later && free < later + Duration::from_millis(20));
        assert!(bucket.take(free + Duration::from_millis(1)).is_ok());
    }

    #[test]
    fn it_slows_down_for_a_while_and_not_below_the_least() {
        let start = Instant::now();
        let mut bucket = Bucket::new(100.0, 1.0, start);
        bucket.slow_down(start);
        bucket.slow_down(start);
        assert!((50..=52).contains(&taken_in_a_second(&mut bucket, start)));
        for second in 2..10 {
            bucket.slow_down(start + Duration::from_secs(2 * second));
        }
        let slow = start + Duration::from_secs(19);
        assert!((10..=12).contains(&taken_in_a_second(&mut bucket, slow)));
        let later = start + Duration::from_secs(120);
        assert!((99..=102).contains(&taken_in_a_second(&mut bucket, later)));
    }
}
