//! The whole registry, on real files.

use std::{fs, time::Duration};

use bowline_document::files::Pace;
use bowline_manifests::Manifests;
use bowline_mesh::{Change, RegistryEvent};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{settings, text};

const PATIENCE: Duration = Duration::from_secs(20);

fn cart(port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: cart}}\nspec: {{ports: [{{port: {port}}}]}}\n"
    )
}

async fn next(events: &mut mpsc::Receiver<RegistryEvent>) -> RegistryEvent {
    let event = timeout(PATIENCE, events.recv())
        .await
        .expect("an event comes in time");
    event.expect("the registry runs")
}

#[tokio::test]
async fn changes_of_files_become_events_until_the_registry_is_told_to_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cart.yaml");
    fs::write(&path, cart(80)).unwrap();
    let manifests = Manifests {
        settings: settings(),
        paths: vec![directory.path().to_owned()],
        last_good: Vec::new(),
        pace: Pace::default(),
    };
    let (sender, mut events) = mpsc::channel(1);
    let shutdown = CancellationToken::new();
    let test = async {
        let first = next(&mut events).await;
        assert!(matches!(first.change, Change::Replace(_)), "{first:?}");
        assert!(text::event(&first).contains("number: 80"));
        fs::write(&path, cart(81)).unwrap();
        let changed = next(&mut events).await;
        assert!(text::event(&changed).contains("number: 81"), "{changed:?}");
        fs::write(&path, "kind: [").unwrap();
        let broken = next(&mut events).await;
        assert!(text::event(&broken).starts_with("! BW0102"), "{broken:?}");
        fs::remove_file(&path).unwrap();
        let removed = next(&mut events).await;
        let removed = text::event(&removed);
        assert!(
            removed.starts_with("removed manifests: service default/cart\n! BW0106"),
            "{removed}"
        );
        shutdown.cancel();
    };
    let run = timeout(PATIENCE, manifests.run(sender, shutdown.clone()));
    let ((), ended) = tokio::join!(test, run);
    ended.expect("it ends when it is told to");
}

#[test]
fn files_can_be_read_once_without_watching() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("team")).unwrap();
    fs::write(directory.path().join("team/cart.yml"), cart(80)).unwrap();
    fs::write(directory.path().join("notes.txt"), "not: [read").unwrap();
    let load = |path| {
        let manifests = Manifests {
            settings: settings(),
            paths: vec![path],
            last_good: Vec::new(),
            pace: Pace::default(),
        };
        text::event(&manifests.load())
    };
    assert!(load(directory.path().to_owned()).contains("team/cart.yml:1"));
    assert!(load(directory.path().join("missing")).starts_with("failing: "));
}
