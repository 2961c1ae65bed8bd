//! What a floor sends: everything in its encoding, shared by all streams.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use anyhow::{Context, Result};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    proxy::{
        fields::{bytes_of, text},
        kind::{Kind, PerKind},
        request::{FRAME_HEAD, write_text},
        response::Variant,
    },
    recording::{Script, Update},
};

/// Everything that is served.
#[derive(Debug)]
pub struct Book {
    state: Mutex<State>,
    /// How long the log is.
    changes: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    /// By group.
    groups: PerKind<Vec<Group>>,
    /// Everything that has changed, in order.
    log: Vec<Logged>,
    /// What was sent already, so that every stream sends the same bytes.
    frames: HashMap<Wanted, Bytes>,
}

/// What one group is served, by name and in its encoding.
#[derive(Debug, Default)]
struct Group {
    resources: BTreeMap<Arc<str>, Entry>,
    /// What all groups of the kind are served, per variant.
    common: [Bytes; 2],
    /// The rest.
    own: [Bytes; 2],
    /// The encodings are not what the resources are.
    is_stale: bool,
}

/// A resource as an entry of a response.
#[derive(Debug, Clone)]
struct Entry([Bytes; 2]);

#[derive(Debug)]
struct Logged {
    kind: Kind,
    groups: Vec<usize>,
    name: Arc<str>,
    entry: Entry,
}

/// Changes of one group, from one place of the log to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// The kind of resources.
    pub kind: Kind,
    /// The group.
    pub group: usize,
    /// How they are encoded.
    pub variant: Variant,
    /// Where the stream is.
    pub from: usize,
    /// Where it will be.
    pub to: usize,
}

impl Default for Book {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            changes: watch::channel(0).0,
        }
    }
}

fn in_variant([state_of_the_world, delta]: &[Bytes; 2], variant: Variant) -> &Bytes {
    match variant {
        Variant::StateOfTheWorld => state_of_the_world,
        Variant::Delta => delta,
    }
}

impl Entry {
    /// Of a `Resource`.
    fn of(resource: &[u8]) -> Result<(Arc<str>, Self)> {
        const ANY: u32 = 2;
        const NAME: u32 = 3;
        const RESOURCES: u32 = 2;
        let name = text(bytes_of(resource, NAME)?)?.into();
        let encoded = |bytes: &[u8]| {
            let mut entry = Vec::new();
            write_text(RESOURCES, bytes, &mut entry);
            Bytes::from(entry)
        };
        let entry = Self([encoded(bytes_of(resource, ANY)?), encoded(resource)]);
        Ok((name, entry))
    }
}

fn encoded<'e>(entries: impl Iterator<Item = &'e Entry> + Clone) -> [Bytes; 2] {
    [Variant::StateOfTheWorld, Variant::Delta].map(|variant| {
        let mut all = Vec::new();
        for entry in entries.clone() {
            all.extend_from_slice(in_variant(&entry.0, variant));
        }
        Bytes::from(all)
    })
}

impl Book {
    /// Serves a recording.
    ///
    /// # Errors
    /// When it cannot be understood.
    pub fn load(&self, script: &Script) -> Result<()> {
        let resources: Vec<(Arc<str>, Entry)> = script
            .resources
            .iter()
            .map(|encoded| Entry::of(&BASE64_STANDARD.decode(encoded)?))
            .collect::<Result<_>>()?;
        let mut state = State::default();
        for (type_url, groups) in &script.groups {
            let kind = Kind::of(type_url.as_bytes()).context("an unknown type")?;
            let mut uses = vec![0_usize; resources.len()];
            for index in groups.iter().flatten() {
                *uses.get_mut(*index).context("a resource is lost")? += 1;
            }
            let is_common = |index: &usize| uses.get(*index) == Some(&groups.len());
            let entry = |index: &usize| resources.get(*index);
            let common = groups.first().into_iter().flatten();
            let common: Vec<usize> = common.copied().filter(is_common).collect();
            let common = encoded(common.iter().filter_map(entry).map(|(_, entry)| entry));
            let of_kind = state.groups.of_mut(kind);
            for group in groups {
                let own = group.iter().filter(|index| !is_common(index));
                let own = encoded(own.filter_map(entry).map(|(_, entry)| entry));
                of_kind.push(Group {
                    resources: group.iter().filter_map(entry).cloned().collect(),
                    common: common.clone(),
                    own,
                    is_stale: false,
                });
            }
        }
        *self.state.lock() = state;
        Ok(())
    }

    /// Serves changes.
    ///
    /// # Errors
    /// When they cannot be understood.
    pub fn update(&self, updates: &[Update]) -> Result<()> {
        let mut state = self.state.lock();
        for update in updates {
            let Update {
                type_url,
                groups,
                resource,
            } = update;
            let kind = Kind::of(type_url.as_bytes()).context("an unknown type")?;
            let (name, entry) = Entry::of(&BASE64_STANDARD.decode(resource)?)?;
            let of_kind = state.groups.of_mut(kind);
            for number in groups {
                let group = of_kind.get_mut(*number).context("an unknown group")?;
                group.resources.insert(name.clone(), entry.clone());
                group.is_stale = true;
            }
            state.log.push(Logged {
                kind,
                groups: groups.clone(),
                name,
                entry,
            });
        }
        state.frames.clear();
        let len = state.log.len();
        drop(state);
        self.changes.send_replace(len);
        Ok(())
    }

    /// Says when something has changed.
    pub fn changes(&self) -> watch::Receiver<usize> {
        self.changes.subscribe()
    }

    /// How many changes there were.
    pub fn position(&self) -> usize {
        *self.changes.borrow()
    }

    /// All that a group is served, in parts to be sent one after the other, and the place in the log that it is up to.
    pub fn everything(&self, kind: Kind, group: usize, variant: Variant) -> (Vec<Bytes>, usize) {
        let mut state = self.state.lock();
        let len = state.log.len();
        let Some(group) = state.groups.of_mut(kind).get_mut(group) else {
            return (Vec::new(), len);
        };
        if std::mem::take(&mut group.is_stale) {
            group.common = [Bytes::new(), Bytes::new()];
            group.own = encoded(group.resources.values());
        }
        let parts = [&group.common, &group.own].map(|of_variants| in_variant(of_variants, variant));
        (parts.into_iter().cloned().collect(), len)
    }

    /// What of a group has changed between two places in the log, framed; nothing where nothing has. Equal wishes get the same bytes.
    pub fn changed(&self, wanted: Wanted) -> Option<Bytes> {
        let mut state = self.state.lock();
        if let Some(known) = state.frames.get(&wanted) {
            return Some(known.clone());
        }
        let Wanted {
            kind,
            group,
            variant,
            from,
            to,
        } = wanted;
        let logged = state.log.get(from..to).unwrap_or_default().iter();
        let logged = logged.filter(|logged| logged.kind == kind && logged.groups.contains(&group));
        // Of several changes of one resource the last is sent.
        let latest: BTreeMap<&str, &Entry> = logged
            .map(|logged| (&*logged.name, &logged.entry))
            .collect();
        if latest.is_empty() {
            return None;
        }
        let parts: Vec<Bytes> = latest
            .values()
            .map(|entry| in_variant(&entry.0, variant).clone())
            .collect();
        let frame = framed(kind, &parts).concat();
        let frame = Bytes::from(frame);
        state.frames.insert(wanted, frame.clone());
        Some(frame)
    }
}

/// A response with entries, in parts to be sent one after the other. The fields have the same numbers in both variants, and the nonce
/// is the same for all: who only serves a recording need not tell answers apart.
pub fn framed(kind: Kind, entries: &[Bytes]) -> Vec<Bytes> {
    const VERSION: u32 = 1;
    const TYPE_URL: u32 = 4;
    const NONCE: u32 = 5;
    let mut head = vec![0; FRAME_HEAD];
    write_text(VERSION, b"floor", &mut head);
    let mut tail = Vec::new();
    write_text(TYPE_URL, kind.url().as_bytes(), &mut tail);
    write_text(NONCE, b"floor", &mut tail);
    let len = entries.iter().map(Bytes::len).sum::<usize>() + head.len() + tail.len() - FRAME_HEAD;
    let len = u32::try_from(len).expect("a response is smaller than 4 GiB");
    if let Some(place) = head.get_mut(1..FRAME_HEAD) {
        place.copy_from_slice(&len.to_be_bytes());
    }
    let entries = entries.iter().filter(|entry| !entry.is_empty()).cloned();
    [Bytes::from(head)]
        .into_iter()
        .chain(entries)
        .chain([Bytes::from(tail)])
        .collect()
}
