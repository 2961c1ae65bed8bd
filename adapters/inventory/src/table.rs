//! A CSV file: one workload a line, for inventories that come from a spreadsheet or a database.

use std::sync::Arc;

use bowline_document::Limits;
use bowline_mesh::{Code, RegistrySettings};
use csv::{ByteRecord, ReaderBuilder};

use crate::{
    entry::{Context, Effect, Entry, Finding},
    tree::unread,
};

use self::row::row;

mod row;

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
    // The reader counts a line that ends in two characters only after it has begun to read the next one.
    let text = utf8(text)?.replace("\r\n", "\n");
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
