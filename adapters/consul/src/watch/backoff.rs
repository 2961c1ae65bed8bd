//! How long to wait after failures in a row.

use std::time::Duration;

use super::Random;

/// Doubles from the first to the last wait, each with jitter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    first: Duration,
    last: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, last: Duration) -> Self {
        Self {
            first,
            last,
            failures: 0,
        }
    }

    /// After another failure.
    pub(crate) fn failed(&mut self, random: &mut Random) -> Duration {
        let factor = 1_u32 << self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        let full = self.first.saturating_mul(factor).min(self.last);
        full / 2 + random.below(full / 2)
    }

    /// After a success.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last success.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_last_and_begin_anew_after_a_success() {
        let (first, last) = (Duration::from_millis(250), Duration::from_secs(60));
        let mut backoff = Backoff::new(first, last);
        let mut random = Random::new(7);
        for step in 0..40 {
            let full = (first * 2_u32.pow(step.min(16))).min(last);
            let wait = backoff.failed(&mut random);
            assert!(wait >= full / 2 && wait <= full, "{step}: {wait:?}");
        }
        assert_eq!(backoff.failures(), 40);
        backoff.succeeded();
        assert!(backoff.failed(&mut random) <= first);
    }
}
