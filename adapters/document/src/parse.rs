//! Text to tree.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};

use crate::{Entry, Key, Kind, Node, SyntaxError, SyntaxErrorKind, scalar};

/// How much is read. What exceeds a limit is refused with [`SyntaxErrorKind::TooLarge`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Length of the text.
    pub bytes_max: usize,
    /// Lists and maps within each other.
    pub depth_max: usize,
    /// Values in all documents together, counted again where an alias repeats them; a long text counts as several.
    pub nodes_max: usize,
}

impl Default for Limits {
    /// What the largest inventory that makes sense needs (100,000 machines), and what a small machine can hold.
    fn default() -> Self {
        Self {
            bytes_max: 64 << 20,
            depth_max: 64,
            nodes_max: 8_000_000,
        }
    }
}

/// Reads a YAML or JSON text with any number of documents. Empty documents are left out.
///
/// Merge keys (`<<: *defaults`) are honoured, tags other than those of the core schema are not.
///
/// # Errors
/// When the text is not UTF-8, not YAML, or exceeds the limits.
pub fn parse(text: &[u8], limits: &Limits) -> Result<Vec<Node>, SyntaxError> {
    if text.len() > limits.bytes_max {
        return Err(SyntaxError {
            kind: SyntaxErrorKind::TooLarge,
            line: 1,
            column: 1,
            message: format!(
                "it has {} bytes and may have {}",
                text.len(),
                limits.bytes_max
            ),
        });
    }
    let text = utf8(text)?;
    let mut options = granit_parser::Options::default();
    options.set_emit_comments(false);
    // Ours says what to do. The scanner's must be wider by as much as it looks ahead for the end of a name (1024 characters).
    options.flow_nesting_limit = limits.depth_max.saturating_add(2048);
    options.block_nesting_limit = limits.depth_max.saturating_add(2048);
    let mut builder = Builder::new(*limits);
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| scan_error(&error))?;
        builder.take(event, Position::of(&span.start))?;
    }
    Ok(builder.documents)
}

fn utf8(text: &[u8]) -> Result<&str, SyntaxError> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let error = |position: Position, message: &str| position.error(message.to_owned());
    if text.starts_with(&[0xff, 0xfe]) || text.starts_with(&[0xfe, 0xff]) {
        return Err(error(
            Position::START,
            "it is UTF-16: save it as UTF-8 instead",
        ));
    }
    let invalid = match str::from_utf8(text) {
        Ok(valid) => match valid.find('\0') {
            None => return Ok(valid),
            Some(at) => (
                at,
                "a NUL byte, so it is not text (or was not written to the end)",
            ),
        },
        Err(invalid) => (invalid.valid_up_to(), "a byte that is not UTF-8"),
    };
    let (at, message) = invalid;
    let before = text.get(..at).unwrap_or_default();
    let line_start = before
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |newline| newline + 1);
    let in_line = before.get(line_start..).unwrap_or_default();
    let position = Position {
        line: number(before.iter().filter(|byte| **byte == b'\n').count() + 1),
        column: number(String::from_utf8_lossy(in_line).chars().count() + 1),
    };
    Err(error(position, message))
}

fn scan_error(error: &ScanError) -> SyntaxError {
    Position::of(error.marker()).error(error.info())
}

#[derive(Clone, Copy)]
struct Position {
    line: u32,
    column: u32,
}

impl Position {
    const START: Self = Self { line: 1, column: 1 };

    fn of(marker: &Marker) -> Self {
        Self {
            line: number(marker.line().max(1)),
            column: number(marker.col() + 1),
        }
    }

    fn error(self, message: String) -> SyntaxError {
        SyntaxError {
            kind: SyntaxErrorKind::Malformed,
            line: self.line,
            column: self.column,
            message,
        }
    }
}

/// Texts are shorter than 4 GB, as their limit is.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

struct Builder {
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
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            documents: Vec::new(),
            open: Vec::new(),
            anchors: HashMap::new(),
            names: HashSet::new(),
            nodes: 0,
        }
    }

    fn take(&mut self, event: Event<'_>, position: Position) -> Result<(), SyntaxError> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Vec<Node> {
        parse(text.as_bytes(), &Limits::default()).unwrap()
    }

    fn refused(text: &[u8]) -> String {
        parse(text, &Limits::default()).unwrap_err().to_string()
    }

    /// A tree as JSON, to compare.
    fn json(node: &Node) -> serde_json::Value {
        node.decode().unwrap()
    }

    #[test]
    fn yaml_and_json_are_read_alike() {
        let yaml = "a: [1, two, {b: null}]\nc: \"8080\"\nd: 1.5\ne: yes\nf: |\n  x\n  y\n";
        let text =
            r#"{"a": [1, "two", {"b": null}], "c": "8080", "d": 1.5, "e": "yes", "f": "x\ny\n"}"#;
        let expected: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(json(&parsed(yaml)[0]), expected);
        assert_eq!(json(&parsed(text)[0]), expected);
        let pretty = serde_json::to_string_pretty(&expected).unwrap();
        assert_eq!(json(&parsed(&pretty)[0]), expected);
        let tabs = "{\n\t\"a\":\t[\n\t\t1\n\t],\n\t\"s\": \"\\ud83d\\ude00 \\/\"\n}\n";
        let expected: serde_json::Value = serde_json::from_str(tabs).unwrap();
        assert_eq!(json(&parsed(tabs)[0]), expected);
    }

    #[test]
    fn a_stream_has_several_documents_and_empty_ones_are_left_out() {
        let documents = parsed("---\na: 1\n---\n---\n# only a comment\n---\nb: 2\n...\n");
        let lines: Vec<_> = documents.iter().map(Node::line).collect();
        assert_eq!(lines, [2, 7]);
        for empty in ["", "\n\n", "# nothing\n", "---\n", "\u{feff}", "~"] {
            assert_eq!(parsed(empty), [], "{empty:?}");
        }
    }

    #[test]
    fn aliases_and_merge_keys_are_resolved() {
        let text = "base: &base {a: 1, b: 2}\nown: {<<: *base, b: 3}\nlist: {<<: [*base, {c: 4}]}\nquoted: {\"<<\": x}\nagain: *base\n";
        let expected = serde_json::json!({
            "base": {"a": 1, "b": 2},
            "own": {"b": 3, "a": 1},
            "list": {"a": 1, "b": 2, "c": 4},
            "quoted": {"<<": "x"},
            "again": {"a": 1, "b": 2},
        });
        assert_eq!(json(&parsed(text)[0]), expected);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let cases: [(&[u8], &str); 12] = [
            (b"a: 1\nb: [1, 2\n", "line 2, column 4: unclosed bracket"),
            (b"a: 1\n b: 2\n", "line 2"),
            (
                b"a: 1\nb: 2\na: 3\n",
                "line 3, column 1: `a` is given twice, in line 1 and in line 3",
            ),
            (
                b"a: 1\nb: \xff\n",
                "line 2, column 4: a byte that is not UTF-8",
            ),
            (b"\xff\xfea\0", "UTF-16"),
            (b"a: 1\n\0\0\0", "line 2, column 1: a NUL byte"),
            (b"a: &a [*a]", "contains itself"),
            (b"a: *nobody", "line 1"),
            (b"a: !secret x", "the tag `!secret` is not read here"),
            (b"a: !!int x", "tagged as a number"),
            (b"[a]: 1", "the name of an entry must be a single text"),
            (b"{a: 1, <<: 2}", "`<<` merges"),
        ];
        for (text, expected) in cases {
            let message = refused(text);
            let text = String::from_utf8_lossy(text);
            assert!(message.contains(expected), "{text:?}: {message}");
        }
    }

    #[test]
    fn a_tag_of_the_core_schema_says_what_a_scalar_is() {
        let node =
            &parsed("{a: !!str 8080, b: !!int 5, c: !!bool true, d: !!null ~, e: !!seq [1]}")[0];
        let expected = serde_json::json!({"a": "8080", "b": 5, "c": true, "d": null, "e": [1]});
        assert_eq!(json(node), expected);
    }

    #[test]
    fn bombs_are_refused() {
        let mut laughs = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (one, next) in ('a'..'m').zip('b'..) {
            let aliases = vec![format!("*{one}"); 10].join(", ");
            laughs.push_str(&format!("{next}: &{next} [{aliases}]\n"));
        }
        let chain: String = (0..200)
            .map(|i| match i {
                0 => "- &a0 [x]\n".to_owned(),
                i => format!("- &a{i} [*a{}]\n", i - 1),
            })
            .collect();
        let deep = "[".repeat(100_000);
        let deep_block: String = (0..1000)
            .map(|depth| format!("{}a:\n", " ".repeat(depth)))
            .collect();
        for text in [laughs, chain, deep, deep_block] {
            let error = parse(text.as_bytes(), &Limits::default()).unwrap_err();
            assert_eq!(error.kind, SyntaxErrorKind::TooLarge, "{error}");
        }
        let limits = Limits {
            bytes_max: 3 << 20,
            ..Limits::default()
        };
        let error = parse(&vec![b' '; (3 << 20) + 1], &limits).unwrap_err();
        assert_eq!(error.message, "it has 3145729 bytes and may have 3145728");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fail_otherwise(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&text, &Limits::default());
        }

        #[test]
        fn no_text_of_yaml_makes_it_fail_otherwise(text in "[-a:&*!<>|?{}\\[\\], \n\"'#~1.0%\t]{0,60}") {
            if let Ok(documents) = parse(text.as_bytes(), &Limits::default()) {
                for document in documents {
                    let _ = document.decode::<serde::de::IgnoredAny>();
                }
            }
        }
    }
}
