//! Values that only the configuration file has.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{self, Deserializer};
use tracing_subscriber::filter::{LevelFilter, Targets};

/// What is logged: a level, and levels of single parts: `info,bowline_ads=debug`.
#[derive(Debug, Clone, PartialEq)]
pub struct LogFilter {
    text: String,
    targets: Targets,
}

/// Why a text does not say what is logged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not one of off, error, warn, info, debug, trace")]
pub struct LogFilterError(String);

impl LogFilter {
    /// As `tracing` has it.
    pub fn targets(&self) -> Targets {
        self.targets.clone()
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self {
            text: "info".to_owned(),
            targets: without_echoes().with_default(LevelFilter::INFO),
        }
    }
}

impl FromStr for LogFilter {
    type Err = LogFilterError;

    fn from_str(text: &str) -> Result<Self, LogFilterError> {
        let mut targets = without_echoes();
        for part in text.split(',') {
            targets = match part.trim().split_once('=') {
                Some((target, name)) => targets.with_target(target.trim(), level(name)?),
                None => targets.with_default(level(part)?),
            };
        }
        Ok(Self {
            text: text.to_owned(),
            targets,
        })
    }
}

/// Libraries that log as an error what we say ourselves, with what it means: silent unless they are named.
fn without_echoes() -> Targets {
    Targets::new().with_target("kube_client", LevelFilter::OFF)
}

/// By name only: `LevelFilter` would also read numbers and nothing at all.
fn level(name: &str) -> Result<LevelFilter, LogFilterError> {
    match name.trim().to_ascii_lowercase().as_str() {
        "off" => Ok(LevelFilter::OFF),
        "error" => Ok(LevelFilter::ERROR),
        "warn" => Ok(LevelFilter::WARN),
        "info" => Ok(LevelFilter::INFO),
        "debug" => Ok(LevelFilter::DEBUG),
        "trace" => Ok(LevelFilter::TRACE),
        _ => Err(LogFilterError(name.trim().to_owned())),
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// A duration as it is written: `30s`.
#[derive(Deserialize)]
pub(super) struct Span(#[serde(with = "bowline_document::duration")] pub(super) Duration);

/// A number of bytes: `65536`, `64KiB`, `1MiB`.
pub(super) struct Bytes(pub(super) usize);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BytesVisitor)
    }
}

struct BytesVisitor;

impl de::Visitor<'_> for BytesVisitor {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of bytes such as `65536`, `64KiB` or `4MiB`")
    }

    fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Bytes, E> {
        usize::try_from(bytes).map(Bytes).map_err(E::custom)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
        let unit = |suffix: &str, factor: usize| {
            let count = text.strip_suffix(suffix)?.trim().parse::<usize>().ok()?;
            count.checked_mul(factor)
        };
        unit("KiB", 1 << 10)
            .or_else(|| unit("MiB", 1 << 20))
            .or_else(|| unit("GiB", 1 << 30))
            .map(Bytes)
            .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

/// A share in percent as the guard has it: `50%`, or `off`, which nothing exceeds.
pub(super) struct Share(pub(super) u8);

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShareVisitor)
    }
}

struct ShareVisitor;

impl de::Visitor<'_> for ShareVisitor {
    type Value = Share;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a share from `1%` to `100%`, or `off`")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Share, E> {
        Err(E::custom(format!(
            "a share is written in percent: `{number}%`"
        )))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Share, E> {
        if text == "off" {
            return Ok(Share(u8::MAX));
        }
        let percent = text
            .strip_suffix('%')
            .and_then(|number| number.trim().parse().ok());
        match percent {
            Some(percent @ 1..=100) => Ok(Share(percent)),
            _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn what_we_say_ourselves_is_not_said_again_by_a_library_unless_it_is_asked_for() {
        let is_logged = |text: &str, target: &str| {
            let filter: LogFilter = text.parse().unwrap();
            filter.targets().would_enable(target, &Level::ERROR)
        };
        for level in ["info", "info,bowline_ads=debug"] {
            assert!(is_logged(level, "bowline::serve"), "{level}");
            assert!(!is_logged(level, "kube_client::client::builder"), "{level}");
        }
        assert!(is_logged(
            "info,kube_client=debug",
            "kube_client::client::builder"
        ));
        let by_default = LogFilter::default().targets();
        assert!(!by_default.would_enable("kube_client::client::builder", &Level::ERROR));
    }
}
