//! A certificate as files, for proxies without an agent.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::Issued;

/// Writes `cert.pem`, `bundle.pem` and, if the authority made the key, `key.pem` (for its owner only). The directory is made if needed.
///
/// Each file is replaced by a rename, which is what Envoy's `watched_directory` waits for; the certificate comes last, so that the reload
/// that finds it finds its key too.
///
/// # Errors
/// Names the file that could not be written; those before it have been replaced.
pub fn write_files(directory: &Path, issued: &Issued) -> Result<(), FilesError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| FilesError { path, source }
    };
    fs::create_dir_all(directory).map_err(failed(directory))?;
    let key = issued
        .key
        .as_ref()
        .map(|key| ("key.pem", 0o600, key.expose_pem()));
    let public = [
        ("bundle.pem", 0o644, issued.bundle_pem.as_str()),
        ("cert.pem", 0o644, issued.chain_pem.as_str()),
    ];
    for (name, mode, content) in key.into_iter().chain(public) {
        let path = directory.join(name);
        replace(&path, mode, content).map_err(failed(&path))?;
    }
    // The renames themselves are kept only when the directory is.
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(failed(directory))
}

/// A file that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}", path.display())]
pub struct FilesError {
    path: PathBuf,
    source: io::Error,
}

fn replace(path: &Path, mode: u32, content: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    // One that a crash left behind may have other permissions, and must not be a link to elsewhere.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}
