//! Now and then, looking whether what the cluster says of its objects is what should be said.

use std::collections::BTreeSet;

use bowline_manifests::ManifestKind;
use bowline_mesh::{GatewayName, RoutingChange, Served};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, Interval, MissedTickBehavior, interval},
};

use super::{Leadership, StatusWrite, Timing, leads};
use crate::ClusterState;

/// Objects that are looked at in one go, before others on the same thread may do something.
const LOOKED_AT_ONCE: usize = 1_024;

/// Looks, and gives the writer what differs.
#[derive(Debug)]
pub(crate) struct Duty {
    served: watch::Receiver<Option<Served>>,
    leadership: Leadership,
    needed: watch::Sender<bool>,
    writes: mpsc::Sender<Vec<StatusWrite>>,
    ticks: Interval,
    timing: Timing,
    /// What was served when it was last looked, and which gateways had proxies.
    looked: Option<(Served, BTreeSet<GatewayName>)>,
    /// Whether this replica could write then.
    led: bool,
    /// When everything was last looked at.
    everything: Instant,
}

impl Duty {
    pub(crate) fn new(
        served: watch::Receiver<Option<Served>>,
        leadership: Leadership,
        needed: watch::Sender<bool>,
        writes: mpsc::Sender<Vec<StatusWrite>>,
        timing: Timing,
    ) -> Self {
        let mut ticks = interval(timing.look);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            served,
            leadership,
            needed,
            writes,
            ticks,
            timing,
            looked: None,
            led: false,
            everything: Instant::now(),
        }
    }

    /// Waits until it is time to look. Cancel-safe.
    pub(crate) async fn due(&mut self) {
        self.ticks.tick().await;
    }

    /// Looks at what may have changed.
    pub(crate) fn look(&mut self, state: &mut ClusterState) {
        let leads = leads(&self.leadership);
        // Once it is known that there is something to write, there is nothing to do for who does not.
        if !leads && *self.needed.borrow() {
            self.led = false;
            return;
        }
        // What has not been told yet is in no mesh.
        if !state.is_listed() || !state.knows_secrets() || state.has_news() {
            return;
        }
        let Some(served) = self.served.borrow_and_update().clone() else {
            return;
        };
        let led = std::mem::replace(&mut self.led, leads);
        let exposed = state.ready_gateways(&served);
        let is_time = self.everything.elapsed() >= self.timing.again;
        match &self.looked {
            Some((before, exposed_before)) if !is_time && led == leads => {
                let change = served.mesh.routing_change(&before.mesh);
                let RoutingChange {
                    gateways,
                    routes,
                    referring,
                } = change;
                if gateways {
                    state.doubt_all_statuses();
                } else {
                    state.doubt_routes(&referring);
                }
                // How many routes a gateway has, and whether anybody serves it.
                if routes || before.gateways != served.gateways || *exposed_before != exposed {
                    state.doubt_statuses_of(ManifestKind::Gateway);
                }
            }
            Some(_) | None => {
                state.doubt_all_statuses();
                self.everything = Instant::now();
            }
        }
        self.looked = Some((served.clone(), exposed));
        let Ok(place) = self.writes.try_reserve() else {
            return;
        };
        let writes = state.status_writes(LOOKED_AT_ONCE, &served);
        if writes.is_empty() {
            return;
        }
        if leads {
            place.send(writes);
        } else {
            self.needed.send_replace(true);
        }
    }
}
