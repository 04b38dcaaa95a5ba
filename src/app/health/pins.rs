//! The flows of probes through the tunnel. Each is pinned in the balancer before its first packet,
//! and stays so from one probe of a check to the next while the check passes: the packet thread
//! hears of a check once, not once a probe.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use std::net::IpAddr;

use super::TakesChanges;
use crate::balancer::{Change, ProbeFlow};

/// What pins flows.
#[derive(Debug)]
pub(super) struct Pins<B> {
    balancer: B,
    /// Those that some check has: the kernel does not know of those without a socket, and may give
    /// their port out again.
    taken: Mutex<HashSet<ProbeFlow>>,
}

impl<B: TakesChanges> Pins<B> {
    pub(super) fn new(balancer: B) -> Self {
        Self { balancer, taken: Mutex::default() }
    }

    pub(super) fn balancer(&self) -> &B {
        &self.balancer
    }

    /// Takes a flow for a check; false: another check has it.
    pub(super) fn take(&self, flow: ProbeFlow) -> bool {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(flow)
    }

    /// Pins a flow that was taken; from the return on its packets reach the real server.
    ///
    /// # Errors
    /// The balancer refuses, or is gone; in words.
    pub(super) async fn pin(&self, flow: ProbeFlow, address: IpAddr) -> Result<(), String> {
        match self.balancer.take(vec![Change::PinProbe { flow, address }]).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(refused)) => Err(refused.to_string()),
            Err(error) => Err(format!("{error:#}")),
        }
    }

    /// Gives flows free. Those that wait for the balancer are not given out again before it has
    /// heard of it.
    pub(super) async fn release(&self, flows: Vec<ProbeFlow>) {
        if flows.is_empty() {
            return;
        }
        let changes = flows.iter().copied().map(Change::UnpinProbe).collect();
        // A balancer that is gone has no flows.
        let _ = self.balancer.take(changes).await;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        for flow in flows {
            taken.remove(&flow);
        }
    }
}
