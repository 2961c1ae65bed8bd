//! Issuing certificates to the owner of the state directory, who could read the authority's key as well.

use std::time::{Duration, SystemTime};

use bowline_cert_authority::{CertificateAuthority, IssueError, ServerNames, Validity};

use super::wire::{IssueRequest, IssueResponse};

pub(super) fn issue(
    authority: &CertificateAuthority,
    request: &IssueRequest,
    now: SystemTime,
) -> Result<IssueResponse, IssueError> {
    let issued = authority.issue_for_request(
        &request.request_pem,
        &request.identity,
        &ServerNames::parse(&request.dns_names)?,
        Validity::new(Duration::from_secs(request.validity_seconds))?,
        now,
    )?;
    Ok(IssueResponse {
        chain_pem: issued.chain_pem,
        bundle_pem: issued.bundle_pem,
        issued_at: seconds(issued.issued_at),
        not_after: seconds(issued.not_after),
    })
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
