//! Who may read what.

/// What a token may read. Its rules are prefixes of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    services: Vec<String>,
    nodes: Vec<String>,
}

impl Grant {
    /// Every service and every node.
    pub fn everything() -> Self {
        Self::services([""])
    }

    /// Services whose names begin with one of these, on every node.
    pub fn services<'a>(prefixes: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            services: prefixes.into_iter().map(str::to_owned).collect(),
            nodes: vec![String::new()],
        }
    }

    pub(super) fn nothing() -> Self {
        Self {
            services: Vec::new(),
            nodes: Vec::new(),
        }
    }

    pub(super) fn reads(&self, service: &str, node: &str) -> bool {
        self.reads_service(service) && self.reads_node(node)
    }

    fn reads_service(&self, name: &str) -> bool {
        self.services
            .iter()
            .any(|prefix| name.starts_with(prefix.as_str()))
    }

    pub(super) fn reads_node(&self, name: &str) -> bool {
        self.nodes
            .iter()
            .any(|prefix| name.starts_with(prefix.as_str()))
    }
}
