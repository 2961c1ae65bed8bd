//! `bowline proxies`: who is connected, and what each acknowledged or rejected.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;

use super::Outcome;
use super::client::{Server, ServerArguments};
use super::output::{self, Format, age};
use crate::admin::wire::Moment;

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
  current       nothing had to be sent: what it holds, since before it connected here, is what it should have
  sent 5s       it has been sent something 5 s ago, and has not answered yet
  REJECTED 5s   it has refused what it was sent last, and keeps what it had; the same is sent again only when it connects anew,
                so where the cause was on its machine (such as a port in use) and is gone, restart that Envoy
  waiting       it has asked, and nothing is ready for it, or another type comes first
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
    has_snapshot: bool,
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
    quarantined: Vec<Suspect>,
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

/// Where a proxy stands with one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing<'a> {
    NotSubscribed,
    Waiting,
    Current,
    Sent(&'a Moment),
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
        match connected {
            0 => bail!("no proxy is connected at all"),
            1 => bail!(
                "no proxy with '{id}' in its id is connected; one other is: `bowline proxies` lists it"
            ),
            _ => bail!(
                "no proxy with '{id}' in its id is connected; {connected} others are: `bowline proxies` lists them"
            ),
        }
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

/// What proxies have rejected last, for a check: a few of them, and how many more there are.
pub(super) fn rejections(server: &Server) -> Result<Vec<String>> {
    let listed: Vec<Listed> = server.get("/v1/proxies")?.success()?;
    Ok(rejections_of(&listed))
}

fn rejections_of(listed: &[Listed]) -> Vec<String> {
    let mut rejections = listed.iter().flat_map(|proxy| {
        let rejected = proxy.types.iter().filter_map(|(name, of)| {
            let rejected = of.rejected.as_ref()?;
            let is_last = matches!(proxy.standing(of), Standing::Rejected(_));
            is_last.then_some((name, rejected))
        });
        rejected.map(|(name, rejected)| {
            format!(
                "proxy {} has rejected {name}, and keeps what it had: {}",
                proxy.id,
                rejected.message.trim().replace('\n', " ")
            )
        })
    });
    let mut shown: Vec<_> = rejections.by_ref().take(REJECTIONS_SHOWN_MAX).collect();
    match rejections.count() {
        0 => {}
        more => shown.push(format!(
            "{more} more rejections by proxies: `bowline proxies` lists them"
        )),
    }
    shown
}

/// Where one object is wrong for all, one proxy says as much as thousands.
const REJECTIONS_SHOWN_MAX: usize = 5;

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
                    .map_or("-".to_owned(), |of| proxy.standing(of).to_text(now))
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
                ago(proxy.connected_at, now),
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
            if let (Standing::Rejected(_), Some(rejected)) = (proxy.standing(of), &of.rejected) {
                text.push_str(&format!("\n{} has rejected {name}:\n", proxy.id));
                text.push_str(&rejected.to_text(&proxy.places));
            }
            text.push_str(&of.quarantine(&proxy.id, name, &proxy.places));
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
            ago(*connected_at, now)
        ));
        let rows: Vec<_> = types
            .iter()
            .map(|(name, of)| of.row(name, proxy.standing(of), now))
            .collect();
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
                let when = ago(rejected.at, now);
                text.push_str(&format!("  last rejection of {name}, {when} ago:\n"));
                text.push_str(&rejected.to_text(places));
            }
            text.push_str(&of.quarantine(id, name, places));
        }
    }
    text
}

impl Listed {
    fn standing<'a>(&self, of: &'a OfType) -> Standing<'a> {
        if let Some(standing) = of.answered() {
            return standing;
        }
        // What comes after another type waits until that is acknowledged.
        let is_settled = !self
            .types
            .values()
            .any(|of| matches!(of.answered(), Some(Standing::Sent(_))));
        match (of.subscribed, of.has_wildcard) {
            (0, false) => Standing::NotSubscribed,
            _ if self.has_snapshot && is_settled => Standing::Current,
            _ => Standing::Waiting,
        }
    }
}

impl OfType {
    /// What it says to what it was sent last; `None` where that is nothing.
    fn answered(&self) -> Option<Standing<'_>> {
        let sent = self.sent.as_ref()?;
        let rejected = self
            .rejected
            .as_ref()
            .filter(|rejected| rejected.version == sent.version);
        let acknowledged = self
            .acknowledged
            .as_ref()
            .filter(|acked| acked.version == sent.version);
        Some(match (rejected, acknowledged) {
            (Some(rejected), None) => Standing::Rejected(&rejected.at),
            (Some(rejected), Some(acknowledged)) if rejected.at > acknowledged.at => {
                Standing::Rejected(&rejected.at)
            }
            (_, Some(acknowledged)) => Standing::Acknowledged(&acknowledged.at),
            (None, None) => Standing::Sent(&sent.at),
        })
    }

    /// What the proxy is not sent.
    fn quarantine(&self, proxy: &str, name: &str, places: &BTreeMap<String, String>) -> String {
        if self.quarantined.is_empty() {
            return String::new();
        }
        let mut text = format!(
            "\n{proxy} is not sent again what it has rejected of {name}, until it changes:\n"
        );
        for suspect in &self.quarantined {
            text.push_str(&format!("    {}\n", suspect.to_text(places)));
        }
        text
    }

    fn row(&self, name: &str, standing: Standing<'_>, now: OffsetDateTime) -> [String; 7] {
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
            standing.to_text(now),
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
            Self::NotSubscribed => "-".to_owned(),
            Self::Waiting => "waiting".to_owned(),
            Self::Current => "current".to_owned(),
            Self::Sent(at) => format!("sent {}", ago(*at, now)),
            Self::Acknowledged(at) => format!("acked {}", ago(*at, now)),
            Self::Rejected(at) => format!("REJECTED {}", ago(*at, now)),
        }
    }
}

fn ago(Moment(then): Moment, now: OffsetDateTime) -> String {
    age(Duration::try_from(now - then).unwrap_or_default())
}

impl Rejected {
    fn to_text(&self, places: &BTreeMap<String, String>) -> String {
        let mut text = format!("    {}\n", self.message.trim().replace('\n', "\n    "));
        for suspect in &self.suspects {
            let suspect = suspect.to_text(places);
            text.push_str(&format!("    it may be about {suspect}\n"));
        }
        text
    }
}

impl Suspect {
    fn to_text(&self, places: &BTreeMap<String, String>) -> String {
        let Self { name, origins } = self;
        let mut text = name.clone();
        for (index, origin) in origins.iter().enumerate() {
            let link = if index == 0 { ", made from" } else { " and" };
            text.push_str(&format!("{link} {origin}"));
            if let Some(place) = places.get(origin) {
                text.push_str(&format!(" ({place})"));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A proxy that subscribes to all CDS, has been sent what is given, and subscribes to names of EDS and to no RDS.
    fn proxy(has_snapshot: bool, cds: &Value) -> Listed {
        let counters = json!({"messages": 0, "bytes": 0, "acknowledged": 0, "rejected": 0});
        let of = |subscribed: usize, has_wildcard: bool| {
            json!({
                "subscribed": subscribed, "has_wildcard": has_wildcard, "counters": counters,
                "sent": null, "acknowledged": null, "rejected": null, "quarantined": [],
            })
        };
        let mut all_clusters = of(0, true);
        for (name, value) in cds.as_object().unwrap() {
            all_clusters[name] = value.clone();
        }
        let types = json!({"CDS": all_clusters, "EDS": of(19, false), "RDS": of(0, false)});
        let proxy = json!({
            "id": "a", "role": "sidecar", "identity": "nobody", "is_identity_proven": false, "user_agent": "envoy",
            "address": "127.0.0.1:1", "protocol": "delta", "connected_at": AT, "has_snapshot": has_snapshot,
            "types": types, "places": {},
        });
        serde_json::from_value(proxy).unwrap()
    }

    const AT: &str = "2026-01-01T00:00:00Z";

    #[test]
    fn rejections_are_told_as_long_as_they_last() {
        let sent = json!({"version": "2", "at": AT});
        let rejected =
            json!({"version": "2", "at": AT, "message": "no such\nfilter", "suspects": []});
        let lasting = json!({"sent": sent, "rejected": rejected});
        let mended = json!({"sent": {"version": "3", "at": AT}, "rejected": rejected});
        assert_eq!(rejections_of(&[proxy(true, &mended)]), [""; 0]);
        let one = "proxy a has rejected CDS, and keeps what it had: no such filter";
        assert_eq!(rejections_of(&[proxy(true, &lasting)]), [one]);
        let many: Vec<_> = (0..7).map(|_| proxy(true, &lasting)).collect();
        let told = rejections_of(&many);
        assert_eq!(told.len(), REJECTIONS_SHOWN_MAX + 1);
        assert!(told.last().unwrap().starts_with("2 more rejections"));
    }

    #[test]
    fn what_a_proxy_is_not_sent_is_told_with_where_it_comes_from() {
        let quarantined = json!({"quarantined": [{"name": "outbound|80||cart", "origins": ["vms service default/cart"]}]});
        let text = overview(&[proxy(true, &quarantined)], OffsetDateTime::now_utc());
        let expected = "a is not sent again what it has rejected of CDS, until it changes:\n    outbound|80||cart, made from vms service default/cart\n";
        assert!(text.contains(expected), "{text}");
        let none = overview(&[proxy(true, &json!({}))], OffsetDateTime::now_utc());
        assert!(!none.contains("not sent"), "{none}");
    }

    #[test]
    fn a_proxy_that_holds_what_it_should_is_current_though_nothing_was_sent() {
        let sent = json!({"sent": {"version": "1", "at": AT}});
        let acknowledged =
            json!({"sent": {"version": "1", "at": AT}, "acknowledged": {"version": "1", "at": AT}});
        let cases = [
            (true, json!({}), ["current", "current", "-"]),
            (false, json!({}), ["waiting", "waiting", "-"]),
            // Endpoints come after clusters.
            (true, sent, ["sent 5s", "waiting", "-"]),
            (true, acknowledged, ["acked 5s", "current", "-"]),
        ];
        let now = OffsetDateTime::parse(AT, &time::format_description::well_known::Rfc3339)
            .unwrap()
            + Duration::from_secs(5);
        for (has_snapshot, cds, expected) in cases {
            let proxy = proxy(has_snapshot, &cds);
            let found =
                ["CDS", "EDS", "RDS"].map(|name| proxy.standing(&proxy.types[name]).to_text(now));
            assert_eq!(found, expected, "{cds}");
        }
    }
}
