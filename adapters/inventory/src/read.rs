//! The core: files and what was known before, to what is known now and the event that says so. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use bowline_document::files::{File, FileError, Reading};
use bowline_mesh::{Change, Object, ObjectKey, Problem, RegistryEvent, RegistrySettings};
use imbl::{OrdMap, OrdSet};

use crate::{
    entry::{Identity, Subject},
    problem::{empty_directory, file_problem},
};

use self::{
    index::Index,
    known::{Known, Taken, known},
};

mod index;
mod known;

/// What is known of an inventory. Costs what has changed to bring up to date.
#[derive(Debug, Clone, Default)]
pub struct State {
    files: OrdMap<Arc<str>, Arc<Known>>,
    /// Those of the files that something is wrong with.
    wrong: OrdSet<Arc<str>>,
    index: Index,
    /// What the mesh was told.
    told: OrdMap<ObjectKey, Object>,
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
        let mut state = Self::default();
        for (place, known) in files {
            state.put(&place, Some(Arc::new(known)));
        }
        state
    }

    /// Takes note of what a file is now. Returns what it was or is about.
    fn put(&mut self, place: &Arc<str>, known: Option<Arc<Known>>) -> Vec<Identity> {
        let before = self.files.get(place).cloned();
        let touched = self
            .index
            .replace(place, before.as_deref(), known.as_deref());
        if known.as_ref().is_some_and(|known| known.is_wrong()) {
            self.wrong.insert(place.clone());
        } else {
            self.wrong.remove(place);
        }
        match known {
            Some(known) => self.files.insert(place.clone(), known),
            None => self.files.remove(place),
        };
        touched
    }

    /// All that is wrong.
    fn problems(&self, reading: &Reading) -> Vec<Problem> {
        let wrong = self.wrong.iter().filter_map(|place| self.files.get(place));
        let mut problems: Vec<Problem> = wrong.flat_map(|known| known.problems()).collect();
        problems.extend(self.index.duplicates());
        problems.extend(reading.errors.iter().map(file_problem));
        problems.extend(reading.empty.iter().map(empty_directory));
        problems.sort();
        problems.dedup();
        problems
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
    let mut state = previous.clone();
    let mut touched = Vec::new();
    for (place, known) in changed_files(reading, previous, settings) {
        touched.extend(state.put(&place, known));
    }
    state.problems = state.problems(reading);
    let is_same = state.problems == previous.problems;

    if let Some(error) = unreadable(reading, &state.files) {
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
            state.told = state.index.all();
            Some(Change::Replace(state.told.values().cloned().collect()))
        }
        Said::Content => {
            let touched: BTreeSet<Identity> = touched.into_iter().collect();
            let change = difference(&mut state, &previous.index, &touched);
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
fn unreadable(reading: &Reading, files: &OrdMap<Arc<str>, Arc<Known>>) -> Option<String> {
    let is_known = |(path, known): (&Arc<str>, &Arc<Known>)| {
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

/// The files that are not what they were, and what they are now.
fn changed_files(
    reading: &Reading,
    previous: &State,
    settings: &RegistrySettings,
) -> Vec<(Arc<str>, Option<Arc<Known>>)> {
    let is_changed = |file: &&File| {
        let before = previous.files.get(&file.path);
        before.is_none_or(|before| before.content.as_ref() != Some(&file.content))
    };
    let read_file = |file: &File| {
        let before = previous.files.get(&file.path);
        let known = known(
            file,
            before.map(|known| &**known),
            &previous.index,
            settings,
        );
        (file.path.clone(), Some(Arc::new(known)))
    };
    let mut changed: Vec<_> = reading
        .files
        .iter()
        .filter(is_changed)
        .map(read_file)
        .collect();
    let there: BTreeSet<&Arc<str>> = reading.files.iter().map(|file| &file.path).collect();
    let gone = previous.files.keys().filter(|place| {
        let is_out_of_sight = |error| covers(error, place);
        !there.contains(place) && !reading.errors.iter().any(is_out_of_sight)
    });
    changed.extend(gone.map(|place| (place.clone(), None)));
    changed
}

/// What to tell the mesh so that it knows what is known now. Lines that only moved are not worth telling.
fn difference(state: &mut State, previous: &Index, touched: &BTreeSet<Identity>) -> Option<Change> {
    let mut gone: BTreeSet<ObjectKey> = BTreeSet::new();
    for identity in touched {
        let before = previous.objects(identity).iter();
        gone.extend(before.map(|object| object.key().clone()));
    }
    let mut upserts = Vec::new();
    for object in touched
        .iter()
        .flat_map(|identity| state.index.objects(identity))
    {
        gone.remove(object.key());
        let before = state.told.insert(object.key().clone(), object.clone());
        if before.is_none_or(|before| before.spec() != object.spec()) {
            upserts.push(object.clone());
        }
    }
    let removes: Vec<ObjectKey> = gone.into_iter().collect();
    for key in &removes {
        state.told.remove(key);
    }
    let is_nothing = upserts.is_empty() && removes.is_empty();
    (!is_nothing).then_some(Change::Update { upserts, removes })
}

#[cfg(test)]
mod tests;
