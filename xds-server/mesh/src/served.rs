//! What a server serves, for whoever tells others of it.

use std::{collections::BTreeSet, sync::Arc};

use crate::{GatewayName, Mesh};

/// What is served now. A clone costs a few reference counts.
#[derive(Debug, Clone)]
pub struct Served {
    /// The mesh.
    pub mesh: Mesh,
    /// The gateways of which a proxy is connected.
    pub gateways: Arc<BTreeSet<GatewayName>>,
}
