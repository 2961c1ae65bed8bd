//! Durations as protobuf has them.

use std::time::Duration;

/// The longest duration of protobuf: about 10,000 years.
const SECONDS_MAX: u64 = 315_576_000_000;

/// A duration for Envoy; one that protobuf cannot express becomes the longest that it can.
pub fn duration(duration: Duration) -> prost_types::Duration {
    let duration = duration.min(Duration::from_secs(SECONDS_MAX));
    prost_types::Duration {
        seconds: duration.as_secs().cast_signed(),
        nanos: duration.subsec_nanos().cast_signed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_out_of_range_is_the_longest_there_is() {
        assert_eq!(duration(Duration::MAX).seconds, 315_576_000_000);
        let short = duration(Duration::from_millis(1_500));
        assert_eq!((short.seconds, short.nanos), (1, 500_000_000));
    }
}
