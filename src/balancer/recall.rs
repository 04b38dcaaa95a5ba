//! Corrections for a replay of recorded packets: connections from before the recording, and the
//! scheduler's turn.

use std::net::IpAddr;

use super::Balancer;
use super::decide::First;
use super::forward;
use super::persistence::By;
use super::recording::ports;
use super::tcp::ConnState;
use crate::model::{Millis, RealId, ServiceId};
use crate::wire::Packet;

/// The most turns that [`Balancer::turn_to`] takes: one for each server of the largest service.
const TURNS: usize = 1_024;

impl Balancer {
    /// Gives the packet's flow an entry in that state at this real server, which replaces its
    /// present entry. Returns false if the state does not exist, or no service has the real server.
    pub fn recall(
        &mut self,
        now: Millis,
        packet: &Packet<'_>,
        address: IpAddr,
        state: &str,
    ) -> bool {
        let Some((client, port)) = ports(packet) else { return false };
        let key = forward::key(packet, client, port);
        let target =
            self.service_of(&key).ok().and_then(|id| Some((id, self.member(id, address)?)));
        let (Some((id, real)), Some(state)) = (target, ConnState::listed(state)) else {
            return false;
        };
        if let Some((handle, ..)) = self.connection(&key) {
            self.drop_connection(handle);
        }
        self.enter(now, packet, key, id, (real, None), state);
        true
    }

    /// Takes turns of the scheduler until the packet's flow would go to this real server, or
    /// `TURNS` turns are taken.
    pub fn turn_to(&mut self, now: Millis, packet: &Packet<'_>, address: IpAddr) {
        let Some((client, port)) = ports(packet) else { return };
        let key = forward::key(packet, client, port);
        let Ok(id) = self.service_of(&key) else { return };
        let Some(wanted) = self.member(id, address) else { return };
        let tcp = packet.protocol == crate::wire::protocol::TCP;
        let first = First::Opening(if tcp { ConnState::SynRecv } else { ConnState::Udp });
        for _ in 0..TURNS {
            let decision = self.decide(now, &key, id, first, 0);
            let By::Scheduler(picked) = decision.by else { return };
            if decision.outcome.real() == Some(wanted) {
                return;
            }
            self.registry.services[id].taken(now, picked, &mut self.registry.reals);
        }
    }

    fn member(&self, id: ServiceId, address: IpAddr) -> Option<RealId> {
        let reals = &self.registry.services.get(id)?.reals;
        reals.iter().copied().find(|&real| {
            self.registry.reals.get(real).is_some_and(|real| real.address() == address)
        })
    }
}
