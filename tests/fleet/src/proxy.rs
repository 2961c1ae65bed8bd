//! One proxy as an xDS server sees it: what it asks for, when it acknowledges, what it holds. No I/O.

pub mod fields;
pub mod kind;
pub mod memo;
pub mod model;
pub mod names;
pub mod request;
pub mod response;
