//! What the configuration says about a Consul.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

/// Where Consul is, and what of it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsulSettings {
    /// Agents or servers, in the order in which they are preferred. At least one.
    pub addresses: Vec<AgentAddress>,
    /// The datacenter of the agents; asked of them where it is not said.
    pub datacenter: Option<Arc<str>>,
    /// Datacenters that are read, in the order in which they stand in for each other; the agents' own where there are none.
    pub datacenters: Vec<Arc<str>>,
    /// The partition that is read; the agents' own where there is none.
    pub partition: Option<Arc<str>>,
    /// Consul's namespaces that are read; `default` where there are none.
    pub namespaces: Vec<Arc<str>>,
    /// Peers of which what they export is read.
    pub peers: Vec<Arc<str>>,
    /// Where the ACL token is. The file is read again when it changes.
    pub token_file: Option<PathBuf>,
    /// How agents are verified, and what they are shown, on `https` addresses.
    pub tls: TlsFiles,
    /// Connections to each agent.
    pub connections_max: usize,
    /// An answer of a server that heard from its leader longer ago is not believed.
    pub stale_max: Duration,
    /// Everything is read anew within twice this time, and not sooner than after once.
    pub reread_after: Duration,
    /// The number by which services are called that say none; that of their instances where it is not said.
    pub service_port: Option<u16>,
}

impl ConsulSettings {
    /// Connections to each agent, where nothing else is said: far from the 200 that an agent allows to one client.
    pub const CONNECTIONS_MAX: usize = 64;
    /// [`Self::stale_max`], where nothing else is said.
    pub const STALE_MAX: Duration = Duration::from_secs(10);
    /// [`Self::reread_after`], where nothing else is said.
    pub const REREAD_AFTER: Duration = Duration::from_secs(300);

    /// Agents at these addresses, and everything else as it is where nothing is said.
    pub fn at(addresses: Vec<AgentAddress>) -> Self {
        Self {
            addresses,
            datacenter: None,
            datacenters: Vec::new(),
            partition: None,
            namespaces: Vec::new(),
            peers: Vec::new(),
            token_file: None,
            tls: TlsFiles::default(),
            connections_max: Self::CONNECTIONS_MAX,
            stale_max: Self::STALE_MAX,
            reread_after: Self::REREAD_AFTER,
            service_port: None,
        }
    }
}

/// Files for TLS to agents, as PEM. They are read for every new connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Who may have issued the agents' certificates.
    pub ca: Option<PathBuf>,
    /// Our certificate, where agents ask for one.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// The name in the agents' certificates, where that is not the one in their address: `server.dc1.consul`.
    pub server_name: Option<String>,
}

/// Where an agent listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentAddress {
    /// `http://host:port`
    Http(HostPort),
    /// `https://host:port`
    Https(HostPort),
    /// `unix:///path`
    Unix(PathBuf),
}

/// A host, which may have several addresses, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// An IP address or a DNS name.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Why a text is not an agent's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not the address of a Consul agent: {reason}")]
pub struct AgentAddressError {
    text: String,
    reason: &'static str,
}

impl FromStr for AgentAddress {
    type Err = AgentAddressError;

    fn from_str(text: &str) -> Result<Self, AgentAddressError> {
        let error = |reason| AgentAddressError {
            text: text.to_owned(),
            reason,
        };
        if let Some(path) = text.strip_prefix("unix://") {
            return match Path::new(path).is_absolute() {
                true => Ok(Self::Unix(path.into())),
                false => Err(error(
                    "the path of the socket must be absolute: `unix:///run/consul.sock`",
                )),
            };
        }
        let (is_https, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            (None, None) => return Err(error("it begins with `http://`, `https://` or `unix://`")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '@', '?', '#']) {
            return Err(error("it is a host and a port, without user or path"));
        }
        let default = if is_https { 8501 } else { 8500 };
        let (host, port) = match rest.strip_prefix('[') {
            Some(bracketed) => match bracketed.split_once(']') {
                Some((host, "")) => (host, None),
                // What does not begin with a colon is no port, and is refused as one.
                Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or(""))),
                None => return Err(error("a `]` is missing")),
            },
            None => match rest.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let port = match port.map(str::parse).transpose() {
            Ok(Some(0)) | Err(_) => return Err(error("the port is none from 1 to 65535")),
            Ok(port) => port.unwrap_or(default),
        };
        let is_ip = host.parse::<std::net::IpAddr>().is_ok();
        if !is_ip && host.parse::<bowline_mesh::Hostname>().is_err() {
            return Err(error("the host is neither an IP address nor a DNS name"));
        }
        let host = HostPort {
            host: host.to_owned(),
            port,
        };
        Ok(match is_https {
            true => Self::Https(host),
            false => Self::Http(host),
        })
    }
}

impl fmt::Display for AgentAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(host) => write!(f, "http://{host}"),
            Self::Https(host) => write!(f, "https://{host}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match host.contains(':') {
            true => write!(f, "[{host}]:{port}"),
            false => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_written() {
        let cases = [
            ("http://127.0.0.1:8500", "http://127.0.0.1:8500"),
            ("http://consul.service/", "http://consul.service:8500"),
            ("https://consul.example", "https://consul.example:8501"),
            ("https://[::1]:1", "https://[::1]:1"),
            ("http://[fe80::1]", "http://[fe80::1]:8500"),
            ("unix:///run/consul.sock", "unix:///run/consul.sock"),
        ];
        for (text, expected) in cases {
            let address = text.parse::<AgentAddress>().unwrap();
            assert_eq!(address.to_string(), expected, "{text}");
        }
        for text in [
            "",
            "127.0.0.1:8500",
            "ftp://a",
            "http://",
            "http://a:0",
            "http://a:x",
            "http://a:70000",
            "http://user@a",
            "http://a/path",
            "http://[::1",
            "http://[::1]8500",
            "http://a b",
            "unix://relative",
        ] {
            let _ = text.parse::<AgentAddress>().unwrap_err();
        }
    }
}
