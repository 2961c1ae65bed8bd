//! The small rules of watching, each by itself and without I/O: time is an argument, randomness has a seed.

mod backoff;
mod bucket;
mod index;
mod lanes;
pub(crate) mod pace;
mod random;

pub(crate) use backoff::Backoff;
pub(crate) use bucket::Bucket;
pub(crate) use index::{Index, Step};
pub(crate) use lanes::{LaneId, Lanes, STREAMS_PER_CONNECTION, Transport};
pub(crate) use pace::Pace;
pub(crate) use random::Random;
