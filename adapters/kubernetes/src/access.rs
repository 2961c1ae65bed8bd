//! Whose API server is asked, and with which credentials. What is in files is read again whenever they change, and whenever the API
//! server cannot be reached or does not believe who we are: certificates, tokens and authorities rotate.

use std::{error::Error, fmt, path::PathBuf, sync::Arc, time::Duration};

use bowline_document::files::{FileSet, Pace as FilePace, Watch};
use http::{HeaderValue, header::USER_AGENT};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

/// A larger file is not a kubeconfig.
const KUBECONFIG_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How an API server is reached.
#[derive(Clone, PartialEq, Eq)]
pub enum Access {
    /// With the service account of the pod in which the program runs.
    InCluster,
    /// As a kubeconfig file says.
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Which of its contexts; `None` means its current one.
        context: Option<String>,
    },
    /// As the text of a kubeconfig says that somebody else wrote: it may not run commands or read files here.
    Given(Arc<str>),
}

/// Without what was given: it has credentials.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// As messages name it.
impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InCluster => f.write_str("the cluster in which this runs"),
            Self::Kubeconfig { path, context } => {
                write!(f, "kubeconfig {}", path.display())?;
                match context {
                    Some(context) => write!(f, ", context {context}"),
                    None => Ok(()),
                }
            }
            Self::Given(_) => f.write_str("a kubeconfig from a Secret"),
        }
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The kubeconfig cannot be used.
    #[error("{access}: {reason}")]
    Unusable {
        /// Which.
        access: String,
        /// Why.
        reason: String,
    },
    /// A kubeconfig that somebody else wrote asks for what only one's own may.
    #[error(
        "a kubeconfig from a Secret may not use `{field}`, which would let whoever writes the Secret act as this server: {instead}"
    )]
    Forbidden {
        /// The field.
        field: &'static str,
        /// What to do.
        instead: &'static str,
    },
}

impl Access {
    /// A client with the credentials of now.
    ///
    /// # Errors
    /// When they cannot be read, or are not allowed.
    pub async fn client(&self) -> Result<Client, AccessError> {
        let mut config = self.config().await?;
        // Watches are silent for long, and try again by themselves.
        config.connect_timeout = Some(Duration::from_secs(10));
        config.read_timeout = None;
        config.write_timeout = None;
        config.default_retry = false;
        let agent = HeaderValue::from_static(concat!("bowline/", env!("CARGO_PKG_VERSION")));
        config.headers.push((USER_AGENT, agent));
        Client::try_from(config).map_err(|error| self.unusable(&error))
    }

    async fn config(&self) -> Result<Config, AccessError> {
        match self {
            Self::InCluster => Config::incluster().map_err(|error| self.unusable(&error)),
            Self::Kubeconfig { path, context } => {
                let options = KubeConfigOptions {
                    context: context.clone(),
                    cluster: None,
                    user: None,
                };
                let kubeconfig =
                    Kubeconfig::read_from(path).map_err(|error| self.unusable(&error))?;
                let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
                config.map_err(|error| self.unusable(&error))
            }
            Self::Given(text) => {
                let kubeconfig =
                    Kubeconfig::from_yaml(text).map_err(|error| self.unusable(&error))?;
                check_given(&kubeconfig)?;
                let options = KubeConfigOptions::default();
                let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
                config.map_err(|error| self.unusable(&error))
            }
        }
    }

    fn unusable(&self, error: &dyn Error) -> AccessError {
        AccessError::Unusable {
            access: self.to_string(),
            reason: with_causes(error),
        }
    }
}

/// An error with what led to it.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Whoever may write a Secret must not thereby run commands here, read files here, or have credentials sent to whoever answers.
fn check_given(kubeconfig: &Kubeconfig) -> Result<(), AccessError> {
    let forbid = |is_used: bool, field, instead| match is_used {
        true => Err(AccessError::Forbidden { field, instead }),
        false => Ok(()),
    };
    let users = kubeconfig.auth_infos.iter();
    for user in users.filter_map(|user| user.auth_info.as_ref()) {
        const TOKEN: &str =
            "write the token of a service account, as `istioctl create-remote-secret` does";
        const DATA: &str = "write its content into the field of this name that ends in `-data`";
        forbid(user.exec.is_some(), "exec", TOKEN)?;
        forbid(user.auth_provider.is_some(), "auth-provider", TOKEN)?;
        forbid(user.token_file.is_some(), "tokenFile", TOKEN)?;
        forbid(
            user.client_certificate.is_some(),
            "client-certificate",
            DATA,
        )?;
        forbid(user.client_key.is_some(), "client-key", DATA)?;
    }
    let clusters = kubeconfig.clusters.iter();
    for cluster in clusters.filter_map(|cluster| cluster.cluster.as_ref()) {
        forbid(
            cluster.certificate_authority.is_some(),
            "certificate-authority",
            "write its content into `certificate-authority-data`",
        )?;
        forbid(
            cluster.insecure_skip_tls_verify == Some(true),
            "insecure-skip-tls-verify",
            "write the authority of the API server into `certificate-authority-data`",
        )?;
    }
    Ok(())
}

/// The newest client, for everybody who asks the same API server.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    newest: watch::Receiver<Newest>,
    renew: mpsc::Sender<u64>,
}

/// A client, or why there is none.
#[derive(Clone, Default)]
pub(crate) struct Newest {
    /// Counts clients; 0 before the first.
    pub(crate) generation: u64,
    pub(crate) client: Option<Result<Client, String>>,
}

impl fmt::Debug for Newest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {}", self.generation)
    }
}

impl Clients {
    /// Clients, and what makes them.
    pub(crate) fn new(access: Access) -> (Self, Keeper) {
        let (publish, newest) = watch::channel(Newest::default());
        let (renew, asked) = mpsc::channel(1);
        let keeper = Keeper {
            access,
            publish,
            asked,
        };
        (Self { newest, renew }, keeper)
    }

    /// The newest client, once there is one.
    pub(crate) async fn newest(&mut self) -> Newest {
        let newest = self.newest.wait_for(|newest| newest.client.is_some());
        let newest = newest.await.map(|newest| newest.clone());
        match newest {
            Ok(newest) => newest,
            // Who makes them has ended, and so will everybody else.
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits until there is another client than this one.
    pub(crate) async fn other_than(&mut self, generation: u64) {
        let other = |newest: &Newest| newest.generation != generation;
        let has_ended = self.newest.wait_for(other).await.is_err();
        if has_ended {
            std::future::pending::<()>().await;
        }
    }

    /// Asks for a client with new credentials, as this one does not work.
    pub(crate) fn renew(&self, generation: u64) {
        // Somebody else has asked already if there is no room.
        let _ = self.renew.try_send(generation);
    }
}

/// Makes clients.
#[derive(Debug)]
pub(crate) struct Keeper {
    access: Access,
    publish: watch::Sender<Newest>,
    asked: mpsc::Receiver<u64>,
}

/// Clients are not made more often.
const RENEWAL_PAUSE: Duration = Duration::from_millis(500);

impl Keeper {
    /// Makes a client, and another whenever somebody asks for one or the kubeconfig changes.
    pub(crate) async fn run(mut self) {
        let mut kubeconfig = match &self.access {
            Access::Kubeconfig { path, .. } => {
                let set = FileSet {
                    paths: vec![path.clone()],
                    extensions: &[],
                    bytes_max: KUBECONFIG_BYTES_MAX,
                };
                Some(Watch::new(set, FilePace::default()))
            }
            Access::InCluster | Access::Given(_) => None,
        };
        // The first reading comes at once, and says what the first client is made of.
        let mut reading = match &mut kubeconfig {
            Some(file) => Some(file.next().await),
            None => None,
        };
        loop {
            let client = self.access.client().await;
            let client = client.map_err(|error| error.to_string());
            self.publish.send_modify(|newest| {
                newest.generation += 1;
                newest.client = Some(client);
            });
            let generation = self.publish.borrow().generation;
            sleep(RENEWAL_PAUSE).await;
            loop {
                tokio::select! {
                    asked = self.asked.recv() => match asked {
                        // Others ask for the same reason, and may do so late.
                        Some(asked) if asked < generation => {}
                        Some(_) => break,
                        None => return,
                    },
                    now = changed(&mut kubeconfig) => {
                        if reading.as_ref() != Some(&now) {
                            reading = Some(now);
                            break;
                        }
                    }
                }
            }
        }
    }
}

async fn changed(file: &mut Option<Watch>) -> bowline_document::files::Reading {
    match file {
        Some(file) => file.next().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_kubeconfig_may_not_run_commands_or_read_files() {
        let kubeconfig = |user: &str, cluster: &str| {
            let text = format!(
                "{{clusters: [{{name: c, cluster: {{server: 'https://c', {cluster}}}}}], users: [{{name: u, user: {{{user}}}}}]}}"
            );
            check_given(&Kubeconfig::from_yaml(&text).unwrap())
        };
        let cases = [
            ("token: t", "certificate-authority-data: QQ==", None),
            ("exec: {command: sh}", "", Some("exec")),
            (
                "auth-provider: {name: gcp, config: {}}",
                "",
                Some("auth-provider"),
            ),
            ("tokenFile: /etc/shadow", "", Some("tokenFile")),
            ("client-certificate: /c", "", Some("client-certificate")),
            ("client-key: /k", "", Some("client-key")),
            (
                "",
                "certificate-authority: /a",
                Some("certificate-authority"),
            ),
            (
                "",
                "insecure-skip-tls-verify: true",
                Some("insecure-skip-tls-verify"),
            ),
        ];
        for (user, cluster, forbidden) in cases {
            let found = match kubeconfig(user, cluster) {
                Ok(()) => None,
                Err(AccessError::Forbidden { field, .. }) => Some(field),
                Err(other) => panic!("{other}"),
            };
            assert_eq!(found, forbidden, "{user} {cluster}");
        }
    }
}
