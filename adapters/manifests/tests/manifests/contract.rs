//! The registry contract, for manifests in one file and in a file for each application.

use std::{future::Future, path::PathBuf, time::Duration};

use bowline_conformance::{App, FileFormat};
use bowline_document::files::Pace;
use bowline_manifests::Manifests;
use bowline_mesh::{Object, RegistryEvent, RegistrySettings};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

mod one_file {
    bowline_conformance::tests!(bowline_conformance::OneFile<super::Yaml>);
}

mod a_directory {
    bowline_conformance::tests!(bowline_conformance::Directory<super::Yaml>);
}

/// Manifests in YAML.
struct Yaml;

impl FileFormat for Yaml {
    const MALFORMED: &'static str = "kind: [";

    fn text(apps: &[App], broken: &str) -> String {
        let mut text = "# manifests\n".to_owned();
        for app in apps {
            let App {
                name,
                namespace,
                address,
                port,
            } = app;
            let port = if name == broken { 0 } else { *port };
            let namespace = match namespace {
                Some(namespace) => format!(", namespace: {namespace}"),
                None => String::new(),
            };
            text += &format!(
                "---
apiVersion: v1
kind: Service
metadata: {{name: {name}{namespace}}}
spec: {{ports: [{{name: http, port: {port}}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1{namespace}, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{name: http, port: {port}}}]
endpoints: [{{addresses: [{address}]}}]
"
            );
        }
        text
    }

    fn run(
        path: PathBuf,
        settings: RegistrySettings,
        last_good: Vec<Object>,
        events: mpsc::Sender<RegistryEvent>,
        shutdown: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let manifests = Manifests {
            settings,
            paths: vec![path],
            last_good,
            pace: Pace {
                poll: Duration::from_secs(600),
                settle: Duration::from_millis(50),
            },
        };
        manifests.run(events, shutdown)
    }
}
