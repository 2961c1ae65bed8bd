//! Plaintext, or mutual TLS with an authority that is made for one run.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::WebPkiClientVerifier,
};

use crate::crowd::connection::Credentials;

/// Whose certificates proxies show.
pub const TRUST_DOMAIN: &str = "mesh.example";
const SERVER_NAME: &str = "bowline.example";

/// How proxies and servers talk.
#[derive(Debug, Clone)]
pub enum Security {
    /// Without TLS.
    Plaintext,
    /// Both sides show certificates.
    MutualTls(Files),
}

/// The certificates of a run, as files for servers and in memory for proxies.
#[derive(Debug, Clone)]
pub struct Files {
    folder: PathBuf,
    credentials: Arc<Credentials>,
}

impl Security {
    /// Makes certificates for a server and for the proxies of so many namespaces.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn mutual_tls(folder: &Path, namespaces: usize) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let authority_key = KeyPair::generate()?;
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = authority.self_signed(&authority_key)?;
        let issuer = Issuer::new(authority, authority_key);

        let (certificate, key) = issue(
            &issuer,
            [SanType::DnsName(SERVER_NAME.try_into()?)],
            ExtendedKeyUsagePurpose::ServerAuth,
        )?;
        let files = Files {
            folder: folder.to_path_buf(),
            credentials: Arc::new(Credentials {
                server_name: ServerName::try_from(SERVER_NAME)?,
                namespaces: (0..namespaces)
                    .map(|namespace| client(&issuer, root.der(), namespace))
                    .collect::<Result<_>>()?,
            }),
        };
        fs::write(files.authority(), root.pem())?;
        fs::write(files.server_certificate(), certificate.pem())?;
        fs::write(files.server_key(), key.serialize_pem())?;
        Ok(Self::MutualTls(files))
    }

    /// What proxies show.
    pub fn credentials(&self) -> Option<Arc<Credentials>> {
        match self {
            Self::Plaintext => None,
            Self::MutualTls(files) => Some(files.credentials.clone()),
        }
    }
}

impl Files {
    /// The authority's certificate.
    pub fn authority(&self) -> PathBuf {
        self.folder.join("authority.pem")
    }

    /// The server's certificate.
    pub fn server_certificate(&self) -> PathBuf {
        self.folder.join("server.pem")
    }

    /// The server's key.
    pub fn server_key(&self) -> PathBuf {
        self.folder.join("server-key.pem")
    }

    /// The folder with all of them.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

fn issue(
    issuer: &Issuer<'_, KeyPair>,
    names: impl IntoIterator<Item = SanType>,
    purpose: ExtendedKeyUsagePurpose,
) -> Result<(rcgen::Certificate, KeyPair)> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.subject_alt_names.extend(names);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    let certificate = params.signed_by(&key, issuer)?;
    Ok((certificate, key))
}

fn client(
    issuer: &Issuer<'_, KeyPair>,
    root: &CertificateDer<'static>,
    namespace: usize,
) -> Result<Arc<ClientConfig>> {
    let identity = format!("spiffe://{TRUST_DOMAIN}/ns/namespace-{namespace}/sa/proxy");
    let (certificate, key) = issue(
        issuer,
        [SanType::URI(identity.as_str().try_into()?)],
        ExtendedKeyUsagePurpose::ClientAuth,
    )?;
    let mut roots = RootCertStore::empty();
    roots.add(root.clone())?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    let mut configuration = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate.der().clone()], key)?;
    configuration.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(configuration))
}

/// What a server of ours needs to accept proxies, from the files in a folder.
///
/// # Errors
/// When they cannot be read.
pub fn server(folder: &Path) -> Result<Arc<ServerConfig>> {
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&read("authority.pem")?)?)?;
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build()?;
    let certificate = CertificateDer::from_pem_slice(&read("server.pem")?)?;
    let key = PrivateKeyDer::from_pem_slice(&read("server-key.pem")?)?;
    let mut configuration = ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate], key)?;
    configuration.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(configuration))
}
