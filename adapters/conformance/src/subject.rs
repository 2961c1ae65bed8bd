//! What an adapter provides to be tested.

use std::{future::Future, net::Ipv4Addr};

use bowline_mesh::{Locality, Object, RegistryEvent, RegistrySettings};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// One application in a source: a service with one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct App {
    /// Name of the service, and whatever else needs one.
    pub name: String,
    /// `None` writes no namespace at all.
    pub namespace: Option<String>,
    /// Where its one endpoint is.
    pub address: Ipv4Addr,
    /// Port of service and endpoint, named `http`, speaking HTTP.
    pub port: u16,
}

impl App {
    /// An application that names no namespace.
    pub fn new(name: &str, address: [u8; 4]) -> Self {
        Self {
            name: name.to_owned(),
            namespace: None,
            address: address.into(),
            port: 8080,
        }
    }
}

/// A source that the test controls, and the adapter that watches it.
///
/// What is written is complete when the method returns, however the source takes it; the test waits for events, never for time.
pub trait Subject: Sized + Send {
    /// A source of its own that is there and has nothing.
    fn new() -> impl Future<Output = Self> + Send;

    /// The adapter, watching the source. `last_good` is what the mesh last had from it. Must not borrow from the subject.
    fn run(
        &self,
        settings: RegistrySettings,
        last_good: Vec<Object>,
        events: mpsc::Sender<RegistryEvent>,
        shutdown: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static;

    /// Makes the source contain exactly these, whatever it was before: broken and missing ones are mended.
    fn put(&mut self, apps: &[App]) -> impl Future<Output = ()> + Send;

    /// As [`Subject::put`], but in several pieces with time for the adapter to look between them, where the source can be caught half-written.
    fn put_in_pieces(&mut self, apps: &[App]) -> impl Future<Output = ()> + Send {
        self.put(apps)
    }

    /// As [`Subject::put`], but what is written about the one with this name is wrong: a port of 0, for instance.
    fn put_with_one_broken(
        &mut self,
        apps: &[App],
        broken: &str,
    ) -> impl Future<Output = ()> + Send;

    /// Makes the source answer with garbage.
    fn break_all(&mut self) -> impl Future<Output = ()> + Send;

    /// Takes the source away: no file, no connection.
    fn take_away(&mut self) -> impl Future<Output = ()> + Send;
}

/// The settings with which adapters are tested.
pub fn settings() -> Result<RegistrySettings, Box<dyn std::error::Error + Send + Sync>> {
    let mut settings = RegistrySettings::new(
        "tested".parse()?,
        "mesh.example".parse()?,
        "cluster.local".parse()?,
        "fallback".parse()?,
    );
    settings.hostname_template = "{name}.{namespace}.test.{domain}".parse()?;
    settings.network = "test-net".parse()?;
    settings.locality = Locality::new("region", "zone", "");
    Ok(settings)
}
