//! The test's end of the server.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use parking_lot::Mutex;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::{
    credentials::{Access, Issued},
    failure::Failure,
    fault::{Confined, Fault},
    json::text,
    kind::Kind,
    serve::Serving,
    shared::{Asked, Order, Shared, State, What},
    store::{Key, Place, Shape, Stored},
};
use crate::free_port;

/// The minor version that the server has if nobody says otherwise.
const MINOR: u32 = 36;

/// A running API server with an empty cluster; it ends when it is dropped.
#[derive(Debug)]
pub struct ApiServer {
    address: SocketAddr,
    access: Access,
    shared: Arc<Shared>,
    issued: Arc<Mutex<Issued>>,
    renewals: u32,
    folder: TempDir,
    serving: Option<Serving>,
}

impl ApiServer {
    /// Starts it on a free port of 127.0.0.1, with HTTPS and a bearer token.
    ///
    /// # Errors
    /// When it cannot listen or write its files.
    pub async fn start() -> Result<Self> {
        Self::start_with(Access::Token).await
    }

    /// The same with other ways to get in.
    ///
    /// # Errors
    /// The same.
    pub async fn start_with(access: Access) -> Result<Self> {
        let issued = Issued::new(access, 0)?;
        let shared = Arc::new(Shared::new(issued.credentials.clone(), MINOR));
        shared
            .change(|state| {
                ["default", "kube-system"]
                    .into_iter()
                    .try_for_each(|name| state.store.put(super::objects::namespace(name)).map(drop))
            })
            .map_err(refused)?;
        let mut server = Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)),
            access,
            shared,
            issued: Arc::new(Mutex::new(issued)),
            renewals: 0,
            folder: tempfile::tempdir()?,
            serving: None,
        };
        server.write_files()?;
        server.start_again().await?;
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The path of a kubeconfig, whose context is `cluster`. Files that it names are beside it.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// A kubeconfig that needs no other file.
    pub fn kubeconfig_text(&self) -> String {
        self.issued.lock().inline(self.address)
    }

    /// Creates or replaces an object, status included, and answers with what is stored. The
    /// namespace is made if it is not there.
    ///
    /// # Errors
    /// When its kind is not installed or it has no name.
    pub fn apply(&self, object: Value) -> Result<Value> {
        let stored = self.shared.change(|state| {
            let kind = kind_of(state, &object)?;
            let stored = state.store.put(object).map_err(refused)?;
            Ok::<_, anyhow::Error>((kind, stored))
        })?;
        Ok(shown(&stored.0, &stored.1))
    }

    /// Creates or replaces many objects as one step for whoever watches.
    ///
    /// # Errors
    /// When one cannot be applied; those before it are.
    pub fn apply_all(&self, objects: impl IntoIterator<Item = Value>) -> Result<()> {
        self.shared.change(|state| {
            for object in objects {
                state.store.put(object).map_err(refused)?;
            }
            Ok(())
        })
    }

    /// Deletes the object that has this one's kind, namespace and name.
    ///
    /// # Errors
    /// When there is none.
    pub fn delete(&self, object: &Value) -> Result<()> {
        let namespace = text(object, "/metadata/namespace");
        let name = text(object, "/metadata/name");
        self.shared.change(|state| {
            let kind = kind_of(state, object)?;
            remove(state, &kind, namespace, name)
        })
    }

    /// Deletes an object; a namespace with everything in it, a CustomResourceDefinition with its
    /// kind.
    ///
    /// # Errors
    /// When there is none, or no such resource.
    pub fn remove(&self, resource: &str, namespace: &str, name: &str) -> Result<()> {
        self.shared.change(|state| {
            let kind = state.store.kind(resource);
            let kind = kind.with_context(|| format!("there is no resource {resource}"))?;
            remove(state, &kind, namespace, name)
        })
    }

    /// An object, such as `("services", "shop", "cart")`; the namespace of a cluster's own
    /// objects is empty.
    pub fn object(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let state = self.shared.state();
        let kind = state.store.kind(resource)?;
        let object = state.store.object(&kind, &key(namespace, name))?;
        Some(shown(&kind, &object))
    }

    /// The revision of the last change of any object.
    pub fn revision(&self) -> u64 {
        self.shared.state().store.revision()
    }

    /// Lets something be wrong with every request, until [`ApiServer::heal`].
    pub fn fault(&self, fault: Fault) {
        self.add(None, fault);
    }

    /// The same with requests about one resource only.
    pub fn fault_for(&self, resource: &str, fault: Fault) {
        self.add(Some(resource.to_owned()), fault);
    }

    /// Nothing is wrong any more with requests that come from now on.
    pub fn heal(&self) {
        self.shared.state().faults.clear();
    }

    /// Forgets the history: whoever wants to go on from before now is told that it is gone.
    pub fn compact(&self) {
        self.shared.state().store.compact();
    }

    /// Sends a bookmark to all watches that want one.
    pub fn bookmark(&self) {
        self.order(None, What::Bookmark);
    }

    /// Ends all watches of a resource in the middle by an `ERROR` event with 410.
    pub fn expire_watches(&self, resource: &str) {
        self.order(Some(resource.to_owned()), What::Expire);
    }

    /// Ends all watches of a resource as when their time is over.
    pub fn end_watches(&self, resource: &str) {
        self.order(Some(resource.to_owned()), What::End);
    }

    /// How many watches of a resource are open.
    pub fn watches(&self, resource: &str) -> usize {
        self.shared.watches(resource)
    }

    /// What was asked so far, in order.
    pub fn requests(&self) -> Vec<Asked> {
        self.shared.state().asked.clone()
    }

    /// What was asked since this was called last.
    pub fn take_requests(&self) -> Vec<Asked> {
        std::mem::take(&mut self.shared.state().asked)
    }

    /// Says from now on that it is Kubernetes 1.{minor}, and does what that version can: lists are
    /// streamed in 1.32 and from 1.34 on, discovery is aggregated from 1.30 on.
    pub fn pretend(&self, minor: u32) {
        self.shared.state().minor = minor;
    }

    /// Expires the token; the token file has a new one. Open watches go on.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn renew_token(&mut self) -> Result<()> {
        self.renewals += 1;
        self.issued.lock().renew_token(self.renewals);
        self.let_in()
    }

    /// Replaces authority, certificates and token, in the files and for new connections.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn rotate(&mut self) -> Result<()> {
        self.renewals += 1;
        let issued = Issued::new(self.access, self.renewals)?;
        *self.issued.lock() = issued;
        self.let_in()
    }

    /// Stops listening and closes all connections. What is in the cluster stays.
    pub fn stop(&mut self) {
        self.serving = None;
    }

    /// Listens again on the same port.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start_again(&mut self) -> Result<()> {
        // The one before holds the port until it is gone.
        self.serving = None;
        let listener = once_free(self.address).await?;
        let issued = Arc::clone(&self.issued);
        self.serving = Some(Serving::start(
            listener,
            Arc::clone(&self.shared),
            move || issued.lock().tls.clone(),
        ));
        Ok(())
    }

    /// Closes all connections without a word, and takes new ones.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn break_connections(&mut self) -> Result<()> {
        self.start_again().await
    }

    /// The folder with the kubeconfig and the files that it names: `ca.crt`, `token`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn add(&self, resource: Option<String>, fault: Fault) {
        let confined = Confined { resource, fault };
        self.shared.state().faults.push(confined);
    }

    fn order(&self, resource: Option<String>, what: What) {
        let order = Order { resource, what };
        self.shared.change(|state| state.orders.push(order));
    }

    /// Whom the server lets in is who has what was issued last.
    fn let_in(&self) -> Result<()> {
        let credentials = self.issued.lock().credentials.clone();
        self.shared.state().credentials = credentials;
        self.write_files()
    }

    fn write_files(&self) -> Result<()> {
        self.issued.lock().write(self.folder.path(), self.address)
    }
}

/// A listener as soon as nobody else has the address. Not by [`crate::eventually`], whose future is not known to be `Send` here.
async fn once_free(address: SocketAddr) -> Result<TcpListener> {
    let deadline = Instant::now() + crate::PATIENCE;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(error) if Instant::now() >= deadline => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
}

fn remove(state: &mut State, kind: &Kind, namespace: &str, name: &str) -> Result<()> {
    let removed = state.store.delete(kind, &key(namespace, name));
    removed.map(drop).map_err(refused)
}

fn kind_of(state: &State, object: &Value) -> Result<Arc<Kind>> {
    let (api_version, name) = (text(object, "/apiVersion"), text(object, "/kind"));
    let kind = state.store.kind_of(api_version, name);
    kind.with_context(|| format!("the kind {name} of {api_version} is not installed"))
}

fn shown(kind: &Kind, object: &Stored) -> Value {
    let json = object.show(kind, kind.preferred(), Shape::Whole, Place::Alone);
    serde_json::from_slice(&json).unwrap_or_default()
}

fn key(namespace: &str, name: &str) -> Key {
    Key {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

fn refused(failure: Failure) -> anyhow::Error {
    let status = failure.status();
    anyhow!("{}", text(&status, "/message"))
}
