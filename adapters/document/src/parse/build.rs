//! Events of the parser to nodes, within the limits.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use granit_parser::{Event, ScalarStyle, Tag};

use crate::{Entry, Key, Kind, Node, SyntaxError, SyntaxErrorKind, scalar};

use super::{Limits, Position};

/// Puts nodes together from what the parser finds.
pub(super) struct Builder {
    limits: Limits,
    documents: Vec<Node>,
    /// Lists and maps that are open.
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    /// Names of entries repeat: each is kept once.
    names: HashSet<Arc<str>>,
    nodes: usize,
}

/// A list or map that is not complete.
struct Open {
    position: Position,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        /// Of merge keys: they count where the map has no entry of that name.
        merged: Vec<Entry>,
        /// The name whose value comes next.
        name: Option<Name>,
    },
}

enum Name {
    Key(Key),
    Merge,
}

struct Anchored {
    node: Node,
    cost: usize,
    depth: usize,
}

impl Builder {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            documents: Vec::new(),
            open: Vec::new(),
            anchors: HashMap::new(),
            names: HashSet::new(),
            nodes: 0,
        }
    }

    /// What was read.
    pub(super) fn documents(self) -> Vec<Node> {
        self.documents
    }

    pub(super) fn take(&mut self, event: Event<'_>, position: Position) -> Result<(), SyntaxError> {
        match event {
            Event::DocumentStart(..) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                if self.expects_name() {
                    return self.name(&text, plain && tag.is_none(), position);
                }
                self.spend(cost_of_text(&text), position)?;
                let kind = match tag.as_deref() {
                    None if plain => scalar::resolve(&text),
                    None => Kind::String(text.into()),
                    Some(tag) => tagged(tag, &text, position)?,
                };
                self.value(node(position, kind), anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.begin(position, anchor, tag.as_deref(), Content::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                let content = Content::Map {
                    entries: Vec::new(),
                    merged: Vec::new(),
                    name: None,
                };
                self.begin(position, anchor, tag.as_deref(), content)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(id) => self.alias(id, position),
            // Stream events and the end of a document say nothing more; others are not asked for.
            _ => Ok(()),
        }
    }

    fn begin(
        &mut self,
        position: Position,
        anchor: usize,
        tag: Option<&Tag>,
        content: Content,
    ) -> Result<(), SyntaxError> {
        if let Some(tag) = tag
            && !tag.is_yaml_core_schema()
        {
            return Err(unknown_tag(tag, position));
        }
        if self.expects_name() {
            return Err(position.error("the name of an entry must be a single text".to_owned()));
        }
        if self.open.len() >= self.limits.depth_max {
            return Err(self.too_deep(position));
        }
        self.spend(1, position)?;
        self.open.push(Open {
            position,
            anchor,
            content,
        });
        Ok(())
    }

    fn end(&mut self) -> Result<(), SyntaxError> {
        let Some(Open {
            position,
            anchor,
            content,
        }) = self.open.pop()
        else {
            return Ok(());
        };
        let kind = match content {
            Content::List(items) => Kind::List(items.into()),
            Content::Map {
                entries, merged, ..
            } => Kind::Map(distinct(entries, merged)?),
        };
        self.value(node(position, kind), anchor)
    }

    fn alias(&mut self, id: usize, position: Position) -> Result<(), SyntaxError> {
        if self.expects_name() {
            return Err(position.error("the name of an entry cannot be an alias".to_owned()));
        }
        let Some(Anchored { node, cost, depth }) = self.anchors.get(&id) else {
            return Err(position.error("an alias that contains itself".to_owned()));
        };
        let (node, cost, depth) = (node.clone(), *cost, *depth);
        if self.open.len() + depth > self.limits.depth_max {
            return Err(self.too_deep(position));
        }
        self.spend(cost, position)?;
        self.value(node, 0)
    }

    fn name(&mut self, text: &str, may_merge: bool, position: Position) -> Result<(), SyntaxError> {
        self.spend(cost_of_text(text), position)?;
        let text = match self.names.get(text) {
            Some(known) => known.clone(),
            None => {
                let new: Arc<str> = text.into();
                self.names.insert(new.clone());
                new
            }
        };
        if let Some(Open {
            content: Content::Map { name, .. },
            ..
        }) = self.open.last_mut()
        {
            *name = Some(if may_merge && &*text == "<<" {
                Name::Merge
            } else {
                Name::Key(Key {
                    line: position.line,
                    column: position.column,
                    text,
                })
            });
        }
        Ok(())
    }

    fn value(&mut self, value: Node, anchor: usize) -> Result<(), SyntaxError> {
        if anchor != 0 {
            let (cost, depth) = measure(&value);
            let position = Position {
                line: value.line,
                column: value.column,
            };
            self.spend(cost, position)?;
            let node = value.clone();
            self.anchors.insert(anchor, Anchored { node, cost, depth });
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None if value.kind == Kind::Null => {}
            None => self.documents.push(value),
            Some(Content::List(items)) => items.push(value),
            Some(Content::Map {
                entries,
                merged,
                name,
            }) => match name.take() {
                Some(Name::Key(key)) => entries.push((key, value)),
                Some(Name::Merge) => merge(merged, value)?,
                None => {}
            },
        }
        Ok(())
    }

    fn expects_name(&self) -> bool {
        matches!(
            self.open.last(),
            Some(Open {
                content: Content::Map { name: None, .. },
                ..
            })
        )
    }

    fn spend(&mut self, nodes: usize, position: Position) -> Result<(), SyntaxError> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes <= self.limits.nodes_max {
            return Ok(());
        }
        let nodes_max = self.limits.nodes_max;
        Err(SyntaxError {
            kind: SyntaxErrorKind::TooLarge,
            ..position.error(format!("it has more than {nodes_max} values"))
        })
    }

    fn too_deep(&self, position: Position) -> SyntaxError {
        let depth_max = self.limits.depth_max;
        SyntaxError {
            kind: SyntaxErrorKind::TooLarge,
            ..position.error(format!(
                "lists and maps are nested more than {depth_max} deep"
            ))
        }
    }
}

fn node(position: Position, kind: Kind) -> Node {
    Node {
        line: position.line,
        column: position.column,
        kind,
    }
}

/// Every 64 bytes of text count as one value, so that a repeated long text is bounded too.
fn cost_of_text(text: &str) -> usize {
    1 + text.len() / 64
}

/// What a node costs, and how deep it is. Its depth is bounded by the limit, so recursion is safe.
fn measure(node: &Node) -> (usize, usize) {
    let sum = |(cost, depth): (usize, usize), (more, deep): (usize, usize)| {
        (cost.saturating_add(more), depth.max(deep + 1))
    };
    match &node.kind {
        Kind::Null | Kind::Bool(_) | Kind::Number(_) => (1, 0),
        Kind::String(text) => (cost_of_text(text), 0),
        Kind::List(items) => items.iter().map(measure).fold((1, 1), sum),
        Kind::Map(entries) => entries
            .iter()
            .map(|(key, value)| {
                let (cost, depth) = measure(value);
                (cost.saturating_add(cost_of_text(&key.text)), depth)
            })
            .fold((1, 1), sum),
    }
}

fn tagged(tag: &Tag, text: &str, position: Position) -> Result<Kind, SyntaxError> {
    let mismatch =
        |what: &str| Err(position.error(format!("it is tagged as {what} and is something else")));
    match tag.core_suffix() {
        Some("str") => Ok(Kind::String(text.into())),
        Some("null") => match scalar::resolve(text) {
            Kind::Null => Ok(Kind::Null),
            _ => mismatch("null"),
        },
        Some("bool") => match scalar::resolve(text) {
            value @ Kind::Bool(_) => Ok(value),
            _ => mismatch("a boolean"),
        },
        Some("int" | "float") => match scalar::resolve(text) {
            value @ Kind::Number(_) => Ok(value),
            _ => mismatch("a number"),
        },
        _ => Err(unknown_tag(tag, position)),
    }
}

fn unknown_tag(tag: &Tag, position: Position) -> SyntaxError {
    position.error(format!("the tag `{}` is not read here", tag.original()))
}

fn merge(merged: &mut Vec<Entry>, value: Node) -> Result<(), SyntaxError> {
    let position = Position {
        line: value.line,
        column: value.column,
    };
    let error = || position.error("`<<` merges a map or a list of maps".to_owned());
    match value.kind {
        Kind::Map(entries) => merged.extend(entries),
        Kind::List(items) => {
            for item in items {
                match item.kind {
                    Kind::Map(entries) => merged.extend(entries),
                    _ => return Err(error()),
                }
            }
        }
        _ => return Err(error()),
    }
    Ok(())
}

/// A map's own entries, each of which must have a name of its own, and those merged into it that it has not itself.
fn distinct(mut entries: Vec<Entry>, merged: Vec<Entry>) -> Result<Box<[Entry]>, SyntaxError> {
    let mut lines: HashMap<Arc<str>, u32> = HashMap::with_capacity(entries.len());
    for (key, _) in &entries {
        if let Some(first) = lines.insert(key.text.clone(), key.line) {
            let position = Position {
                line: key.line,
                column: key.column,
            };
            return Err(position.error(format!(
                "`{}` is given twice, in line {first} and in line {}",
                crate::error::shortened(&key.text),
                key.line
            )));
        }
    }
    for (key, value) in merged {
        if !lines.contains_key(&key.text) {
            lines.insert(key.text.clone(), key.line);
            entries.push((key, value));
        }
    }
    Ok(entries.into())
}
