//! An archive whose bytes depend on its files only: ustar, all times 0.

/// A file or a directory of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the root, without a slash at its ends; at most 100 bytes.
    pub path: &'static str,
    /// Permissions.
    pub mode: u32,
    /// User and group.
    pub owner: u32,
    /// What it is.
    pub content: Content,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A directory.
    Directory,
    /// A file with these bytes.
    File(Vec<u8>),
}

const BLOCK: usize = 512;

/// The archive of some entries.
pub fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut archive = Vec::new();
    for entry in entries {
        let (kind, bytes) = match &entry.content {
            Content::Directory => (b'5', &[][..]),
            Content::File(bytes) => (b'0', bytes.as_slice()),
        };
        archive.extend_from_slice(&head(entry, kind, bytes.len()));
        archive.extend_from_slice(bytes);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}

fn head(entry: &Entry, kind: u8, size: usize) -> Vec<u8> {
    let path = match kind {
        b'5' => format!("{}/", entry.path),
        _ => entry.path.to_owned(),
    };
    let head = |checksum: &str| {
        let mut head = Vec::with_capacity(BLOCK);
        let mut field = |text: &[u8], width: usize| {
            let end = head.len() + width;
            head.extend_from_slice(text);
            head.resize(end, 0);
        };
        field(path.as_bytes(), 100);
        field(format!("{:07o}", entry.mode).as_bytes(), 8);
        field(format!("{:07o}", entry.owner).as_bytes(), 8);
        field(format!("{:07o}", entry.owner).as_bytes(), 8);
        field(format!("{size:011o}").as_bytes(), 12);
        field(format!("{:011o}", 0).as_bytes(), 12);
        field(checksum.as_bytes(), 8);
        field(&[kind], 1);
        field(b"", 100);
        field(b"ustar\x0000", 8);
        field(b"", BLOCK - 265);
        head
    };
    // The checksum is of the head with spaces in its own place.
    let sum: u32 = head("        ").iter().map(|&byte| u32::from(byte)).sum();
    head(&format!("{sum:06o}\0 "))
}
