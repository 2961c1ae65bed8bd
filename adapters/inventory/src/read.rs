//! The core: files and what was known before, to what is known now and the event that says so. Pure.

use std::{
    cell::LazyCell,
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
};

use bowline_document::files::{File, FileError, Reading};
use bowline_mesh::{Change, Object, ObjectKey, Problem, RegistryEvent, RegistrySettings};

use crate::{
    entry::{Identity, Subject},
    problem::{duplicate, empty_directory, file_problem},
};

use self::known::{Known, Taken, known};

mod known;

/// What is known of an inventory.
#[derive(Debug, Clone, Default)]
pub struct State {
    files: BTreeMap<Arc<str>, Known>,
    /// What the mesh was told.
    told: BTreeMap<ObjectKey, Object>,
    problems: Vec<Problem>,
    said: Said,
}

/// The last thing that was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Said {
    #[default]
    Nothing,
    /// That the inventory cannot be read.
    Failing,
    /// What it contains.
    Content,
}

impl State {
    /// What was known before the start: the objects that the mesh last had from this registry. They are the last good versions of
    /// entries and files that cannot be read now.
    pub fn restored(objects: Vec<Object>) -> Self {
        let mut entries: BTreeMap<(Arc<str>, Identity), Vec<Object>> = BTreeMap::new();
        for object in objects {
            if let Some(identity) = Identity::of(&object) {
                let file = object.source.place.clone();
                entries.entry((file, identity)).or_default().push(object);
            }
        }
        let mut files: BTreeMap<Arc<str>, Known> = BTreeMap::new();
        for ((file, identity), objects) in entries {
            let Some(first) = objects.first() else {
                continue;
            };
            let taken = Taken {
                subject: Some(Subject {
                    identity,
                    key: first.key().clone(),
                }),
                line: first.source.line.unwrap_or(1),
                objects,
                problems: Vec::new(),
            };
            let known = files.entry(file).or_default();
            known.kept.push(Arc::new(taken));
        }
        Self {
            files,
            ..Self::default()
        }
    }

    /// What is used of every entry, wherever it was written.
    fn in_use(&self) -> HashMap<&Identity, &Taken> {
        let mut in_use = HashMap::new();
        let fresh = self.files.values().flat_map(|known| &known.entries);
        let kept = self.files.values().flat_map(|known| &known.kept);
        for taken in fresh.chain(kept).filter(|taken| !taken.objects.is_empty()) {
            if let Some(identity) = taken.identity() {
                in_use.entry(identity).or_insert(&**taken);
            }
        }
        in_use
    }
}

/// Reads the files anew where they have changed.
///
/// Returns what is known now, and the event that tells the mesh; no event if there is nothing new to tell.
pub fn read(
    reading: &Reading,
    previous: &State,
    settings: &RegistrySettings,
) -> (State, Option<RegistryEvent>) {
    let event = |change, problems: &[Problem]| RegistryEvent {
        registry: settings.id.clone(),
        change,
        problems: problems.to_vec(),
    };
    let mut state = State {
        files: files(reading, previous, settings),
        ..State::default()
    };
    let (objects, mut problems) = united(&state.files);
    problems.extend(reading.errors.iter().map(file_problem));
    problems.extend(reading.empty.iter().map(empty_directory));
    state.problems = problems;
    let is_same = state.problems == previous.problems;

    if let Some(error) = unreadable(reading, &state.files) {
        state.told = previous.told.clone();
        state.said = Said::Failing;
        if previous.said == Said::Failing && is_same {
            return (state, None);
        }
        let event = event(Change::Failing { error }, &state.problems);
        return (state, Some(event));
    }

    state.said = Said::Content;
    let change = match previous.said {
        Said::Nothing | Said::Failing => {
            state.told = objects;
            Some(Change::Replace(state.told.values().cloned().collect()))
        }
        Said::Content => {
            let (told, change) = difference(&previous.told, objects);
            state.told = told;
            change.or_else(|| {
                let nothing = Change::Update {
                    upserts: Vec::new(),
                    removes: Vec::new(),
                };
                (!is_same).then_some(nothing)
            })
        }
    };
    let event = change.map(|change| event(change, &state.problems));
    (state, event)
}

/// Why nothing can be said of the inventory as a whole: what was asked for is not there, or all of it is broken from the beginning.
fn unreadable(reading: &Reading, files: &BTreeMap<Arc<str>, Known>) -> Option<String> {
    let is_known = |(path, known): (&Arc<str>, &Known)| {
        let is_broken = known.problem.is_some() && known.kept.is_empty();
        !is_broken && !reading.errors.iter().any(|error| covers(error, path))
    };
    let error = reading.errors.first().map(FileError::to_string);
    let mut problems = files.values().filter_map(|known| known.problem.as_ref());
    match files.iter().any(is_known) {
        true => None,
        false => error.or_else(|| problems.next().map(Problem::to_string)),
    }
}

/// Whether a path is, or is below, one that cannot be read.
fn covers(error: &FileError, path: &str) -> bool {
    Path::new(path).starts_with(&*error.path)
}

fn files(
    reading: &Reading,
    previous: &State,
    settings: &RegistrySettings,
) -> BTreeMap<Arc<str>, Known> {
    let in_use = LazyCell::new(|| previous.in_use());
    let read_file = |file: &File| {
        let known = match previous.files.get(&file.path) {
            Some(before) if before.content.as_ref() == Some(&file.content) => before.clone(),
            before => known(file, before, &in_use, settings),
        };
        (file.path.clone(), known)
    };
    let mut files: BTreeMap<_, _> = reading.files.iter().map(read_file).collect();
    for (path, known) in &previous.files {
        if reading.errors.iter().any(|error| covers(error, path)) {
            files.entry(path.clone()).or_insert_with(|| known.clone());
        }
    }
    files
}

/// All objects of all files, and all problems.
fn united(files: &BTreeMap<Arc<str>, Known>) -> (BTreeMap<ObjectKey, Object>, Vec<Problem>) {
    let mut objects = BTreeMap::new();
    let mut problems = Vec::new();
    let mut first: HashMap<&Identity, (&Arc<str>, u32)> = HashMap::new();
    let fresh = files
        .iter()
        .flat_map(|(place, known)| known.entries.iter().map(move |taken| (place, taken, true)));
    let kept = files
        .iter()
        .flat_map(|(place, known)| known.kept.iter().map(move |taken| (place, taken, false)));
    problems.extend(files.values().filter_map(|known| known.problem.clone()));
    for (place, taken, is_fresh) in fresh.chain(kept) {
        if is_fresh {
            problems.extend(taken.problems.iter().cloned());
        }
        let Some(Subject { identity, key }) = &taken.subject else {
            continue;
        };
        if let Some((first_place, first_line)) = first.get(identity) {
            if is_fresh {
                let first = format!("{first_place}:{first_line}");
                problems.push(duplicate(identity, key, place, taken.line, &first));
            }
            continue;
        }
        first.insert(identity, (place, taken.line));
        for object in &taken.objects {
            objects.insert(object.key().clone(), object.clone());
        }
    }
    problems.sort();
    problems.dedup();
    (objects, problems)
}

/// What to tell the mesh so that it knows what is known now. Lines that only moved are not worth telling.
fn difference(
    told: &BTreeMap<ObjectKey, Object>,
    objects: BTreeMap<ObjectKey, Object>,
) -> (BTreeMap<ObjectKey, Object>, Option<Change>) {
    let removes: Vec<_> = told
        .keys()
        .filter(|key| !objects.contains_key(key))
        .cloned()
        .collect();
    let upserts: Vec<_> = objects
        .iter()
        .filter(|(key, object)| {
            told.get(key)
                .is_none_or(|before| before.spec() != object.spec())
        })
        .map(|(_, object)| object.clone())
        .collect();
    let change = match upserts.is_empty() && removes.is_empty() {
        true => None,
        false => Some(Change::Update { upserts, removes }),
    };
    (objects, change)
}

#[cfg(test)]
mod tests;
