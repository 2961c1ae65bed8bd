//! What of a changed configuration can be applied while running.

use super::Config;

/// What differs between the running configuration and a new one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    /// The registries: which, in what order, with what settings. Applied while running.
    pub registries: bool,
    /// The mesh as a whole. Applied while running.
    pub mesh: bool,
    /// What is logged. Applied while running.
    pub log_level: bool,
    /// Fields that only a restart applies.
    pub needs_restart: Vec<&'static str>,
}

impl Config {
    /// What a new configuration changes.
    pub fn difference(&self, new: &Self) -> Difference {
        let Self {
            path: _,
            mesh,
            xds,
            admin,
            state,
            start_timeout,
            shutdown_timeout,
            log,
            registries,
        } = self;
        let fields = [
            // Certificates carry it, and the authority's root is made for it.
            (
                mesh.trust_domain != new.mesh.trust_domain,
                "mesh.trust_domain",
            ),
            // Addresses that were given from the old range are in the caches of applications.
            (
                mesh.virtual_addresses != new.mesh.virtual_addresses,
                "mesh.virtual_addresses",
            ),
            (xds.plaintext != new.xds.plaintext, "xds.address"),
            // The files that it names are followed while running; which files they are is not.
            (xds.tls != new.xds.tls, "xds.tls"),
            (xds.limits != new.xds.limits, "xds.limits"),
            (xds.loads != new.xds.loads, "xds.loads"),
            (xds.operators != new.xds.operators, "xds.operators"),
            (*admin != new.admin, "admin.address"),
            (*state != new.state, "state"),
            (*start_timeout != new.start_timeout, "start_timeout"),
            (
                *shutdown_timeout != new.shutdown_timeout,
                "shutdown_timeout",
            ),
            (log.format != new.log.format, "log.format"),
        ];
        Difference {
            registries: *registries != new.registries,
            mesh: *mesh != new.mesh,
            log_level: log.level != new.log.level,
            needs_restart: fields
                .into_iter()
                .filter_map(|(differs, field)| differs.then_some(field))
                .collect(),
        }
    }

    /// A new configuration with what only a restart applies as it is now: what can run from here on.
    #[must_use]
    pub fn applied_live(&self, new: Self) -> Self {
        let mut applied = new;
        applied.mesh.trust_domain = self.mesh.trust_domain.clone();
        applied.mesh.virtual_addresses = self.mesh.virtual_addresses;
        for registry in &mut applied.registries {
            registry.settings.trust_domain = self.mesh.trust_domain.clone();
        }
        applied.xds = self.xds.clone();
        applied.admin = self.admin.clone();
        applied.state = self.state.clone();
        applied.start_timeout = self.start_timeout;
        applied.shutdown_timeout = self.shutdown_timeout;
        applied.log.format = self.log.format;
        applied
    }
}
