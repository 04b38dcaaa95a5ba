//! The flows of probes through the tunnel. Each is pinned in the balancer before its first packet,
//! and stays pinned between the probes of a check while the check passes: the packet thread gets
//! one message per check, not per probe.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::TakesChanges;
use crate::app::budgets::director::CHANGES_A_PIECE;
use crate::balancer::{Change, ProbeFlow};
use crate::model::Encap;

/// A flow stays pinned for so long after its probe: the balancer may take changes before packets
/// that were sent earlier, and the reset that ends a connection has to get through.
const LAST_PACKETS: Duration = Duration::from_millis(20);

/// An ICMP error that quotes a probe.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::app) struct FlowRefusal {
    /// Its cause and its sender: `protocol unreachable from 10.0.0.11`.
    pub(in crate::app) why: String,
    /// Whether the host at the tunnel's end has refused it, and not a router on the path.
    pub(in crate::app) by_end: bool,
}

type PinnedFlows = HashMap<ProbeFlow, Option<oneshot::Sender<FlowRefusal>>>;

/// Pins flows.
#[derive(Debug)]
pub(super) struct Pins<B> {
    balancer: B,
    /// The flows in use by checks, each with the sender of refusals to its current probe. The
    /// kernel has no state for a flow without a socket, and may assign its port again.
    reserved: Mutex<PinnedFlows>,
}

impl<B: TakesChanges> Pins<B> {
    pub(super) fn new(balancer: B) -> Self {
        Self { balancer, reserved: Mutex::default() }
    }

    pub(super) fn balancer(&self) -> &B {
        &self.balancer
    }

    /// Reserves a flow for a check; false: another check has it.
    pub(super) fn reserve(&self, flow: ProbeFlow) -> bool {
        let mut reserved = self.reserved();
        let free = !reserved.contains_key(&flow);
        if free {
            reserved.insert(flow, None);
        }
        free
    }

    /// Sets the receiver of refusals of this flow's probe.
    pub(super) fn set_receiver(
        &self,
        flow: ProbeFlow,
        refuses: Option<oneshot::Sender<FlowRefusal>>,
    ) {
        if let Some(waiting) = self.reserved().get_mut(&flow) {
            *waiting = refuses;
        }
    }

    /// Ends the probe with this flow by a refusal; false: no probe waits for an answer.
    pub(super) fn refuse(&self, flow: ProbeFlow, refusal: FlowRefusal) -> bool {
        let waiting = self.reserved().get_mut(&flow).and_then(Option::take);
        waiting.is_some_and(|waiting| waiting.send(refusal).is_ok())
    }

    fn reserved(&self) -> MutexGuard<'_, PinnedFlows> {
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pins a reserved flow; after this returns its packets reach the real server.
    ///
    /// # Errors
    /// As text: the balancer has refused the change or ended.
    pub(super) async fn pin(
        &self,
        flow: ProbeFlow,
        address: IpAddr,
        encap: Encap,
    ) -> Result<(), String> {
        match self.balancer.take(vec![Change::PinProbe { flow, address, encap }]).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(refused)) => Err(refused.to_string()),
            Err(error) => Err(format!("{error:#}")),
        }
    }

    /// Releases flows in a task of their own.
    pub(super) fn release_later(self: &Arc<Self>, flows: Vec<ProbeFlow>) {
        if flows.is_empty() {
            return;
        }
        let pins = Arc::clone(self);
        tokio::spawn(async move { pins.release(flows).await });
    }

    /// Releases flows. One that the balancer still has to unpin is not reserved again before that.
    pub(super) async fn release(&self, flows: Vec<ProbeFlow>) {
        if flows.is_empty() {
            return;
        }
        // Otherwise the real server's end of the last connection would stay open.
        tokio::time::sleep(LAST_PACKETS).await;
        for piece in flows.chunks(CHANGES_A_PIECE) {
            let changes = piece.iter().copied().map(Change::UnpinProbe).collect();
            // A balancer that has ended has no flows.
            let _ = self.balancer.take(changes).await;
            let mut reserved = self.reserved();
            for flow in piece {
                reserved.remove(flow);
            }
        }
    }
}
