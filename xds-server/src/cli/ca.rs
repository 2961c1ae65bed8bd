//! `bowline ca`: certificates of the mesh's authority.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow, bail};
use bowline_cert_authority::{
    CertificateAuthority, Issued, ServerNames, SigningRequest, Validity, write_files,
};
use bowline_document::duration::{self, DurationError};
use bowline_identity::SpiffeId;
use bowline_state::{Embedded, OpenError};
use clap::{Args, Subcommand};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::client::Server;
use super::output;
use super::{Outcome, Usage, sds};
use crate::admin::wire::{IssueRequest, IssueResponse};
use crate::config::{Config, StateConfig, XdsCertificates};

/// Issue certificates of the mesh's own authority
#[derive(Debug, Args)]
#[command(after_help = ISSUE_EXAMPLE)]
pub(super) struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Issue(Issue),
    Bundle(Bundle),
}

/// Write key, certificate and trust bundle for a proxy that has no agent, as files that an Envoy watches
///
/// The server may be running. The key is made here and stays here.
#[derive(Debug, Args)]
#[command(after_help = ISSUE_EXAMPLE)]
struct Issue {
    /// The configuration of the server whose authority this is
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Whose certificate it will be
    #[arg(long, value_name = "SPIFFE-ID")]
    identity: SpiffeId,
    /// For how long it is valid, from 1m to 2160h
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    ttl: Span,
    /// A DNS name or address that is in it, besides; may be given several times
    #[arg(long = "dns-name", value_name = "NAME")]
    dns_names: Vec<String>,
    /// The directory that the files are written to
    #[arg(long, value_name = "DIRECTORY")]
    out: PathBuf,
}

/// Print the roots that proxies trust, as PEM
#[derive(Debug, Args)]
#[command(after_help = BUNDLE_EXAMPLE)]
struct Bundle {
    /// The configuration of the server whose authority this is
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

const ISSUE_EXAMPLE: &str = "Example:
  bowline ca issue --config bowline.yaml --identity spiffe://mesh.example/ns/shop/sa/cart --out /etc/bowline/cart
  bowline bootstrap --config bowline.yaml --role sidecar --name cart-1 --namespace shop --cert-dir /etc/bowline/cart";

const BUNDLE_EXAMPLE: &str = "Example:
  bowline ca bundle --config bowline.yaml > roots.pem";

/// A duration as people write it.
#[derive(Debug, Clone, Copy)]
struct Span(Duration);

impl FromStr for Span {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        duration::parse(text).map(Self)
    }
}

pub(super) fn run(command: &Command) -> Result<Outcome> {
    match &command.action {
        Action::Issue(issue) => run_issue(issue),
        Action::Bundle(bundle) => run_bundle(bundle),
    }
}

fn run_issue(command: &Issue) -> Result<Outcome> {
    let config = Config::load(&command.config)?;
    if let Some(tls) = &config.xds.tls
        && let XdsCertificates::Files {
            client_authorities, ..
        } = &tls.certificates
    {
        return Err(Usage::new(format!(
            "this server takes certificates of the authorities in {} only (`xds.tls.client_ca`), so it would refuse one of its own authority",
            client_authorities.display()
        ))
        .into());
    }
    if command.out.exists() && !command.out.is_dir() {
        return Err(Usage::new(format!(
            "`--out` is a directory, and {} is none",
            command.out.display()
        ))
        .into());
    }
    let Span(ttl) = command.ttl;
    let validity = Validity::new(ttl)?;
    let request = SigningRequest::generate()?;
    let mut issued = match authority(&config)? {
        Authority::Here(authority) => authority.issue_for_request(
            &request.request_pem,
            &command.identity,
            &ServerNames::parse(&command.dns_names)?,
            validity,
            SystemTime::now(),
        )?,
        Authority::Running(server) => issued_by(&server, command, ttl, &request.request_pem)?,
    };
    issued.key = Some(request.key);
    write(&command.out, &issued)?;
    let expires = OffsetDateTime::from(issued.not_after)
        .replace_nanosecond(0)?
        .format(&Rfc3339)?;
    output::print(&format!(
        "{} has key, certificate and bundle of {}, valid until {expires}\n",
        command.out.display(),
        issued.identity
    ))?;
    Ok(Outcome::Success)
}

fn run_bundle(command: &Bundle) -> Result<Outcome> {
    match authority(&Config::load(&command.config)?)? {
        Authority::Here(authority) => output::print(authority.bundle_pem())?,
        Authority::Running(server) => output::print(server.get("/v1/ca/bundle")?.text()?)?,
    }
    Ok(Outcome::Success)
}

/// Who can sign.
enum Authority {
    /// We, with the state that nobody has open.
    Here(Box<CertificateAuthority>),
    /// The server that has it open.
    Running(Server),
}

fn authority(config: &Config) -> Result<Authority> {
    let StateConfig::Directory(directory) = &config.state else {
        return Err(Usage::new("the server keeps its state in memory, and its authority's key with it: give `state.path`").into());
    };
    // Opening makes what is not there, and a root that is made here would be one that no server knows of.
    if !Embedded::path_in(directory).exists() {
        return Err(no_authority(directory));
    }
    match Embedded::open(directory) {
        Ok(store) => {
            let found = CertificateAuthority::existing(&store, &config.mesh.trust_domain)
                .context("cannot open the certificate authority")?;
            match found {
                Some(authority) => Ok(Authority::Here(Box::new(authority))),
                None => Err(no_authority(directory)),
            }
        }
        Err(OpenError::InUse { path }) => match config.state.admin_socket() {
            Some(socket) if socket.exists() => Ok(Authority::Running(Server::OwnerSocket(socket))),
            _ => bail!(
                "the state store {} is in use by a process that answers no questions: is it a server that starts or ends just now?",
                path.display()
            ),
        },
        Err(error) => Err(error.into()),
    }
}

fn no_authority(directory: &Path) -> anyhow::Error {
    anyhow!(
        "there is no certificate authority in {} (`state.path`): `bowline serve` makes one when it first starts; \
         if it has started before, is this its configuration, and is the directory where it was?",
        directory.display()
    )
}

fn issued_by(server: &Server, command: &Issue, ttl: Duration, request_pem: &str) -> Result<Issued> {
    let response: IssueResponse = server
        .post(
            "/v1/ca/issue",
            &IssueRequest {
                identity: command.identity.clone(),
                request_pem: request_pem.to_owned(),
                validity_seconds: ttl.as_secs(),
                dns_names: command.dns_names.clone(),
            },
        )?
        .success()?;
    let time = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    Ok(Issued {
        identity: command.identity.clone(),
        chain_pem: response.chain_pem,
        key: None,
        bundle_pem: response.bundle_pem,
        issued_at: time(response.issued_at),
        not_after: time(response.not_after),
    })
}

/// The files of the certificate, and those by which Envoy finds them.
fn write(directory: &Path, issued: &Issued) -> Result<()> {
    write_files(directory, issued)?;
    let directory = std::path::absolute(directory)?;
    for (name, text) in sds::files(&directory)? {
        let path = directory.join(name);
        replace(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Writes a file whole or not at all, and not where it says the same already: an Envoy may be watching it.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    if fs::read(path).is_ok_and(|present| present == text.as_bytes()) {
        return Ok(());
    }
    let temporary = path.with_extension("new");
    fs::write(&temporary, text)?;
    fs::rename(&temporary, path)
}
