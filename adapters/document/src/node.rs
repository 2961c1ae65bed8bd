//! The tree: what a document says, and in which line.

use std::sync::Arc;

use serde::de::{Deserialize, DeserializeOwned};

use crate::DecodeError;

/// A part of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) kind: Kind,
}

/// What a part of a document is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Nothing: `null`, `~`, or no value at all.
    Null,
    /// `true` or `false`. As YAML 1.2 has it: `yes`, `no`, `on` and `off` are text.
    Bool(bool),
    /// A number without quotes.
    Number(Number),
    /// Text.
    String(Box<str>),
    /// Items in order.
    List(Box<[Node]>),
    /// Names with values, in order of writing. Each name is there once.
    Map(Box<[Entry]>),
}

/// One name with its value.
pub type Entry = (Key, Node);

/// The name of an entry of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) text: Arc<str>,
}

/// A number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// A whole number of 0 or more.
    Unsigned(u64),
    /// A whole number below 0.
    Negative(i64),
    /// Any other.
    Float(f64),
}

impl Key {
    /// The line, from 1.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// The column, from 1, in characters.
    pub fn column(&self) -> u32 {
        self.column
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Node {
    /// The line in which it begins, from 1.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// The column in which it begins, from 1, in characters.
    pub fn column(&self) -> u32 {
        self.column
    }

    /// What it is.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Its text, if it is text.
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::String(text) => Some(text),
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::List(_) | Kind::Map(_) => None,
        }
    }

    /// Its items, if it is a list.
    pub fn as_list(&self) -> Option<&[Self]> {
        match &self.kind {
            Kind::List(items) => Some(items),
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::String(_) | Kind::Map(_) => None,
        }
    }

    /// Its entries, if it is a map.
    pub fn as_map(&self) -> Option<&[Entry]> {
        match &self.kind {
            Kind::Map(entries) => Some(entries),
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::String(_) | Kind::List(_) => None,
        }
    }

    /// The entry with a name, if it is a map that has one.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.as_map()?.iter().find(|(key, _)| key.as_str() == name)
    }

    /// What it is, in a word or two, for messages.
    pub fn described(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "true or false",
            Kind::Number(_) => "a number",
            Kind::String(_) => "text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
        }
    }

    /// The part at a path such as `spec.ports[0].number`; the empty path is the node itself.
    ///
    /// Names that contain a `.` or `[` cannot be reached this way; use [`Node::entry`].
    pub fn get(&self, path: &str) -> Option<&Self> {
        steps(path).try_fold(self, Self::step)
    }

    /// The line of what a path leads to or, where it is not there, of the deepest part on the way to it.
    pub fn line_of(&self, path: &str) -> u32 {
        let mut deepest = self;
        for step in steps(path) {
            match deepest.step(step) {
                Some(node) => deepest = node,
                None => break,
            }
        }
        deepest.line
    }

    /// Decodes it into a type.
    ///
    /// An entry whose value is empty (`name:`) counts as not given.
    ///
    /// # Errors
    /// When the type does not accept it, with the line and path of the part that is wrong.
    pub fn decode<'de, T: Deserialize<'de>>(&'de self) -> Result<T, DecodeError> {
        crate::decode::decode(self, &[])
    }

    /// Decodes a map without some of its entries, which the caller has read by other means.
    ///
    /// # Errors
    /// As [`Node::decode`].
    pub fn decode_except<'de, T: Deserialize<'de>>(
        &'de self,
        names: &'de [&'de str],
    ) -> Result<T, DecodeError> {
        crate::decode::decode(self, names)
    }

    /// Decodes it into a type, and says which fields the type does not have, with their paths; what is inside of them is not
    /// looked at. For types whose unknown fields are not an error, or not always.
    ///
    /// # Errors
    /// As [`Node::decode`].
    pub fn decode_noting<T: DeserializeOwned>(&self) -> Result<(T, Vec<DecodeError>), DecodeError> {
        crate::decode::decode_noting(self)
    }

    fn step(&self, step: Step<'_>) -> Option<&Self> {
        match step {
            Step::Name(name) => self.entry(name).map(|(_, value)| value),
            Step::Index(index) => self.as_list()?.get(index),
        }
    }
}

enum Step<'a> {
    Name(&'a str),
    Index(usize),
}

fn steps(path: &str) -> impl Iterator<Item = Step<'_>> {
    path.split(['.', '['])
        .filter(|step| !step.is_empty())
        .map(|step| {
            let index = step.strip_suffix(']').and_then(|index| index.parse().ok());
            index.map_or(Step::Name(step), Step::Index)
        })
}

#[cfg(test)]
mod tests {
    use crate::{Limits, parse};

    #[test]
    fn paths_lead_to_parts_and_their_lines() {
        let documents = parse(
            b"spec:\n  ports:\n    - number: 80\n    - number: 81\n",
            &Limits::default(),
        )
        .unwrap();
        let node = &documents[0];
        assert_eq!(node.get("spec.ports[1].number").unwrap().line(), 4);
        assert_eq!(node.get("").unwrap().line(), 1);
        assert_eq!(node.get("spec.ports[2].number"), None);
        assert_eq!(node.line_of("spec.ports[1].name"), 4);
        assert_eq!(node.line_of("nothing.at[0].all"), 1);
    }
}
