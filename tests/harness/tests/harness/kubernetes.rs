//! The API server double, as clients see it.

mod client;
mod going_wrong;
mod kinds;
mod reading;
mod watching;
mod writing;
