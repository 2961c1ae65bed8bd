//! Durations as people write them: `30s`, `500ms`, `1m30s`, `1h`. This is the format of the Gateway API (GEP-2257).
//!
//! For serde: `#[serde(with = "bowline_document::duration")]` for a [`Duration`], and
//! `#[serde(default, with = "bowline_document::duration::option")]` for an `Option<Duration>`.

use std::{fmt, time::Duration};

use serde::{Deserializer, Serializer, de};

const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// It is a number without a unit, or not a duration at all.
    #[error("'{0}' is not a duration: write it as `30s`, `500ms`, `1m30s` or `1h`")]
    Format(String),
    /// It is longer than can be counted.
    #[error("'{0}' is too long for a duration")]
    TooLong(String),
}

/// Reads a duration.
///
/// # Errors
/// When the text is not one to four pairs of a whole number and one of the units `h`, `m`, `s`, `ms`.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let format_error = || DurationError::Format(crate::error::shortened(text));
    let mut rest = text;
    let mut total = 0_u64;
    let mut pairs = 0;
    while !rest.is_empty() {
        let (digits, after) = split_at_first(rest, |byte| !byte.is_ascii_digit());
        let (unit, after) = split_at_first(after, |byte| byte.is_ascii_digit());
        let (_, milliseconds) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(format_error)?;
        if digits.is_empty() {
            return Err(format_error());
        }
        total = digits
            .parse::<u64>()
            .ok()
            .and_then(|count| count.checked_mul(*milliseconds))
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| DurationError::TooLong(crate::error::shortened(text)))?;
        rest = after;
        pairs += 1;
    }
    match pairs {
        1..=4 => Ok(Duration::from_millis(total)),
        _ => Err(format_error()),
    }
}

/// Writes a duration, to the millisecond.
pub fn format(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, milliseconds) in UNITS {
        let count = rest / milliseconds;
        rest %= milliseconds;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    text
}

/// For serde.
///
/// # Errors
/// When the value is not a duration.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_any(Visitor)
}

/// For serde.
///
/// # Errors
/// When the serializer fails.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*duration))
}

/// For fields of type `Option<Duration>`.
pub mod option {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// For serde.
    ///
    /// # Errors
    /// When the value is not a duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        #[derive(Deserialize)]
        struct Text(#[serde(with = "super")] Duration);
        let text = Option::<Text>::deserialize(deserializer)?;
        Ok(text.map(|Text(duration)| duration))
    }

    /// For serde.
    ///
    /// # Errors
    /// When the serializer fails.
    pub fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }
}

struct Visitor;

impl de::Visitor<'_> for Visitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as `30s`, `500ms` or `1m30s`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
        parse(text).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Duration, E> {
        Err(E::custom(format!(
            "a duration needs a unit: write `{number}s` or `{number}ms`"
        )))
    }
}

fn split_at_first(text: &str, matches: impl Fn(u8) -> bool) -> (&str, &str) {
    let end = text.bytes().position(matches).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_the_gateway_api_writes_them() {
        let cases = [
            ("0s", 0),
            ("500ms", 500),
            ("30s", 30_000),
            ("1m30s", 90_000),
            ("1h2m3s4ms", 3_723_004),
            ("10s10s", 20_000),
        ];
        for (text, milliseconds) in cases {
            assert_eq!(
                parse(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in [
            "",
            "30",
            "s",
            "-1s",
            "1.5h",
            "1 s",
            "1d",
            "1us",
            "1sm",
            "1é",
            "é",
            "1s1s1s1s1s",
        ] {
            assert!(
                matches!(parse(text), Err(DurationError::Format(_))),
                "{text} was accepted"
            );
        }
        assert!(matches!(
            parse("99999999999999999999h"),
            Err(DurationError::TooLong(_))
        ));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(milliseconds in 0..1_000_000_000_u64) {
            let duration = Duration::from_millis(milliseconds);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }
    }
}
