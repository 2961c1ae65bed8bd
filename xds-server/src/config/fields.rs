//! Reading the fields of a map one by one, so that one wrong field does not hide the next.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bowline_document::{DecodeError, Node};
use serde::de::{DeserializeOwned, Error as _};

use super::ConfigError;

/// What is wrong so far, and where files are looked for.
pub(super) struct Report {
    pub(super) file: PathBuf,
    pub(super) errors: Vec<ConfigError>,
}

/// A map whose fields are read one by one. What is wrong with one is reported, and the others are still read.
pub(super) struct Fields<'a> {
    node: &'a Node,
    path: String,
    report: &'a mut Report,
}

impl Report {
    pub(super) fn new(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            errors: Vec::new(),
        }
    }

    /// Something that is wrong in a line.
    pub(super) fn add(
        &mut self,
        line: u32,
        field: impl Into<String>,
        message: impl fmt::Display,
        hint: impl Into<String>,
    ) {
        self.errors.push(ConfigError {
            file: self.file.clone(),
            line: Some(line),
            field: field.into(),
            message: message.to_string(),
            hint: hint.into(),
        });
    }

    /// Something that is wrong with the file as a whole.
    pub(super) fn add_for_file(&mut self, message: impl fmt::Display, hint: impl Into<String>) {
        self.errors.push(ConfigError {
            file: self.file.clone(),
            line: None,
            field: String::new(),
            message: message.to_string(),
            hint: hint.into(),
        });
    }

    fn add_decode_error(&mut self, path: &str, error: DecodeError) {
        let field = match (path.is_empty(), error.path.as_str()) {
            (_, "") => path.to_owned(),
            (true, inner) => inner.to_owned(),
            (false, inner) if inner.starts_with('[') => format!("{path}{inner}"),
            (false, inner) => format!("{path}.{inner}"),
        };
        self.add(error.line, field, error.message, error.hint);
    }

    /// A path of the file, which is relative to the file's directory. `~/` is the home of whoever runs the program.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        if let Some(rest) = path.strip_prefix("~/")
            && let Some(home) = std::env::home_dir()
        {
            return home.join(rest);
        }
        self.file
            .parent()
            .unwrap_or(Path::new(""))
            .join(path.strip_prefix("./").unwrap_or(path))
    }
}

impl<'a> Fields<'a> {
    /// The fields of a map, of which only those with known names are allowed. `None` if it is not a map, which is reported.
    pub(super) fn of(
        node: &'a Node,
        path: impl Into<String>,
        known: &'static [&'static str],
        report: &'a mut Report,
    ) -> Option<Self> {
        let path = path.into();
        let Some(entries) = node.as_map() else {
            let message = format!("expected a map of fields, found {}", node.described());
            let hint = format!("known fields: {}", known.join(", "));
            report.add(node.line(), path, message, hint);
            return None;
        };
        for (key, _) in entries {
            if !known.contains(&key.as_str()) {
                let error = DecodeError::unknown_field(key.as_str(), known);
                let field = joined(&path, key.as_str());
                report.add(key.line(), field, error.message, error.hint);
            }
        }
        Some(Self { node, path, report })
    }

    /// The path of a field.
    pub(super) fn path_of(&self, name: &str) -> String {
        joined(&self.path, name)
    }

    /// The line of a field or, where it is not given, of the map.
    pub(super) fn line_of(&self, name: &str) -> u32 {
        self.node
            .entry(name)
            .map_or(self.node.line(), |(key, _)| key.line())
    }

    /// Reports what is wrong with a field.
    pub(super) fn wrong(
        &mut self,
        name: &str,
        message: impl fmt::Display,
        hint: impl Into<String>,
    ) {
        let (line, path) = (self.line_of(name), self.path_of(name));
        self.report.add(line, path, message, hint);
    }

    /// A field's value as it is written. An empty one counts as not given.
    pub(super) fn node(&self, name: &str) -> Option<&'a Node> {
        let (_, value) = self.node.entry(name)?;
        (!matches!(value.kind(), bowline_document::Kind::Null)).then_some(value)
    }

    /// The fields of a field.
    pub(super) fn fields(
        &mut self,
        name: &str,
        known: &'static [&'static str],
    ) -> Option<Fields<'_>> {
        let node = self.node(name)?;
        Fields::of(node, joined(&self.path, name), known, self.report)
    }

    /// The items of a list with their paths.
    pub(super) fn items(&mut self, name: &str) -> Vec<(String, &'a Node)> {
        let path = self.path_of(name);
        let Some(node) = self.node(name) else {
            return Vec::new();
        };
        let Some(items) = node.as_list() else {
            let message = format!("expected a list, found {}", node.described());
            self.report
                .add(node.line(), path, message, "begin each item with `- `");
            return Vec::new();
        };
        items
            .iter()
            .enumerate()
            .map(|(index, item)| (format!("{path}[{index}]"), item))
            .collect()
    }

    /// A field whose type serde knows.
    pub(super) fn value<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        let node = self.node(name)?;
        let path = self.path_of(name);
        decoded(node, &path, self.report)
    }

    /// A field that is read from text. `example` completes "write it as …".
    pub(super) fn text<T: FromStr<Err: fmt::Display>>(
        &mut self,
        name: &str,
        example: &str,
    ) -> Option<T> {
        let text: String = self.value(name)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                let message = error.to_string();
                let message = match message.contains(&text) {
                    true => message,
                    false => format!("'{text}': {message}"),
                };
                self.wrong(name, message, format!("write it as `{example}`"));
                None
            }
        }
    }

    /// A field that must be there.
    pub(super) fn required<T>(
        &mut self,
        name: &str,
        hint: &str,
        read: impl FnOnce(&mut Self, &str) -> Option<T>,
    ) -> Option<T> {
        if self.node(name).is_none() {
            self.wrong(name, "this field is required", hint);
            return None;
        }
        read(self, name)
    }

    /// A path, relative to the file.
    pub(super) fn file(&mut self, name: &str) -> Option<PathBuf> {
        let text: String = self.value(name)?;
        if text.is_empty() {
            self.wrong(name, "the path is empty", "");
            return None;
        }
        Some(self.report.resolve(&text))
    }

    /// The report, for parts that are read by themselves.
    pub(super) fn report(&mut self) -> &mut Report {
        self.report
    }
}

/// A part of a type that serde knows.
pub(super) fn decoded<T: DeserializeOwned>(
    node: &Node,
    path: &str,
    report: &mut Report,
) -> Option<T> {
    node.decode()
        .map_err(|error| report.add_decode_error(path, error))
        .ok()
}

fn joined(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    }
}
