//! Who may write: whoever has renewed the Lease last. No I/O here, and time is an argument.
//!
//! As Kubernetes' own controllers do it: a Lease that somebody else holds is anybody's once it was seen unchanged for its duration, by
//! one's own clock. The times that are written in it are for people only, so clocks may differ.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// What is in a Lease.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LeaseSpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) holder_identity: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lease_duration_seconds: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) acquire_time: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) renew_time: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lease_transitions: Option<u32>,
}

/// A candidate, and what it has seen.
#[derive(Debug)]
pub(super) struct Candidate {
    holder: String,
    duration: Duration,
    /// The Lease as it was seen last, and since when it is so.
    observed: Option<(LeaseSpec, Instant)>,
}

/// What is to be done about the Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Move {
    /// It is somebody else's.
    Wait {
        /// Whose.
        holder: String,
    },
    /// It is to be written so.
    Take(LeaseSpec),
}

impl Candidate {
    pub(super) fn new(holder: String, duration: Duration) -> Self {
        Self {
            holder,
            duration,
            observed: None,
        }
    }

    pub(super) fn holder(&self) -> &str {
        &self.holder
    }

    /// What to do about the Lease that is there, if there is one.
    pub(super) fn consider(&mut self, found: Option<&LeaseSpec>, now: Instant, date: &str) -> Move {
        let Some(found) = found else {
            return Move::Take(self.held(0, date, date));
        };
        let since = match &self.observed {
            Some((observed, since)) if observed == found => *since,
            Some(_) | None => {
                self.observed = Some((found.clone(), now));
                now
            }
        };
        let transitions = found.lease_transitions.unwrap_or_default();
        match found
            .holder_identity
            .as_deref()
            .filter(|holder| !holder.is_empty())
        {
            Some(holder) if holder == self.holder => {
                let acquired = found.acquire_time.as_deref().unwrap_or(date);
                Move::Take(self.held(transitions, acquired, date))
            }
            Some(holder) => {
                let promised = found.lease_duration_seconds.map(u64::from);
                let duration = promised.map_or(self.duration, Duration::from_secs);
                if now.duration_since(since) < duration {
                    return Move::Wait {
                        holder: holder.to_owned(),
                    };
                }
                Move::Take(self.held(transitions.saturating_add(1), date, date))
            }
            None => Move::Take(self.held(transitions.saturating_add(1), date, date)),
        }
    }

    fn held(&self, transitions: u32, acquired: &str, date: &str) -> LeaseSpec {
        let seconds = self.duration.as_secs().max(1);
        LeaseSpec {
            holder_identity: Some(self.holder.clone()),
            lease_duration_seconds: Some(u32::try_from(seconds).unwrap_or(u32::MAX)),
            acquire_time: Some(acquired.to_owned()),
            renew_time: Some(date.to_owned()),
            lease_transitions: Some(transitions),
        }
    }

    /// The Lease as it is given up, so that the next need not wait.
    pub(super) fn released(held: &LeaseSpec, date: &str) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            acquire_time: Some(date.to_owned()),
            renew_time: Some(date.to_owned()),
            lease_transitions: held.lease_transitions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(15);

    fn candidate(name: &str) -> Candidate {
        Candidate::new(name.to_owned(), DURATION)
    }

    fn taken(step: Move) -> LeaseSpec {
        match step {
            Move::Take(lease) => lease,
            Move::Wait { holder } => panic!("{holder} has it"),
        }
    }

    #[test]
    fn a_lease_is_anybodys_once_it_was_seen_unchanged_for_its_duration() {
        let start = Instant::now();
        let mut first = candidate("first");
        let mut second = candidate("second");
        let lease = taken(first.consider(None, start, "t0"));
        let waits = Move::Wait {
            holder: "first".to_owned(),
        };
        // The clock begins when it is seen, whatever stands in it.
        assert_eq!(
            second.consider(Some(&lease), start + DURATION * 3, "t1"),
            waits
        );
        let renewed = taken(first.consider(Some(&lease), start + DURATION, "t2"));
        assert_eq!(renewed.acquire_time.as_deref(), Some("t0"));
        assert_eq!(renewed.lease_transitions, Some(0));
        assert_eq!(
            second.consider(Some(&renewed), start + DURATION * 4, "t3"),
            waits
        );
        let almost = start + DURATION * 5 - Duration::from_millis(1);
        assert_eq!(second.consider(Some(&renewed), almost, "t4"), waits);
        let lost = taken(second.consider(Some(&renewed), start + DURATION * 5, "t5"));
        assert_eq!(lost.holder_identity.as_deref(), Some("second"));
        assert_eq!(lost.lease_transitions, Some(1));
    }

    #[test]
    fn a_lease_that_is_given_up_is_taken_at_once() {
        let start = Instant::now();
        let lease = taken(candidate("first").consider(None, start, "t0"));
        let released = Candidate::released(&lease, "t1");
        let next = taken(candidate("second").consider(Some(&released), start, "t2"));
        assert_eq!(next.holder_identity.as_deref(), Some("second"));
    }
}
