//! Percentiles.

use std::time::Duration;

use serde::Serialize;

/// How durations are spread, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Percentiles {
    /// How many there were.
    pub count: usize,
    /// Half of them were not longer.
    pub p50_ms: f64,
    /// Ninety-nine of a hundred were not longer.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Percentiles {
    /// Of some durations; nothing of none.
    pub fn of(durations: impl IntoIterator<Item = Duration>) -> Option<Self> {
        let mut sorted: Vec<Duration> = durations.into_iter().collect();
        sorted.sort_unstable();
        let max = *sorted.last()?;
        let nearest = |percent: usize| {
            // The smallest value that so many percent are not above.
            let rank = (sorted.len() * percent).div_ceil(100).max(1);
            sorted.get(rank - 1).copied().unwrap_or(max)
        };
        Some(Self {
            count: sorted.len(),
            p50_ms: milliseconds(nearest(50)),
            p99_ms: milliseconds(nearest(99)),
            max_ms: milliseconds(max),
        })
    }
}

/// A duration in milliseconds.
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(milliseconds: &[u64], expected: Option<[f64; 3]>) {
        let durations = milliseconds.iter().copied().map(Duration::from_millis);
        let found = Percentiles::of(durations);
        assert_eq!(
            found.map(|found| found.count),
            expected.map(|_| milliseconds.len())
        );
        assert_eq!(
            found.map(|found| [found.p50_ms, found.p99_ms, found.max_ms]),
            expected
        );
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        check(&[], None);
        check(&[7], Some([7.0, 7.0, 7.0]));
        check(&[3, 1, 2, 4], Some([2.0, 4.0, 4.0]));
        let hundred: Vec<u64> = (1..=100).rev().collect();
        check(&hundred, Some([50.0, 99.0, 100.0]));
        let thousand: Vec<u64> = (1..=1000).collect();
        check(&thousand, Some([500.0, 990.0, 1000.0]));
    }
}
