//! How many files the process may have open: every connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

/// Below this a fleet of ordinary size does not fit.
const FEW: u64 = 10_000;

/// Raises the number of open files to what the system allows: shells and service managers begin with 1,024, of which programs that use
/// `select` need to be kept, and this one does not.
pub(super) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            warn!(%error, "the number of open files cannot be raised");
            limit.current
        }
    };
    match now {
        Some(open_files) if open_files < FEW => warn!(
            open_files,
            "few files may be open: each proxy needs one, and those beyond them wait unserved; raise the hard limit (ulimit -Hn, LimitNOFILE= in systemd)"
        ),
        Some(open_files) => info!(open_files, "files that may be open, one for each proxy"),
        None => {}
    }
}
