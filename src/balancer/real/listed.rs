//! A real server's values for listings.

use super::Real;
use crate::balancer::ramp::FULL;
use crate::balancer::snapshot;
use crate::model::{Millis, SchedulerKind};

impl Real {
    /// Its values. `stamp`: see [`Balancer::stamp`](crate::balancer::Balancer::stamp).
    pub(in crate::balancer) fn snapshot(
        &self,
        now: Millis,
        stamp: u32,
        scheduler: SchedulerKind,
    ) -> snapshot::RealSnapshot {
        snapshot::RealSnapshot {
            address: self.address,
            values: self.values,
            last_resort: self.last_resort,
            state: self.availability.state(),
            wanted: self.availability.wanted(),
            changed: self.availability.changed(now),
            removed: self.availability.is_removed(),
            deadline: self.availability.left(now),
            effective_weight: self.effective_weight(now, scheduler),
            starting: self.ramp.is_some_and(|ramp| ramp.at(now) < FULL),
            reported: self.reported(),
            active: self.active + self.half_open,
            half_open: self.half_open,
            inactive: self.inactive,
            connections: self.connections,
            templates: self.templates,
            full: self.full,
            packets: self.packets,
            bytes: self.bytes,
            carried_packets: self.carried.packets,
            carried_bytes: self.carried.bytes,
            protocol_unreachable: self.errors.protocol_unreachable,
            unreachable: self.errors.unreachable,
            path_mtu: self.errors.path_mtu,
            link_mtu: self.room.link_mtu(),
            latency: self.latency.snapshot(stamp),
        }
    }

    /// Its effective weight in thousandths, if that is not its configured weight.
    fn effective_weight(&self, now: Millis, scheduler: SchedulerKind) -> Option<u32> {
        let (grown, borne) = match (scheduler, self.load.thousandths) {
            (SchedulerKind::Maglev | SchedulerKind::SourceHashing, 1..) => {
                (FULL, self.step.thousandths())
            }
            (_, borne) => (self.grown(now), borne),
        };
        let weight = self.weight();
        let all = u64::from(weight) * u64::from(grown) * u64::from(borne) / u64::from(FULL);
        (weight != self.values.weight || grown < FULL || borne != FULL)
            .then(|| u32::try_from(all).unwrap_or(u32::MAX))
    }
}
