//! Views: what one kind of proxy sees of the mesh.
//!
//! A [`ViewKey`] holds what may influence one kind of a proxy's configuration and nothing else, so thousands of proxies share one.
//! What is built from a view is built from the view alone; two views that are equal make equal resources, and may be built once.

mod endpoints;
mod gateway;
mod inbound;
mod key;
mod service;

pub use endpoints::{Elsewhere, EndpointsView, Way};
pub use gateway::{GatewayView, ListenerView, StreamRouteView};
pub use inbound::InboundView;
pub use key::{EndpointsKey, InboundKey, OutboundKey, OwnKey, SidecarPorts, ViewKey};
pub use service::{RouteView, ServiceView};
