//! What large datacenters cost, with a real Consul: `CONSUL_BIN=/usr/bin/consul cargo bench -p bowline-consul`. With `-- 5000 http` only rows
//! of which all words are said.
//!
//! The adapter runs in this process, whose processor time is measured. Consul, what writes to it, and the relay between the two that counts
//! bytes and connections are processes of their own. Beside the adapter a bare client asks about the service that is changed: what is late there is
//! late in Consul, or because the machine is busy.

mod bare;
mod child;
mod load;
mod watched;

use std::time::Duration;

use anyhow::Result;
use bowline_consul::{ConsulSettings, TlsFiles};
use bowline_harness::consul::RealConsul;

use load::Size;
use watched::Watched;

/// For how long something is watched that goes on all the time.
const WHILE: Duration = Duration::from_secs(20);
/// Changes of another service meanwhile.
const CHANGES: usize = 100;

const LARGE: Size = Size {
    services: 5000,
    instances: 5,
    hot: 2000,
};
const SMALL: Size = Size {
    services: 20,
    instances: 5,
    hot: 2000,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Https,
    Http,
}

impl Transport {
    fn scheme(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
        }
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    match arguments.as_slice() {
        ["relay", to] => runtime.block_on(child::relay(to.parse()?)),
        ["flip", consul] => runtime.block_on(load::flip(consul.parse()?)),
        words => runtime.block_on(measure(words)),
    }
}

#[expect(clippy::print_stdout, reason = "what a benchmark is for")]
async fn measure(words: &[&str]) -> Result<()> {
    println!("{}", Figures::HEADER);
    for size in [SMALL, LARGE] {
        let mut transports = vec![Transport::Https, Transport::Http];
        transports.retain(|transport| {
            let name = [&size.services.to_string(), transport.scheme()];
            // What begins with a dash is for Cargo.
            let mut wanted = words.iter().filter(|word| !word.starts_with('-'));
            wanted.all(|word| name.contains(word))
        });
        if transports.is_empty() {
            continue;
        }
        let folder = tempfile::tempdir()?;
        let Some(builder) = RealConsul::builder(folder.path()) else {
            println!("CONSUL_BIN names no Consul: nothing is measured");
            return Ok(());
        };
        let servers = builder.start().await?;
        let [server] = servers.as_slice() else {
            anyhow::bail!("one server was asked for");
        };
        load::register(server, size).await?;
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, server.authority())?;
        for transport in transports {
            let tls = TlsFiles {
                ca: Some(ca.clone()),
                ..TlsFiles::default()
            };
            println!("{}", figures(server, size, transport, tls).await?);
        }
    }
    Ok(())
}

async fn figures(
    server: &RealConsul,
    size: Size,
    transport: Transport,
    tls: TlsFiles,
) -> Result<Figures> {
    let scheme = transport.scheme();
    let address = match transport {
        Transport::Https => server.https_address(),
        Transport::Http => server.address(),
    };
    let relay = child::Relay::start(address).await?;
    let url = format!("{scheme}://{}", relay.address);
    let settings = ConsulSettings {
        tls,
        ..ConsulSettings::at(vec![url.parse()?])
    };
    let mut watched = Watched::start(settings);
    let loaded = watched.until_loaded(size).await?;
    let connections = relay.counts().await?.connections_peak;

    let idle = watched.cost_of(WHILE).await?;
    let mode = watched.mode();

    let flipping = child::Flipping::start(server.address())?;
    // What the first flips cost more than those that follow is not what is asked for.
    watched.cost_of(WHILE / 10).await?;
    let before = relay.counts().await?;
    let hot = watched.cost_of(WHILE).await?;
    let bytes = relay.counts().await?.bytes - before.bytes;
    let busy = watched.latencies(server, CHANGES).await?;
    drop(flipping);
    watched.cost_of(WHILE / 10).await?;
    let quiet = watched.latencies(server, CHANGES).await?;
    watched.stop().await;
    Ok(Figures {
        name: format!("{} services, {scheme}, {mode}", size.services),
        loaded,
        connections,
        idle,
        hot,
        megabytes_per_second: bytes as f64 / 1e6 / WHILE.as_secs_f64(),
        quiet,
        busy,
        machine: machine_load()?,
    })
}

/// The mean of the last minute, this and Consul included.
fn machine_load() -> Result<String> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}

/// A row of the table.
#[derive(Debug)]
struct Figures {
    name: String,
    loaded: Duration,
    connections: usize,
    /// Parts of one core.
    idle: f64,
    hot: f64,
    megabytes_per_second: f64,
    quiet: Latencies,
    busy: Latencies,
    /// What wants the processors, as Linux says it.
    machine: String,
}

/// How late changes are.
#[derive(Debug)]
struct Latencies {
    /// Until Consul says that it has written it.
    written: Spread,
    /// Until a bare query has it.
    asked: Spread,
    /// Until the mesh is told.
    told: Spread,
}

#[derive(Debug)]
struct Spread {
    median: Duration,
    last: Duration,
}

impl Spread {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self {
            median: times.get(times.len() / 2).copied().unwrap_or_default(),
            last: times.last().copied().unwrap_or_default(),
        }
    }
}

impl Figures {
    const HEADER: &str = "| | loaded in | connections | idle | 150 flips/s: core | from Consul | a change, quiet: written, bare query, mesh | \
        the same during the flips | load |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |";
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            name,
            loaded,
            connections,
            idle,
            hot,
            megabytes_per_second,
            quiet,
            busy,
            machine,
        } = self;
        write!(
            f,
            "| {name} | {:.1} s | {connections} | {:.1} % | {:.1} % | {megabytes_per_second:.1} MB/s | {quiet} | {busy} | {machine} |",
            loaded.as_secs_f64(),
            idle * 100.0,
            hot * 100.0,
        )
    }
}

impl std::fmt::Display for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            written,
            asked,
            told,
        } = self;
        write!(f, "{written}, {asked}, {told} ms")
    }
}

/// The median and the last, in milliseconds.
impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { median, last } = self;
        let millis = |time: &Duration| time.as_secs_f64() * 1000.0;
        write!(f, "{:.1} / {:.0}", millis(median), millis(last))
    }
}
