//! The real program: `bowline serve`, with a folder of small files as its registry.

use std::{
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde::Deserialize;
use tokio::task::spawn_blocking;

use super::child::Server;
use crate::{
    control,
    crowd::connection::Target,
    security::Security,
    world::{
        Change, World,
        files::{File, MANIFESTS},
    },
};

/// A `bowline serve`.
#[derive(Debug)]
pub struct Bowline {
    world: World,
    program: PathBuf,
    folder: PathBuf,
    security: Security,
    process: Server,
    addresses: Addresses,
    prepared: Option<(PathBuf, PathBuf)>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Addresses {
    xds: Option<SocketAddr>,
    xds_tls: Option<SocketAddr>,
    admin: Option<SocketAddr>,
}

const CONFIGURATION: &str = "bowline.yaml";
/// How long a server may need until it is ready: with ten thousand services and an unoptimised build it is long.
const READY_MAX: Duration = Duration::from_secs(180);
/// A file that nobody reads, in a folder that nobody watches: one that is being prepared.
const PREPARED: &str = "prepared/file";

impl Bowline {
    /// Writes a world as files and starts a server for it. Its state is kept in the folder, so that a server that is started anew has its
    /// last good state.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start(
        world: World,
        program: &Path,
        folder: &Path,
        security: &Security,
    ) -> Result<Self> {
        let prepared = Path::new(PREPARED).parent().and_then(Path::to_str);
        for sub in world
            .inventories()
            .into_iter()
            .chain([MANIFESTS])
            .chain(prepared)
        {
            fs::create_dir_all(folder.join(sub))?;
        }
        for File { path, content } in world.files() {
            fs::write(folder.join(&path), content)
                .with_context(|| format!("cannot write {path}"))?;
        }
        Self::serve(world, program, folder, security).await
    }

    /// Starts a server in a folder that has its files, at ports that are free.
    async fn serve(
        world: World,
        program: &Path,
        folder: &Path,
        security: &Security,
    ) -> Result<Self> {
        let tls = match security {
            Security::Plaintext => String::new(),
            Security::MutualTls(files) => format!(
                "  tls: {{address: \"127.0.0.1:0\", certificate: {:?}, key: {:?}, client_ca: {:?}}}\n",
                files.server_certificate(),
                files.server_key(),
                files.authority()
            ),
        };
        let registries: Vec<String> = world
            .inventories()
            .into_iter()
            .map(|name| format!("- {{name: {name}, inventory: {{path: ./{name}}}}}\n"))
            .collect();
        let configuration = format!(
            "mesh: {{trust_domain: {}}}\nxds:\n  address: 127.0.0.1:0\n{tls}admin: {{address: \"127.0.0.1:0\"}}\n\
             state: {{path: ./state}}\nlog: {{level: warn}}\nmanifests: [./{MANIFESTS}]\nregistries:\n{}",
            crate::security::TRUST_DOMAIN,
            registries.concat()
        );
        fs::write(folder.join(CONFIGURATION), configuration)?;
        let (process, addresses) = launch(program, folder).await?;
        Ok(Self {
            world,
            program: program.to_path_buf(),
            folder: folder.to_path_buf(),
            security: security.clone(),
            process,
            addresses,
            prepared: None,
        })
    }

    /// Another server with the same files and a state of its own, in a folder below this one's.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn replica(&self) -> Result<Self> {
        let folder = self.folder.join("replica");
        for sub in self.world.inventories().into_iter().chain([MANIFESTS]) {
            let target = folder.join(sub);
            fs::create_dir_all(&target)?;
            for file in fs::read_dir(self.folder.join(sub))? {
                let file = file?;
                fs::copy(file.path(), target.join(file.file_name()))?;
            }
        }
        Self::serve(self.world, &self.program, &folder, &self.security).await
    }

    pub(super) fn target(&self) -> Target {
        let address = match self.security {
            Security::Plaintext => self.addresses.xds,
            Security::MutualTls(_) => self.addresses.xds_tls,
        };
        Target {
            address: address.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))),
            tls: self.security.credentials(),
        }
    }

    pub(super) fn process(&self) -> u32 {
        self.process.id()
    }

    pub(super) async fn prepare(&mut self, change: Change) -> Result<()> {
        let File { path, content } = self.world.changed_file(change);
        let fresh = self.folder.join(PREPARED);
        self.prepared = Some((fresh.clone(), self.folder.join(path)));
        // On other threads, here and below: a disk that is busy must not hold up the proxies, which have this one.
        spawn_blocking(move || fs::write(fresh, content)).await??;
        Ok(())
    }

    pub(super) async fn commit(&mut self) -> Result<Instant> {
        let (fresh, path) = self.prepared.take().context("no change was prepared")?;
        let written = format!("cannot write {}", path.display());
        let rename = move || {
            let now = Instant::now();
            fs::rename(fresh, path).map(|()| now)
        };
        spawn_blocking(rename).await?.context(written)
    }

    pub(super) async fn restart(&mut self) -> Result<()> {
        self.process.kill();
        let (process, addresses) = launch(&self.program, &self.folder).await?;
        self.process = process;
        self.addresses = addresses;
        Ok(())
    }
}

async fn launch(program: &Path, folder: &Path) -> Result<(Server, Addresses)> {
    let listening = folder.join("addresses.json");
    // Those of an earlier run would be believed.
    drop(fs::remove_file(&listening));
    let arguments = ["serve", "--config", CONFIGURATION, "--addresses-file"]
        .map(OsString::from)
        .into_iter()
        .chain([listening.clone().into_os_string()])
        .collect::<Vec<_>>();
    let mut process = Server::start("bowline", program, &arguments, &[], folder)?;
    let addresses: Addresses = process.addresses(&listening, READY_MAX).await?;
    let admin = addresses.admin.context("bowline has no admin API")?;
    process
        .until(READY_MAX, "bowline is ready", async || {
            control::get(admin, "/readyz").await.ok()
        })
        .await?;
    Ok((process, addresses))
}
