//! East-west gateways: how a network is entered from others.

use std::{collections::BTreeSet, net::SocketAddr};

use serde::{Deserialize, Serialize};

use crate::Network;

/// Gateways through which the endpoints of a network are reached from other networks. Several objects of one network are united.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkGateway {
    /// The network that they lead into.
    pub network: Network,
    /// Where they listen, as other networks reach them. At least one.
    pub places: BTreeSet<SocketAddr>,
}

impl NetworkGateway {
    /// The port of gateways where nobody says another.
    pub const PORT: u16 = 15443;
}
