//! The mesh's certificate authority: a root of its own, certificates that carry a SPIFFE id, and the check of those that peers show.
//!
//! Nothing here reads a clock: time is an argument, so that every decision can be tested. [`CertificateAuthority`] keeps its root in
//! the state store and issues; [`Issued`] is what a workload gets, as files if it has no agent; [`Verifier`] turns a peer's
//! certificate into a [`Proven`](bowline_identity::Proven) identity.

mod authority;
mod files;
mod issue;
mod request;
mod root;
mod secret;
mod verify;

pub use authority::{CertificateAuthority, OpenError, control_plane_identity};
pub use files::{FilesError, write_files};
pub use issue::{IssueError, Issued, ServerNames, Validity};
pub use request::SigningRequest;
pub use root::UnusableRoot;
pub use secret::PrivateKey;
pub use verify::{BundleError, Verifier, VerifyError};
