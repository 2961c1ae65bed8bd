//! From what a user writes to what a proxy gets.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use bowline_document::files::{File, Reading};
use bowline_mesh::{
    Changed, Mesh, MeshSettings, MeshStore, MutualTls, Namespace, OutboundMode, Problem, Proxy,
    RegistryEvent, RegistryId, RegistrySettings, TrafficSettings, view::ViewKey,
};
use bowline_proto::{Any, print::to_yaml};
use bowline_snapshot::{Resource, ResourceType, Snapshot};
use bowline_translate::layers::{EndpointLayers, StructureLayers};

use crate::case::Description;

/// What a proxy would be sent, and what could not be made as written.
#[derive(Debug)]
pub struct Rendered {
    /// All its layers.
    pub snapshot: Snapshot,
    /// Problems of the registries, the mesh and translation.
    pub problems: Vec<Problem>,
}

/// The mesh of a case's files, and the problems that were found on the way.
///
/// # Errors
/// When a file cannot be read.
pub fn mesh(
    folder: &Path,
    outbound: OutboundMode,
    mutual_tls: MutualTls,
) -> Result<(Mesh, Vec<Problem>)> {
    let settings = Arc::new(MeshSettings {
        trust_domain: "mesh.example".parse()?,
        domain: "cluster.local".parse()?,
        outbound,
        virtual_addresses: "240.0.0.0/8".parse()?,
        explicit_http_port: 15080,
        east_west_port: 15443,
        mutual_tls,
        traffic: TrafficSettings::default(),
    });
    let namespace: Namespace = "shop".parse()?;
    let registry = |id: RegistryId, namespace: &Namespace| {
        RegistrySettings::new(
            id,
            settings.trust_domain.clone(),
            settings.domain.clone(),
            namespace.clone(),
        )
    };
    let vms = registry("vms".parse()?, &namespace);
    let mut manifests = registry(RegistryId::manifests(), &namespace);
    manifests.policies_for_mesh = true;
    let events = [
        bowline_inventory::read(
            &reading(folder, "inventory.yaml")?,
            &Default::default(),
            &vms,
        )
        .1,
        bowline_manifests::read(
            &reading(folder, "manifests.yaml")?,
            &Default::default(),
            &manifests,
        )
        .1,
    ];
    let mut store = MeshStore::new(settings.clone(), [manifests, vms], []);
    let mut problems = Vec::new();
    for event in events.into_iter().flatten() {
        let event: RegistryEvent = event;
        problems.extend(event.problems.iter().cloned());
        store.apply(event, Duration::ZERO);
    }
    Ok((store.mesh().clone(), problems))
}

fn reading(folder: &Path, name: &str) -> Result<Reading> {
    let path = folder.join(name);
    let mut reading = Reading::default();
    if path.exists() {
        let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        reading.files.push(File {
            path: name.into(),
            content: Ok(content.into()),
        });
    }
    Ok(reading)
}

/// What a proxy would be sent, by the code that sends it.
pub fn render(mesh: &Mesh, proxy: &Proxy) -> Rendered {
    let keys = ViewKey::of(proxy, mesh);
    let wanted: BTreeSet<ViewKey> = keys.iter().cloned().collect();
    let mut structure = StructureLayers::default();
    let mut layers: Vec<_> = structure
        .update(mesh, &Changed::default(), &wanted)
        .into_iter()
        .map(|(_, layer)| Arc::new(layer))
        .collect();
    let mut endpoints = EndpointLayers::default();
    for key in &keys {
        if let ViewKey::Endpoints(key) = key {
            endpoints.insert(key.clone(), EndpointLayers::build(mesh, key, None));
            endpoints.update(mesh, mesh.services().map(|service| &service.hostname));
            layers.extend(endpoints.layer(key).cloned().map(Arc::new));
        }
    }
    let mut problems = structure.problems();
    problems.extend(endpoints.problems().into_iter().cloned());
    Rendered {
        snapshot: Snapshot::new(1, layers),
        problems,
    }
}

impl Rendered {
    /// All resources by type and name. Of assignments only those that a cluster asks for, as a proxy gets them.
    pub fn resources(&self) -> Vec<(ResourceType, &Resource)> {
        let mut resources = Vec::new();
        for resource_type in ResourceType::ALL {
            let mut of_type: Vec<&Resource> = self
                .snapshot
                .members(resource_type)
                .chain(self.snapshot.on_demand(resource_type))
                .filter(|resource| match resource_type.parent_of(resource.name()) {
                    Some((parent, name)) => self.snapshot.get(parent, name).is_some(),
                    None => true,
                })
                .collect();
            of_type.sort_by_key(|resource| resource.name().clone());
            resources.extend(
                of_type
                    .into_iter()
                    .map(|resource| (resource_type, resource)),
            );
        }
        resources
    }

    /// The golden text: resources as YAML documents, then problems as comments.
    ///
    /// # Errors
    /// When a resource does not print.
    pub fn text(
        &self,
        description: &Description,
        base: &Self,
        problems: &[Problem],
    ) -> Result<String> {
        let mut text = String::new();
        for (resource_type, resource) in self.resources() {
            let is_wanted = description.show.is_empty()
                || description
                    .show
                    .iter()
                    .any(|name| name == resource_type.short_name());
            let is_base = base
                .snapshot
                .get(resource_type, resource.name())
                .is_some_and(|of_base| of_base.version() == resource.version());
            if !is_wanted || (is_base && !description.show_base) {
                continue;
            }
            let any = any(resource_type, resource);
            write!(text, "---\n{}", to_yaml(&any)?)?;
        }
        for problem in problems.iter().chain(&self.problems) {
            writeln!(text, "# {problem}")?;
        }
        Ok(text)
    }
}

/// A resource with its type.
pub(crate) fn any(resource_type: ResourceType, resource: &Resource) -> Any {
    Any {
        type_url: resource_type.url().to_owned(),
        value: resource.body().to_bytes(),
    }
}
