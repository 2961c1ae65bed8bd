//! Inventories as the contract's tests write them.

use std::{future::Future, path::PathBuf, time::Duration};

use bowline_conformance::{App, FileFormat};
use bowline_document::files::Pace;
use bowline_inventory::Inventory;
use bowline_mesh::{Object, RegistryEvent, RegistrySettings};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Inventories in YAML.
pub(crate) struct Yaml;

impl FileFormat for Yaml {
    const MALFORMED: &'static str = "services: [";

    fn text(apps: &[App], broken: &str) -> String {
        let mut text = "services: []\n".to_owned();
        let namespace = |app: &App| match &app.namespace {
            Some(namespace) => format!("\n    namespace: {namespace}"),
            None => String::new(),
        };
        if !apps.is_empty() {
            text = "services:\n".to_owned();
            for app in apps {
                let port = if app.name == broken { 0 } else { app.port };
                text += &format!(
                    "  - name: {}{}\n    ports: [{{number: {port}, name: http}}]\n",
                    app.name,
                    namespace(app)
                );
            }
            text += "workloads:\n";
            for app in apps {
                let port = if app.name == broken { 0 } else { app.port };
                text += &format!(
                    "  - name: {}-1{}\n    address: {}\n    services: [{}]\n    ports: {{http: {port}}}\n",
                    app.name,
                    namespace(app),
                    app.address,
                    app.name
                );
            }
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
        let inventory = Inventory {
            settings,
            path,
            last_good,
            pace: Pace {
                poll: Duration::from_secs(600),
                settle: Duration::from_millis(50),
            },
        };
        inventory.run(events, shutdown)
    }
}
