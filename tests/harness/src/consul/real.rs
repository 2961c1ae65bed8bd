//! Real Consul servers, where there is a program to start them with.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::{
    instance::Instance,
    rows::{Deregistration, Health, Registration},
    tls::{Authority, Clients},
};
use crate::{
    client::{Answer, Request},
    eventually::eventually,
    port::free_port,
    process::Process,
};

/// The environment variable that names a real Consul's program.
const PROGRAM: &str = "CONSUL_BIN";

/// The token that may do everything where tokens are needed.
const ROOT_TOKEN: &str = "5f7c1d0e-6f0b-4b53-8f0e-0e8f3c1a9b77";

/// A real Consul server, which is its own agent. It ends with this value.
#[derive(Debug)]
pub struct RealConsul {
    program: PathBuf,
    folder: PathBuf,
    name: String,
    ports: Ports,
    authority: Authority,
    process: Option<Process>,
}

/// What real servers are like.
#[derive(Debug, Clone)]
pub struct RealConsulBuilder {
    program: PathBuf,
    folder: PathBuf,
    datacenter: String,
    servers: usize,
    tokens: Tokens,
    wide_area: Vec<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tokens {
    Unneeded,
    Needed,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    http: u16,
    https: u16,
    serf_lan: u16,
    serf_wan: u16,
    server: u16,
}

impl RealConsul {
    /// Servers to start in a folder; `None` where `CONSUL_BIN` names no program.
    pub fn builder(folder: &Path) -> Option<RealConsulBuilder> {
        let program = std::env::var_os(PROGRAM).filter(|program| !program.is_empty())?;
        Some(RealConsulBuilder {
            program: program.into(),
            folder: folder.to_owned(),
            datacenter: "dc1".to_owned(),
            servers: 1,
            tokens: Tokens::Unneeded,
            wide_area: Vec::new(),
        })
    }

    /// Where it answers over HTTP.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.http).into()
    }

    /// The same as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Where it answers over HTTPS.
    pub fn https_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.https).into()
    }

    /// The same as a URL.
    pub fn https_url(&self) -> String {
        format!("https://{}", self.https_address())
    }

    /// The authority of its certificate, as PEM.
    pub fn authority(&self) -> &str {
        &self.authority.certificate
    }

    /// The token that may do everything, where tokens are needed.
    pub fn root_token(&self) -> &str {
        ROOT_TOKEN
    }

    /// Kills it.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub async fn kill(&mut self) -> Result<()> {
        match self.process.take() {
            Some(mut process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// Starts it again with what it knew.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_again(&mut self) -> Result<()> {
        let folder = self.folder.display().to_string();
        let configuration = format!("{folder}/{}.json", self.name);
        let arguments = ["agent", "-config-file", &configuration];
        self.process = Some(Process::start(
            &self.name,
            &self.program,
            arguments,
            &self.folder,
        )?);
        Ok(())
    }

    /// Whether it leads the servers of its datacenter now.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn leads(&self) -> Result<bool> {
        let answer = self.get("/v1/status/leader").await?;
        let leader = String::from_utf8_lossy(&answer.body).into_owned();
        Ok(leader.contains(&format!(":{}\"", self.ports.server)))
    }

    /// Asks it.
    ///
    /// # Errors
    /// When it does not answer; other statuses are answers.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.request(Method::GET, path, Bytes::new()).await
    }

    /// Tells it.
    ///
    /// # Errors
    /// When it does not answer that this was done.
    pub async fn put(&self, path: &str, body: impl Into<Bytes>) -> Result<Answer> {
        let answer = self.request(Method::PUT, path, body.into()).await?;
        if !answer.status.is_success() {
            let text = String::from_utf8_lossy(&answer.body);
            bail!("PUT {path}: {} {text}", answer.status);
        }
        Ok(answer)
    }

    /// Registers an instance with its node and its check.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn register(&self, instance: &Instance) -> Result<()> {
        self.write(&instance.registration()).await
    }

    /// Removes an instance with its check; its node stays.
    ///
    /// # Errors
    /// When that is refused.
    pub async fn deregister(&self, instance: &Instance) -> Result<()> {
        self.remove(&instance.removal()).await
    }

    /// Sets the state and the output of an instance's check.
    ///
    /// # Errors
    /// When that is refused.
    pub async fn health(&self, instance: &Instance, health: Health, output: &str) -> Result<()> {
        self.write(&instance.check(health, output)).await
    }

    /// Takes an instance into maintenance.
    ///
    /// # Errors
    /// When that is refused.
    pub async fn start_maintenance(&self, instance: &Instance, reason: &str) -> Result<()> {
        self.write(&instance.maintenance(reason)).await
    }

    /// Takes it out of maintenance.
    ///
    /// # Errors
    /// When that is refused.
    pub async fn end_maintenance(&self, instance: &Instance) -> Result<()> {
        let removal = instance.check_removal(&instance.maintenance_id());
        self.remove(&removal).await
    }

    /// A snapshot of everything that the servers know.
    ///
    /// # Errors
    /// When it cannot be taken.
    pub async fn snapshot(&self) -> Result<Bytes> {
        let answer = self.get("/v1/snapshot").await?;
        if !answer.status.is_success() {
            bail!("no snapshot: {}", answer.status);
        }
        Ok(answer.body)
    }

    /// Restores a snapshot.
    ///
    /// # Errors
    /// When it cannot be restored.
    pub async fn restore(&self, snapshot: Bytes) -> Result<()> {
        self.put("/v1/snapshot", snapshot).await?;
        Ok(())
    }

    /// Makes a token that may read the services with these names' beginnings and all nodes.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn grant<'a>(
        &self,
        token: &str,
        services: impl IntoIterator<Item = &'a str>,
    ) -> Result<()> {
        let policy = json!({"Name": policy_name(token), "Rules": rules(services)});
        self.put("/v1/acl/policy", policy.to_string()).await?;
        let policies = json!([{"Name": policy_name(token)}]);
        let token = json!({"SecretID": token, "AccessorID": token, "Policies": policies});
        self.put("/v1/acl/token", token.to_string()).await?;
        Ok(())
    }

    /// Changes what a token may read that was made here.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn narrow<'a>(
        &self,
        token: &str,
        services: impl IntoIterator<Item = &'a str>,
    ) -> Result<()> {
        let name = policy_name(token);
        let known = self.get(&format!("/v1/acl/policy/name/{name}")).await?;
        let known = known.json()?;
        let id = known.get("ID").and_then(Value::as_str);
        let id = id.context("there is no such policy")?;
        let policy = json!({"Name": name, "Rules": rules(services)});
        self.put(&format!("/v1/acl/policy/{id}"), policy.to_string())
            .await?;
        Ok(())
    }

    /// Makes a token unknown that was made here.
    ///
    /// # Errors
    /// When that is refused.
    pub async fn revoke(&self, token: &str) -> Result<()> {
        let path = format!("/v1/acl/token/{token}");
        let answer = self.request(Method::DELETE, &path, Bytes::new()).await?;
        if !answer.status.is_success() {
            bail!("DELETE {path}: {}", answer.status);
        }
        Ok(())
    }

    async fn write(&self, registration: &Registration) -> Result<()> {
        let body = serde_json::to_vec(registration)?;
        self.put("/v1/catalog/register", body).await?;
        Ok(())
    }

    async fn remove(&self, removal: &Deregistration) -> Result<()> {
        let body = serde_json::to_vec(removal)?;
        self.put("/v1/catalog/deregister", body).await?;
        Ok(())
    }

    async fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Answer> {
        let request = Request {
            body,
            ..Request::get(self.address(), "consul", path).method(method)
        };
        request.header("x-consul-token", ROOT_TOKEN).send().await
    }

    /// Returns when it and all others know each other, and a leader.
    async fn ready(&mut self, servers: usize) -> Result<()> {
        let mut process = self.process.take();
        let ready = eventually("Consul is ready", async || {
            if let Some(process) = &mut process {
                process.alive()?;
            }
            let nodes: Vec<Value> =
                serde_json::from_slice(&self.get("/v1/health/service/consul?passing").await?.body)
                    .context("no answer about its servers")?;
            if nodes.len() < servers {
                bail!("{} servers of {servers} are there", nodes.len());
            }
            Ok(())
        })
        .await;
        self.process = process;
        ready
    }
}

fn policy_name(token: &str) -> String {
    format!("may-{token}")
}

fn rules<'a>(services: impl IntoIterator<Item = &'a str>) -> String {
    let services = services
        .into_iter()
        .map(|prefix| format!("service_prefix \"{prefix}\" {{ policy = \"read\" }}\n"));
    std::iter::once("node_prefix \"\" { policy = \"read\" }\n".to_owned())
        .chain(services)
        .collect()
}

impl RealConsulBuilder {
    /// In another datacenter than `dc1`.
    #[must_use]
    pub fn datacenter(self, name: &str) -> Self {
        Self {
            datacenter: name.to_owned(),
            ..self
        }
    }

    /// So many servers, which elect a leader.
    #[must_use]
    pub fn servers(self, servers: usize) -> Self {
        Self { servers, ..self }
    }

    /// With tokens: who shows none sees nothing.
    #[must_use]
    pub fn tokens(self) -> Self {
        Self {
            tokens: Tokens::Needed,
            ..self
        }
    }

    /// Joined with the datacenter of a server.
    #[must_use]
    pub fn beside(mut self, other: &RealConsul) -> Self {
        self.wide_area.push(other.ports.serf_wan);
        self
    }

    /// Starts them and returns when they have a leader.
    ///
    /// # Errors
    /// When they cannot be started or find no leader.
    pub async fn start(self) -> Result<Vec<RealConsul>> {
        let mut started = Vec::new();
        for number in 0..self.servers {
            started.push(RealConsul {
                program: self.program.clone(),
                folder: self.folder.clone(),
                name: format!("consul-{}-{number}", self.datacenter),
                ports: Ports::free()?,
                authority: Authority::new(Clients::Anyone)?,
                process: None,
            });
        }
        let lan: Vec<_> = started
            .iter()
            .map(|server: &RealConsul| format!("127.0.0.1:{}", server.ports.serf_lan))
            .collect();
        for server in &mut started {
            self.configure(server, &lan)?;
            server.start_again()?;
        }
        for server in &mut started {
            server.ready(self.servers).await?;
        }
        Ok(started)
    }

    fn configure(&self, server: &RealConsul, lan: &[String]) -> Result<()> {
        let path = |what: &str| self.folder.join(format!("{}.{what}", server.name));
        std::fs::write(path("certificate"), &server.authority.serving.certificate)?;
        std::fs::write(path("key"), &server.authority.serving.key)?;
        let Ports {
            http,
            https,
            serf_lan,
            serf_wan,
            server: rpc,
        } = server.ports;
        let wide_area: Vec<_> = self
            .wide_area
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        let mut configuration = json!({
            "datacenter": self.datacenter,
            "node_name": server.name,
            "data_dir": path("data"),
            "server": true,
            "bootstrap_expect": self.servers,
            "bind_addr": "127.0.0.1",
            "client_addr": "127.0.0.1",
            "disable_update_check": true,
            "leave_on_terminate": false,
            "performance": {"raft_multiplier": 1},
            "ports": {
                "http": http, "https": https, "serf_lan": serf_lan, "serf_wan": serf_wan,
                "server": rpc, "dns": -1, "grpc": -1, "grpc_tls": -1,
            },
            "retry_join": lan,
            "retry_interval": "1s",
            "retry_join_wan": wide_area,
            "retry_interval_wan": "1s",
            "tls": {"https": {"cert_file": path("certificate"), "key_file": path("key")}},
        });
        if self.tokens == Tokens::Needed {
            let tokens = json!({
                "enabled": true,
                "default_policy": "deny",
                "tokens": {"initial_management": ROOT_TOKEN, "agent": ROOT_TOKEN},
            });
            if let Some(fields) = configuration.as_object_mut() {
                fields.insert("acl".to_owned(), tokens);
            }
        }
        std::fs::write(path("json"), configuration.to_string())?;
        Ok(())
    }
}

impl Ports {
    fn free() -> Result<Self> {
        Ok(Self {
            http: free_port()?,
            https: free_port()?,
            serf_lan: free_port()?,
            serf_wan: free_port()?,
            server: free_port()?,
        })
    }
}
