//! The inventory: machines and services that people and their tools write down in files.
//!
//! ```text
//! files (YAML, JSON, CSV) ──► entries ──► model objects ──► what differs from before, as one RegistryEvent
//! ```
//!
//! Each entry is read by itself: one that is wrong is a Problem and keeps its last good version, and nothing else suffers from it.
//! A file that cannot be read, or was caught half-written, keeps all of its entries. The format is in README.md. Reading order:
//! [`Inventory`], the shell that watches; [`read`], the pure core; then `format` (what is written) and `service`,
//! `workload` and `network` (what it means).

mod entry;
mod format;
mod inventory;
mod network;
mod problem;
mod read;
mod service;
mod table;
mod tree;
mod workload;

pub use inventory::{Inventory, file_set};
pub use read::{State, read};
