//! Clusters as registries, against the API server of the test harness.

#[cfg(test)]
mod contract;
