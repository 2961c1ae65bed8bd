//! One file: what is used of it, whether or not all of it can be read now.

use std::{collections::BTreeSet, sync::Arc};

use bowline_document::files::{File, FileError};
use bowline_mesh::{Object, Problem, RegistrySettings};

use crate::{
    entry::{Entry, Finding, Identity, Subject},
    problem::{file_problem, malformed, problem},
    table, tree,
};

use super::index::Index;

/// What is known of one file.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// As it was when it was last read; `None` for a file that is known from before the start.
    pub(super) content: Option<Result<Arc<[u8]>, FileError>>,
    pub(super) entries: Vec<Arc<Taken>>,
    /// Entries of before that it may still have, which nobody can say now. They count where nobody else has them.
    pub(super) kept: Vec<Arc<Taken>>,
    /// What is wrong with the file as a whole.
    pub(super) problem: Option<Problem>,
}

/// An entry as it is used: as it is written, or as it was when it was last right.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) subject: Option<Subject>,
    pub(super) line: u32,
    pub(super) objects: Vec<Object>,
    pub(super) problems: Vec<Problem>,
}

impl Taken {
    pub(super) fn identity(&self) -> Option<&Identity> {
        self.subject.as_ref().map(|subject| &subject.identity)
    }
}

impl Known {
    /// What is wrong with the file and its entries.
    pub(super) fn problems(&self) -> impl Iterator<Item = Problem> {
        let entries = self.entries.iter().flat_map(|taken| &taken.problems);
        self.problem.iter().chain(entries).cloned()
    }

    pub(super) fn is_wrong(&self) -> bool {
        self.problem.is_some() || self.entries.iter().any(|taken| !taken.problems.is_empty())
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Taken>> {
        self.entries.iter().chain(&self.kept)
    }
}

/// Reads one file.
pub(super) fn known(
    file: &File,
    before: Option<&Known>,
    index: &Index,
    settings: &RegistrySettings,
) -> Known {
    let kept = || before.into_iter().flat_map(Known::all);
    let entries = match &file.content {
        Ok(content) => {
            entries(content, &file.path, settings).map_err(|finding| malformed(finding, &file.path))
        }
        Err(error) => Err(file_problem(error)),
    };
    let content = Some(file.content.clone());
    match entries {
        Err(problem) => Known {
            content,
            entries: Vec::new(),
            kept: kept().cloned().collect(),
            problem: Some(problem),
        },
        Ok(entries) => {
            let may_lack = may_lack_entries(&entries);
            let entries: Vec<_> = entries
                .into_iter()
                .map(|entry| Arc::new(take(entry, &file.path, may_lack, index)))
                .collect();
            let named: BTreeSet<_> = entries
                .iter()
                .filter_map(|taken| taken.identity())
                .collect();
            let kept = kept()
                .filter(|taken| may_lack && taken.identity().is_some_and(|is| !named.contains(is)))
                .cloned()
                .collect();
            Known {
                content,
                entries,
                kept,
                problem: None,
            }
        }
    }
}

fn entries(
    content: &[u8],
    place: &Arc<str>,
    settings: &RegistrySettings,
) -> Result<Vec<Entry>, Finding> {
    match place.to_ascii_lowercase().ends_with(".csv") {
        true => table::entries(content, place, settings),
        false => tree::entries(content, place, settings),
    }
}

/// Whether a file may have more entries than can be read: a name that cannot be read may be that of any entry, and a file whose
/// last entry is wrong may be cut off. Then nothing that it had before is removed.
fn may_lack_entries(entries: &[Entry]) -> bool {
    let is_refused = |entry: &Entry| entry.objects.is_none();
    entries.iter().any(|entry| entry.subject.is_none()) || entries.last().is_some_and(is_refused)
}

/// An entry as it is written or, where it is wrong, as it was before.
fn take(entry: Entry, place: &Arc<str>, may_lack: bool, index: &Index) -> Taken {
    let Entry {
        subject,
        line,
        objects,
        findings,
    } = entry;
    let before = subject
        .as_ref()
        .and_then(|subject| index.in_use(&subject.identity));
    let last_good = before.filter(|_| objects.is_none());
    let refused = match (last_good, may_lack) {
        (Some(_), false) => "its last version that was right stays in use",
        (Some(_), true) => {
            "its last version that was right stays in use, and nothing that the file had before is removed"
        }
        (None, false) => "it is left out",
        (None, true) => "it is left out, and nothing that the file had before is removed",
    };
    let problems = findings
        .into_iter()
        .map(|finding| {
            let key = subject.as_ref().map(|subject| subject.key.clone());
            problem(finding, place, key, refused)
        })
        .collect();
    let before = before.map(|taken| &*taken.objects).unwrap_or_default();
    let objects = match objects {
        Some(objects) => objects
            .into_iter()
            .map(|object| sharing(object, before))
            .collect(),
        None => before.to_vec(),
    };
    Taken {
        subject,
        line,
        objects,
        problems,
    }
}

/// The object, with the content of before where that is the same: the mesh holds it too, and large inventories are held once.
fn sharing(object: Object, before: &[Object]) -> Object {
    let same = before
        .iter()
        .find(|known| known.key() == object.key() && known.spec() == object.spec());
    match same {
        Some(known) => {
            let mut shared = known.clone();
            shared.source = object.source;
            shared
        }
        None => object,
    }
}
