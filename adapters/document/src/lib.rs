//! Documents that people write: YAML and JSON as a tree that remembers lines, and the files that hold them.
//!
//! Whoever reads such a file must be able to say what is wrong, where, and what to write instead, without giving up on the rest
//! of it. So a text is first parsed into [`Node`]s, each with its line; then each part is decoded by itself into a type of the
//! caller's ([`Node::decode`]), and what does not fit is a [`DecodeError`] with line, path and hint. Reading order: [`parse`],
//! [`Node`], [`DecodeError`], [`duration`], and [`files`], which watches files and directories and hands out their contents.

mod decode;
pub mod duration;
mod error;
pub mod files;
mod node;
mod parse;
mod scalar;

pub use error::{DecodeError, DecodeErrorKind, SyntaxError, SyntaxErrorKind};
pub use node::{Entry, Key, Kind, Node, Number};
pub use parse::{Limits, parse};
