//! What can be wrong with a text, and with what it says.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

/// Why a text cannot be read at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct SyntaxError {
    /// What kind of error.
    pub kind: SyntaxErrorKind,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// What is wrong.
    pub message: String,
}

/// What kind of error keeps a text from being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyntaxErrorKind {
    /// It is not UTF-8, not YAML, or uses a part of YAML that is not read here.
    Malformed,
    /// It is larger than the limits.
    TooLarge,
}

/// Why a part of a document is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    /// What kind of error.
    pub kind: DecodeErrorKind,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// The field, from where decoding began: `ports[0].number`. Empty for the part as a whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do; empty where the message says it.
    pub hint: String,
}

/// What kind of error a part of a document has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeErrorKind {
    /// A field of a name that is not known.
    UnknownField,
    /// Anything else: a value that the type does not accept, or one that is missing.
    InvalidField,
}

impl std::error::Error for DecodeError {}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind: _,
            line,
            column: _,
            path,
            message,
            hint,
        } = self;
        write!(f, "line {line}: ")?;
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        f.write_str(message)?;
        if !hint.is_empty() {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl DecodeError {
    pub(crate) fn new(message: String, hint: String) -> Self {
        Self {
            kind: DecodeErrorKind::InvalidField,
            line: 0,
            column: 0,
            path: String::new(),
            message,
            hint,
        }
    }

    /// Places the error, unless something further inside has done so.
    pub(crate) fn at(mut self, line: u32, column: u32) -> Self {
        if self.line == 0 {
            self.line = line;
            self.column = column;
        }
        self
    }

    /// Puts a step before the path: a field's name or an index in brackets.
    pub(crate) fn within(mut self, step: &str) -> Self {
        self.put_within(step);
        self
    }

    /// [`DecodeError::within`], in place.
    pub(crate) fn put_within(&mut self, step: &str) {
        let separator = match self.path.as_bytes().first() {
            None | Some(b'[') => "",
            Some(_) => ".",
        };
        self.path = format!("{step}{separator}{}", self.path);
    }
}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string(), String::new())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = expected.to_string();
        Self::new(
            format!("expected {}, found {}", in_words(&expected), shown(found)),
            mismatch_hint(found, &expected),
        )
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(
            format!("unknown value `{}`", shortened(variant)),
            suggestion(variant, expected, "one of"),
        )
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self {
            kind: DecodeErrorKind::UnknownField,
            ..Self::new(
                format!("unknown field `{}`", shortened(field)),
                suggestion(field, expected, "known fields:"),
            )
        }
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new("this field is required".to_owned(), String::new()).within(field)
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(format!("`{field}` is given twice"), String::new())
    }
}

/// What serde calls an expectation, in words of people who write YAML.
fn in_words(expected: &str) -> &str {
    match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number of 0 or more",
        "a nonzero u16" => "a whole number from 1 to 65535",
        "a nonzero u8" | "a nonzero u32" | "a nonzero u64" => "a whole number of 1 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a string" | "str" | "a borrowed string" => "text",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "a map of names to values",
        "unit" => "nothing",
        _ if expected.starts_with("struct ") => "a map of fields",
        _ => expected,
    }
}

fn shown(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => format!("{value}"),
        Unexpected::Unsigned(value) => format!("the number {value}"),
        Unexpected::Signed(value) => format!("the number {value}"),
        Unexpected::Float(value) => format!("the number {value}"),
        Unexpected::Str(text) => format!("the text \"{}\"", shortened(text)),
        Unexpected::Unit => "nothing".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a map".to_owned(),
        other => other.to_string(),
    }
}

fn mismatch_hint(found: Unexpected<'_>, expected: &str) -> String {
    let words = in_words(expected);
    match found {
        Unexpected::Str(text) if words.contains("number") && text.parse::<f64>().is_ok() => {
            "write it without quotes".to_owned()
        }
        Unexpected::Str(text) if words == "true or false" => {
            match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "y" => "write true".to_owned(),
                "no" | "off" | "n" => "write false".to_owned(),
                _ => String::new(),
            }
        }
        Unexpected::Bool(_)
        | Unexpected::Unsigned(_)
        | Unexpected::Signed(_)
        | Unexpected::Float(_)
            if words == "text" =>
        {
            "put it in quotes".to_owned()
        }
        Unexpected::Map if words == "a list" => "begin each item with `- `".to_owned(),
        Unexpected::Str(_) if words == "a list" => "write it as a list: `[…]`".to_owned(),
        _ => String::new(),
    }
}

/// The nearest known name; where none is near, all of them.
fn suggestion(given: &str, known: &'static [&'static str], list: &str) -> String {
    let given = given.to_lowercase();
    let distance = |name: &str| strsim::damerau_levenshtein(&name.to_lowercase(), &given);
    // The comparison is quadratic, and names can be of any length.
    let nearest = (given.len() <= 64)
        .then(|| known.iter().min_by_key(|name| distance(name)))
        .flatten();
    match nearest {
        Some(name) if distance(name) <= 1 + name.len() / 4 => format!("did you mean `{name}`?"),
        _ if known.is_empty() => "no fields are known here".to_owned(),
        _ => format!("{list} {}", known.join(", ")),
    }
}

/// Texts from outside can be of any length; messages are for people.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
