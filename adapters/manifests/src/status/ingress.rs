//! What is said of Ingresses.

use super::{GatewayAddress, Known, gateway};
use crate::{Ingress, convert::Scope};

/// Where its requests come in; `None` where it is not ours.
pub(super) fn addresses(
    ingress: &Ingress,
    scope: &Scope<'_>,
    known: Known<'_>,
) -> Option<Vec<GatewayAddress>> {
    let name = ingress.gateway(known.references, scope)?;
    Some(gateway::addresses(&name, known).found)
}
