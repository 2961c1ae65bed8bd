//! What the demo shows, in order: requests, then changes while requests run.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bowline_harness::{Connections, Load, Report, eventually};

use crate::{
    say,
    shop::{NEW_MACHINE, OLD_VERSION, Shop},
};

const WORKERS: u32 = 4;
const REQUESTS_PER_SECOND: u32 = 300;
/// So many answers in a row without a backend, and it gets no more requests: by chance, one of
/// two would be left out so often once in 2^100 times.
const ENOUGH: u64 = 100;

/// Requests through both Envoys, for as long as the story lasts.
struct Loads {
    gateway: Load,
    sidecar: Load,
    reports: Vec<Report>,
}

pub(crate) async fn tell(shop: &mut Shop) -> Result<()> {
    say(
        "A gateway Envoy, and a sidecar Envoy over mutual TLS; no Envoy has a line of its own about the shop.\n",
    );
    for (from, request) in [
        ("outside, /catalog", Shop::request_from_outside("/catalog")),
        ("outside, /", Shop::request_from_outside("/")),
        ("sidecar, catalog", Shop::request_from_inside("catalog")),
        ("sidecar, cart.shop", Shop::request_from_inside("cart.shop")),
    ] {
        let answered = eventually(from, async || {
            let answer = request.send().await?;
            match (answer.status.is_success(), answer.backend()) {
                (true, Some(backend)) => Ok(backend.to_owned()),
                _ => bail!("status {}: {}", answer.status, answer.text()),
            }
        })
        .await?;
        say(&format!("  {from:<20} answered by {answered}"));
    }

    say(&format!(
        "\nFrom here on {} requests a second run through both, on kept and on new connections.\n",
        2 * REQUESTS_PER_SECOND
    ));
    let mut loads = Loads {
        gateway: load(&Shop::request_from_outside("/"), Connections::New),
        sidecar: load(&Shop::request_from_inside("cart"), Connections::Kept),
        reports: Vec::new(),
    };

    loads
        .until("both versions answer", |report| {
            report.succeeded >= 3 * ENOUGH && report.backends.len() == 2
        })
        .await?;
    loads.next_chapter("weights 90 and 10 in routes.yaml", |_| Ok(String::new()))?;

    let changed = shop.move_to_version_2()?;
    loads
        .until("version 1 gets nothing more", |report| {
            report.since_last_of(OLD_VERSION) >= ENOUGH
        })
        .await?;
    loads.next_chapter("weights changed to 0 and 100", |report| {
        let last = report.backends.get(OLD_VERSION).map(|seen| seen.last);
        Ok(match last {
            Some(last) => format!(
                "version 1's last request came {} after the change",
                after(changed, last)
            ),
            None => "version 1 got no request after the change".to_owned(),
        })
    })?;

    let changed = shop.add_machine()?;
    loads
        .until("the new machine gets its share", |report| {
            report.answered_by(NEW_MACHINE) >= ENOUGH
        })
        .await?;
    loads.next_chapter("machine cart-3 added to inventory.yaml", |report| {
        let seen = report
            .backends
            .get(NEW_MACHINE)
            .context("it answered nothing")?;
        Ok(format!(
            "its first request came {} after the change",
            after(changed, seen.first)
        ))
    })?;

    let changed = shop.remove_machine()?;
    loads
        .until("the removed machine gets nothing more", |report| {
            report.since_last_of(NEW_MACHINE) >= ENOUGH
        })
        .await?;
    loads.next_chapter("machine cart-3 removed from inventory.yaml", |report| {
        let last = report.backends.get(NEW_MACHINE).map(|seen| seen.last);
        Ok(match last {
            Some(last) => format!(
                "its last request came {} after the change",
                after(changed, last)
            ),
            None => "it got no request after the change".to_owned(),
        })
    })?;

    let reports = loads.end().await;
    for report in &reports {
        if report.failed > 0 {
            bail!("{report}");
        }
    }
    let requests: u64 = reports.iter().map(|report| report.succeeded).sum();
    shop.nothing_was_rejected().await?;
    say(&format!(
        "{requests} requests, none failed. The Envoys rejected nothing of what Bowline sent."
    ));
    Ok(())
}

impl Loads {
    async fn until(&self, what: &str, holds: impl Fn(&Report) -> bool) -> Result<()> {
        eventually(what, async || {
            for load in [&self.gateway, &self.sidecar] {
                let report = load.report();
                if !holds(&report) {
                    bail!("{report}");
                }
            }
            Ok(())
        })
        .await
    }

    /// Says where requests went since the last chapter, and what else is worth a line.
    fn next_chapter(
        &mut self,
        title: &str,
        remark: impl Fn(&Report) -> Result<String>,
    ) -> Result<()> {
        say(title);
        for (name, load) in [("gateway", &self.gateway), ("sidecar", &self.sidecar)] {
            let report = load.take_report();
            let shares: Vec<String> = report
                .backends
                .iter()
                .map(|(backend, seen)| format!("{backend}: {}", seen.requests))
                .collect();
            say(&format!("  {name:<8} {}", shares.join(", ")));
            let remark = remark(&report)?;
            if !remark.is_empty() {
                say(&format!("  {:<8} {remark}", ""));
            }
            self.reports.push(report);
        }
        say("");
        Ok(())
    }

    async fn end(self) -> Vec<Report> {
        let Self {
            gateway,
            sidecar,
            mut reports,
        } = self;
        reports.push(gateway.stop().await);
        reports.push(sidecar.stop().await);
        reports
    }
}

fn load(request: &bowline_harness::Request, connections: Connections) -> Load {
    Load::start(request, connections, WORKERS, REQUESTS_PER_SECOND)
}

/// A backend may have answered its last request just before the change.
fn after(changed: Instant, event: Instant) -> String {
    let took: Duration = event.saturating_duration_since(changed);
    format!("{:.1} ms", took.as_secs_f64() * 1000.0)
}
