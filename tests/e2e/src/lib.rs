//! Promises about Envoy, kept by a real one: see `tests/e2e`.
