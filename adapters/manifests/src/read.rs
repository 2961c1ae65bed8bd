//! From files to one event: what changed since the last time, with what was last good in the place of what is wrong now. Pure.

mod told;

use std::{
    collections::{BTreeMap, btree_map},
    sync::Arc,
};

use bowline_document::files::{FileError, Reading};
use bowline_mesh::{
    Code, Object, ObjectKey, Problem, RegistryEvent, RegistrySettings, Severity, Source,
};

use crate::{
    Context, Manifest, ManifestName, References, convert,
    file::{self, Contents, Entry},
};

use told::{Told, as_told, change};

/// What is known from earlier readings. It begins empty.
#[derive(Debug, Clone, Default)]
pub struct State {
    files: BTreeMap<Arc<str>, Arc<KnownFile>>,
    references: References,
    manifests: BTreeMap<ManifestName, Arc<KnownManifest>>,
    /// Objects from before the start that nothing has yet replaced.
    restored: BTreeMap<ObjectKey, Object>,
    /// What the mesh was told last; `None` before it was told anything.
    told: Option<Told>,
}

impl State {
    /// What was known before the start: the objects that the mesh last had from this registry. They are the last good versions of
    /// objects and files that cannot be read now.
    pub fn restored(objects: Vec<Object>) -> Self {
        let objects = objects.into_iter();
        Self {
            restored: objects
                .map(|object| (object.key().clone(), object))
                .collect(),
            ..Self::default()
        }
    }
}

/// A file as it was last read.
#[derive(Debug)]
struct KnownFile {
    /// The content that `contents` come from, or that is malformed now; `None` if it could not be had.
    content: Option<Arc<[u8]>>,
    /// What it said when it was last good.
    contents: Contents,
    /// Whether it ever was.
    was_good: bool,
    /// Why it is not good now.
    problem: Option<Problem>,
}

/// What became of one object.
#[derive(Debug)]
struct KnownManifest {
    /// As it is written now.
    entry: Arc<Entry>,
    /// Its last good version.
    good: Option<Good>,
    objects: Vec<Object>,
    problems: Vec<Problem>,
}

#[derive(Debug, Clone)]
struct Good {
    manifest: Arc<Manifest>,
    source: Source,
}

/// Takes in what the files contain, and says what changed; `None` if nothing did.
pub fn read(
    reading: &Reading,
    previous: &State,
    settings: &RegistrySettings,
) -> (State, Option<RegistryEvent>) {
    let files = files(reading, previous, settings);
    let (entries, duplicates) = entries(&files);
    let references = references(&entries, previous);
    let manifests = manifests(&entries, &references, &files, previous, settings);
    let mut problems: Vec<Problem> = reading.errors.iter().map(file::unreadable).collect();
    problems.extend(reading.empty.iter().map(file::empty_directory));
    for file in files.values() {
        problems.extend(file.problem.clone());
        problems.extend(file.contents.problems.iter().cloned());
    }
    problems.extend(duplicates);
    problems.extend(
        manifests
            .values()
            .flat_map(|known| known.problems.iter().cloned()),
    );
    let restored = still_restored(previous, &files, &manifests, settings);
    let objects = manifests.values().flat_map(|known| &known.objects);
    let objects = objects.chain(restored.values());
    let told = Told {
        objects: objects
            .map(|object| {
                (
                    object.key().clone(),
                    as_told(object, previous.told.as_ref()),
                )
            })
            .collect(),
        problems,
        failing: failing(&reading.errors),
    };
    let event = change(previous.told.as_ref(), &told).map(|change| RegistryEvent {
        registry: settings.id.clone(),
        change,
        problems: told.problems.clone(),
    });
    // What was not said completely has not been told: the first thing that the mesh hears of objects is all of them.
    let told = match (&previous.told, &told.failing) {
        (None, Some(_)) => None,
        _ => Some(told),
    };
    let state = State {
        files,
        references,
        manifests,
        // Until the first complete reading nothing is known to be gone.
        restored: match told {
            Some(_) => restored,
            None => previous.restored.clone(),
        },
        told,
    };
    (state, event)
}

fn files(
    reading: &Reading,
    previous: &State,
    settings: &RegistrySettings,
) -> BTreeMap<Arc<str>, Arc<KnownFile>> {
    let mut files = BTreeMap::new();
    for file in &reading.files {
        let known = previous.files.get(&file.path);
        let unchanged = known.filter(|known| match (&known.content, &file.content) {
            (Some(before), Ok(now)) => Arc::ptr_eq(before, now) || before == now,
            (None, _) | (_, Err(_)) => false,
        });
        let file_now = match (unchanged, &file.content) {
            (Some(known), _) => known.clone(),
            (None, Ok(content)) => {
                let parsed = file::parse(&file.path, content, settings);
                let content = Some(content.clone());
                match parsed {
                    Ok(contents) => Arc::new(KnownFile {
                        content,
                        contents,
                        was_good: true,
                        problem: None,
                    }),
                    Err(problem) => Arc::new(last_good(known, content, *problem)),
                }
            }
            (None, Err(error)) => Arc::new(last_good(known, None, file::unreadable(error))),
        };
        files.insert(file.path.clone(), file_now);
    }
    files
}

fn last_good(
    known: Option<&Arc<KnownFile>>,
    content: Option<Arc<[u8]>>,
    problem: Problem,
) -> KnownFile {
    KnownFile {
        content,
        contents: known
            .map(|known| known.contents.clone())
            .unwrap_or_default(),
        was_good: known.is_some_and(|known| known.was_good),
        problem: Some(problem),
    }
}

/// The objects by name. Of several with one name the first counts.
fn entries(
    files: &BTreeMap<Arc<str>, Arc<KnownFile>>,
) -> (BTreeMap<&ManifestName, &Arc<Entry>>, Vec<Problem>) {
    let mut entries: BTreeMap<&ManifestName, &Arc<Entry>> = BTreeMap::new();
    let mut duplicates = Vec::new();
    for entry in files.values().flat_map(|file| &file.contents.entries) {
        match entries.entry(&entry.name) {
            btree_map::Entry::Vacant(vacant) => {
                vacant.insert(entry);
            }
            btree_map::Entry::Occupied(first) => duplicates.push(Problem {
                code: Code::Duplicate,
                severity: Severity::Error,
                object: None,
                source: Some(entry.source.clone()),
                field: "metadata.name".into(),
                message: format!(
                    "{} is written here and in {}",
                    entry.name,
                    first.get().source
                )
                .into(),
                meanwhile: "the one in the first place counts".into(),
                hint: "leave one of them out, or give it another name".into(),
            }),
        }
    }
    (entries, duplicates)
}

fn references(entries: &BTreeMap<&ManifestName, &Arc<Entry>>, previous: &State) -> References {
    let mut references = References::default();
    for (name, entry) in entries {
        let good = || previous.manifests.get(*name)?.good.as_ref();
        let manifest = entry.manifest.as_ref().or_else(|| Some(&good()?.manifest));
        if let Some(manifest) = manifest {
            references.insert(name, manifest);
        }
    }
    references
}

/// Converts what is new, or what may mean something else because other objects have changed.
fn manifests(
    entries: &BTreeMap<&ManifestName, &Arc<Entry>>,
    references: &References,
    files: &BTreeMap<Arc<str>, Arc<KnownFile>>,
    previous: &State,
    settings: &RegistrySettings,
) -> BTreeMap<ManifestName, Arc<KnownManifest>> {
    let context = Context {
        settings,
        references,
    };
    let affects = references.differ(&previous.references);
    let referring = references.secrets.differ(&previous.references.secrets);
    let mut fresh: BTreeMap<&Arc<str>, Vec<KnownManifest>> = BTreeMap::new();
    let mut manifests = BTreeMap::new();
    for (name, entry) in entries {
        let known = previous.manifests.get(*name);
        let is_concerned = affects.concerns(name.kind) || referring.contains(name);
        match known.filter(|known| !is_concerned && Arc::ptr_eq(&known.entry, entry)) {
            Some(known) => {
                manifests.insert((*name).clone(), known.clone());
            }
            None => {
                let good = known.and_then(|known| known.good.clone());
                let file = fresh.entry(&entry.source.place).or_default();
                file.push(converted(entry, good, context));
            }
        }
    }
    for (path, mut fresh) in fresh {
        if let Some(content) = files.get(path).and_then(|file| file.content.as_deref()) {
            let conversions = fresh.iter_mut().flat_map(|known| {
                let decoded = known.entry.problems.len();
                known.problems.iter_mut().skip(decoded)
            });
            file::place(content, conversions);
        }
        let fresh = fresh.into_iter();
        manifests.extend(fresh.map(|known| (known.entry.name.clone(), Arc::new(known))));
    }
    manifests
}

/// The problems of the conversion come after those of the entry.
fn converted(entry: &Arc<Entry>, last_good: Option<Good>, context: Context<'_>) -> KnownManifest {
    let mut problems = entry.problems.clone();
    if let Some(manifest) = &entry.manifest {
        let now = convert::convert(&entry.name, manifest, &entry.source, context);
        problems.extend(now.problems);
        if let Some(objects) = now.objects {
            return KnownManifest {
                entry: entry.clone(),
                good: Some(Good {
                    manifest: manifest.clone(),
                    source: entry.source.clone(),
                }),
                objects,
                problems,
            };
        }
    }
    // The problems of the last good version are not those of what is written.
    let objects = last_good.as_ref().and_then(|good| {
        convert::convert(&entry.name, &good.manifest, &good.source, context).objects
    });
    KnownManifest {
        entry: entry.clone(),
        good: last_good,
        objects: objects.unwrap_or_default(),
        problems,
    }
}

/// What is kept from before the start: objects that are wrong now, and those of files that are wrong now and have not been good
/// since.
fn still_restored(
    previous: &State,
    files: &BTreeMap<Arc<str>, Arc<KnownFile>>,
    manifests: &BTreeMap<ManifestName, Arc<KnownManifest>>,
    settings: &RegistrySettings,
) -> BTreeMap<ObjectKey, Object> {
    if previous.restored.is_empty() {
        return BTreeMap::new();
    }
    let mut written: BTreeMap<ObjectKey, &KnownManifest> = BTreeMap::new();
    for (name, known) in manifests {
        let objects = convert::objects_of(name, settings, &previous.restored);
        let keys = objects.into_iter().map(|object| object.key().clone());
        written.extend(keys.map(|key| (key, &**known)));
    }
    let is_kept = |object: &Object| match written.get(object.key()) {
        Some(known) => known.good.is_none(),
        None => files
            .get(&object.source.place)
            .is_some_and(|file| file.problem.is_some() && !file.was_good),
    };
    let kept = previous
        .restored
        .iter()
        .filter(|(_, object)| is_kept(object));
    kept.map(|(key, object)| (key.clone(), object.clone()))
        .collect()
}

fn failing(errors: &[FileError]) -> Option<String> {
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    (!errors.is_empty()).then(|| errors.join("; "))
}
