//! Runs recorded packets through a balancer, with the recorded clock and seeds, and compares the
//! decisions.
//!
//! A connection from before the recording is put into the table when its first packet comes, and a
//! scheduler that takes turns begins with the recorded turn. A flow that goes to another real
//! server is one difference; afterwards its recorded real server is used.

mod states;

use std::collections::BTreeSet;

use super::reading::RecordedPacket;
use crate::balancer::maglev::MaglevTables;
use crate::balancer::{Balancer, Change, Limits, Reason};
use crate::config;
use crate::control::{ServiceList, TraceBegins, TracedDecision};
use crate::model::{Millis, SchedulerKind};
use crate::wire::{Packet, Transport};

/// How often timers run before one packet at most: the clock of a file may jump.
const EXPIRES: usize = 64;

/// A balancer that decides on recorded packets again.
#[derive(Debug)]
pub struct Replay {
    balancer: Balancer,
    now: Millis,
    /// The ends of flows whose real server the configuration does not have: they have differed.
    elsewhere: BTreeSet<[String; 3]>,
    /// The services whose scheduler has had its first turn.
    turned: BTreeSet<String>,
    /// The result so far.
    pub outcome: ReplayOutcome,
}

/// How many packets agree and how many do not.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Serialize)]
pub struct ReplayOutcome {
    /// Packets that were decided again.
    pub replayed: u64,
    /// Those among them whose decision differs.
    pub differing: u64,
    /// Packets whose decision depends on data that a file does not have: payload, the host's links,
    /// or the director's own probes.
    pub not_judged: u64,
    /// Connections that were there before the recording.
    pub recalled: u64,
}

/// A packet whose decision differs.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct ReplayDifference {
    /// The packet's number in the file.
    pub packet: u64,
    /// The recorded decision.
    pub recorded: TracedDecision,
    /// The decision now.
    pub replayed: TracedDecision,
}

/// Why nothing can be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The recording has no seeds.
    #[error("the recording has no seeds: it is no file of `vstun trace --write` or of a crash")]
    Seeds,
    /// The balancer refuses the configuration.
    #[error("the configuration does not fit the balancer: {0}")]
    Change(#[from] crate::balancer::ChangeError),
}

impl Replay {
    /// A balancer as the configuration describes it, with the recorded seeds. `states`: the
    /// services when the recording began; without them every real server is as configured, and
    /// none is down.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub fn new(
        config: &config::Director,
        begins: &TraceBegins,
        states: Option<&ServiceList>,
    ) -> Result<Self, ReplayError> {
        let (own, hash) = begins.seeds().ok_or(ReplayError::Seeds)?;
        let limits = Limits {
            connections: config.max_connections,
            refusals_per_second: Limits::REFUSALS_PER_SECOND,
        };
        let settings = [Change::SetTimeouts(config.timeouts), Change::SetHashSeed(hash)];
        let services = config.specs().cloned().map(Change::AddService);
        let states = states.map(|list| states::changes(config, list)).unwrap_or_default();
        let changes = settings.into_iter().chain(services).chain(states).collect();
        let changes = MaglevTables::new(hash, config.maglev_slots).follow(changes);
        let mut balancer = Balancer::new(limits, own);
        balancer.apply_all(Millis(0), &changes)?;
        let (elsewhere, turned) = (BTreeSet::new(), BTreeSet::new());
        Ok(Self { balancer, now: Millis(0), elsewhere, turned, outcome: ReplayOutcome::default() })
    }

    /// Decides on a packet again; the difference, if there is one.
    pub fn packet(&mut self, recorded: &RecordedPacket) -> Option<ReplayDifference> {
        let before = &recorded.decision;
        self.pass(Millis(before.milliseconds));
        let packet = Packet::parse(&recorded.bytes).ok().filter(|packet| judged(recorded, packet));
        let Some(packet) = packet else {
            self.outcome.not_judged += 1;
            return None;
        };
        self.outcome.replayed += 1;
        let mut seen = self.balancer.observe(&packet);
        if self.prepare(&packet, before, seen.has_entry()) {
            seen = self.balancer.observe(&packet);
        }
        let verdict = self.balancer.forward(self.now, &packet);
        let record = self.balancer.record(self.now, &packet, &seen, &verdict);
        let replayed = TracedDecision {
            // A super-frame's headers do not have this value.
            packets: before.packets,
            milliseconds: before.milliseconds,
            ..TracedDecision::new(&record, before.time.clone())
        };
        let recorded_decision = TracedDecision { packet: None, sent: Vec::new(), ..before.clone() };
        let ends = || {
            let TracedDecision { protocol, client, virtual_address, .. } = before;
            [protocol.clone(), client.clone(), virtual_address.clone()]
        };
        let known = before.why.as_deref() == Some("entry") && self.elsewhere.contains(&ends());
        if replayed == recorded_decision || known {
            return None;
        }
        self.outcome.differing += 1;
        if let (Some(address), Some(after)) = (before.address, &before.after)
            && !self.balancer.recall(self.now, &packet, address, after)
        {
            self.elsewhere.insert(ends());
        }
        let packet = recorded.number;
        Some(ReplayDifference { packet, recorded: recorded_decision, replayed })
    }

    /// Advances the clock, never back.
    fn pass(&mut self, now: Millis) {
        self.now = self.now.max(now);
        for _ in 0..EXPIRES {
            if self.balancer.next_deadline().is_none_or(|deadline| deadline > self.now) {
                return;
            }
            self.balancer.expire(self.now);
        }
    }

    /// Corrects state that the balancer cannot know. Returns true if it changed the flow's entry.
    fn prepare(&mut self, packet: &Packet<'_>, recorded: &TracedDecision, has_entry: bool) -> bool {
        let Some(address) = recorded.address else { return false };
        if let Some(before) = recorded.before.as_deref().filter(|_| !has_entry) {
            let recalled = self.balancer.recall(self.now, packet, address, before);
            self.outcome.recalled += u64::from(recalled);
            return recalled;
        }
        let scheduler = recorded.scheduler.as_deref().and_then(SchedulerKind::from_name);
        let takes_turns =
            |kind| matches!(kind, SchedulerKind::RoundRobin | SchedulerKind::WeightedRoundRobin);
        if let Some(service) =
            recorded.service.clone().filter(|_| scheduler.is_some_and(takes_turns))
            && self.turned.insert(service)
        {
            self.balancer.turn_to(self.now, packet, address);
        }
        false
    }
}

/// Whether the decision depends only on data that the file has.
fn judged(recorded: &RecordedPacket, packet: &Packet<'_>) -> bool {
    let decision = &recorded.decision;
    let cut = recorded.captured < recorded.bytes.len();
    let path_mtu = decision.reason.as_deref() == Some(Reason::PathMtu.name());
    // An answer or an error of ICMP needs the whole message.
    let icmp = cut && matches!(packet.transport, Transport::Icmp { .. });
    !path_mtu && !icmp && decision.why.as_deref() != Some("probe")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::cast_possible_truncation)]
mod tests;
