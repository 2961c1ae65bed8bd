//! `examples/kubernetes`, rendered as users render it.

use std::{collections::BTreeSet, process::Command};

use serde_json::Value;
use xtask::{kubectl, workspace};

fn rendered() -> Vec<Value> {
    let rendered = Command::new(kubectl::binary().unwrap())
        .arg("kustomize")
        .arg(workspace::root().join("examples/kubernetes"))
        .output()
        .unwrap();
    assert!(
        rendered.status.success(),
        "{}",
        String::from_utf8_lossy(&rendered.stderr)
    );
    let text = String::from_utf8(rendered.stdout).unwrap();
    text.split("\n---\n")
        .map(|document| serde_saphyr::from_str(document).unwrap())
        .collect()
}

fn of_kind<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    let list = value.pointer(pointer).and_then(Value::as_array);
    list.into_iter().flatten()
}

fn texts(values: &Value) -> BTreeSet<&str> {
    let values = values.as_array().into_iter().flatten();
    values.filter_map(Value::as_str).collect()
}

#[test]
fn permissions_are_to_read_and_what_writes_is_a_component() {
    let objects = rendered();
    let roles = of_kind(&objects, "ClusterRole").chain(of_kind(&objects, "Role"));
    let mut seen = BTreeSet::new();
    for role in roles {
        let name = role["metadata"]["name"].as_str().unwrap();
        seen.insert(name);
        for rule in list(role, "/rules") {
            let (resources, verbs) = (texts(&rule["resources"]), texts(&rule["verbs"]));
            assert!(
                !resources.contains("secrets") && !verbs.contains("*"),
                "{name}"
            );
            let allowed: &[&str] = match name {
                "bowline-reader" => &["list", "watch"],
                "bowline-status-writer" => &["get", "patch"],
                _ => &["create", "get", "patch", "update"],
            };
            let allowed = allowed.iter().copied().collect();
            assert!(verbs.is_subset(&allowed), "{name}: {verbs:?}");
            if name == "bowline-status-writer" {
                assert!(
                    resources
                        .iter()
                        .all(|resource| resource.ends_with("/status"))
                );
            }
        }
    }
    assert_eq!(
        seen,
        ["bowline-lease", "bowline-reader", "bowline-status-writer"].into()
    );
    let component = workspace::root().join("examples/kubernetes/status/writer.yaml");
    let component = std::fs::read_to_string(component).unwrap();
    assert!(component.contains("bowline-lease") && component.contains("bowline-status-writer"));
}

#[test]
fn no_container_may_do_more_than_it_needs() {
    let objects = rendered();
    let mut containers = 0;
    for deployment in of_kind(&objects, "Deployment") {
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        for container in list(pod, "/containers").chain(list(pod, "/initContainers")) {
            containers += 1;
            let name = &container["name"];
            let security = &container["securityContext"];
            assert_eq!(security["allowPrivilegeEscalation"], false, "{name}");
            assert_eq!(security["readOnlyRootFilesystem"], true, "{name}");
            assert_eq!(security["capabilities"]["drop"][0], "ALL", "{name}");
            assert!(
                container["resources"]["requests"]["memory"].is_string(),
                "{name}"
            );
            let image = container["image"].as_str().unwrap();
            let (_, tag) = image.rsplit_once(':').expect("images are pinned");
            assert_ne!(tag, "latest", "{name}");
        }
    }
    assert_eq!(containers, 4);
}

#[test]
fn everything_that_a_pod_mounts_is_there_or_made_from_certificates() {
    let objects = rendered();
    let named = |kind: &str, namespace: &Value, name: &Value| {
        of_kind(&objects, kind).any(|object| {
            object["metadata"]["name"] == *name && object["metadata"]["namespace"] == *namespace
        })
    };
    for deployment in of_kind(&objects, "Deployment") {
        let namespace = &deployment["metadata"]["namespace"];
        let pod = &deployment["spec"]["template"]["spec"];
        let account = &pod["serviceAccountName"];
        assert!(account.is_null() || named("ServiceAccount", namespace, account));
        for volume in list(pod, "/volumes") {
            let sources = list(volume, "/projected/sources").chain([volume]);
            for source in sources {
                let map = &source["configMap"]["name"];
                assert!(map.is_null() || named("ConfigMap", namespace, map), "{map}");
                let claim = &source["persistentVolumeClaim"]["claimName"];
                assert!(claim.is_null() || named("PersistentVolumeClaim", namespace, claim));
                let secret = source["secret"]["secretName"]
                    .as_str()
                    .or(source["secret"]["name"].as_str());
                if let Some(secret) = secret {
                    let readme = workspace::root().join("examples/kubernetes/README.md");
                    let readme = std::fs::read_to_string(readme).unwrap();
                    assert!(
                        readme.contains(secret),
                        "the readme does not say how to make {secret}"
                    );
                }
            }
        }
    }
}
