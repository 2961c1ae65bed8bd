//! How the configuration file stands to the running server.

/// What became of the changes of the file since the server started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigurationStatus {
    /// Why the file as it is now is not used; `None` where it is.
    pub error: Option<String>,
    /// Fields whose values in the file wait for a restart.
    pub needs_restart: Vec<&'static str>,
}
