//! Creating, changing and deleting objects, with what the server does to them on the way.

mod apply;
mod defaults;
mod patch;

use std::sync::Arc;

use serde_json::{Map, Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

pub(super) use self::patch::Patch;
use super::{
    failure::Failure,
    json::{at, field, fields, set, text},
    kind::{DEFINITIONS, Kind, NAMESPACES, Origin, SERVICES, Scope, StatusPart},
    store::{Key, Store, Stored},
};

/// Which part of an object a request writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Main,
    Status,
}

/// What became of an object that was to be deleted.
#[derive(Debug)]
pub(super) enum Deleted {
    Gone(Arc<Stored>),
    /// Its finalizers are to be removed first.
    Going(Arc<Stored>),
}

impl Store {
    /// Writes an object as it is, whatever it says, with its namespace if that is not there. The
    /// owner of the cluster may do that; clients may not.
    pub(super) fn put(&mut self, value: Value) -> Result<Arc<Stored>, Failure> {
        let kind = self.kind_said(&value)?;
        let key = Key {
            namespace: match kind.scope {
                Scope::Cluster => String::new(),
                Scope::Namespaced => match text(&value, "/metadata/namespace") {
                    "" => "default".to_owned(),
                    namespace => namespace.to_owned(),
                },
            },
            name: text(&value, "/metadata/name").to_owned(),
        };
        if key.name.is_empty() {
            return Err(Failure::bad_request("an object must have a name"));
        }
        if !key.namespace.is_empty() {
            self.ensure_namespace(&key.namespace)?;
        }
        match self.object(&kind, &key) {
            Some(old) => Ok(self.write(&kind, &key, &old, value)),
            None => Ok(self.bring(&kind, &key, value)),
        }
    }

    /// Creates an object for a client.
    pub(super) fn create(
        &mut self,
        kind: &Kind,
        namespace: &str,
        mut value: Value,
    ) -> Result<Arc<Stored>, Failure> {
        let said = self.kind_said(&value)?;
        if said.resource != kind.resource {
            let message = format!("the object is not of the kind {}", kind.name);
            return Err(Failure::bad_request(message));
        }
        let mut name = text(&value, "/metadata/name").to_owned();
        if name.is_empty() && !text(&value, "/metadata/generateName").is_empty() {
            let unique = self.next_identity();
            let suffix = unique.get(unique.len() - 5..).unwrap_or_default();
            name = format!("{}{suffix}", text(&value, "/metadata/generateName"));
            set(&mut value, &["metadata", "name"], name.clone());
        }
        if name.is_empty() {
            let why = "metadata.name: Required value: name or generateName is required";
            return Err(Failure::invalid(&kind.name, "", why));
        }
        let given = text(&value, "/metadata/namespace");
        if !given.is_empty() && given != namespace {
            return Err(Failure::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        if kind.scope == Scope::Namespaced {
            let namespaces = self.expect_kind(NAMESPACES)?;
            let key = cluster_key(namespace);
            if self.object(&namespaces, &key).is_none() {
                return Err(Failure::not_found(&namespaces, namespace));
            }
        }
        let key = Key {
            namespace: namespace.to_owned(),
            name,
        };
        if self.object(kind, &key).is_some() {
            return Err(Failure::already_exists(kind, &key.name));
        }
        if kind.status == StatusPart::Apart
            && let Some(object) = value.as_object_mut()
        {
            object.remove("status");
        }
        if kind.resource == SERVICES {
            defaults::service(&mut value, self.revision());
        }
        Ok(self.bring(kind, &key, value))
    }

    /// Replaces a part of an object for a client.
    pub(super) fn update(
        &mut self,
        kind: &Kind,
        key: &Key,
        part: Part,
        value: Value,
    ) -> Result<Arc<Stored>, Failure> {
        let old = self
            .object(kind, key)
            .ok_or_else(|| Failure::not_found(kind, &key.name))?;
        let revision = text(&value, "/metadata/resourceVersion");
        if revision.is_empty() && kind.origin == Origin::Custom {
            let why = "metadata.resourceVersion: Invalid value: 0: must be specified for an update";
            let what = format!("{}.{}", kind.name, kind.group);
            return Err(Failure::invalid(&what, &key.name, why));
        }
        if !revision.is_empty() && revision != old.revision.to_string() {
            return Err(Failure::conflict(kind, &key.name));
        }
        let next = confined(kind, part, &old.value(), value);
        Ok(self.write(kind, key, &old, next))
    }

    /// Changes a part of an object for a client; what is applied and not there is created.
    pub(super) fn patch(
        &mut self,
        kind: &Kind,
        key: &Key,
        part: Part,
        patch: &Patch,
    ) -> Result<Arc<Stored>, Failure> {
        let Some(old) = self.object(kind, key) else {
            return match (patch, part) {
                (Patch::Apply { value, manager }, Part::Main) => {
                    let mut value = value.clone();
                    set(&mut value, &["metadata", "name"], key.name.clone());
                    apply::sign(&mut value, manager, part);
                    self.create(kind, &key.namespace, value)
                }
                _ => Err(Failure::not_found(kind, &key.name)),
            };
        };
        let before = old.value();
        let value = patch.apply(kind, part, before.clone())?;
        let revision = text(&value, "/metadata/resourceVersion");
        if !revision.is_empty() && revision != old.revision.to_string() {
            return Err(Failure::conflict(kind, &key.name));
        }
        let next = confined(kind, part, &before, value);
        Ok(self.write(kind, key, &old, next))
    }

    /// Deletes an object, and what is deleted with it: a namespace's content, a definition's kind.
    pub(super) fn delete(&mut self, kind: &Kind, key: &Key) -> Result<Deleted, Failure> {
        let old = self
            .object(kind, key)
            .ok_or_else(|| Failure::not_found(kind, &key.name))?;
        let mut value = old.value();
        let finalizers = at(&value, "/metadata/finalizers")
            .as_array()
            .is_some_and(|finalizers| !finalizers.is_empty());
        if finalizers || kind.resource == NAMESPACES {
            set(&mut value, &["metadata", "deletionTimestamp"], now());
            set(&mut value, &["metadata", "deletionGracePeriodSeconds"], 0);
            if kind.resource == NAMESPACES {
                set(&mut value, &["status", "phase"], "Terminating");
            }
            let going = self.commit(kind, key, value);
            if finalizers {
                return Ok(Deleted::Going(going));
            }
        }
        if kind.resource == NAMESPACES {
            self.empty_namespace(&key.name)?;
        }
        if kind.resource == DEFINITIONS {
            self.remove_kind(&key.name)?;
        }
        self.take_away(kind, key);
        Ok(Deleted::Gone(old))
    }

    /// Puts an object there that is not there yet.
    fn bring(&mut self, kind: &Kind, key: &Key, mut value: Value) -> Arc<Stored> {
        let uid = self.next_identity();
        let metadata = metadata(&mut value);
        metadata.insert("name".into(), key.name.clone().into());
        if !key.namespace.is_empty() {
            metadata.insert("namespace".into(), key.namespace.clone().into());
        }
        metadata.insert("uid".into(), uid.into());
        metadata
            .entry("creationTimestamp")
            .or_insert_with(|| now().into());
        if counts_generations(kind) {
            metadata.entry("generation").or_insert_with(|| 1.into());
        }
        if kind.resource == NAMESPACES {
            defaults::namespace(&mut value, &key.name);
        }
        let stored = self.commit(kind, key, value);
        if kind.resource == DEFINITIONS {
            self.establish(kind, key);
        }
        stored
    }

    /// Puts an object in the place of another. What is equal is not written.
    fn write(
        &mut self,
        kind: &Kind,
        key: &Key,
        old: &Arc<Stored>,
        mut value: Value,
    ) -> Arc<Stored> {
        let before = old.value();
        let kept = |field: &str| at(&before, "/metadata").get(field).cloned();
        let metadata = metadata(&mut value);
        metadata.insert("name".into(), key.name.clone().into());
        for field in ["namespace", "uid", "creationTimestamp", "resourceVersion"] {
            match kept(field) {
                Some(value) => metadata.insert(field.into(), value),
                None => metadata.remove(field),
            };
        }
        if let Some(generation) = kept("generation") {
            metadata.insert("generation".into(), generation);
        }
        if let Some(object) = value.as_object_mut() {
            object.remove("apiVersion");
            object.remove("kind");
        }
        if value == before {
            return Arc::clone(old);
        }
        if counts_generations(kind) && value.get("spec") != before.get("spec") {
            let generation = at(&before, "/metadata/generation").as_u64().unwrap_or(0) + 1;
            set(&mut value, &["metadata", "generation"], generation);
        }
        let ended = !at(&value, "/metadata/deletionTimestamp").is_null()
            && !at(&before, "/metadata/finalizers").is_null()
            && at(&value, "/metadata/finalizers")
                .as_array()
                .is_none_or(Vec::is_empty);
        if ended {
            self.take_away(kind, key);
            return Arc::clone(old);
        }
        let stored = self.commit(kind, key, value);
        if kind.resource == DEFINITIONS {
            self.establish(kind, key);
        }
        stored
    }

    fn ensure_namespace(&mut self, name: &str) -> Result<(), Failure> {
        let namespaces = self.expect_kind(NAMESPACES)?;
        let key = cluster_key(name);
        if self.object(&namespaces, &key).is_none() {
            let namespace = json!({"metadata": {"name": name}});
            self.bring(&namespaces, &key, namespace);
        }
        Ok(())
    }

    fn empty_namespace(&mut self, name: &str) -> Result<(), Failure> {
        let kinds: Vec<_> = self.kinds().cloned().collect();
        for kind in kinds {
            let objects = self.objects(&kind);
            for key in objects.keys().filter(|key| key.namespace == name) {
                self.delete(&kind, key)?;
            }
        }
        Ok(())
    }

    /// Serves what a definition defines, and says so in its status.
    fn establish(&mut self, definitions: &Kind, key: &Key) {
        let Some(stored) = self.object(definitions, key) else {
            return;
        };
        let mut value = stored.value();
        let Some(kind) = Kind::defined_by(&value) else {
            return;
        };
        let condition = |name: &str, reason: &str, message: &str| {
            json!({
                "type": name, "status": "True", "reason": reason, "message": message,
                "lastTransitionTime": at(&value, "/metadata/creationTimestamp"),
            })
        };
        let status = json!({
            "acceptedNames": at(&value, "/spec/names"),
            "conditions": [
                condition("NamesAccepted", "NoConflicts", "no conflicts found"),
                condition("Established", "InitialNamesAccepted",
                          "the initial names have been accepted"),
            ],
            "storedVersions": [kind.preferred()],
        });
        self.install(kind);
        if value.get("status") != Some(&status) {
            set(&mut value, &["status"], status);
            self.commit(definitions, key, value);
        }
    }

    fn remove_kind(&mut self, resource: &str) -> Result<(), Failure> {
        if let Some(kind) = self.kind(resource) {
            for key in self.objects(&kind).keys() {
                self.delete(&kind, key)?;
            }
            self.uninstall(resource);
        }
        Ok(())
    }

    /// The kind that an object says it is of.
    fn kind_said(&self, value: &Value) -> Result<Arc<Kind>, Failure> {
        let (api_version, name) = (text(value, "/apiVersion"), text(value, "/kind"));
        self.kind_of(api_version, name).ok_or_else(|| {
            Failure::bad_request(format!(
                "no kind \"{name}\" is registered for \"{api_version}\""
            ))
        })
    }

    fn expect_kind(&self, resource: &str) -> Result<Arc<Kind>, Failure> {
        self.kind(resource)
            .ok_or_else(|| Failure::bad_request(format!("there are no {resource}")))
    }
}

/// The object as it becomes when a request writes only one part of it.
fn confined(kind: &Kind, part: Part, before: &Value, value: Value) -> Value {
    let (mut result, other) = match (kind.status, part) {
        (StatusPart::Within, _) => return value,
        (StatusPart::Apart, Part::Main) => (value, before.clone()),
        (StatusPart::Apart, Part::Status) => (before.clone(), value),
    };
    if let Some(object) = result.as_object_mut() {
        match other.get("status") {
            Some(status) => object.insert("status".into(), status.clone()),
            None => object.remove("status"),
        };
    }
    if part == Part::Status
        && let Some(fields) = other.pointer("/metadata/managedFields")
    {
        metadata(&mut result).insert("managedFields".into(), fields.clone());
    }
    result
}

/// Those whose `generation` counts the changes of their spec.
fn counts_generations(kind: &Kind) -> bool {
    kind.origin == Origin::Custom
        || matches!(
            kind.group.as_str(),
            "apps" | "networking.k8s.io" | "discovery.k8s.io"
        )
        || kind.resource == DEFINITIONS
}

fn metadata(value: &mut Value) -> &mut Map<String, Value> {
    fields(field(value, "metadata"))
}

fn cluster_key(name: &str) -> Key {
    Key {
        namespace: String::new(),
        name: name.to_owned(),
    }
}

/// The time as Kubernetes writes it: to the second.
fn now() -> String {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(0)
        .unwrap_or(now)
        .format(&Rfc3339)
        .unwrap_or_default()
}
