//! What a request asks for.

use std::time::Duration;

use http::request::Parts;

use super::catalogue::Tenancy;

/// What Consul waits for at most, and without being told.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
const USUAL_WAIT: Duration = Duration::from_secs(300);

/// A request's path, parameters and token.
#[derive(Debug, Clone)]
pub(super) struct Query {
    pub(super) path: String,
    pub(super) datacenter: Option<String>,
    pub(super) tenancy: Tenancy,
    /// Which feature of the Enterprise edition it needs, as Consul names it.
    pub(super) enterprise: Option<(&'static str, &'static str)>,
    /// 0 does not block.
    pub(super) index: u64,
    pub(super) wait: Duration,
    pub(super) consistency: Consistency,
    /// Whether only instances that pass are asked for; `None` where it is neither yes nor no.
    pub(super) passing: Option<bool>,
    pub(super) token: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Consistency {
    Leader,
    Stale,
    Consistent,
}

impl Consistency {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Stale => "stale",
            Self::Consistent => "consistent",
        }
    }
}

impl Query {
    /// # Errors
    /// What Consul says about parameters that it does not understand.
    pub(super) fn read(parts: &Parts) -> Result<Self, &'static str> {
        let mut query = Self {
            path: decoded(parts.uri.path()),
            datacenter: None,
            tenancy: Tenancy::new("", "", ""),
            enterprise: None,
            index: 0,
            wait: USUAL_WAIT,
            consistency: Consistency::Leader,
            passing: Some(false),
            token: token(parts),
        };
        let (mut namespace, mut partition, mut peer) = Default::default();
        let (mut stale, mut consistent) = (false, false);
        for (name, value) in parameters(parts.uri.query().unwrap_or_default()) {
            match name.as_str() {
                "index" => query.index = value.parse().map_err(|_| "Invalid index")?,
                "wait" if !value.is_empty() => {
                    query.wait = match duration(&value).ok_or("Invalid wait time")? {
                        Duration::ZERO => USUAL_WAIT,
                        wait => wait.min(LONGEST_WAIT),
                    };
                }
                "dc" if !value.is_empty() => query.datacenter = Some(value),
                "ns" => namespace = value,
                "partition" => partition = value,
                "peer" => peer = value,
                "stale" => stale = true,
                "consistent" => consistent = true,
                "passing" => {
                    query.passing = match value.as_str() {
                        "" | "1" | "t" | "true" => Some(true),
                        "0" | "f" | "false" => Some(false),
                        _ => None,
                    };
                }
                "token" if query.token.is_none() => query.token = Some(value),
                _ => {}
            }
        }
        query.consistency = match (stale, consistent) {
            (true, true) => {
                return Err("Cannot specify ?stale with ?consistent, conflicting semantics.");
            }
            (true, false) => Consistency::Stale,
            (false, true) => Consistency::Consistent,
            (false, false) => Consistency::Leader,
        };
        if !namespace.is_empty() {
            query.enterprise = Some(("ns", "Namespaces"));
        } else if !partition.is_empty() {
            query.enterprise = Some(("partition", "Partitions"));
        }
        query.tenancy = Tenancy::new(&partition, &namespace, &peer);
        Ok(query)
    }
}

fn token(parts: &Parts) -> Option<String> {
    let text = |name: &str| parts.headers.get(name)?.to_str().ok();
    text("x-consul-token")
        .or_else(|| text("authorization")?.strip_prefix("Bearer "))
        .filter(|token| !token.is_empty())
        .map(str::to_owned)
}

fn parameters(query: &str) -> impl Iterator<Item = (String, String)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (
                decoded(&name.replace('+', " ")),
                decoded(&value.replace('+', " ")),
            )
        })
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        let code = after
            .get(..2)
            .and_then(|code| u8::from_str_radix(code, 16).ok());
        rest = match code {
            Some(byte) => {
                bytes.push(byte);
                after.get(2..).unwrap_or_default()
            }
            None => {
                bytes.push(b'%');
                after
            }
        };
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Go's way to write durations, such as `1m30s`.
fn duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, after) = rest.split_at(digits);
        let number: f64 = number.parse().ok()?;
        let letters = after
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = after;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(uri: &str) -> Result<Query, &'static str> {
        let (parts, ()) = http::Request::get(uri)
            .header("authorization", "Bearer secret")
            .body(())
            .unwrap()
            .into_parts();
        Query::read(&parts)
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        let cases = [
            ("10s", Some(10_000)),
            ("1m30s", Some(90_000)),
            ("1.5s", Some(1500)),
            ("250ms", Some(250)),
            ("10", None),
            ("s", None),
            ("-1s", None),
            ("1x", None),
        ];
        for (text, expected) in cases {
            assert_eq!(
                duration(text),
                expected.map(Duration::from_millis),
                "{text}"
            );
        }
    }

    #[test]
    fn a_query_says_what_it_waits_for() {
        let query =
            read("/v1/health/service/we%62?index=7&wait=20m&stale&dc=dc%2d2&passing").unwrap();
        assert_eq!(query.path, "/v1/health/service/web");
        assert_eq!(query.index, 7);
        assert_eq!(query.wait, LONGEST_WAIT);
        assert_eq!(query.consistency, Consistency::Stale);
        assert_eq!(query.datacenter.as_deref(), Some("dc-2"));
        assert_eq!(query.token.as_deref(), Some("secret"));
        assert_eq!(query.passing, Some(true));
        assert_eq!(read("/x?passing=maybe").unwrap().passing, None);
        assert_eq!(read("/x?index=-1").unwrap_err(), "Invalid index");
        assert_eq!(read("/x?wait=soon").unwrap_err(), "Invalid wait time");
        assert!(read("/x?stale&consistent").is_err());
    }
}
