//! A CSV file: one workload a line, for inventories that come from a spreadsheet or a database.

use std::{collections::BTreeMap, fmt::Display, str::FromStr, sync::Arc};

use bowline_document::{DecodeError, Limits};
use bowline_mesh::{Code, Health, RegistrySettings};
use csv::{ByteRecord, ReaderBuilder};
use serde::{
    Deserialize,
    de::{IntoDeserializer, value::StrDeserializer},
};

use crate::{
    entry::{Context, Effect, Entry, Finding},
    format::{LocalityEntry, WorkloadEntry, WorkloadPortEntry, WorkloadPorts},
    tree::unread,
    workload::{subject, workload_entry},
};

/// What a column says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Name,
    Namespace,
    Address,
    Services,
    Ports,
    Locality,
    Region,
    Zone,
    Subzone,
    Network,
    Weight,
    Health,
    Labels,
    ServiceAccount,
    Identity,
}

const COLUMNS: [(&str, Column); 15] = [
    ("name", Column::Name),
    ("namespace", Column::Namespace),
    ("address", Column::Address),
    ("services", Column::Services),
    ("ports", Column::Ports),
    ("locality", Column::Locality),
    ("region", Column::Region),
    ("zone", Column::Zone),
    ("subzone", Column::Subzone),
    ("network", Column::Network),
    ("weight", Column::Weight),
    ("health", Column::Health),
    ("labels", Column::Labels),
    ("service_account", Column::ServiceAccount),
    ("identity", Column::Identity),
];

/// Reads all rows.
///
/// # Errors
/// When it cannot be said what the file contains: it is not text, or its header is not one.
pub(crate) fn entries(
    text: &[u8],
    place: &Arc<str>,
    settings: &RegistrySettings,
) -> Result<Vec<Entry>, Finding> {
    let text = utf8(text)?;
    let mut reader = ReaderBuilder::new()
        .flexible(true)
        .trim(csv::Trim::All)
        .comment(Some(b'#'))
        .has_headers(false)
        .from_reader(text.as_bytes());
    let mut record = ByteRecord::new();
    if !read_record(&mut reader, &mut record)? {
        return Err(Finding {
            hint: "to say that there is nothing, write the header alone: `name,address,services,ports`"
                .to_owned(),
            ..unread(1, "the file is empty")
        });
    }
    let columns = header(&record)?;
    let context = Context {
        settings,
        place,
        namespace: settings.namespace.clone(),
    };
    let mut entries = Vec::new();
    while read_record(&mut reader, &mut record)? {
        entries.push(row(&record, &columns, &context));
    }
    Ok(entries)
}

fn utf8(text: &[u8]) -> Result<&str, Finding> {
    // The limits and the encoding are those of the other formats.
    let limits = Limits::default();
    let error = |code, line, message: String| Finding {
        code,
        line,
        field: String::new(),
        message,
        hint: "save the file as UTF-8 text".to_owned(),
        effect: Effect::Refused,
    };
    if text.len() > limits.bytes_max {
        let message = format!(
            "it has {} bytes and may have {}",
            text.len(),
            limits.bytes_max
        );
        return Err(error(Code::TooLarge, 1, message));
    }
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let line = |at: usize| {
        let before = text.get(..at).unwrap_or_default();
        number(before.iter().filter(|byte| **byte == b'\n').count() + 1)
    };
    match str::from_utf8(text) {
        Ok(valid) => match valid.find('\0') {
            None => Ok(valid),
            Some(at) => Err(error(Code::Malformed, line(at), "a NUL byte".to_owned())),
        },
        Err(invalid) => Err(error(
            Code::Malformed,
            line(invalid.valid_up_to()),
            "a byte that is not UTF-8".to_owned(),
        )),
    }
}

fn read_record(reader: &mut csv::Reader<&[u8]>, record: &mut ByteRecord) -> Result<bool, Finding> {
    reader.read_byte_record(record).map_err(|error| Finding {
        message: error.to_string(),
        ..unread(number_of_line(&error), "")
    })
}

fn header(record: &ByteRecord) -> Result<Vec<Column>, Finding> {
    let mut columns = Vec::new();
    for cell in cells(record) {
        let name = cell.to_ascii_lowercase();
        let known = COLUMNS.iter().find(|(known, _)| *known == name);
        let problem = match known {
            Some((_, column)) if columns.contains(column) => "is there twice",
            Some((_, column)) => {
                columns.push(*column);
                continue;
            }
            None => "is not known",
        };
        return Err(Finding {
            code: match known {
                Some(_) => Code::InvalidField,
                None => Code::UnknownField,
            },
            line: line_of(record),
            field: cell.chars().take(80).collect(),
            message: format!("this column {problem}"),
            hint: format!("columns are {}", COLUMNS.map(|(name, _)| name).join(", ")),
            effect: Effect::Refused,
        });
    }
    match columns.contains(&Column::Name) && columns.contains(&Column::Address) {
        true => Ok(columns),
        false => Err(Finding {
            hint: "the first line names the columns: name,address,services,ports".to_owned(),
            ..unread(
                line_of(record),
                "it has no header with the columns `name` and `address`",
            )
        }),
    }
}

fn row(record: &ByteRecord, columns: &[Column], context: &Context<'_>) -> Entry {
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
                let message = format!("expected a whole number of 0 or more, found \"{text}\"");
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

/// The text is UTF-8 as a whole and is cut at ASCII characters.
fn cells(record: &ByteRecord) -> impl Iterator<Item = &str> {
    record
        .iter()
        .map(|cell| str::from_utf8(cell).unwrap_or_default())
}

fn line_of(record: &ByteRecord) -> u32 {
    let line = record.position().map_or(1, csv::Position::line);
    u32::try_from(line).unwrap_or(u32::MAX)
}

fn number_of_line(error: &csv::Error) -> u32 {
    let line = error.position().map_or(1, csv::Position::line);
    u32::try_from(line).unwrap_or(u32::MAX)
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
