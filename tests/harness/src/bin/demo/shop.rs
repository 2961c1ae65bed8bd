//! The parts of the demo: control plane, backends, Envoys, and the files that they follow.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bowline_harness::{Bowline, Envoy, HttpBackend, Request, within};
use xtask::workspace;

/// Where the gateway listens, as manifests/gateway.yaml says.
const GATEWAY_PORT: u16 = 10_080;
/// Where the sidecar takes HTTP requests of the application beside it: Bowline's default.
const SIDECAR_PORT: u16 = 15_080;
/// Where the control plane listens, as bowline.yaml says.
const BOWLINE_PORTS: [u16; 3] = [15_010, 15_012, 15_014];
/// The machines, as inventory.yaml says, and one that is not in it yet.
const MACHINES: [(&str, u16); 4] = [
    ("cart-1 (version 1)", 18_081),
    ("cart-2 (version 2)", 18_082),
    ("catalog-1", 18_083),
    (NEW_MACHINE, 18_084),
];

/// The backend that joins while requests run.
pub(crate) const NEW_MACHINE: &str = "cart-3 (version 2)";
/// The one backend of version 1.
pub(crate) const OLD_VERSION: &str = "cart-1 (version 1)";

const NEW_MACHINE_ENTRY: &str = "  - name: cart-3
    address: 127.0.0.1
    services: [cart, cart-v2]
    ports: {http: 18084}
    labels: {version: v2}
    service_account: cart
";

/// Everything that runs.
pub(crate) struct Shop {
    folder: PathBuf,
    gateway: Envoy,
    sidecar: Envoy,
    bowline: Bowline,
    _backends: Vec<HttpBackend>,
}

/// Where the demo works: on a copy of the quick start's files.
pub(crate) fn folder() -> PathBuf {
    workspace::target().join("demo")
}

impl Shop {
    pub(crate) async fn open() -> Result<Self> {
        // Those of a demo that was just ended are free in a moment.
        within(
            Duration::from_secs(3),
            "the demo cannot start",
            async || ports_are_free(),
        )
        .await?;
        let folder = folder();
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        copy(&workspace::root().join("examples/quickstart"), &folder)?;

        let mut backends = Vec::new();
        for (name, port) in MACHINES {
            backends.push(HttpBackend::start_on(name, loopback(port)).await?);
        }
        let bowline = Bowline::start_as_configured(&folder).await?;

        let node = ["--role", "gateway", "--name", "edge", "--namespace", "shop"];
        let bootstrap = bootstrap_of(&bowline, &node, &[]).await?;
        let mut gateway = Envoy::start("gateway", &bootstrap, &folder).await?;

        let certificates = folder.join("certificates");
        let certificates = certificates
            .to_str()
            .context("the folder's name is not UTF-8")?;
        let identity = "spiffe://shop.example/ns/shop/sa/frontend";
        bowline
            .output(&["ca", "issue", "--identity", identity, "--out", certificates])
            .await?;
        let node = [
            "--role",
            "sidecar",
            "--name",
            "frontend-1",
            "--namespace",
            "shop",
        ];
        let bootstrap = bootstrap_of(&bowline, &node, &["--cert-dir", certificates]).await?;
        let mut sidecar = Envoy::start("sidecar", &bootstrap, &folder).await?;

        gateway.ready().await?;
        sidecar.ready().await?;
        Ok(Self {
            folder,
            gateway,
            sidecar,
            bowline,
            _backends: backends,
        })
    }

    /// A request from outside the mesh.
    pub(crate) fn request_from_outside(path: &str) -> Request {
        Request::get(loopback(GATEWAY_PORT), "shop.example", path)
    }

    /// A request of the application beside the sidecar.
    pub(crate) fn request_from_inside(service: &str) -> Request {
        Request::get(loopback(SIDECAR_PORT), service, "/")
    }

    /// Sends every request for the cart to version 2, and says when.
    pub(crate) fn move_to_version_2(&self) -> Result<Instant> {
        self.edit("manifests/routes.yaml", |text| {
            text.replace("weight: 90", "weight: 0")
                .replace("weight: 10", "weight: 100")
        })
    }

    /// Adds a machine to the inventory, and says when.
    pub(crate) fn add_machine(&self) -> Result<Instant> {
        self.edit("inventory.yaml", |text| {
            format!("{text}{NEW_MACHINE_ENTRY}")
        })
    }

    /// Takes it away again, and says when.
    pub(crate) fn remove_machine(&self) -> Result<Instant> {
        self.edit("inventory.yaml", |text| text.replace(NEW_MACHINE_ENTRY, ""))
    }

    /// Succeeds when no Envoy has rejected anything.
    pub(crate) async fn nothing_was_rejected(&self) -> Result<()> {
        self.gateway.rejected_nothing().await?;
        self.sidecar.rejected_nothing().await
    }

    pub(crate) fn what_to_try(&self) -> String {
        let program = workspace::target().join("debug/bowline");
        let program = program.display();
        let folder = self.folder.display();
        format!(
            "
It stays up until Ctrl-C. To try:
  curl http://127.0.0.1:{GATEWAY_PORT}/                           through the gateway, to the cart
  curl http://127.0.0.1:{GATEWAY_PORT}/catalog                    through the gateway, to the catalog
  curl -H 'Host: cart' http://127.0.0.1:{SIDECAR_PORT}/           as the application beside the sidecar
  {program} proxies --config {folder}/bowline.yaml
  edit {folder}/manifests/routes.yaml     weights, paths, headers
  edit {folder}/inventory.yaml            a fourth machine answers on port 18084
  http://{gateway}/ and http://{sidecar}/ are the admin pages of gateway and sidecar,
  http://{admin}/metrics has Bowline's metrics",
            gateway = self.gateway.admin(),
            sidecar = self.sidecar.admin(),
            admin = self.bowline.addresses().admin,
        )
    }

    /// Never ends while everything runs.
    pub(crate) async fn stays_up(&mut self) -> Result<()> {
        let mut looks = tokio::time::interval(Duration::from_secs(1));
        loop {
            looks.tick().await;
            self.bowline.alive()?;
            self.gateway.alive()?;
            self.sidecar.alive()?;
        }
    }

    /// Changes a file as an editor does: the new text appears at once.
    fn edit(&self, file: &str, change: impl Fn(&str) -> String) -> Result<Instant> {
        let path = self.folder.join(file);
        let failed = || format!("cannot change {}", path.display());
        let before = fs::read_to_string(&path).with_context(failed)?;
        let after = change(&before);
        if before == after {
            bail!("{} has nothing to change: was it edited?", path.display());
        }
        let fresh = self.folder.join("edited");
        fs::write(&fresh, after).with_context(failed)?;
        let changed = Instant::now();
        fs::rename(&fresh, &path).with_context(failed)?;
        Ok(changed)
    }
}

async fn bootstrap_of(bowline: &Bowline, node: &[&str], further: &[&str]) -> Result<String> {
    let command = [&["bootstrap", "--admin-port", "0"], node, further].concat();
    bowline.output(&command).await
}

fn ports_are_free() -> Result<()> {
    let machines = MACHINES.map(|(_, port)| port);
    for port in [GATEWAY_PORT, SIDECAR_PORT]
        .iter()
        .chain(&BOWLINE_PORTS)
        .chain(&machines)
    {
        TcpListener::bind(loopback(*port))
            .with_context(|| format!("the demo needs port {port}: end what uses it"))?;
    }
    Ok(())
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let failed = || format!("cannot copy {} to {}", from.display(), to.display());
    fs::create_dir_all(to).with_context(failed)?;
    for entry in fs::read_dir(from).with_context(failed)? {
        let entry = entry.with_context(failed)?;
        let target = to.join(entry.file_name());
        if entry.file_type().with_context(failed)?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target).with_context(failed)?;
        }
    }
    Ok(())
}
