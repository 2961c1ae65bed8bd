//! Text to tree.

use granit_parser::{Marker, Parser, ScanError};

use crate::{Node, SyntaxError, SyntaxErrorKind};

use self::build::Builder;

mod build;

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
    Ok(builder.documents())
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
