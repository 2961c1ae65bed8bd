//! What users write, and what their Envoys get: pairs of files, reviewed like code.
//!
//! A case is a folder of `cases/` with what a user writes (`inventory.yaml`, `manifests.yaml`), a `case.yaml` that says which
//! proxies to look at, and one file for each of them with what it would be sent. The way from one to the other is the real one:
//! adapters, store, views, translation. README.md says how to add a case.

mod case;
mod render;
mod static_form;

pub use case::{Case, Description, ProxyCase};
pub use render::{Rendered, mesh, render};
pub use static_form::static_form;
