//! Where the server's certificate comes from, and how it stays fresh.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use bowline_cert_authority::{
    CertificateAuthority, ServerNames, Validity, Verifier, control_plane_identity,
};
use bowline_identity::TrustDomain;
use ring::digest::{self, Digest, SHA256};
use tokio::sync::watch;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::material::{Material, TlsError, Unfit};
use crate::config::{Config, XdsCertificates};

/// Where certificate, key and client authorities come from.
#[derive(Debug, Clone)]
pub enum TlsSource {
    /// Our own authority issues the certificate, and proves the clients.
    Authority {
        /// The authority.
        authority: Arc<CertificateAuthority>,
        /// What proxies connect to.
        names: ServerNames,
    },
    /// Somebody else's certificates.
    Files(TlsFiles),
}

/// Files that somebody else keeps fresh.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The server's certificate and those between it and its root, as PEM.
    pub certificate: PathBuf,
    /// The certificate's key, as PEM.
    pub key: PathBuf,
    /// The roots of clients' certificates, as PEM.
    pub client_authorities: PathBuf,
    /// The trust domains that those roots may vouch for.
    pub trust_domains: BTreeSet<TrustDomain>,
}

impl TlsFiles {
    /// The files that a configuration names, if it names any.
    pub fn configured(config: &Config) -> Option<Self> {
        match &config.xds.tls.as_ref()?.certificates {
            XdsCertificates::Authority(_) => None,
            XdsCertificates::Files {
                certificate,
                key,
                client_authorities,
            } => Some(Self {
                certificate: certificate.clone(),
                key: key.clone(),
                client_authorities: client_authorities.clone(),
                trust_domains: [config.mesh.trust_domain.clone()].into(),
            }),
        }
    }
}

/// The TLS material in use. Clones share it.
#[derive(Debug, Clone)]
pub struct Tls {
    current: Arc<ArcSwap<Material>>,
    status: watch::Receiver<TlsStatus>,
}

/// How fresh the server's certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsStatus {
    /// When the certificate in use was read or issued.
    pub loaded_at: SystemTime,
    /// When it expires.
    pub not_after: SystemTime,
    /// Why there is no newer one, if there should be. The one before stays in use.
    pub problem: Option<String>,
}

/// Reads certificate, key and client authorities. Blocks.
///
/// # Errors
/// When something is missing, damaged, or does not fit together.
pub fn load(source: TlsSource, now: SystemTime) -> Result<(Tls, TlsUpkeep), TlsError> {
    let (material, origin) = Origin::open(source, now)?;
    let (status, watched) = watch::channel(TlsStatus {
        loaded_at: now,
        not_after: material.not_after,
        problem: None,
    });
    let current = Arc::new(ArcSwap::from_pointee(material));
    let upkeep = TlsUpkeep {
        origin,
        current: Arc::clone(&current),
        status,
    };
    Ok((
        Tls {
            current,
            status: watched,
        },
        upkeep,
    ))
}

impl Tls {
    /// How fresh the certificate is, as it changes.
    pub fn status(&self) -> watch::Receiver<TlsStatus> {
        self.status.clone()
    }

    pub(super) fn material(&self) -> Arc<Material> {
        self.current.load_full()
    }
}

/// Replaces the TLS material when there is something newer. New connections use it; those that are open stay.
#[derive(Debug)]
pub struct TlsUpkeep {
    origin: Origin,
    current: Arc<ArcSwap<Material>>,
    status: watch::Sender<TlsStatus>,
}

impl TlsUpkeep {
    /// Looks for something newer every few seconds, until it is cancelled.
    ///
    /// # Errors
    /// Only when a check panics.
    pub async fn run(mut self, cancelled: CancellationToken) -> Result<(), JoinError> {
        let mut ticks = interval(CHECK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancelled.cancelled() => return Ok(()),
                _ = ticks.tick() => {}
            }
            self = spawn_blocking(move || {
                self.check(SystemTime::now());
                self
            })
            .await?;
        }
    }

    /// Looks once. Blocks.
    pub fn check(&mut self, now: SystemTime) {
        match self.origin.newer(now) {
            // What is in use is also what should be: a problem that there was is over.
            Ok(None) => {
                self.status
                    .send_if_modified(|status| status.problem.take().is_some());
            }
            Ok(Some(material)) => {
                let not_after = material.not_after;
                tracing::info!(
                    valid_for_s = not_after.duration_since(now).unwrap_or_default().as_secs(),
                    "the xDS server has a new certificate"
                );
                self.current.store(Arc::new(material));
                self.status.send_replace(TlsStatus {
                    loaded_at: now,
                    not_after,
                    problem: None,
                });
            }
            Err(error) => {
                let problem = error.to_string();
                self.status.send_if_modified(|status| {
                    let news = status.problem.as_deref() != Some(problem.as_str());
                    if news {
                        tracing::warn!(problem, "the xDS server keeps the certificate it has");
                        status.problem = Some(problem);
                    }
                    news
                });
            }
        }
    }
}

/// A source, and what of it is in use.
#[derive(Debug)]
enum Origin {
    Authority {
        authority: Arc<CertificateAuthority>,
        names: ServerNames,
        issued_at: SystemTime,
        renew_at: SystemTime,
    },
    Files {
        files: TlsFiles,
        in_use: Digest,
    },
}

impl Origin {
    fn open(source: TlsSource, now: SystemTime) -> Result<(Material, Self), TlsError> {
        match source {
            TlsSource::Authority { authority, names } => {
                let (material, renew_at) = issue(&authority, &names, now)?;
                Ok((
                    material,
                    Self::Authority {
                        authority,
                        names,
                        issued_at: now,
                        renew_at,
                    },
                ))
            }
            TlsSource::Files(files) => {
                let content = Content::read(&files)?;
                let material = content.material(&files)?;
                Ok((
                    material,
                    Self::Files {
                        files,
                        in_use: content.digest(),
                    },
                ))
            }
        }
    }

    /// What should be in use from now on, if that is something else.
    fn newer(&mut self, now: SystemTime) -> Result<Option<Material>, TlsError> {
        match self {
            Self::Authority {
                authority,
                names,
                issued_at,
                renew_at,
            } => {
                // A clock that was set back makes the certificate one of the future.
                if (*issued_at..*renew_at).contains(&now) {
                    return Ok(None);
                }
                let (material, next) = issue(authority, names, now)?;
                (*issued_at, *renew_at) = (now, next);
                Ok(Some(material))
            }
            Self::Files { files, in_use } => {
                let content = Content::read(files)?;
                let digest = content.digest();
                if digest.as_ref() == in_use.as_ref() {
                    return Ok(None);
                }
                let material = content.material(files)?;
                *in_use = digest;
                Ok(Some(material))
            }
        }
    }
}

/// A certificate of our own, and when to get the next one.
fn issue(
    authority: &CertificateAuthority,
    names: &ServerNames,
    now: SystemTime,
) -> Result<(Material, SystemTime), TlsError> {
    let identity = control_plane_identity(authority.trust_domain())?;
    let issued = authority.issue(&identity, names, Validity::default(), now)?;
    let key = issued.key.as_ref().map_or("", |key| key.expose_pem());
    let origin = || "of our own authority".to_owned();
    let verifier = authority
        .verifier()
        .map_err(|source| TlsError::ClientAuthorities {
            origin: origin(),
            source,
        })?;
    let material = Material::new(issued.chain_pem.as_bytes(), key.as_bytes(), verifier)
        .map_err(|unfit| unfit.at(origin(), origin()))?;
    Ok((material, issued.renew_at()))
}

/// What the files have at one moment.
struct Content {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    client_authorities: Vec<u8>,
}

impl Content {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        Ok(Self {
            certificate: read_file(&files.certificate)?,
            key: Zeroizing::new(read_file(&files.key)?),
            client_authorities: read_file(&files.client_authorities)?,
        })
    }

    fn material(&self, files: &TlsFiles) -> Result<Material, TlsError> {
        let origin = |path: &Path| path.display().to_string();
        let bundle = String::from_utf8_lossy(&self.client_authorities);
        let verifier =
            Verifier::new(&bundle, files.trust_domains.iter().cloned()).map_err(|source| {
                TlsError::ClientAuthorities {
                    origin: origin(&files.client_authorities),
                    source,
                }
            })?;
        Material::new(&self.certificate, &self.key, verifier)
            .map_err(|unfit| unfit.at(origin(&files.certificate), origin(&files.key)))
    }

    /// Stands for the content without keeping the key.
    fn digest(&self) -> Digest {
        let Self {
            certificate,
            key,
            client_authorities,
        } = self;
        let mut context = digest::Context::new(&SHA256);
        for file in [certificate, &**key, client_authorities] {
            context.update(&(file.len() as u64).to_be_bytes());
            context.update(file);
        }
        context.finish()
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::File {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(TlsError::TooLarge {
            path: path.to_owned(),
            bytes,
        });
    }
    let mut content = Vec::new();
    // Bounded again, since what is read may be a pipe, or grow meanwhile.
    file.take(FILE_BYTES_MAX)
        .read_to_end(&mut content)
        .map_err(failed)?;
    Ok(content)
}

impl Unfit {
    fn at(self, certificate: String, key: String) -> TlsError {
        match self {
            Self::Certificate(reason) => TlsError::Certificate {
                origin: certificate,
                reason,
            },
            Self::Key(reason) => TlsError::Key {
                origin: key,
                reason,
            },
            Self::Pair => TlsError::Pair { certificate, key },
        }
    }
}

/// Secrets that are mounted into a container change without an event that can be relied on, so they are looked at.
const CHECK_EVERY: Duration = Duration::from_secs(5);
const FILE_BYTES_MAX: u64 = 1024 * 1024;
