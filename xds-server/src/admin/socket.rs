//! A socket that only its owner can open.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use tokio::net::UnixListener;

/// Listens at a path, in the place of what an earlier process has left there.
pub(super) fn bind(path: &Path) -> io::Result<UnixListener> {
    // Between bind and chmod anybody could connect, so both happen where nobody else can go.
    let private = path.with_extension("new");
    remove(fs::remove_file(private.join(NAME)))?;
    remove(fs::remove_dir(&private))?;
    DirBuilder::new().mode(0o700).create(&private)?;
    let listener = UnixListener::bind(private.join(NAME))?;
    fs::set_permissions(private.join(NAME), Permissions::from_mode(0o600))?;
    fs::rename(private.join(NAME), path)?;
    fs::remove_dir(&private)?;
    Ok(listener)
}

/// What is not there need not be removed.
fn remove(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

const NAME: &str = "socket";
