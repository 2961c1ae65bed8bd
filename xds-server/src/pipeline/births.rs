//! When generations were born: the start of the time from an event to its acknowledgement.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use parking_lot::Mutex;

/// Generations that are remembered. Acknowledgements of older ones are not timed.
const REMEMBERED_MAX: usize = 4096;

/// When the event behind each of the last generations was received.
#[derive(Debug, Clone, Default)]
pub struct Births(Arc<Mutex<VecDeque<(u64, Instant)>>>);

impl Births {
    /// Notes that a generation came from an event that was received at some time.
    pub fn note(&self, generation: u64, received: Instant) {
        let mut births = self.0.lock();
        if births.len() == REMEMBERED_MAX {
            births.pop_front();
        }
        births.push_back((generation, received));
    }

    /// When the event behind a generation was received.
    pub fn of(&self, generation: u64) -> Option<Instant> {
        let births = self.0.lock();
        // Generations without a birth (a layer for a new proxy) count for the next older one that has one: none.
        let index = births
            .binary_search_by_key(&generation, |(number, _)| *number)
            .ok()?;
        births.get(index).map(|(_, received)| *received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn births_are_remembered_within_bounds() {
        let births = Births::default();
        let now = Instant::now();
        for generation in 0..2 * REMEMBERED_MAX as u64 {
            births.note(generation, now);
        }
        assert_eq!(births.of(0), None);
        assert_eq!(births.of(2 * REMEMBERED_MAX as u64 - 1), Some(now));
        assert_eq!(births.0.lock().len(), REMEMBERED_MAX);
    }
}
