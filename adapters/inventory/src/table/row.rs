//! What a row means.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use bowline_document::DecodeError;
use bowline_mesh::{Code, Health};
use csv::ByteRecord;
use serde::{
    Deserialize,
    de::{IntoDeserializer, value::StrDeserializer},
};

use crate::{
    entry::{Context, Effect, Entry, Finding},
    format::{LocalityEntry, WorkloadEntry, WorkloadPortEntry, WorkloadPorts},
    workload::{WEIGHT_MAX, subject, workload_entry},
};

use super::{Column, cells, line_of};

/// Reads one row.
pub(super) fn row(record: &ByteRecord, columns: &[Column], context: &Context<'_>) -> Entry {
    let line = line_of(record);
    let values: BTreeMap<usize, &str> = cells(record).enumerate().collect();
    let refused = |subject, findings| Entry {
        subject,
        line,
        objects: None,
        findings,
    };
    if record.len() != columns.len() {
        // Perhaps it is cut off, even within its name.
        let message = format!(
            "it has {} values for {} columns",
            record.len(),
            columns.len()
        );
        return refused(
            None,
            vec![wrong(line, "", message, "end each line with all values")],
        );
    }
    let value = |column: Column| {
        let index = columns.iter().position(|known| *known == column)?;
        values.get(&index).copied().filter(|text| !text.is_empty())
    };
    match workload(&value, line) {
        Ok(entry) => workload_entry(entry, context, line, |_| line),
        Err(finding) => {
            let namespace = match value(Column::Namespace) {
                Some(namespace) => namespace.parse().ok(),
                None => Some(context.namespace.clone()),
            };
            refused(
                subject(value(Column::Name), namespace, context),
                vec![finding],
            )
        }
    }
}

fn workload<'a>(
    value: &impl Fn(Column) -> Option<&'a str>,
    line: u32,
) -> Result<WorkloadEntry, Finding> {
    let text = |column| value(column).map(str::to_owned);
    let list = |column| -> Vec<String> {
        let items = value(column).into_iter().flat_map(|text| text.split(';'));
        items
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let addresses = list(Column::Address);
    let (address, addresses) = match addresses.as_slice() {
        [] => (None, Vec::new()),
        [one] => (Some(one.clone()), Vec::new()),
        [_, _, ..] => (None, addresses),
    };
    let parts = [Column::Region, Column::Zone, Column::Subzone].map(|column| {
        let part = value(column).unwrap_or_default();
        part.to_owned()
    });
    let locality = match (value(Column::Locality), parts) {
        (Some(path), _) => Some(LocalityEntry::from_path(path)),
        (None, [region, zone, subzone]) => Some(LocalityEntry {
            region,
            zone,
            subzone,
        })
        .filter(|locality| *locality != LocalityEntry::default()),
    };
    let ports = list(Column::Ports)
        .iter()
        .map(|text| port(text, line))
        .collect::<Result<_, _>>()?;
    let labels = list(Column::Labels)
        .iter()
        .map(|text| {
            let (key, value) = text.split_once('=').ok_or_else(|| {
                let message = format!("'{text}' is not a label");
                wrong(line, "labels", message, "such as `version=v1;team=shop`")
            })?;
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        })
        .collect::<Result<_, Finding>>()?;
    Ok(WorkloadEntry {
        name: text(Column::Name).unwrap_or_default(),
        namespace: parsed(value(Column::Namespace), "namespace", line)?,
        address,
        addresses,
        services: list(Column::Services),
        ports: WorkloadPorts(ports),
        locality,
        network: parsed(value(Column::Network), "network", line)?,
        weight: match value(Column::Weight).map(|text| (text, text.parse())) {
            None => None,
            Some((_, Ok(weight))) => Some(weight),
            Some((text, Err(_))) => {
                let message =
                    format!("expected a whole number from 0 to {WEIGHT_MAX}, found \"{text}\"");
                return Err(wrong(line, "weight", message, ""));
            }
        },
        health: value(Column::Health)
            .map(|text| health(text, line))
            .transpose()?,
        labels,
        service_account: text(Column::ServiceAccount),
        identity: parsed(value(Column::Identity), "identity", line)?,
    })
}

fn parsed<T: FromStr<Err: Display>>(
    text: Option<&str>,
    field: &str,
    line: u32,
) -> Result<Option<T>, Finding> {
    let value = text.map(str::parse).transpose();
    value.map_err(|error: T::Err| wrong(line, field, error.to_string(), ""))
}

/// `http=8080`.
fn port(text: &str, line: u32) -> Result<WorkloadPortEntry, Finding> {
    let parsed = text
        .split_once('=')
        .and_then(|(name, number)| Some((name.trim(), number.trim().parse().ok()?)));
    let Some((name, number)) = parsed else {
        let message = format!("'{text}' is not a port");
        return Err(wrong(
            line,
            "ports",
            message,
            "such as `http=8080;admin=9000`",
        ));
    };
    Ok(WorkloadPortEntry {
        name: name.to_owned(),
        number,
        protocol: None,
        app_port: None,
    })
}

fn health(text: &str, line: u32) -> Result<Health, Finding> {
    let deserializer: StrDeserializer<'_, DecodeError> = text.into_deserializer();
    Health::deserialize(deserializer)
        .map_err(|error| wrong(line, "health", error.message, error.hint))
}

fn wrong(line: u32, field: &str, message: String, hint: impl Into<String>) -> Finding {
    Finding {
        code: Code::InvalidField,
        line,
        field: field.to_owned(),
        message,
        hint: hint.into(),
        effect: Effect::Refused,
    }
}
