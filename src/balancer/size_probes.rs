//! Probes of the path MTU to real servers.
//!
//! A client can send an ICMP error that quotes a genuine packet of its own flow, so such an error
//! proves nothing about the path. It only makes the balancer send a probe: a packet with DF of the
//! largest size that still counts as fitting. Its numbers cannot be guessed by hosts that are not
//! on the path. A router that refuses the client's packets refuses the probe too, and quotes it.
//! The MTU in that error applies to all clients.
//!
//! Routers limit the rate of their errors, and clients' packets must not use it up. So over IPv4,
//! packets above the claimed MTU are sent without DF until the probes have confirmed or refuted it.

use std::net::IpAddr;
use std::time::Duration;

use super::Balancer;
use super::size_trial::{Numbers, PROBES_A_TURN, SizeTrial};
use super::tunnel::Tunnel;
use crate::model::{Millis, RealId};
use crate::wire::icmp::{Quote, QuotedPacket, SizeProbe};

/// The shortest time between two probes of a path.
const INTERVAL: Duration = Duration::from_secs(1);
/// Probes for one claim. After a burst, Linux sends one error a second (`icmp_ratelimit`).
const PROBES: u8 = 4;
/// How long larger packets are sent without DF after a claim that no probe confirms.
const DOUBTED_FOR: Duration = Duration::from_secs(10);
/// How long another claim has no such effect after all probes of one went unanswered.
const REFUTED_FOR: Duration = Duration::from_secs(10 * 60);

impl Balancer {
    /// Handles an error that quotes a client's packet and claims that the path MTU to this real
    /// server is `mtu` bytes.
    pub(super) fn try_size(&mut self, now: Millis, id: RealId, mtu: u16, flow: Quote) {
        let real = &mut self.registry.reals[id];
        real.room.expire(now);
        let (claimed, address) = (real.room.inner(mtu), real.address());
        if claimed >= real.room.advertised() {
            return;
        }
        let trial = &mut real.size_trial;
        trial.ends = Some((flow.source, flow.destination));
        trial.claimed = claimed;
        let refuted = now < trial.refuted_until;
        if trial.left == 0 {
            trial.left = if refuted { 1 } else { PROBES };
        }
        if !refuted && real.room.doubt(now, address, mtu, DOUBTED_FOR) {
            self.take_back_of(id);
        }
        self.try_size_again(now, id);
    }

    /// Requests a probe of the path if a claim about it is undecided and the interval has passed.
    pub(super) fn try_size_again(&mut self, now: Millis, id: RealId) {
        let trial = &mut self.registry.reals[id].size_trial;
        let wanted = &mut self.answers.size_probes.reals;
        if trial.left == 0 || now < trial.next || wanted.len() == PROBES_A_TURN {
            return;
        }
        trial.left -= 1;
        trial.next = now.after(INTERVAL);
        if trial.left == 0 {
            trial.refuted_until = now.after(REFUTED_FOR);
        }
        wanted.push(id);
    }

    /// Writes the next probe that is due, for the caller to send into its tunnel with DF. Call it
    /// after each turn, until there is none.
    pub fn size_probe(&mut self, now: Millis) -> Option<(Tunnel, &[u8])> {
        loop {
            let id = self.answers.size_probes.reals.pop()?;
            if !self.registry.lists(id) {
                continue;
            }
            let made = &mut self.answers.size_probes.made;
            *made += 1;
            let numbers = Numbers::new(self.settings.seed, *made, now);
            let real = &mut self.registry.reals[id];
            let len = real.size_trial.begin(numbers, real.room.advertised());
            let Some(ends) = real.size_trial.ends else { continue };
            let probe = SizeProbe { ends, label: numbers.label, echo: numbers.echo };
            if probe.write(len, &mut self.answers.reply).is_some() {
                let tunnel = real.count(1, len as u64);
                let tunnel = Tunnel { limit: usize::MAX, link: usize::MAX, ..tunnel };
                return Some((tunnel, &self.answers.reply));
            }
        }
    }

    /// Whether the reply is the latest probe of the path to a real server at `address`; its trial
    /// is over then.
    pub(super) fn is_size_probe(
        &mut self,
        now: Millis,
        address: IpAddr,
        reply: QuotedPacket,
    ) -> bool {
        let mut found = false;
        self.registry.change_at(address, |real| {
            if real.size_trial.is_quoted_by(now, reply) {
                found = true;
                // A router behind that one may have a smaller MTU: the next claim is probed at
                // once.
                real.size_trial = SizeTrial::default();
            }
        });
        found
    }
}
