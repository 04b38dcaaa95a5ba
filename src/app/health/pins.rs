//! The flows of probes through the tunnel. Each is pinned in the balancer before its first packet,
//! and stays pinned between the probes of a check while the check passes: the packet thread gets
//! one message per check, not per probe.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use std::net::IpAddr;

use super::TakesChanges;
use crate::balancer::{Change, ProbeFlow};

/// Pins flows.
#[derive(Debug)]
pub(super) struct Pins<B> {
    balancer: B,
    /// The flows in use by checks. The kernel does not know a flow without a socket, and may assign
    /// its port again.
    taken: Mutex<HashSet<ProbeFlow>>,
}

impl<B: TakesChanges> Pins<B> {
    pub(super) fn new(balancer: B) -> Self {
        Self { balancer, taken: Mutex::default() }
    }

    pub(super) fn balancer(&self) -> &B {
        &self.balancer
    }

    /// Reserves a flow for a check; false: another check has it.
    pub(super) fn take(&self, flow: ProbeFlow) -> bool {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(flow)
    }

    /// Pins a reserved flow; after this returns its packets reach the real server.
    ///
    /// # Errors
    /// The balancer refuses or has ended, as text.
    pub(super) async fn pin(&self, flow: ProbeFlow, address: IpAddr) -> Result<(), String> {
        match self.balancer.take(vec![Change::PinProbe { flow, address }]).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(refused)) => Err(refused.to_string()),
            Err(error) => Err(format!("{error:#}")),
        }
    }

    /// Releases flows. One that the balancer still has to unpin is not reserved again before that.
    pub(super) async fn release(&self, flows: Vec<ProbeFlow>) {
        if flows.is_empty() {
            return;
        }
        let changes = flows.iter().copied().map(Change::UnpinProbe).collect();
        // A balancer that has ended has no flows.
        let _ = self.balancer.take(changes).await;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        for flow in flows {
            taken.remove(&flow);
        }
    }
}
