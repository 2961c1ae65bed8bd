//! `consul` of a registry's entry.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bowline_consul::{AgentAddress, ConsulSettings, TlsFiles};

use super::RegistrySource;
use super::fields::Fields;
use super::value::Span;

pub(super) fn read(mut fields: Fields<'_>) -> Option<RegistrySource> {
    let addresses = addresses(&mut fields);
    let mut settings = ConsulSettings::at(addresses);
    settings.datacenter = name(&mut fields, "datacenter");
    settings.datacenters = names(&mut fields, "datacenters");
    settings.partition = name(&mut fields, "partition");
    settings.namespaces = names(&mut fields, "namespaces");
    settings.peers = names(&mut fields, "peers");
    settings.token_file = fields.file("token_file");
    if let Some(tls) = fields.fields("tls", TLS) {
        settings.tls = tls_files(tls);
    }
    let is_https = |address: &AgentAddress| matches!(address, AgentAddress::Https(_));
    if settings.tls.ca.is_none() && settings.addresses.iter().any(is_https) {
        fields.wrong(
            "tls",
            "an `https` address needs the certificate of who issued the agents' certificates",
            "write `tls: {ca: ./consul-ca.pem}`",
        );
    }
    if let Some(count) = number(&mut fields, "connections_max", 4..=10_000) {
        settings.connections_max = count;
    }
    if let Some(Span(span)) = fields.value("stale_max") {
        settings.stale_max = span;
    }
    if let Some(Span(span)) = fields.value("reread_after") {
        match span.as_secs() {
            10.. => settings.reread_after = span,
            _ => fields.wrong(
                "reread_after",
                "everything would be read all the time",
                "write 10s or more",
            ),
        }
    }
    settings.service_port =
        number(&mut fields, "service_port", 1..=65_535).and_then(|port| u16::try_from(port).ok());
    (!settings.addresses.is_empty()).then_some(RegistrySource::Consul(settings))
}

/// `address`, or `addresses` where there are several. None only if that was reported.
fn addresses(fields: &mut Fields<'_>) -> Vec<AgentAddress> {
    let field = match fields.node("addresses") {
        Some(_) => "addresses",
        None => "address",
    };
    let texts: Vec<String> = match field {
        "addresses" => {
            if fields.node("address").is_some() {
                fields.wrong(
                    "address",
                    "`addresses` says it already",
                    "write all of them into `addresses`",
                );
            }
            let texts: Option<Vec<String>> = fields.value(field);
            if texts.as_ref().is_some_and(Vec::is_empty) {
                fields.wrong(field, "there is none", HINT);
            }
            texts.unwrap_or_default()
        }
        _ => fields
            .required(field, HINT, |fields, name| fields.value(name))
            .into_iter()
            .collect(),
    };
    let mut addresses: Vec<AgentAddress> = Vec::new();
    for text in &texts {
        match text.parse() {
            Ok(address) if addresses.contains(&address) => {
                let message = format!("'{text}' is listed twice");
                fields.wrong(field, message, "remove one of them");
            }
            Ok(address) => addresses.push(address),
            Err(error) => fields.wrong(field, error, HINT),
        }
    }
    addresses
}

fn tls_files(mut fields: Fields<'_>) -> TlsFiles {
    let files = TlsFiles {
        ca: fields.file("ca"),
        certificate: fields.file("certificate"),
        key: fields.file("key"),
        server_name: fields.value("server_name"),
    };
    for (one, other) in [("certificate", "key"), ("key", "certificate")] {
        if fields.node(one).is_some() && fields.node(other).is_none() {
            let message = format!("`{other}` is missing");
            fields.wrong(
                one,
                message,
                "a certificate and its key are of no use without each other",
            );
        }
    }
    files
}

fn name(fields: &mut Fields<'_>, field: &str) -> Option<Arc<str>> {
    let name: String = fields.value(field)?;
    if name.is_empty() {
        let hint = "leave the field out for the default";
        fields.wrong(field, "the name is empty", hint);
        return None;
    }
    Some(name.into())
}

fn names(fields: &mut Fields<'_>, field: &str) -> Vec<Arc<str>> {
    let names: Vec<String> = fields.value(field).unwrap_or_default();
    let mut seen = BTreeSet::new();
    for name in &names {
        if name.is_empty() {
            fields.wrong(field, "a name is empty", "remove it");
        } else if !seen.insert(name) {
            let message = format!("'{name}' is listed twice");
            fields.wrong(field, message, "remove one of them");
        }
    }
    names.into_iter().map(Into::into).collect()
}

fn number(fields: &mut Fields<'_>, field: &str, allowed: RangeInclusive<usize>) -> Option<usize> {
    let number: usize = fields.value(field)?;
    let (least, most) = (allowed.start(), allowed.end());
    if !allowed.contains(&number) {
        let message = format!("{number} is not a number from {least} to {most}");
        fields.wrong(field, message, "leave the field out for the default");
        return None;
    }
    Some(number)
}

const HINT: &str = "where an agent listens, such as `http://127.0.0.1:8500`, `https://consul.example:8501` or `unix:///run/consul.sock`";

pub(super) const FIELDS: &[&str] = &[
    "address",
    "addresses",
    "datacenter",
    "datacenters",
    "partition",
    "namespaces",
    "peers",
    "token_file",
    "tls",
    "connections_max",
    "stale_max",
    "reread_after",
    "service_port",
];
pub(super) const TLS: &[&str] = &["ca", "certificate", "key", "server_name"];
