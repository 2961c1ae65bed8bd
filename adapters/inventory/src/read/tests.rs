//! What is written, and what it becomes.

use bowline_mesh::{Endpoint, Hostname, Service, Spec, Workload};
use proptest::prelude::*;

use super::*;

mod changes;
mod items;
mod mistakes;
mod tables;

fn settings() -> RegistrySettings {
    RegistrySettings::new(
        "vms".parse().unwrap(),
        "mesh.example".parse().unwrap(),
        "cluster.local".parse().unwrap(),
        "default".parse().unwrap(),
    )
}

fn reading(files: &[(&str, &[u8])]) -> Reading {
    let file = |(path, content): &(&str, &[u8])| File {
        path: (*path).into(),
        content: Ok((*content).into()),
    };
    Reading {
        files: files.iter().map(file).collect(),
        errors: Vec::new(),
        empty: Vec::new(),
    }
}

/// An inventory that is changed step by step.
#[derive(Default)]
struct Steps {
    state: State,
}

impl Steps {
    fn read(&mut self, text: &str) -> Option<RegistryEvent> {
        self.read_files(&[("i.yaml", text.as_bytes())])
    }

    fn read_files(&mut self, files: &[(&str, &[u8])]) -> Option<RegistryEvent> {
        self.take(&reading(files))
    }

    fn take(&mut self, reading: &Reading) -> Option<RegistryEvent> {
        let (state, event) = read(reading, &self.state, &settings());
        self.state = state;
        event
    }
}

fn first(text: &str) -> RegistryEvent {
    Steps::default().read(text).unwrap()
}

fn first_csv(text: &str) -> RegistryEvent {
    let files: [(&str, &[u8]); 1] = [("i.csv", text.as_bytes())];
    Steps::default().read_files(&files).unwrap()
}

fn objects(event: &RegistryEvent) -> &[Object] {
    match &event.change {
        Change::Replace(objects) => objects,
        other => panic!("not a Replace: {other:?}"),
    }
}

fn service(event: &RegistryEvent, hostname: &str) -> Arc<Service> {
    let found = objects(event)
        .iter()
        .find_map(|object| match object.spec() {
            Spec::Service(service) if service.hostname.as_str() == hostname => {
                Some(service.clone())
            }
            _ => None,
        });
    found.unwrap_or_else(|| panic!("no service {hostname}: {event:?}"))
}

fn workload(event: &RegistryEvent, name: &str) -> Arc<Workload> {
    let found = objects(event)
        .iter()
        .find_map(|object| match object.spec() {
            Spec::Workload(workload) if &*object.key().name == name => Some(workload.clone()),
            _ => None,
        });
    found.unwrap_or_else(|| panic!("no workload {name}: {event:?}"))
}

fn endpoints(event: &RegistryEvent, hostname: &str) -> Vec<Endpoint> {
    let hostname: Hostname = hostname.parse().unwrap();
    let groups = objects(event)
        .iter()
        .filter_map(|object| match object.spec() {
            Spec::Endpoints(group) if group.service == hostname => Some(&group.endpoints),
            _ => None,
        });
    groups.flatten().cloned().collect()
}

/// Code, line, field and message of each problem.
fn problems(event: &RegistryEvent) -> Vec<String> {
    let shown = |problem: &Problem| {
        let line = problem.source.as_ref().and_then(|source| source.line);
        let (code, field, message) = (problem.code, &problem.field, &problem.message);
        format!("{code} {} {field}: {message}", line.unwrap_or_default())
    };
    event.problems.iter().map(shown).collect()
}

/// Keys that an event upserts and removes.
fn update(event: &Option<RegistryEvent>) -> (Vec<String>, Vec<String>) {
    let key = |key: &ObjectKey| format!("{} {}", key.kind, key.name);
    match event.as_ref().map(|event| &event.change) {
        Some(Change::Update { upserts, removes }) => (
            upserts.iter().map(|object| key(object.key())).collect(),
            removes.iter().map(key).collect(),
        ),
        other => panic!("not an Update: {other:?}"),
    }
}

const SHOP: &str = "
namespace: shop
services:
  - name: cart
    ports: [{number: 80, protocol: http}]
workloads:
  - {name: vm-1, address: 10.0.0.1, services: [cart], ports: {http: 8080}}
  - {name: vm-2, address: 10.0.0.2, services: [cart], ports: {http: 8080}}
";

fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("-1".to_owned()),
        Just("99999999999".to_owned()),
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        Just("{a: b}".to_owned()),
        Just("[1, x]".to_owned()),
        "[a-z0-9./:-]{1,12}".prop_map(|text| format!("\"{text}\"")),
    ]
}

proptest! {
    #[test]
    fn one_wrong_entry_never_changes_the_others(
        field in "(name|namespace|address|addresses|services|ports|locality|network|weight|health|labels|identity|service_account|other)",
        value in any_value(),
        position in 0..3_usize,
    ) {
        let good = ["{name: one, address: 10.0.0.1}", "{name: two, address: 10.0.0.2}"];
        let odd = match &*field {
            "name" => format!("{{name: {value}, address: 10.0.0.3}}"),
            "address" => format!("{{name: odd, address: {value}}}"),
            _ => format!("{{name: odd, address: 10.0.0.3, {field}: {value}}}"),
        };
        let mut items = good.to_vec();
        items.insert(position, &odd);
        let event = first(&format!("workloads: [{}]", items.join(", ")));
        let expected = first(&format!("workloads: [{}]", good.join(", ")));
        let others: Vec<_> = objects(&event)
            .iter()
            .filter(|object| ["one", "two"].contains(&&*object.key().name))
            .map(Object::spec)
            .collect();
        let expected: Vec<_> = objects(&expected).iter().map(Object::spec).collect();
        prop_assert_eq!(others, expected);
        let odd_is_taken = objects(&event).len() > 2;
        prop_assert!(odd_is_taken || !event.problems.is_empty(), "silence about {odd}");
    }

    #[test]
    fn a_cut_that_is_noticed_removes_nothing(length in 0..SHOP.len()) {
        let mut steps = Steps::default();
        steps.read(SHOP);
        let event = steps.read(SHOP.get(..length).unwrap_or_default());
        if let Some(RegistryEvent { change: Change::Update { removes, .. }, problems, .. }) = event {
            prop_assert!(removes.is_empty() || problems.is_empty(), "{length}: {removes:?}");
        }
    }
}
