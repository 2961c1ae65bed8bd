//! The files by which clients come in: kubeconfig, authority, token, certificate.

use std::{fs, net::SocketAddr, path::Path, sync::Arc};

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};

use super::shared::Credentials;

/// How clients get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// HTTP for everybody, as behind `kubectl proxy`.
    Open,
    /// HTTPS with a bearer token, which clients read from a file: as service accounts do.
    Token,
    /// HTTPS with a client certificate, as administrators do.
    Certificate,
}

/// One authority with what it has issued.
#[derive(Debug)]
pub(super) struct Issued {
    access: Access,
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) credentials: Credentials,
    authority: String,
    token: String,
    certificate: String,
    key: String,
}

impl Issued {
    /// Everything anew; `count` makes the token different from those before it.
    pub(super) fn new(access: Access, count: u32) -> Result<Self> {
        let authority_key = KeyPair::generate()?;
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters
            .distinguished_name
            .push(DnType::CommonName, format!("kubernetes-{count}"));
        let authority = parameters.self_signed(&authority_key)?;
        let issuer = Issuer::new(parameters, authority_key);

        let server_key = KeyPair::generate()?;
        let names = ["127.0.0.1", "localhost", "kubernetes.default.svc"];
        let mut parameters = CertificateParams::new(names.map(str::to_owned))?;
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let server = parameters.signed_by(&server_key, &issuer)?;

        let client_key = KeyPair::generate()?;
        let mut parameters = CertificateParams::default();
        parameters
            .distinguished_name
            .push(DnType::CommonName, "bowline");
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let client = parameters.signed_by(&client_key, &issuer)?;

        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()?;
        let mut configuration = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![server.der().clone()],
                PrivateKeyDer::from(PrivatePkcs8KeyDer::from(server_key.serialize_der())),
            )?;
        configuration.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let token = format!("token-{}-{count}", client_key.serialize_der().len());
        Ok(Self {
            access,
            tls: match access {
                Access::Open => None,
                Access::Token | Access::Certificate => Some(Arc::new(configuration)),
            },
            credentials: match access {
                Access::Open => Credentials::Everybody,
                Access::Token => Credentials::Token(token.clone()),
                Access::Certificate => Credentials::Certificate,
            },
            authority: authority.pem(),
            token,
            certificate: client.pem(),
            key: client_key.serialize_pem(),
        })
    }

    /// Makes the token one that is not known.
    pub(super) fn renew_token(&mut self, count: u32) {
        self.token = format!("token-renewed-{count}");
        if self.access == Access::Token {
            self.credentials = Credentials::Token(self.token.clone());
        }
    }

    /// Writes the kubeconfig and the files that it names.
    pub(super) fn write(&self, folder: &Path, address: SocketAddr) -> Result<()> {
        replace(&folder.join("ca.crt"), &self.authority)?;
        replace(&folder.join("token"), &self.token)?;
        replace(&folder.join("client.crt"), &self.certificate)?;
        replace(&folder.join("client.key"), &self.key)?;
        let file = |name: &str| folder.join(name).display().to_string();
        let (cluster, user) = match self.access {
            Access::Open => (String::new(), "{}".to_owned()),
            Access::Token => (
                format!(", certificate-authority: {}", file("ca.crt")),
                format!("{{tokenFile: {}}}", file("token")),
            ),
            Access::Certificate => (
                format!(", certificate-authority: {}", file("ca.crt")),
                format!(
                    "{{client-certificate: {}, client-key: {}}}",
                    file("client.crt"),
                    file("client.key")
                ),
            ),
        };
        let text = kubeconfig(self.access, address, &cluster, &user);
        replace(&folder.join("kubeconfig"), &text)
    }

    /// A kubeconfig that needs no other file.
    pub(super) fn inline(&self, address: SocketAddr) -> String {
        let authority = format!(
            ", certificate-authority-data: {}",
            STANDARD.encode(&self.authority)
        );
        match self.access {
            Access::Open => kubeconfig(self.access, address, "", "{}"),
            Access::Token => {
                let user = format!("{{token: {}}}", self.token);
                kubeconfig(self.access, address, &authority, &user)
            }
            Access::Certificate => {
                let user = format!(
                    "{{client-certificate-data: {}, client-key-data: {}}}",
                    STANDARD.encode(&self.certificate),
                    STANDARD.encode(&self.key)
                );
                kubeconfig(self.access, address, &authority, &user)
            }
        }
    }
}

fn kubeconfig(access: Access, address: SocketAddr, cluster: &str, user: &str) -> String {
    let scheme = match access {
        Access::Open => "http",
        Access::Token | Access::Certificate => "https",
    };
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         clusters:\n\
         - name: cluster\n  cluster: {{server: '{scheme}://{address}'{cluster}}}\n\
         users:\n\
         - name: bowline\n  user: {user}\n\
         contexts:\n\
         - name: cluster\n  context: {{cluster: cluster, user: bowline}}\n\
         current-context: cluster\n"
    )
}

/// Writes a file so that nobody reads half of it.
fn replace(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text).with_context(|| format!("cannot write {}", new.display()))?;
    fs::rename(&new, path).with_context(|| format!("cannot write {}", path.display()))
}
