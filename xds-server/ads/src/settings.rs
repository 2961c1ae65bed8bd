//! What the operator or the embedding program can set.

use std::{sync::Arc, time::Duration};

use bowline_snapshot::ResourceType;

/// How the server answers. [`Settings::new`] gives the values that suit a fleet of Envoys.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who answers: `control_plane.identifier` in every response. Envoy shows it as a statistic.
    pub control_plane: Arc<str>,
    /// The types that are served. Requests for others keep their stream and get "does not exist".
    pub types: Vec<ResourceType>,
    /// How long listeners and routes wait for their clusters to be acknowledged, and removals for listeners and routes.
    ///
    /// Envoy acknowledges clusters when they are warm, so a cluster that cannot become warm costs this once.
    pub make_before_break_limit: Duration,
    /// How long a type waits for an acknowledgement before it sends what is new all the same. Some responses are never
    /// acknowledged, for example when Envoy has dropped the subscription meanwhile.
    pub acknowledgement_limit: Duration,
    /// A stream that takes none of what is ready for it for so long is ended.
    pub progress_limit: Duration,
    /// Responses that can be split are, above this size. gRPC clients refuse more than 4 MiB by default.
    pub response_bytes_max: usize,
    /// Largest request. The first of a reconnecting proxy lists all that it holds.
    pub request_bytes_max: usize,
    /// How many streams may be starting at the same time: from their first request until their client has
    /// acknowledged what it was given first, or a second has passed.
    pub starting_streams_max: usize,
    /// How many more may wait for a place. The next are refused with `RESOURCE_EXHAUSTED`.
    pub waiting_streams_max: usize,
    /// How long a stream may wait for a place.
    pub admission_limit: Duration,
    /// Most names that one stream can subscribe to, of one type.
    pub names_max: usize,
}

impl Settings {
    /// The usual settings.
    pub fn new(control_plane: impl Into<Arc<str>>) -> Self {
        Self {
            control_plane: control_plane.into(),
            types: ResourceType::ALL.to_vec(),
            make_before_break_limit: Duration::from_secs(5),
            acknowledgement_limit: Duration::from_secs(15),
            progress_limit: Duration::from_secs(60),
            response_bytes_max: 1024 * 1024,
            request_bytes_max: 64 * 1024 * 1024,
            starting_streams_max: 256,
            waiting_streams_max: 20_000,
            admission_limit: Duration::from_secs(30),
            names_max: 500_000,
        }
    }

    pub(crate) fn resource_type(&self, type_url: &str) -> Option<ResourceType> {
        self.types
            .iter()
            .copied()
            .find(|resource_type| resource_type.url() == type_url)
    }
}
