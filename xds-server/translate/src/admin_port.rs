//! The port of Envoy's own admin interface, which no listener of ours can have too.

use bowline_mesh::{Code, ObjectKey, Problem};

use crate::problem::Report;

/// Where a bootstrap of ours puts it, on loopback, unless another port is asked for.
pub const ADMIN_PORT: u16 = 15000;

/// The problem of a local listener on that port. No proxy says where its admin interface is, so the listener is made all the same.
pub(crate) fn collision(port: u16, object: Option<&ObjectKey>, field: &str) -> Option<Problem> {
    (port == ADMIN_PORT).then(|| {
        Report {
            code: Code::ListenerConflict,
            object,
            field,
            message: format!(
                "port {ADMIN_PORT} is that of Envoy's admin interface, unless `bowline bootstrap --admin-port` says otherwise"
            ),
            meanwhile: "sidecars with explicit listeners reject this listener where it is",
            hint: "choose another port (`local_port`, where it is a service's), or give those sidecars another admin port",
        }
        .warning()
    })
}
