//! `bowline proxies`: who is connected, and what each acknowledged or rejected.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Outcome;
use super::client::ServerArguments;
use super::output::{self, Format, age};

/// List who is connected to a running server, and what each acknowledged or rejected, and why
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Command {
    /// Only proxies with this in their id, in more detail
    #[arg(value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    server: ServerArguments,
    /// How it is printed
    #[arg(short, long, value_enum, default_value = "text")]
    output: Format,
}

const EXAMPLE: &str = "Examples:
  bowline proxies
  bowline proxies cart-1.shop --admin http://127.0.0.1:15014
  bowline proxies --config bowline.yaml -o json

What a type's column says:
  acked 5s      it has what it was sent last, and has said so 5 s ago
  sent 5s       it has been sent something 5 s ago, and has not answered yet
  REJECTED 5s   it has refused what it was sent last, and keeps what it had
  -             it has not asked for any";

/// As the API tells it.
#[derive(Debug, Deserialize)]
struct Listed {
    id: String,
    role: String,
    identity: String,
    is_identity_proven: bool,
    user_agent: String,
    address: String,
    protocol: String,
    connected_at: Moment,
    types: BTreeMap<String, OfType>,
    places: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct OfType {
    subscribed: usize,
    has_wildcard: bool,
    sent: Option<Sent>,
    acknowledged: Option<Acknowledged>,
    rejected: Option<Rejected>,
    counters: Counters,
}

#[derive(Debug, Deserialize)]
struct Sent {
    version: String,
    at: Moment,
}

#[derive(Debug, Deserialize)]
struct Acknowledged {
    version: String,
    at: Moment,
}

#[derive(Debug, Deserialize)]
struct Rejected {
    version: String,
    at: Moment,
    message: String,
    suspects: Vec<Suspect>,
}

#[derive(Debug, Deserialize)]
struct Suspect {
    name: String,
    origins: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Counters {
    messages: u64,
    bytes: u64,
    acknowledged: u64,
    rejected: u64,
}

/// A time that is written as RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Moment(OffsetDateTime);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        OffsetDateTime::parse(&text, &Rfc3339)
            .map(Self)
            .map_err(de::Error::custom)
    }
}

impl Moment {
    fn age(self, now: OffsetDateTime) -> String {
        age(Duration::try_from(now - self.0).unwrap_or_default())
    }
}

/// Where a proxy stands with one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing<'a> {
    Nothing,
    Waiting(&'a Moment),
    Acknowledged(&'a Moment),
    Rejected(&'a Moment),
}

pub(super) fn run(command: &Command) -> Result<Outcome> {
    let answer: Vec<Value> = command.server.server()?.get("/v1/proxies")?.success()?;
    let connected = answer.len();
    let wanted: Vec<Value> = answer
        .into_iter()
        .filter(
            |proxy| match (&command.id, proxy.get("id").and_then(Value::as_str)) {
                (Some(wanted), Some(id)) => id.contains(wanted.as_str()),
                (Some(_), None) => false,
                (None, _) => true,
            },
        )
        .collect();
    if let Some(id) = &command.id
        && wanted.is_empty()
    {
        bail!(
            "no proxy with '{id}' in its id is connected; {connected} others are: `bowline proxies` lists them"
        );
    }
    let listed: Vec<Listed> = wanted
        .iter()
        .map(Listed::deserialize)
        .collect::<Result<_, _>>()?;
    let now = OffsetDateTime::now_utc();
    output::print(&command.output.render(&wanted, || match command.id {
        Some(_) => details(&listed, now),
        None => overview(&listed, now),
    })?)?;
    Ok(Outcome::Success)
}

const TYPES: [&str; 4] = ["CDS", "EDS", "LDS", "RDS"];

fn overview(listed: &[Listed], now: OffsetDateTime) -> String {
    if listed.is_empty() {
        return "no proxy is connected\n".to_owned();
    }
    let rows: Vec<_> = listed
        .iter()
        .map(|proxy| {
            let [cds, eds, lds, rds] = TYPES.map(|name| {
                proxy
                    .types
                    .get(name)
                    .map_or("-".to_owned(), |of| of.standing().to_text(now))
            });
            let proven = if proxy.is_identity_proven {
                "yes"
            } else {
                "no"
            };
            let (id, role) = (proxy.id.clone(), proxy.role.clone());
            [
                id,
                role,
                proven.to_owned(),
                proxy.connected_at.age(now),
                cds,
                eds,
                lds,
                rds,
            ]
        })
        .collect();
    let mut text = output::table(
        [
            "PROXY",
            "ROLE",
            "PROVEN",
            "CONNECTED",
            "CDS",
            "EDS",
            "LDS",
            "RDS",
        ],
        &rows,
    );
    for proxy in listed {
        for (name, of) in &proxy.types {
            if let (Standing::Rejected(_), Some(rejected)) = (of.standing(), &of.rejected) {
                text.push_str(&format!("\n{} has rejected {name}:\n", proxy.id));
                text.push_str(&rejected.to_text(&proxy.places));
            }
        }
    }
    text
}

fn details(listed: &[Listed], now: OffsetDateTime) -> String {
    let mut text = String::new();
    for proxy in listed {
        let Listed {
            id,
            role,
            identity,
            user_agent,
            address,
            protocol,
            connected_at,
            types,
            places,
            ..
        } = proxy;
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!(
            "{id}\n  role       {role}\n  identity   {identity}\n  program    {user_agent}\n  connected  {} ago from {address}, {protocol}\n",
            connected_at.age(now)
        ));
        let rows: Vec<_> = types.iter().map(|(name, of)| of.row(name, now)).collect();
        let head = [
            "  TYPE",
            "STANDING",
            "SUBSCRIBED",
            "SENT",
            "ACKED",
            "REJECTED",
            "BYTES",
        ];
        text.push_str(&output::table(head, &rows));
        for (name, of) in types {
            if let Some(rejected) = &of.rejected {
                let when = rejected.at.age(now);
                text.push_str(&format!("  last rejection of {name}, {when} ago:\n"));
                text.push_str(&rejected.to_text(places));
            }
        }
    }
    text
}

impl OfType {
    fn standing(&self) -> Standing<'_> {
        let Some(sent) = &self.sent else {
            return Standing::Nothing;
        };
        let rejected = self
            .rejected
            .as_ref()
            .filter(|rejected| rejected.version == sent.version);
        let acknowledged = self
            .acknowledged
            .as_ref()
            .filter(|acked| acked.version == sent.version);
        match (rejected, acknowledged) {
            (Some(rejected), None) => Standing::Rejected(&rejected.at),
            (Some(rejected), Some(acknowledged)) if rejected.at > acknowledged.at => {
                Standing::Rejected(&rejected.at)
            }
            (_, Some(acknowledged)) => Standing::Acknowledged(&acknowledged.at),
            (None, None) => Standing::Waiting(&sent.at),
        }
    }

    fn row(&self, name: &str, now: OffsetDateTime) -> [String; 7] {
        let subscribed = match (self.has_wildcard, self.subscribed) {
            (true, 0) => "all".to_owned(),
            (true, names) => format!("all and {names}"),
            (false, names) => names.to_string(),
        };
        let Counters {
            messages,
            bytes,
            acknowledged,
            rejected,
        } = self.counters;
        [
            format!("  {name}"),
            self.standing().to_text(now),
            subscribed,
            messages.to_string(),
            acknowledged.to_string(),
            rejected.to_string(),
            bytes.to_string(),
        ]
    }
}

impl Standing<'_> {
    fn to_text(self, now: OffsetDateTime) -> String {
        match self {
            Self::Nothing => "-".to_owned(),
            Self::Waiting(at) => format!("sent {}", at.age(now)),
            Self::Acknowledged(at) => format!("acked {}", at.age(now)),
            Self::Rejected(at) => format!("REJECTED {}", at.age(now)),
        }
    }
}

impl Rejected {
    fn to_text(&self, places: &BTreeMap<String, String>) -> String {
        let mut text = format!("    {}\n", self.message.trim().replace('\n', "\n    "));
        for Suspect { name, origins } in &self.suspects {
            text.push_str(&format!("    it may be about {name}"));
            for (index, origin) in origins.iter().enumerate() {
                let link = if index == 0 { ", made from" } else { " and" };
                text.push_str(&format!("{link} {origin}"));
                if let Some(place) = places.get(origin) {
                    text.push_str(&format!(" ({place})"));
                }
            }
            text.push('\n');
        }
        text
    }
}
